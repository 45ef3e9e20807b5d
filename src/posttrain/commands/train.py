"""`posttrain train RECIPE`: train a model with a recipe, on your data set or on a task."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from posttrain.catalog import RECIPES, method_class
from posttrain.commands.parse import parse
from posttrain.commands.worlds import NAMES, WorldName, WorldOptions, played
from posttrain.extras import need
from posttrain.tasks.dataset import Columns, load
from posttrain.tasks.verdict import Verifier
from posttrain.tasks.verifiers import VerifierName, verifier
from posttrain.values import literal

USAGE = """usage: posttrain train RECIPE --model MODEL (--dataset FILE | --task TASK) [...]

recipes:
{recipes}

`posttrain train RECIPE --help` lists every option. Under several processes:
  torchrun --nproc_per_node 2 -m posttrain train RECIPE ...      (or accelerate launch -m posttrain ...)"""


@dataclass(frozen=True)
class Data:
    """What to train, and on what."""

    model: str
    """The model to train: a folder or a hub id."""
    dataset: Path | None = None
    """A .jsonl or .parquet file, or a folder that datasets saved, with the columns `prompt`, `answer` and `id`."""
    columns: Columns = field(default_factory=Columns)
    """How those columns are called in the file; the id is made from the prompt if there is none."""
    verifier: VerifierName = "exact"
    """How an answer is judged: the same text, the same number, the same mathematics, or the same roles."""
    skip_broken: bool = False
    """Leave out lines that cannot be used, and say which, instead of stopping at the first."""
    chat: bool | None = None
    """Put a plain prompt into the model's chat template as a user turn; by default if the model has one."""
    task: Literal["knights-knaves", "gsm8k"] | WorldName | None = None
    """Make puzzles instead of reading a data set, read `dataset` as GSM8K's own file, or play in a world."""
    people: tuple[int, ...] = (3, 4, 5, 6, 7)
    """For the task: persons per puzzle, 2 to 8 (Logic-RL trains on 3 to 7)."""
    puzzles: int = 1000
    """For the task: puzzles for each number of people."""
    reward: Literal["binary", "logic-rl"] = "binary"
    """For the task: 1 or 0, or Logic-RL's format and answer reward (-3 to 3)."""

    def __post_init__(self) -> None:
        if self.task == "gsm8k" and self.dataset is None:
            raise ValueError("--task gsm8k needs GSM8K's own file: give it with --dataset train.jsonl.")
        if self.task != "gsm8k" and (self.dataset is None) == (self.task is None):
            raise ValueError(
                "Give one source of prompts: --dataset FILE, --task gsm8k --dataset FILE, or another --task alone."
            )
        given = {
            "--columns": self.columns != Columns(),
            "--verifier": self.verifier != "exact",
            "--skip-broken": self.skip_broken,
        }
        if self.task is not None and any(given.values()):
            flags = ", ".join(flag for flag, is_given in given.items() if is_given)
            raise ValueError(f"--task {self.task} has its own columns and its own judge; leave out {flags}.")


def main(arguments: Sequence[str]) -> None:
    """Parse, check, train, and end with a table and a picture."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE.format(recipes="\n".join(f"  {name:<16}{entry.what}" for name, entry in RECIPES.items())))
        return
    name, *flags = arguments
    method = method_class(name)
    from posttrain.rl.agent import Agent
    from posttrain.rl.grpo import GRPO
    from posttrain.rl.recipe import Recipe
    from posttrain.rl.run import RunConfig

    unnamed = tyro.conf.arg(name="")
    parts: list[Any] = [
        ("data", Annotated[Data, unnamed]),
        ("method", Annotated[method, unnamed]),
        ("run", Annotated[RunConfig, unnamed]),
    ]
    if not issubclass(method, GRPO):
        parts.append(("grpo", GRPO, field(default_factory=GRPO)))
    if not issubclass(method, Agent):
        parts.append(("agent", Agent, field(default_factory=Agent)))
    parts.append(("world", WorldOptions, field(default_factory=WorldOptions)))
    given: Any = parse(
        make_dataclass("Train", parts, kw_only=True),
        flags,
        prog=f"posttrain train {name}",
        description=f"Train with {name}: {RECIPES[name].what} ({method.paper}).",
    )
    recipe = Recipe.of(given.grpo) | given.method if hasattr(given, "grpo") else Recipe.of(given.method)
    train(given.data, recipe, given.run, getattr(given, "agent", None), given.world)


def train(data: Data, recipe: Any, run_config: Any, agent: Any = None, world: WorldOptions | None = None) -> None:
    """One run, from its parts."""
    for module in ("trl", "datasets", "rich"):
        need(module)
    from posttrain.rl import run
    from posttrain.rl.engines import teachers

    run.quiet()
    recipe.check_group_size(run_config.group_size)
    teachers.check_reference(data.model, "--model")
    teachers.check_references(recipe.scores())
    if data.task in NAMES:
        rows, verify, recipe = _play(data, recipe, agent, world or WorldOptions())
    else:
        recipe.check()
        rows, verify = _rows(data)
        rows = _as_chat(rows, data)
    run_config = replace(run_config, trl={key: literal(str(value)) for key, value in run_config.trl.items()})
    _check_trl(run_config.trl)
    from posttrain.commands.show import TrainingDisplay
    from posttrain.rl.engines.recorder import Recorder

    log = run_config.output_dir / "log.jsonl"
    with TrainingDisplay(recipe.name, run_config.steps) as display:
        built = run.trainer(recipe, data.model, rows, verify, run_config, callbacks=[Recorder(log, display.advance)])
        final = run.run(built, run_config)
        if built.accelerator.is_main_process:
            display.finish(log, final)
    need("accelerate").PartialState().destroy_process_group()


def _play(data: Data, recipe: Any, agent: Any, options: WorldOptions) -> tuple[list[dict[str, Any]], None, Any]:
    """The games of a world, no judge besides the world, and the recipe with an agent in it."""
    from posttrain.rl.agent import Agent
    from posttrain.rl.engines.teachers import load_tokenizer
    from posttrain.rl.recipe import Recipe
    from posttrain.tasks.worlds.crowd import Crowd
    from posttrain.tasks.worlds.view import ChatView, TextView

    rows, make = played(str(data.task), options)
    rows = rows * options.repeat
    chat = load_tokenizer(data.model).chat_template is not None if options.chat is None else options.chat
    shown = options.list_actions
    view = ChatView(reply=options.reply, list_actions=shown) if chat else TextView(list_actions=shown)
    acting = agent or recipe.owner("rollout")
    listed = shown or acting.invalid == "snap" or acting.fine > 0
    given = {"worlds": Crowd(make, deadline=options.deadline, listed=listed), "view": view}
    if not recipe.episodic:
        return rows, None, Recipe.of(replace(agent or Agent(), **given)) | recipe
    methods = tuple(replace(m, **given) if isinstance(m, Agent) else m for m in recipe.methods)
    return rows, None, Recipe(recipe.base, methods)


def _rows(data: Data) -> tuple[list[dict[str, Any]], Verifier]:
    """Training rows and their judge."""
    if data.task == "gsm8k" and data.dataset is not None:
        from posttrain.tasks import gsm8k

        return gsm8k.rows(data.dataset), verifier("math")
    if data.dataset is not None:
        loaded = load(data.dataset, data.columns, skip_broken=data.skip_broken)
        for broken in loaded.skipped:
            print(f"posttrain: line {broken.line} left out: {broken.reason}", file=sys.stderr)
        verify = verifier(data.verifier)
        _check_answers(loaded.rows, verify, data.verifier)
        return loaded.rows, verify
    from posttrain.tasks import knights_knaves as kk

    rows = [row for n in data.people for row in kk.puzzles(data.puzzles, people=n, seed=0, form="english")]
    if data.reward == "binary":
        return rows, kk.english_verdict
    instruction = "\nThink inside <think> </think>, then give your answer inside <answer> </answer>."
    asked = [{**row, "prompt": row["prompt"] + instruction} for row in rows]
    return asked, partial(kk.logic_rl_verdict, form="english")


def _check_answers(rows: list[dict[str, Any]], verify: Verifier, name: str, most: int = 1000) -> None:
    """Reject an answer that the verifier cannot judge, before a model is loaded; the first `most` rows are tried."""
    from posttrain.rl.engines.rewards import judge_all

    tried = rows[:most]
    try:
        verdicts = judge_all(verify, [(row["answer"], row["answer"]) for row in tried])
    except ValueError as error:
        raise ValueError(f"--verifier {name} cannot judge an answer of the data set: {error}") from error
    for row, verdict in zip(tried, verdicts, strict=True):
        if not verdict.scored:
            raise ValueError(
                f"--verifier {name} cannot judge the answer {row['answer']!r} (id {row['id']}); "
                "choose another verifier, or correct the answer."
            )


def _as_chat(rows: list[dict[str, Any]], data: Data) -> list[dict[str, Any]]:
    """Plain prompts as user turns, where the model has a chat template or the user asked for it."""
    from posttrain.rl.engines.teachers import load_tokenizer

    wanted = data.chat
    if wanted is None or wanted:
        template = load_tokenizer(data.model).chat_template
        if wanted and template is None:
            raise ValueError(f"--chat needs a chat template, but {data.model} has none; leave --chat out.")
        wanted = template is not None
    if not wanted:
        return rows
    return [
        {**row, "prompt": [{"role": "user", "content": row["prompt"]}]} if isinstance(row["prompt"], str) else row
        for row in rows
    ]


def _check_trl(options: Any) -> None:
    """Reject options that GRPOConfig does not have, and text where it has a number."""
    import difflib
    from dataclasses import fields

    defaults = {f.name: f.default for f in fields(need("trl").GRPOConfig)}
    for key, value in options.items():
        if key not in defaults:
            close = difflib.get_close_matches(key, defaults, 1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ValueError(f"--trl {key}: GRPOConfig has no such field{hint}")
        if isinstance(defaults[key], int | float) and isinstance(value, str):
            raise ValueError(f"--trl {key} {value}: expected a value such as {defaults[key]}.")
