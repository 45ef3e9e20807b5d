"""An edit as a LoRA adapter in PEFT's layout, which PEFT and vLLM load.

W' = W + B A with A (r, d) and B (outputs, r): the rows of B outside S are exactly zero. All modules have one rank r,
with zeros where one needs less, and lora_alpha = r: the scale is 1 also for vLLM, which reads no rank or alpha by
module. A fused gate and up is one module, of which A has the rows of both and B keeps them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from posttrain.edit.change import Change
from posttrain.extras import need
from posttrain.files import whole, write_json

if TYPE_CHECKING:
    from posttrain.edit.safety import Edit

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def as_lora(edit: Edit, model: Any, out: str | Path) -> Path:
    """Write the adapter of an edit to a folder.

    Args:
        edit: Of the model.
        model: As it was when the edit was solved.
        out: Folder; it is made if it is not there.

    Raises:
        ValueError: The weights are not those that the edit was solved for.
    """
    from posttrain.edit.in_place import check_weights

    check_weights(model, edit)
    out, found = Path(out), factors(edit.changes, model)
    rank = max(len(a) for a, _ in found.values())
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in found.items():
        for kind, value in (("A", _padded(a, rank)), ("B", _padded(b.T, rank).T)):
            tensors[f"base_model.model.{name}.lora_{kind}.weight"] = value.contiguous()
    with whole(out / WEIGHTS) as partial:
        need("safetensors.torch").save_file(tensors, partial, metadata={"format": "pt"})
    write_json(out / CONFIG, config(list(found), rank, getattr(model, "name_or_path", "")))
    return out


def factors(changes: Sequence[Change], model: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """A (r, d) and B (outputs, r) of each module, float32, equally large."""
    found = {}
    for name in dict.fromkeys(change.projection.module for change in changes):
        parts = [_balanced(change) for change in changes if change.projection.module == name]
        outputs = model.get_submodule(name).weight.shape[0]
        b = torch.zeros(outputs, sum(len(a) for a, _, _ in parts), dtype=torch.float64)
        at = 0
        for a, rows, values in parts:
            b[rows, at : at + len(a)] = values
            at += len(a)
        found[name] = torch.cat([a for a, _, _ in parts]).float(), b.float()
    return found


def config(modules: Sequence[str], rank: int, base: str) -> dict[str, Any]:
    """The adapter's configuration."""
    made = need("peft").LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=sorted(modules),
        base_model_name_or_path=base or None,
        inference_mode=True,
    )
    return {name: _plain(value) for name, value in made.to_dict().items()}


def _balanced(change: Change) -> tuple[Tensor, Tensor, Tensor]:
    """A's rows, and where and what B's rows are; each column of both of one length."""
    lengths = change.left.norm(dim=0), change.right.norm(dim=0)
    scale = (lengths[0] / lengths[1].clamp(min=1e-300)).sqrt().clamp(min=1e-150)
    return (change.left / scale).T, change.rows, change.right * scale


def _padded(value: Tensor, rows: int) -> Tensor:
    return torch.cat([value, value.new_zeros(rows - len(value), value.shape[1])])


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, set):
        return sorted(value)
    return getattr(value, "value", value)
