"""`posttrain compare ARM...`: recipes side by side on a tiny student, on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from posttrain.bench import compare, report
from posttrain.commands.parse import parse
from posttrain.commands.show import Display, conclude
from posttrain.extras import need


@dataclass(frozen=True)
class Compare:
    """The comparison and where its runs and results go."""

    config: Annotated[compare.CompareConfig, tyro.conf.arg(name="")]
    """What to compare."""
    out: Path = Path("runs/compare")
    """Folder of the runs; a killed comparison goes on there. The result is `result.json` and `result.png` in it."""
    title: str = ""
    """Title of the picture."""


def main(arguments: Sequence[str]) -> None:
    """Parse and compare. The arms come first, without a flag."""
    split = next((i for i, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    arms, flags = list(arguments[:split]), list(arguments[split:])
    given = parse(
        Compare,
        [*flags, *(["--arms", *arms] if arms else [])],
        prog="posttrain compare",
        description="Compare recipes: posttrain compare grpo kdrl:beta=0.2 rlad --task knights-knaves --seeds 5",
    )
    run(given)


def run(given: Compare) -> dict[str, Any]:
    """Run what is missing, print the table, write the result and the picture."""
    for module in ("trl", "matplotlib", *(["reasoning_gym"] if given.config.task == "knights-knaves" else [])):
        need(module)
    with CompareDisplay(given.config) as display:
        result = compare.run(given.config, given.out, display.advance)
    title = given.title or f"{given.config.task}: {', '.join(given.config.arms)}"
    conclude(display.console, result, given.out, partial(report.picture, title=title), report.tables)
    return result


@dataclass
class _ArmState:
    task: Any
    steps: dict[int, int] = field(default_factory=dict)
    accuracy: dict[int, float] = field(default_factory=dict)


class CompareDisplay(Display):
    """One bar per arm, over all its seeds."""

    def __init__(self, config: compare.CompareConfig) -> None:
        super().__init__()
        total = config.steps * config.seeds
        self.arms = {arm: _ArmState(self.progress.add_task(arm, total=total, note="")) for arm in config.arms}
        self.config = config

    def advance(self, arm: str, seed: int, record: dict[str, Any]) -> None:
        """Show a log record of a run."""
        state = self.arms[arm]
        state.steps[seed] = max(state.steps.get(seed, 0), record["step"])
        if "eval" in record:
            values = record["eval"]["accuracy"].values()
            state.accuracy[seed] = sum(values) / len(values)
        mean = sum(state.accuracy.values()) / len(state.accuracy) if state.accuracy else 0.0
        done, total = sum(state.steps.values()), self.config.steps * self.config.seeds
        self.progress.update(state.task, completed=done, note=f"accuracy {mean:.2f}")
        parts = [
            f"{label} {sum(s.steps.values())}/{total}"
            + (f" (accuracy {sum(s.accuracy.values()) / len(s.accuracy):.2f})" if s.accuracy else "")
            for label, s in self.arms.items()
        ]
        self.line("  ".join(parts))
