"""`posttrain edit`: change a model's weights in closed form, and undo it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from posttrain.commands.parse import parse
from posttrain.extras import need

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
    from posttrain.projections.loading import device
    from posttrain.rl.run import quiet

    quiet()
    folder.check_unedited(files.model)
    folder.check_free(files.out)
    where = device(files.device)
    prompts = anchors.load(*files.anchors, harmless=files.harmless, english=files.english)
    print(prompts.said)
    model, tokenizer = loaded(files.model, where)
    edit = edit_safety(model, tokenizer, prompts, config)
    if files.form == "lora":
        found = folder.save_adapter(model, edit, files.out, name=files.model)
    else:
        found = folder.save(model, tokenizer, edit, files.out, name=files.model)
    for note in found["notes"]:
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
    """Attack a model, and have it do sums."""
    from posttrain.commands import edit_measure

    edit_measure.main(flags)


def loaded(name: str, where: Any, what: str = "--model") -> tuple[Any, Any]:
    """A model and its tokenizer; `what` is the flag that names it."""
    from posttrain.projections.loading import load_model
    from posttrain.rl.engines.teachers import check_reference, load_tokenizer

    check_reference(name, what)
    tokenizer = load_tokenizer(name)
    return load_model(name, device=where), tokenizer


COMMANDS = {"safety": safety, "undo": undo, "measure": measure}
