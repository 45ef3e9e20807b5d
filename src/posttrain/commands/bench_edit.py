"""`posttrain bench edit`: what an edit of safety units does where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from posttrain.bench.trials import Arms, run_trials, summary
from posttrain.commands.show import Display, conclude
from posttrain.extras import need


@dataclass(frozen=True)
class BenchEdit:
    """What to run, and where results go."""

    world: Literal["planted", "languages"] = "planted"
    """A gated layer with planted units (seconds), or a tiny model of four languages, trained for each seed."""
    seeds: int = 10
    """How many."""
    first_seed: int = 10
    """The first; 0 to 2 were used to choose settings."""
    out: Path | None = None
    """Folder of the rows; a killed bench goes on there. runs/edit-WORLD by default."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 1; 10 gives intervals that mean something.")


class World(NamedTuple):
    """What a world needs to be run and shown."""

    setup: Any
    """A dataclass."""
    run: Callable[[int], Arms]
    title: str
    says: str
    draw: Callable[[dict[str, Any], Path], Path]


def run(given: BenchEdit) -> dict[str, Any]:
    """Run what is missing, print the table, write the result and the picture."""
    need("matplotlib")
    world, out = _world(given.world), given.out or Path("runs") / f"edit-{given.world}"
    setup = asdict(world.setup)
    with Display() as display:
        task = display.progress.add_task(given.world, total=given.seeds, note="")

        def show(seed: int, number: int, total: int) -> None:
            display.progress.update(task, completed=number, note=f"seed {seed}")
            display.line(f"{given.world}: seed {seed}, {number} of {total}")

        seeds = range(given.first_seed, given.first_seed + given.seeds)
        rows = run_trials(out, {"world": given.world, "setup": setup}, seeds, world.run, show)
    result = summary(rows, world=given.world, title=world.title, says=world.says, setup=setup)
    from posttrain.bench.edit import report

    conclude(display.console, result, out, world.draw, report.tables)
    return result


def _world(name: str) -> World:
    from posttrain.bench.edit import picture, planted

    if name == "planted":
        return World(
            planted.Planted(),
            planted.run,
            "a planted layer: attacks that are answered, harmless prompts that are refused",
            "24 of 128 units refuse and read the harm direction of English alone; gamma in units of N_h / N_s. "
            "Shares, means over seeds.",
            picture.picture,
        )
    from posttrain.bench.edit import languages, languages_picture

    return World(
        languages.Languages(),
        languages.run,
        "a tiny model of four languages: attacks that are answered, sums that are right",
        "Trained from nothing for each seed; safety was taught in language 0 alone. Shares, means over seeds.",
        languages_picture.picture,
    )
