"""`posttrain tune arms`: subsets of q, k, v, o with equal numbers of trained weights, each at its own best rate."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import tyro

from posttrain.commands.tune import Loaded, TuneData, about, check_examples, kinds, load
from posttrain.tune.arms import Sweep
from posttrain.tune.data import by_task
from posttrain.tune.few_shot import FewShot
from posttrain.tune.run import TuneRun
from posttrain.tune.scoring import AnswerScorer

T = TypeVar("T")

CHOICE = "target log-likelihood, 0 shots"


Own = Annotated[T, tyro.conf.Suppress, tyro.conf.Fixed]
"""What the comparison sets itself."""


@dataclass(frozen=True)
class ArmRun(TuneRun):
    """How long and how to train; rates and seeds are those of `Sweep`, and a run that is killed is done again."""

    learning_rate: Own[float] = 1e-4
    seed: Own[int] = 0
    save_every: Own[int] = 0


@dataclass(frozen=True)
class TuneArms:
    """`posttrain tune arms`."""

    data: Annotated[TuneData, tyro.conf.arg(name="")]
    run: Annotated[ArmRun, tyro.conf.arg(name="")] = field(default_factory=ArmRun)
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
    subsets = {arm: tuple(arm.split()) for arm in given.arms}
    arms = equal_arms(loaded.model, projections, subsets, rank=given.rank)  # pyright: ignore[reportArgumentType]
    judges = Judges.of(given, loaded)
    clean = {name: value.detach().cpu().clone() for name, value in loaded.model.state_dict().items()}
    head = about(given.data, loaded, given.few_shot())
    head |= {"settings": str(replace(given.run, cpu=False)), "rank": given.rank}
    most = len(arms) * (len(given.sweep.learning_rates) * len(given.sweep.choosing) + len(given.sweep.measuring))
    with Display() as display:
        bar = display.progress.add_task("arms", total=most, note="")

        def show(text: str) -> None:
            display.progress.update(bar, advance=1, note=text)
            display.line(text)

        def measured(arm: Any, rate: float, seed: int) -> dict[str, float]:
            return _run(given, loaded, judges, clean, arm, rate, seed)

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


class Judges(NamedTuple):
    """Two halves of the test: rates are chosen on one, and arms are measured on the other."""

    likelihood: AnswerScorer
    """On the first half of the trained tasks."""
    right: AnswerScorer
    """On the second half of all."""
    kind: dict[str, Any]
    """Task to what it is to the trained ones."""

    @classmethod
    def of(cls, given: TuneArms, loaded: Loaded) -> Judges:
        """Both, or a sentence why the test will not do."""
        kind, first, second = kinds(given.data, loaded), {}, {}
        for task, rows in by_task(loaded.test).items():
            if len(rows) < 2:
                raise ValueError(f"The task {task!r} has one row in --test; give two at least, one to choose rates on.")
            second[task] = rows[1::2]
            if kind[task] == "target":
                first[task] = rows[::2]
        if not first:
            raise ValueError(
                f"No task of --test ({', '.join(kind)}) is one of the data set's ({', '.join(by_task(loaded.rows))}); "
                "the learning rates cannot be chosen."
            )
        few = given.few_shot()
        right = AnswerScorer(loaded.tokenizer, second, few_shot=few)
        check_examples(loaded, few, right, given.data.report_shots)
        return cls(AnswerScorer(loaded.tokenizer, first, measure="log-likelihood", few_shot=few), right, kind)

    def __call__(self, model: Any, shots: Sequence[int]) -> dict[str, float]:
        """Every measure of a trained model."""
        chosen = [value for task in self.likelihood.questions for value in self.likelihood(model, task, 0)]
        found = {CHOICE: fmean(chosen)}
        for which in dict.fromkeys(self.kind.values()):
            for many in shots:
                values = [v for task, kind in self.kind.items() if kind == which for v in self.right(model, task, many)]
                found[f"{which}, {many} shots"] = fmean(values)
        return found


def _run(
    given: TuneArms, loaded: Loaded, judges: Judges, clean: dict[str, Any], arm: Any, rate: float, seed: int
) -> dict[str, float]:
    """One training from the untouched model, and its measures."""
    from posttrain.tune import run as tuning

    loaded.model.load_state_dict(clean)
    folder = given.out / "run"
    built = tuning.trainer(
        loaded.model, loaded.tokenizer, loaded.rows, folder, replace(given.run, learning_rate=rate, seed=seed),
        value_only=arm.settings(), few_shot=given.few_shot(),
    )  # fmt: skip
    built.train()
    found = judges(built.model, given.data.report_shots)
    built.model.unload()
    shutil.rmtree(folder, ignore_errors=True)
    return found


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
        figures.frame(axis)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figures.saved(figure, path)
