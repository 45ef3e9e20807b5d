"""`posttrain claims`: measure the papers' claims again and render docs/claims.md."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.bench import claims
from posttrain.commands import bench, compare
from posttrain.commands.parse import parse


@dataclass(frozen=True)
class Claims:
    """Which experiments, and where results go."""

    only: tuple[str, ...] = ()
    """Experiments to run; all by default."""
    render: bool = False
    """Only render the page from the results that are there."""
    runs: Path = Path("runs/claims")
    """Folder of the runs; a killed measurement goes on there."""
    results: Path = Path("results")
    """Folder of the result files."""
    page: Path = Path("docs/claims.md")
    """The page to write."""

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in claims.EXPERIMENTS:
                raise ValueError(
                    f"There is no experiment {name!r}; the experiments are {', '.join(claims.EXPERIMENTS)}."
                )


def main(arguments: Sequence[str]) -> None:
    """Measure what was asked for, then render."""
    given = parse(Claims, arguments, prog="posttrain claims", description="Measure the papers' claims.")
    for name in () if given.render else (given.only or tuple(claims.EXPERIMENTS)):
        experiment, out = claims.EXPERIMENTS[name], given.runs / name
        if experiment.config is None:
            bench.main([*experiment.bench, "--out", str(out)])
        else:
            compare.run(compare.Compare(experiment.config, out=out, title=experiment.title))
        given.results.mkdir(parents=True, exist_ok=True)
        for kind in ("json", "png"):
            shutil.copyfile(given.runs / name / f"result.{kind}", given.results / f"{name}.{kind}")
    print(f"page     {claims.render(given.results, given.page)}")
