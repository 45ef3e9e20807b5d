"""Edits of weights in closed form: safety in other languages, by few units, with an exact undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posttrain.lazy import exports

if TYPE_CHECKING:
    from posttrain.edit.anchors import Anchors, Prompt
    from posttrain.edit.in_place import Undo, apply, undo
    from posttrain.edit.judges import guard, measure
    from posttrain.edit.lora import as_lora
    from posttrain.edit.ridge import low_rank_ridge
    from posttrain.edit.safety import Edit, SafetyEdit, edit_safety
    from posttrain.edit.units import UnitRule, jaccard, safety_units

__getattr__ = exports(
    __name__,
    {
        "anchors": ("Anchors", "Prompt"),
        "in_place": ("Undo", "apply", "undo"),
        "judges": ("guard", "measure"),
        "lora": ("as_lora",),
        "ridge": ("low_rank_ridge",),
        "safety": ("Edit", "SafetyEdit", "edit_safety"),
        "units": ("UnitRule", "jaccard", "safety_units"),
    },
)

__all__ = [
    "Anchors",
    "Edit",
    "Prompt",
    "SafetyEdit",
    "Undo",
    "UnitRule",
    "apply",
    "as_lora",
    "edit_safety",
    "guard",
    "jaccard",
    "low_rank_ridge",
    "measure",
    "safety_units",
    "undo",
]
