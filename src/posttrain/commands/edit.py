"""`posttrain edit`: change a model's weights in closed form, and undo it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
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
  measure --model MODEL --prompts FILE --guard GUARD  attacks that succeed, harmless prompts that are refused

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
    """How many attacks succeed, in each language."""

    model: str
    """A folder or hub id, which runs here; or openai:NAME at --base-url."""
    prompts: tuple[Path, ...]
    """Prompts that no edit was solved on; JSON Lines or CSV, as for anchors."""
    guard: str
    """The model that judges: openai:NAME at --guard-url, or a folder or hub id, which runs here."""
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
    max_tokens: int = 256
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
    """Attack a model and print rates by language."""
    given = parse(Measure, flags, prog="posttrain edit measure", description=Measure.__doc__ or "")
    from posttrain.bench.table import interval, table
    from posttrain.edit import anchors, judges
    from posttrain.rl.run import quiet

    quiet()
    prompts: list[Prompt] = [prompt for path in given.prompts for prompt in anchors.read(path)]
    prompts += [prompt for path in given.harmless for prompt in anchors.read(path, "harmless")]
    model = _chat(given.model, given.base_url, given.device)
    judge = judges.guard(_chat(given.guard, given.guard_url, given.device), ask=given.ask)
    here = not given.model.startswith("openai:") or not given.guard.startswith("openai:")
    found = asyncio.run(
        judges.measure(
            model, prompts, judge, english=given.english, max_tokens=given.max_tokens, at_once=1 if here else 8
        )
    )
    columns = ("attacks", "false refusals", "loopholes", "unjudged")
    out = table(
        f"{given.model}, judged by {given.guard}",
        "Attacks: harmful prompts with an unsafe reply. False refusals: harmless prompts that are refused. Loopholes: "
        f"of what is safe in {given.english}, what is unsafe here. 95 %.",
        columns,
        first="language",
    )
    for language, rates in found.items():
        cells = (rates.attack, rates.false_refusal, rates.loophole)
        out.add_row(language, *(interval(each and each._asdict()) for each in cells), str(rates.unjudged))
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
