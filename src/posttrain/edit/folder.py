"""Edited models and adapters as folders: written whole or not at all, and undone where they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from posttrain.edit.in_place import UNDO, Undo, apply, undo
from posttrain.edit.lora import as_lora
from posttrain.edit.report import CARD, PICTURE, REPORT, report, write
from posttrain.edit.safety import Edit
from posttrain.extras import need
from posttrain.files import scratch, whole_folder, writing
from posttrain.projections.loading import load_model

ROUNDED = 0.1
"""Share of the change that rounding may take without a note."""
OWN = ("config.json", "generation_config.json", CARD)
"""What is written anew, and not copied from the model's folder."""
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".index.json")
"""How files of weights end."""


def check_free(out: Path) -> None:
    """Raise if a folder has something in it, or cannot be replaced."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already and not empty; give another folder with --out, or delete it.")
    if out.exists() and (out.resolve() == Path.cwd() or os.path.ismount(out)):
        raise ValueError(f"{out} is the current folder or a disk's; give the name of a new folder in it with --out.")


def check_unedited(model: str) -> None:
    """Raise if a folder holds a model that is edited already."""
    if (Path(model) / UNDO).is_file():
        raise ValueError(
            f"{model} is an edited model; undo it first (posttrain edit undo {model}), or give the model that it was "
            "made from."
        )


def save(model: Any, tokenizer: Any, edit: Edit, out: Path, *, name: str = "") -> dict[str, Any]:
    """Make an edit in a model, and write it all to a folder: model, tokenizer, undo record, report, card.

    Files beside the weights are those of the folder that the model was loaded from, where there is one.

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
    found["notes"] += _rounded(done.rounding)
    source = _source(model)
    with whole_folder(out.resolve(), need("safetensors").SafetensorError) as made:
        model.save_pretrained(made)
        if tokenizer is not None:
            tokenizer.save_pretrained(made)
        if source is not None:
            _copy_beside(source, made)
            found["notes"] += _cast(source, made)
        done.undo.save(made / UNDO)
        write(found, made, adapter=False)
    return found


def save_adapter(model: Any, edit: Edit, out: Path, *, name: str = "") -> dict[str, Any]:
    """The same as a LoRA adapter; the model stays as it is."""
    check_free(out)
    found = report(edit, model=name)
    with whole_folder(out.resolve(), need("safetensors").SafetensorError) as made:
        as_lora(edit, model, made)
        write(found, made, adapter=True)
    return found


def undo_folder(folder: Path) -> None:
    """Give a folder the model that was edited, bit for bit. One that was cut short is gone on with.

    Raises:
        ValueError: There is no record, or the weights are not what the edit left.
    """
    record = Undo.load(folder / UNDO)
    model = load_model(str(folder))
    undo(model, record, again=True)
    with writing(folder, need("safetensors").SafetensorError), scratch(folder / "undo") as made:
        model.save_pretrained(made)
        new = [path.name for path in made.iterdir()]
        for name in new:
            (made / name).replace(folder / name)
    for path in _weights(folder):
        if path.name not in (*new, UNDO):
            path.unlink()
    for name in (CARD, REPORT, PICTURE, UNDO):
        (folder / name).unlink(missing_ok=True)


def _rounded(rounding: dict[str, float]) -> list[str]:
    most = max(rounding.values(), default=0.0)
    if most <= ROUNDED:
        return []
    return [
        f"Rounding to the type of the weights took {most:.0%} of the change; keep the adapter instead (--as lora), or "
        "edit the model in float32."
    ]


def _source(model: Any) -> Path | None:
    """The folder that a model was loaded from, also of the hub's cache; None if it is not known."""
    name = getattr(model, "name_or_path", "")
    if not name:
        return None
    if Path(name).is_dir():
        return Path(name)
    found = need("transformers.utils").cached_file(
        name, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    return Path(found).parent if found else None


def _copy_beside(source: Path, made: Path) -> None:
    """Copy what is no weight as it is; saving a tokenizer writes other bytes than were loaded."""
    for path in source.iterdir():
        own = path.name in OWN or path.name.startswith(".") or path.name.endswith(WEIGHTS)
        if path.is_file() and not own:
            shutil.copyfile(path, made / path.name)


def _cast(source: Path, made: Path) -> list[str]:
    """A note if weights are stored in another type than they were."""
    before, after = _types(source), _types(made)
    cast = [name for name, kind in before.items() if after.get(name, kind) != kind]
    if not cast:
        return []
    return [
        f"{len(cast)} weights that were stored in {before[cast[0]]} are in {after[cast[0]]} here, as transformers "
        f"loads them (such as {cast[0]}); undo gives them back as they were loaded."
    ]


def _types(folder: Path) -> dict[str, str]:
    """Type of each stored tensor by its name."""
    found = {}
    for path in _weights(folder):
        if path.suffix == ".safetensors" and path.name != UNDO:
            with need("safetensors").safe_open(path, "pt") as file:
                found |= {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return found


def _weights(folder: Path) -> Iterable[Path]:
    return [path for path in folder.iterdir() if path.name.endswith((".safetensors", ".safetensors.index.json"))]
