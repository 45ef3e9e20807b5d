"""`posttrain bench edit`: what an edit of safety units does where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.commands.show import Display
from posttrain.commands.trials import World, run_world
from posttrain.extras import need


@dataclass(frozen=True)
class BenchEdit:
    """What to run, and where results go."""

    world: Literal["planted", "languages"] = "planted"
    """A gated layer with planted units (seconds), or a tiny model of four languages, trained for each seed."""
    seeds: int = 10
    """How many."""
    first_seed: int = 10
    """The first; 0 to 2 were used to choose settings, and of the planted layer 10 to 19 whether English is held."""
    out: Path | None = None
    """Folder of the rows; a killed bench goes on there. runs/edit-WORLD by default."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 1; 10 gives intervals that mean something.")


def run(given: BenchEdit) -> dict[str, Any]:
    """Run what is missing, print the table, write the result and the picture."""
    need("matplotlib")
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    out = given.out or Path("runs") / f"edit-{given.world}"
    return run_world(Display(), given.world, _world(given.world), seeds, out)


def _world(name: str) -> World:
    from posttrain.bench.edit import picture, planted, report

    if name == "planted":
        return World(
            planted.Planted(),
            planted.run,
            "a planted layer: attacks that are answered, harmless prompts that are refused",
            "24 of 128 units refuse and read the harm direction of English alone; gamma in units of N_h / N_s. "
            "Shares, means over seeds.",
            picture.picture,
            report.tables,
        )
    from posttrain.bench.edit import languages, languages_picture

    return World(
        languages.Languages(),
        languages.run,
        "a tiny model of four languages: attacks that are answered, sums that are right",
        "Trained from nothing for each seed; safety was taught in language 0 alone. Shares, means over seeds.",
        languages_picture.picture,
        report.tables,
    )
