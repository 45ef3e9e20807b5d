"""Where the projections of a decoder are: which outputs of which module make q, k, v, o, gate and up of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posttrain.projections.attentions import attention
    from posttrain.projections.check import check_value_rows
    from posttrain.projections.mlps import gated
    from posttrain.projections.projection import Part, Projection

_HOMES = {
    "attentions": ("attention",),
    "check": ("check_value_rows",),
    "mlps": ("gated",),
    "projection": ("Part", "Projection"),
}

__all__ = ["Part", "Projection", "attention", "check_value_rows", "gated"]


def __getattr__(name: str) -> Any:
    """Modules are read where a name is used first."""
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"posttrain.projections.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
