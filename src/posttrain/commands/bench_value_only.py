"""`posttrain bench value-only`: what tuning by values alone keeps, in closed form and in trained models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.commands.show import Display, conclude
from posttrain.commands.trials import World, run_world
from posttrain.extras import need
from posttrain.files import write_json


@dataclass(frozen=True)
class BenchValueOnly:
    """What to run, and where results go."""

    world: Literal["theory", "linear", "softmax"] = "theory"
    """The closed forms drawn, with runs of the model over them (seconds); a linear model that is trained for each seed
    (half a minute each); a small softmax transformer (two minutes each)."""
    seeds: int = 10
    """How many."""
    first_seed: int = 10
    """The first; 0 to 2 were used to choose learning rates."""
    start_token: bool = True
    """Softmax: whether a prompt begins with a token of its own."""
    tune: Path | None = None
    """Softmax: instead, try every learning rate on seeds 0 to 2 and write the choice to this file."""
    out: Path | None = None
    """Folder of the rows; a killed bench goes on there. runs/value-only-WORLD by default."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 1; 10 gives intervals that mean something.")
        if self.world != "softmax" and (self.tune is not None or not self.start_token):
            raise ValueError("--tune and --no-start-token are for the softmax model; give --world softmax.")

    @property
    def name(self) -> str:
        """Of the folder and of the rows."""
        bare = "" if self.start_token else "-no-start"
        return f"{self.world}{bare}{'' if self.tune is None else '-rates'}"


def run(given: BenchValueOnly) -> dict[str, Any]:
    """Run what is missing, print the table, write the result and the picture."""
    need("matplotlib")
    out, display = given.out or Path("runs") / f"value-only-{given.name}", Display()
    if given.world == "theory":
        return _theory(display, out)
    world = _linear() if given.world == "linear" else _softmax(given)
    seeds = range(3) if given.tune is not None else range(given.first_seed, given.first_seed + given.seeds)
    result = run_world(display, given.name, world, seeds, out)
    if given.tune is not None:
        _write_rates(given.tune, result)
        display.console.print(f"rates    {given.tune}", highlight=False)
    return result


def _theory(display: Display, out: Path) -> dict[str, Any]:
    from posttrain.bench.value_only import curves, picture, report

    with display:
        task = display.progress.add_task("runs of the model", total=2 * len(curves.SAMPLED), note="")
        result = curves.measured(lambda number, _: display.progress.update(task, completed=number))
    conclude(display.console, result, out, picture.closed_forms, report.closed_forms)
    return result


def _linear() -> World:
    from posttrain.bench.value_only import linear, picture, report

    columns = [linear.measure(task, shots) for task in linear.TASKS for shots in (0, 5, 20)]
    return World(
        linear.Linear(),
        linear.run,
        "linear attention, trained: risk after 0 to 20 examples",
        "Tuned on one task (target) from a model that learns from examples; exact risks, noise 0.1. Means over seeds.",
        picture.trained,
        report.trained(columns),
    )


def _softmax(given: BenchValueOnly) -> World:
    from posttrain.bench.value_only import report, softmax, softmax_picture
    from posttrain.bench.value_only.transformer import Shape

    setup = softmax.Softmax(shape=Shape(start_token=given.start_token))
    arms = softmax.cases(setup) if given.tune is None else softmax.grid()
    ends = [softmax.measure("target", 0), *(softmax.measure(task, setup.shape.shots) for task in softmax.TASKS)]
    matched = [f"matched: {each}" for each in ends[2:]]
    return World(
        setup,
        lambda seed: softmax.run(seed, setup, arms),
        f"a small softmax transformer {'with' if given.start_token else 'without'} a start token: squared error",
        "Tuned on one task (target) by LoRA at the arm's own learning rate. matched: when the zero-shot error on the "
        f"target has first fallen to {setup.matched:.0%}; steps: how many that took; learnt: the share of "
        "seeds on which it did; moved: change of the attention weights. Means over seeds.",
        softmax_picture.picture if given.tune is None else softmax_picture.rates,
        report.trained((*ends, *matched, "steps", "learnt", "moved")),
    )


def _write_rates(path: Path, result: dict[str, Any]) -> None:
    """The choice, with the errors that it was made by."""
    from posttrain.bench.value_only import softmax

    what = (
        f"learning rates of Adam for the softmax model's arms, seeds 0 to {result['n'] - 1}: of those whose mean "
        f"zero-shot error on the target is at most {softmax.LEARNT:.0%} of the pretrained model's, the one with the "
        "least error on random tasks at ten shots; errors: both, by rate"
    )
    write_json(path, {"what": what, "provenance": result["provenance"], **softmax.choose(result)})
