"""An edit in a model's weights, and out of them again, bit for bit.

The change is added to the chosen rows in float32 and cast once to the type of the weights; what rounding takes is
measured. No other number of the model changes. An `Undo` holds the rows as they were and digests of whole weights, so
that it is an error to make an edit twice, to make it in another model, or to undo what is not there.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from posttrain.edit.change import Change
from posttrain.extras import need
from posttrain.files import whole

if TYPE_CHECKING:
    from posttrain.edit.safety import Edit

UNDO = "undo.safetensors"


@dataclass(frozen=True, eq=False)
class Undo:
    """What an edit replaced, by module."""

    rows: Mapping[str, Tensor]
    """Outputs of the module, (k,) int64."""
    weights: Mapping[str, Tensor]
    """Their weights before, (k, d), in the type of the weights."""
    before: Mapping[str, str]
    """Digests of the whole weights."""
    after: Mapping[str, str]

    def save(self, path: Path) -> Path:
        """Write a safetensors file, whole or not at all."""
        tensors = {f"{name}.rows": rows for name, rows in self.rows.items()}
        tensors |= {f"{name}.weight": weight.contiguous() for name, weight in self.weights.items()}
        metadata = {"before": json.dumps(dict(self.before)), "after": json.dumps(dict(self.after))}
        with whole(path) as partial:
            need("safetensors.torch").save_file(tensors, partial, metadata=metadata)
        return path

    @classmethod
    def load(cls, path: Path) -> Undo:
        """Read what `save` wrote."""
        if not path.is_file():
            raise ValueError(
                f"There is no {path}; give the folder that `posttrain edit safety` wrote, not an adapter. One whose "
                "edit has been undone has no record any more."
            )
        try:
            with need("safetensors").safe_open(path, "pt") as file:
                metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except need("safetensors").SafetensorError as error:
            raise ValueError(f"{path} cannot be read ({error}); it is damaged, get it again.") from error
        rows, weights = (
            {name.removesuffix(end): value for name, value in tensors.items() if name.endswith(end)}
            for end in (".rows", ".weight")
        )
        if not rows or rows.keys() != weights.keys() or not {"before", "after"} <= metadata.keys():
            raise ValueError(f"{path} is no record of an edit; give the one that `posttrain edit safety` wrote.")
        return cls(rows, weights, json.loads(metadata["before"]), json.loads(metadata["after"]))


class Applied(NamedTuple):
    """An edit that was made."""

    undo: Undo
    rounding: dict[str, float]
    """Module to |what was stored - what was meant| / |Delta|."""


def apply(model: Any, edit: Edit) -> Applied:
    """Make an edit in a model, in place.

    Raises:
        ValueError: The weights are not those that it was solved for.
    """
    found = check_weights(model, edit)
    rows, weights, rounding = _add(model, edit.changes)
    return Applied(Undo(rows, weights, found, digests(model, edit.before)), rounding)


def check_weights(model: Any, edit: Edit) -> dict[str, str]:
    """The digests of the weights, if they are those that an edit was solved for."""
    found = digests(model, edit.before)
    for name, digest in found.items():
        if digest != edit.before[name]:
            raise ValueError(
                f"The weight of {name} is not the one that this edit was solved for; an edit is made once, in the "
                "model that it was solved in."
            )
    return found


def undo(model: Any, record: Undo, *, again: bool = False) -> None:
    """Put back what an edit replaced. One that was cut short is gone on with.

    Args:
        model: That was edited.
        record: Of the edit.
        again: Whether it is fine that all of it has been undone.

    Raises:
        ValueError: The weights are not what the edit left, or it has been undone.
    """
    found = digests(model, record.after)
    for name, digest in found.items():
        if digest not in (record.after[name], record.before[name]):
            raise ValueError(
                f"The weight of {name} is not what the edit left: it was changed since, or it is another model's; "
                "undo later changes first."
            )
    if not again and all(digest == record.before[name] for name, digest in found.items()):
        raise ValueError("The edit has been undone: every weight is as it was before.")
    for name, rows in record.rows.items():
        _put(model, name, rows, record.weights[name])
    for name, digest in digests(model, record.before).items():
        if digest != record.before[name]:
            raise ValueError(f"The weight of {name} is not what it was before the edit; the record does not fit it.")


@contextmanager
def applied(model: Any, changes: Sequence[Change]) -> Iterator[None]:
    """A model with changes for a while; then it is as it was, bit for bit."""
    rows, weights, _ = _add(model, changes)
    try:
        yield
    finally:
        for name, at in rows.items():
            _put(model, name, at, weights[name])


def digests(model: Any, modules: Iterable[str]) -> dict[str, str]:
    """Module to the digest of its weight's bytes, shape and type."""
    return {name: _digest(_weight(model, name)) for name in modules}


def _digest(weight: Tensor) -> str:
    value = weight.detach().cpu().contiguous()
    whole = hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode())
    whole.update(value.view(-1).view(torch.uint8).numpy())  # pyright: ignore[reportArgumentType]
    return whole.hexdigest()


def _add(model: Any, changes: Sequence[Change]) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
    """Add changes; rows and weights before, and rounding, by module."""
    rows, weights, rounding = {}, {}, {}
    for name in dict.fromkeys(change.projection.module for change in changes):
        mine = [change for change in changes if change.projection.module == name]
        at = torch.cat([change.rows for change in mine])
        before = _rows(model, name, at)
        delta = torch.cat([change.delta.T for change in mine])
        wide = torch.promote_types(before.dtype, torch.float32)
        after = (before.to(wide) + delta.to(wide)).to(before.dtype)
        _put(model, name, at, after)
        rows[name], weights[name] = at, before
        missing = after.double() - before.double() - delta
        rounding[name] = float(missing.norm() / delta.norm()) if delta.any() else 0.0
    return rows, weights, rounding


def _rows(model: Any, name: str, rows: Tensor) -> Tensor:
    weight = _weight(model, name)
    return weight[rows.to(weight.device)].cpu()


def _put(model: Any, name: str, rows: Tensor, values: Tensor) -> None:
    weight = _weight(model, name)
    weight[rows.to(weight.device)] = values.to(weight)


def _weight(model: Any, name: str) -> Tensor:
    """A module's weight; a sentence with the nearest names if there is none."""
    modules = dict(model.named_modules())
    if name not in modules:
        near = difflib.get_close_matches(name, modules, 3)
        raise ValueError(
            f"The model has no module {name}, which the edit changes; it is of another model"
            f"{' (the nearest are ' + ', '.join(near) + ')' if near else ''}."
        )
    return modules[name].weight.detach()
