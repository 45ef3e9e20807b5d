"""`posttrain tune`: train the values of attention alone, compare with other subsets, and report what was forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from posttrain.commands.parse import parse
from posttrain.extras import need
from posttrain.files import write_json
from posttrain.tasks.dataset import Columns
from posttrain.tune.data import Row, by_task, digest, read
from posttrain.tune.few_shot import FewShot, pools
from posttrain.tune.run import TuneRun
from posttrain.tune.values import ValueOnly

USAGE = """usage: posttrain tune {value-only,arms,coverage} [...]

  value-only  train the values of attention alone, and judge the model before and after; see value-only --help
  arms        subsets of q, k, v, o with equal numbers of trained weights; see arms --help
  coverage    which families are covered, where their values are, and what is refused"""


BEFORE = "before.json"
"""Scores of the untouched model."""


@dataclass(frozen=True)
class TuneData:
    """What to tune, on what, and what to judge it on."""

    model: str
    """A folder or a hub id."""
    dataset: Path
    """A .jsonl or .parquet file, or a folder that datasets saved, with the columns `prompt` and `completion`."""
    test: Path | None = None
    """Held-out rows of the same columns; the model is judged on them before and after."""
    columns: Columns = field(default_factory=lambda: Columns(answer="completion"))
    """How those columns are called; `answer` is that of the completion."""
    task: str = "task"
    """The column that names a row's task; examples are of the same task, and the report is by task."""
    opposite: tuple[str, ...] = ()
    """Tasks of `test` that contradict those of the data set (labels swapped)."""
    report_shots: tuple[int, ...] = (0, 1, 2, 4)
    """Examples in the prompt when judged (the paper: 0 to 7)."""
    chat: bool | None = None
    """Put plain prompts into the model's chat template as user turns; by default if the model has one."""


@dataclass(frozen=True)
class TuneValues:
    """`posttrain tune value-only`."""

    data: Annotated[TuneData, tyro.conf.arg(name="")]
    run: Annotated[TuneRun, tyro.conf.arg(name="")] = field(default_factory=TuneRun)
    update: Literal["lora", "full"] = "lora"
    """An adapter, or the values' weights themselves."""
    rank: int = 128
    """Of the adapter (the paper's)."""
    alpha: float | None = None
    """Of the adapter; 2 times the rank by default."""
    layers: tuple[int, ...] | None = None
    """Only these layers; all by default."""
    few_shot_weight: Literal["linear", "none", "constant"] = "none"
    """Of the few-shot loss: falls to 0, is not there, or stays."""
    few_shot_initial: float = 1.0
    """Its weight in the first step."""
    shots: int = 4
    """Examples before each question in the few-shot loss."""
    separator: str = "\n\n"
    """Between examples of plain text."""
    save: Literal["adapter", "model"] = "adapter"
    """What is written: the adapter, or the model with it added; a full update is always a model."""
    out: Path = Path("runs/value-only")
    """Folder of the log, the report and what was trained."""
    resume: bool = False
    """Go on from the newest checkpoint in `out`."""

    def few_shot(self) -> FewShot:
        """The auxiliary loss."""
        return FewShot(self.few_shot_weight, self.few_shot_initial, self.shots, ("task",), self.separator)

    def values(self) -> ValueOnly:
        """What is trained."""
        return ValueOnly(update=self.update, rank=self.rank, alpha=self.alpha, layers=self.layers)


class Loaded(NamedTuple):
    """Everything read."""

    model: Any
    tokenizer: Any
    rows: list[Row]
    test: list[Row]


def main(arguments: Sequence[str]) -> None:
    """Parse and run."""
    name, *flags = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
    elif name == "value-only":
        run(parse(TuneValues, flags, prog="posttrain tune value-only", description="Train values alone."))
    elif name == "arms":
        from posttrain.commands import tune_arms

        description = "Subsets of q, k, v, o with equal numbers of trained weights, each at its best learning rate."
        tune_arms.run(parse(tune_arms.TuneArms, flags, prog="posttrain tune arms", description=description))
    elif name == "coverage":
        coverage()
    else:
        raise ValueError(f"there is no tuning {name!r}; write posttrain tune value-only, arms or coverage.")


def load(data: TuneData, *, cpu: bool) -> Loaded:
    """The model and the rows, with a sentence for whatever is wrong with them."""
    for module in ("trl", "datasets", "peft"):
        need(module)
    from posttrain.rl import run as rl_run
    from posttrain.rl.engines import teachers
    from posttrain.tune.run import load_model

    rl_run.quiet()
    need("datasets").disable_progress_bars()
    teachers.check_reference(data.model, "--model")
    tokenizer = teachers.load_tokenizer(data.model)
    if data.chat and tokenizer.chat_template is None:
        raise ValueError(f"--chat needs a chat template, but {data.model} has none; leave --chat out.")
    chat = tokenizer.chat_template is not None if data.chat is None else data.chat
    rows = read(data.dataset, data.columns, task=data.task, chat=chat)
    test = read(data.test, data.columns, task=data.task, chat=chat) if data.test else []
    tasks, trained = by_task(test), by_task(rows)
    for task in data.opposite:
        if task in trained:
            raise ValueError(f"--opposite {task}: the data set has this task, so it is a target; name others.")
        if task not in tasks:
            raise ValueError(f"--opposite {task}: no row of --test is of this task; it has {', '.join(tasks)}.")
    return Loaded(load_model(data.model, cpu=cpu), tokenizer, rows, test)


def kinds(data: TuneData, loaded: Loaded) -> dict[str, Any]:
    """Each task of the test to what it is to the trained ones."""
    trained = by_task(loaded.rows)
    return {
        task: "target" if task in trained else "opposite" if task in data.opposite else "unrelated"
        for task in by_task(loaded.test)
    }


def run(given: TuneValues) -> Path:
    """Judge, train, judge again, and end with a table and a picture."""
    from posttrain.commands.show import Display
    from posttrain.rl.engines.recorder import Recorder
    from posttrain.tune import run as tuning

    log, checkpoint = given.out / "log.jsonl", tuning.last_checkpoint(given.out)
    what = "model" if given.update == "full" else given.save
    if not given.resume and (log.exists() or checkpoint):
        raise ValueError(f"{given.out} is of an earlier run; go on with --resume, or choose another --out.")
    if given.resume and checkpoint is None and (given.out / what).exists():
        raise ValueError(f"{given.out} is of a run that has ended and kept no checkpoint; choose another --out.")
    state = tuning.processes(cpu=given.run.cpu)
    loaded = load(given.data, cpu=given.run.cpu)
    check_examples(loaded, given.few_shot(), scorer(given, loaded), given.data.report_shots)
    tuning.begin(given.out, settings(given, loaded), resume=given.resume, main=state.is_main_process)
    with Display(quiet=not state.is_main_process) as display:
        if given.resume and checkpoint is None:
            display.console.print(f"{given.out} has no checkpoint yet: it starts from the first step", markup=False)
        before = _judged(given, loaded, "before", loaded.model, display)
        if before and state.is_main_process:
            write_json(given.out / BEFORE, before)
        watch = _Watch(display)
        built = tuning.trainer(
            loaded.model,
            loaded.tokenizer,
            loaded.rows,
            given.out,
            given.run,
            value_only=given.values(),
            few_shot=given.few_shot(),
            callbacks=[Recorder(log, watch)],
        )
        watch.steps = tuning.steps(built)
        built.train(resume_from_checkpoint=checkpoint)
        after = _judged(given, loaded, "after", built.model, display)
        final = tuning.save(built, given.out, what, tuning.stored_type(given.data.model))
    if state.is_main_process:
        _conclude(given, loaded, (before, after), display.console, final)
    state.destroy_process_group()
    return final


def scorer(given: TuneValues, loaded: Loaded) -> Any:
    """Of the test."""
    from posttrain.tune.scoring import AnswerScorer

    return AnswerScorer(loaded.tokenizer, by_task(loaded.test), few_shot=given.few_shot())


def check_examples(loaded: Loaded, few_shot: FewShot, scorer: Any, shots: Sequence[int]) -> None:
    """Raise where there are too few rows for the examples that are asked for, before anything is run."""
    if few_shot.weight != "none":
        pools(loaded.rows, few_shot)
    scorer.check(max(shots, default=0))


def about(data: TuneData, loaded: Loaded, few_shot: FewShot) -> dict[str, Any]:
    """What a run or a comparison is of, as JSON has it."""
    return {
        "model": data.model,
        "dataset": digest(loaded.rows),
        "test": digest(loaded.test),
        "opposite": sorted(data.opposite),
        "report_shots": list(data.report_shots),
        "few_shot": str(few_shot),
    }


def settings(given: TuneValues, loaded: Loaded) -> dict[str, Any]:
    """What decides the outcome of a run; how often it saves and what it writes do not."""
    run = {name: value for name, value in vars(given.run).items() if name not in ("save_every", "cpu")}
    return about(given.data, loaded, given.few_shot()) | {"values": str(given.values())} | run


def _judged(given: TuneValues, loaded: Loaded, when: str, model: Any, display: Any) -> Any:
    """Scores on the test; those of the untouched model are in the folder of a run that goes on."""
    from posttrain.tune.forgetting import from_json, scores

    kept = given.out / BEFORE
    if when == "before" and given.resume and kept.is_file():
        return from_json(kept)
    if not loaded.test:
        return {}
    tasks = by_task(loaded.test)
    bar = display.progress.add_task(f"judge {when}", total=len(tasks) * len(given.data.report_shots), note="")

    def show(text: str) -> None:
        display.progress.update(bar, advance=1, note=text)
        display.line(f"judge {when}: {text}")

    return scores(model, tasks, scorer(given, loaded), shots=given.data.report_shots, show=show)


class _Watch:
    """Shows the log as it comes."""

    def __init__(self, display: Any) -> None:
        self.display, self.steps, self.bar = display, 0, None

    def __call__(self, record: dict[str, Any]) -> None:
        if "loss" not in record:
            return
        if self.bar is None:
            self.bar = self.display.progress.add_task("train values", total=self.steps, note="")
        note = f"loss {record['loss']:.3f}"
        self.display.progress.update(self.bar, completed=record["step"], note=note)
        self.display.line(f"train values: step {record['step']} of {self.steps}, {note}")


def _conclude(given: TuneValues, loaded: Loaded, scores: tuple[Any, Any], console: Any, final: Path) -> None:
    """The report, and where everything is."""
    from dataclasses import asdict

    from posttrain.commands.show import conclude
    from posttrain.tune import forgetting

    if loaded.test:
        settings = {name: str(value) for name, value in {**asdict(given.run), **vars(given)}.items() if name != "run"}
        result = forgetting.report(*scores, kinds(given.data, loaded), settings=settings)
        conclude(console, result, given.out, forgetting.picture, forgetting.tables)
    word = "model" if final.name == "model" else "adapter"
    console.print(f"{word:<8} {final}\nlog      {given.out / 'log.jsonl'}", highlight=False)


def coverage() -> None:
    """Print the table of families."""
    from posttrain.tune.coverage import COVERED, REFUSED

    box = need("rich.box").SIMPLE_HEAD
    covered = need("rich.table").Table("family", "models", "module", "its outputs", box=box)
    for family in COVERED:
        covered.add_row(*family)
    refused = need("rich.table").Table("refused", "for instance", "why", box=box)
    for row in REFUSED:
        refused.add_row(*row)
    console = need("rich.console").Console()
    console.print(covered)
    console.print(refused)
