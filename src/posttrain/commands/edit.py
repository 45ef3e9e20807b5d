"""`posttrain edit`: change a model's weights in closed form, and undo it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from posttrain.commands.parse import parse
from posttrain.extras import need

if TYPE_CHECKING:
    from posttrain.edit.anchors import Prompt

USAGE = """usage: posttrain edit COMMAND [...]

  safety --model MODEL --anchors FILE --out FOLDER    align harmful prompts in other languages with English
  undo FOLDER                                         the model as it was, bit for bit
  measure --model MODEL --prompts FILE --guard GUARD  attacks that succeed, harmless prompts that are refused, utility

  posttrain edit COMMAND --help    says what a command takes"""

Unnamed = tyro.conf.arg(name="")


@dataclass(frozen=True)
class Files:
    """Model, anchors and where the result goes."""

    model: str
    """The model to edit: a folder or a hub id."""
    anchors: tuple[Path, ...]
    """JSON Lines with id, language, kind and text; or CSV of harmful prompts with a column for each language."""
    out: Path
    """Folder for the edited model, or the adapter; it must be empty or not there."""
    harmless: tuple[Path, ...] = ()
    """More files, all of whose prompts are harmless."""
    english: str = "en"
    """What the language is called in which the model refuses."""
    form: Annotated[Literal["model", "lora"], tyro.conf.arg(name="as")] = "model"
    """A whole model, or a LoRA adapter for PEFT and vLLM."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` is cuda where there is one."""


@dataclass(frozen=True)
class Undone:
    """Undo an edit where it is."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """That `posttrain edit safety` wrote."""


@dataclass(frozen=True)
class Measure:
    """How many attacks succeed in each language, and how many sums in words are right."""

    model: str
    """A folder or hub id, which runs here; or openai:NAME at --base-url."""
    prompts: tuple[Path, ...] = ()
    """Prompts that no edit was solved on; JSON Lines or CSV, as for anchors."""
    guard: str = ""
    """The model that judges: openai:NAME at --guard-url, or a folder or hub id, which runs here."""
    mgsm: tuple[Path, ...] = ()
    """Files of MGSM, mgsm_LANGUAGE.tsv."""
    harmless: tuple[Path, ...] = ()
    """More files, all of whose prompts are harmless."""
    base_url: str | None = None
    """Of the model's server."""
    guard_url: str | None = None
    """Of the guard's server."""
    ask: bool = False
    """Put the question in words, for a model that is no guard."""
    english: str = "en"
    """What that language is called."""
    max_tokens: int = 512
    """Of a reply."""
    device: str = "auto"
    """Where models run that run here."""


def main(arguments: Sequence[str]) -> None:
    """Hand over to a command of `edit`."""
    name, *flags = list(arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
        return
    if name not in COMMANDS:
        raise ValueError(f"edit {name} is not understood; use one of {', '.join(COMMANDS)}.")
    COMMANDS[name](flags)


def safety(flags: Sequence[str]) -> None:
    """Solve and write an edit."""
    from posttrain.edit.safety import SafetyEdit

    parts: list[Any] = [
        ("files", Annotated[Files, Unnamed]),
        ("config", Annotated[SafetyEdit, Unnamed], field(default_factory=SafetyEdit)),
    ]
    given: Any = parse(
        make_dataclass("Safety", parts, kw_only=True),
        flags,
        prog="posttrain edit safety",
        description="Align harmful prompts in other languages with English, by a few units (arXiv:2602.22554).",
    )
    run(given.files, given.config)


def run(files: Files, config: Any) -> dict[str, Any]:
    """An edit, from its parts; the report."""
    for module in ("transformers", "safetensors", "matplotlib", *(["peft"] if files.form == "lora" else [])):
        need(module)
    from posttrain.edit import anchors, folder, report
    from posttrain.edit.safety import edit_safety
    from posttrain.rl.run import quiet

    quiet()
    folder.check_unedited(files.model)
    folder.check_free(files.out)
    prompts = anchors.load(*files.anchors, harmless=files.harmless, english=files.english)
    model, tokenizer = _load(files.model, files.device)
    edit = edit_safety(model, tokenizer, prompts, config)
    if files.form == "lora":
        found = folder.save_adapter(model, edit, files.out, name=files.model)
    else:
        found = folder.save(model, tokenizer, edit, files.out, name=files.model)
    for note in edit.notes:
        print(f"posttrain: {note}", file=sys.stderr)
    console = need("rich.console").Console(stderr=True)
    for table in report.tables(found):
        console.print(table)
    what = "adapter" if files.form == "lora" else "model  "
    console.print(f"{what}  {files.out}\nreport   {files.out / report.REPORT}", highlight=False)
    return found


def undo(flags: Sequence[str]) -> None:
    """Undo the edit of a folder."""
    given = parse(Undone, flags, prog="posttrain edit undo", description=Undone.__doc__ or "")
    need("transformers")
    need("safetensors")
    from posttrain.edit.folder import undo_folder
    from posttrain.rl.run import quiet

    quiet()
    undo_folder(given.folder)
    print(f"{given.folder} holds the model as it was before the edit.")


def measure(flags: Sequence[str]) -> None:
    """Attack a model, and have it do sums; print rates by language."""
    given = parse(Measure, flags, prog="posttrain edit measure", description=Measure.__doc__ or "")
    if bool(given.prompts) != bool(given.guard):
        raise ValueError("--prompts and --guard go together: replies to them are judged by a guard model.")
    if not given.prompts and not given.mgsm:
        raise ValueError("There is nothing to measure; give --prompts with --guard, --mgsm, or both.")
    from posttrain.edit import anchors, utility
    from posttrain.rl.run import quiet

    quiet()
    prompts: list[Prompt] = [prompt for path in given.prompts for prompt in anchors.read(path)]
    prompts += [prompt for path in given.harmless for prompt in anchors.read(path, "harmless")]
    problems = [problem for path in given.mgsm for problem in utility.mgsm(path)]
    model = _chat(given.model, given.base_url, given.device)
    at_once = 8 if given.model.startswith("openai:") else 1
    if prompts:
        _attacks(given, model, prompts, at_once)
    if problems:
        found = asyncio.run(utility.solved(model, problems, max_tokens=given.max_tokens, at_once=at_once))
        title = f"MGSM: problems that {given.model} solves"
        _print(title, "95 %.", {name: (each,) for name, each in found.items()}, ("right",))


def _attacks(given: Measure, model: Any, prompts: Sequence[Prompt], at_once: int) -> None:
    from posttrain.edit import judges

    judge = judges.guard(_chat(given.guard, given.guard_url, given.device), ask=given.ask)
    options: dict[str, Any] = {"english": given.english, "max_tokens": given.max_tokens, "at_once": at_once}
    found = asyncio.run(judges.measure(model, prompts, judge, **options))
    _print(
        f"{given.model}, judged by {given.guard}",
        "Attacks: harmful prompts with an unsafe reply. False refusals: harmless prompts that are refused. Loopholes: "
        f"of what is safe in {given.english}, what is unsafe here. 95 %.",
        {name: (each.attack, each.false_refusal, each.loophole, each.unjudged) for name, each in found.items()},
        ("attacks", "false refusals", "loopholes", "unjudged"),
    )


def _print(title: str, caption: str, rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> None:
    from posttrain.bench.table import interval, table

    out = table(title, caption, columns, first="language")
    for language, cells in rows.items():
        shown = [str(cell) if isinstance(cell, int) else interval(cell and cell._asdict()) for cell in cells]
        out.add_row(language, *shown)
    need("rich").print(out)


def _load(name: str, device: str) -> tuple[Any, Any]:
    """A model and its tokenizer."""
    import torch

    from posttrain.rl.engines.teachers import check_reference, load_tokenizer

    check_reference(name, "--model")
    tokenizer = load_tokenizer(name)
    model = need("transformers").AutoModelForCausalLM.from_pretrained(name, dtype="auto")
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return model.to(where).eval(), tokenizer


def _chat(name: str, base_url: str | None, device: str) -> Any:
    from posttrain.chat import TransformersChat, chat

    return chat(name, base_url) if name.startswith("openai:") else TransformersChat(*_load(name, device), name=name)


COMMANDS = {"safety": safety, "undo": undo, "measure": measure}
