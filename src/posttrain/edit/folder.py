"""Edited models and adapters as folders: written whole or not at all, and undone where they are."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posttrain.edit.in_place import UNDO, Undo, apply, undo
from posttrain.edit.lora import as_lora
from posttrain.edit.report import CARD, PICTURE, REPORT, report, write
from posttrain.edit.safety import Edit
from posttrain.extras import need
from posttrain.files import writing


def check_free(out: Path) -> None:
    """Raise if a folder has something in it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already and not empty; give another folder with --out, or delete it.")


def check_unedited(model: str) -> None:
    """Raise if a folder holds a model that is edited already."""
    if (Path(model) / UNDO).is_file():
        raise ValueError(
            f"{model} is an edited model; undo it first (posttrain edit undo {model}), or give the model that it was "
            "made from."
        )


def save(model: Any, tokenizer: Any, edit: Edit, out: Path, *, name: str = "") -> dict[str, Any]:
    """Make an edit in a model, and write it all to a folder: model, tokenizer, undo record, report, card.

    Args:
        model: That the edit was solved in; it is changed.
        tokenizer: Its own.
        edit: To make.
        out: Folder; it must be empty or not there.
        name: Of the model, for the report.

    Returns:
        The report.
    """
    check_free(out)
    done = apply(model, edit)
    found = report(edit, model=name, rounding=done.rounding)
    with _built(out) as partial:
        _write_model(model, tokenizer, partial)
        done.undo.save(partial / UNDO)
        write(found, partial, adapter=False)
    return found


def save_adapter(model: Any, edit: Edit, out: Path, *, name: str = "") -> dict[str, Any]:
    """The same as a LoRA adapter; the model stays as it is."""
    check_free(out)
    found = report(edit, model=name)
    with _built(out) as partial:
        as_lora(edit, model, partial)
        write(found, partial, adapter=True)
    return found


def undo_folder(folder: Path) -> None:
    """Give a folder the model that was edited, bit for bit. One that was cut short is gone on with.

    Raises:
        ValueError: There is no record, or the weights are not what the edit left.
    """
    from transformers import AutoModelForCausalLM

    record = Undo.load(folder / UNDO)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    undo(model, record, again=True)
    with (
        writing(folder, need("safetensors").SafetensorError),
        tempfile.TemporaryDirectory(dir=folder, prefix=".undo.") as made,
    ):
        _write_model(model, None, Path(made))
        for path in Path(made).iterdir():
            path.replace(folder / path.name)
    for name in (CARD, REPORT, PICTURE, UNDO):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _built(out: Path) -> Iterator[Path]:
    """A folder beside another, put in its place at the end; a failure leaves nothing."""
    with writing(out, need("safetensors").SafetensorError):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            yield partial
            partial.chmod(0o755)
            partial.replace(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _write_model(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
