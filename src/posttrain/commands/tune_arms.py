"""`posttrain tune arms`: subsets of q, k, v, o with equal numbers of trained weights, each at its own best rate."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from posttrain.commands.tune import Loaded, TuneData, kinds, load
from posttrain.tune.arms import SUBSETS, Sweep
from posttrain.tune.data import by_task
from posttrain.tune.few_shot import FewShot
from posttrain.tune.run import TuneRun

CHOICE = "target log-likelihood, 0 shots"


@dataclass(frozen=True)
class TuneArms:
    """`posttrain tune arms`."""

    data: Annotated[TuneData, tyro.conf.arg(name="")]
    run: Annotated[TuneRun, tyro.conf.arg(name="")] = field(default_factory=TuneRun)
    sweep: Annotated[Sweep, tyro.conf.arg(name="")] = field(default_factory=Sweep)
    arms: tuple[str, ...] = ("v", "q", "k", "o", "q k v o")
    """Subsets, each a text such as "q k"."""
    rank: int = 8
    """Of the values alone; every arm trains as nearly as many weights as they do."""
    few_shot_weight: Literal["linear", "none", "constant"] = "none"
    """Of the few-shot loss, in all arms."""
    shots: int = 4
    """Its examples."""
    separator: str = "\n\n"
    """Between examples of plain text."""
    out: Path = Path("runs/arms")
    """Folder of the runs' measures, where a killed comparison goes on."""

    def __post_init__(self) -> None:
        wrong = [arm for arm in self.arms if not arm.split() or set(arm.split()) - {"q", "k", "v", "o"}]
        if wrong or not self.arms:
            raise ValueError(f"--arms {wrong[0] if wrong else ''!r} is no subset of q k v o; write for instance 'q k'.")
        if self.data.test is None:
            raise ValueError("--test is needed: the arms are chosen on one half of it and measured on the other.")

    def few_shot(self) -> FewShot:
        """The auxiliary loss."""
        return FewShot(self.few_shot_weight, shots=self.shots, by=("task",), separator=self.separator)


def run(given: TuneArms) -> dict[str, Any]:
    """Run what is missing, print the table, write the result and the picture."""
    from posttrain.bench.record import provenance
    from posttrain.commands.show import Display, conclude
    from posttrain.projections import attention, check_value_rows
    from posttrain.tune.arms import equal_arms, sweep

    loaded = load(given.data, cpu=given.run.cpu)
    projections = attention(loaded.model)
    check_value_rows(loaded.model, projections)
    subsets = {arm: SUBSETS.get(arm) or tuple(arm.split()) for arm in given.arms}
    arms = equal_arms(loaded.model, projections, subsets, rank=given.rank)  # pyright: ignore[reportArgumentType]
    clean = {name: value.detach().cpu().clone() for name, value in loaded.model.state_dict().items()}
    head = {"model": given.data.model, "settings": str(replace(given.run, cpu=False)), "rank": given.rank}
    most = len(arms) * (len(given.sweep.learning_rates) * len(given.sweep.choosing) + len(given.sweep.measuring))
    with Display() as display:
        bar = display.progress.add_task("arms", total=most, note="")

        def show(text: str) -> None:
            display.progress.update(bar, advance=1, note=text)
            display.line(text)

        def measured(arm: Any, rate: float, seed: int) -> dict[str, float]:
            return _run(given, loaded, clean, arm, rate, seed)

        rows = given.out / "runs.jsonl"
        found = sweep(arms, measured, given.sweep, choose_by=CHOICE, rows=rows, head=head, show=show)
    result = {
        "provenance": provenance(),
        "model": given.data.model,
        "sweep": asdict(given.sweep),
        "shots": list(given.data.report_shots),
        "arms": {each.arm.name: _described(each) for each in found},
    }
    conclude(display.console, result, given.out, picture, tables)
    return result


def _described(each: Any) -> dict[str, Any]:
    return {
        "parameters": each.arm.parameters,
        "learning_rate": each.learning_rate,
        "at_edge": each.at_edge,
        "chosen_by": {f"{rate:g}": value for rate, value in each.chosen_by.items()},
        "measured": {name: value._asdict() for name, value in each.measured.items()},
    }


def _run(given: TuneArms, loaded: Loaded, clean: dict[str, Any], arm: Any, rate: float, seed: int) -> dict[str, float]:
    """One training from the untouched model, and its measures."""
    from posttrain.tune import run as tuning
    from posttrain.tune.scoring import AnswerScorer

    loaded.model.load_state_dict(clean)
    config = replace(given.run, learning_rate=rate, seed=seed, save_every=0)
    folder = given.out / "run"
    built = tuning.trainer(
        loaded.model, loaded.tokenizer, loaded.rows, folder, config,
        value_only=arm.settings(), few_shot=given.few_shot(),
    )  # fmt: skip
    built.train()
    halves = {task: (rows[::2], rows[1::2]) for task, rows in by_task(loaded.test).items()}
    kind = kinds(given.data, loaded)
    chosen = {task: half[0] for task, half in halves.items() if kind[task] == "target"}
    likelihood = AnswerScorer(loaded.tokenizer, chosen, measure="log-likelihood", few_shot=given.few_shot())
    right = AnswerScorer(loaded.tokenizer, {t: half[1] for t, half in halves.items()}, few_shot=given.few_shot())
    found = {CHOICE: _mean([value for task in chosen for value in likelihood(built.model, task, 0)])}
    for which in dict.fromkeys(kind.values()):
        for shots in given.data.report_shots:
            values = [v for task in halves if kind[task] == which for v in right(built.model, task, shots)]
            found[f"{which}, {shots} shots"] = _mean(values)
    built.model.unload()
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _mean(values: list[float]) -> float:
    if not values:
        raise ValueError("No task of --test is one of the data set's; the learning rates cannot be chosen.")
    return sum(values) / len(values)


def tables(result: dict[str, Any]) -> list[Any]:
    """By arm: weights, learning rate, and the shares of right answers."""
    from posttrain.bench.table import interval, table

    names = [name for name in next(iter(result["arms"].values()))["measured"] if name != CHOICE]
    caption = (
        "Shares of right answers, means over seeds with 95 % intervals; * the rate lies at the edge of those tried."
    )
    out = table("subsets with equal numbers of trained weights", caption, ["weights", "rate", *names], first="arm")
    for arm, of in result["arms"].items():
        rate = f"{of['learning_rate']:g}{'*' if of['at_edge'] else ''}"
        out.add_row(arm, f"{of['parameters']:,}", rate, *(interval(of["measured"][name]) for name in names))
    return [out]


def picture(result: dict[str, Any], path: Path) -> Path:
    """A panel per kind of task: shares of right answers over examples in the prompt, a line per arm."""
    from posttrain.bench import figures

    pyplot = figures.pyplot()
    first = next(iter(result["arms"].values()))["measured"]
    panels = list(dict.fromkeys(name.partition(",")[0] for name in first if name != CHOICE))
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(3.9 * len(panels), 3.3), layout="constrained", squeeze=False, sharey=True
    )
    for axis, kind in zip(axes[0], panels, strict=True):
        for arm, of in result["arms"].items():
            cells = [of["measured"][f"{kind}, {shots} shots"] for shots in result["shots"]]
            line = axis.plot(result["shots"], [c["mean"] for c in cells], marker="o", ms=4, label=arm)[0]
            low, high = [c["low"] for c in cells], [c["high"] for c in cells]
            axis.fill_between(result["shots"], low, high, color=line.get_color(), alpha=0.15, lw=0)
        axis.set_title(f"{kind} tasks", loc="left", fontsize=10)
        axis.set_xlabel("examples in the prompt")
        axis.set_xticks(result["shots"])
        axis.grid(axis="y", color="#e6e9ee")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figures.saved(figure, path)
