"""Where the projections of a decoder are: which outputs of which module make q, k, v, o, gate and up of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posttrain.lazy import exports

if TYPE_CHECKING:
    from posttrain.projections.attentions import attention
    from posttrain.projections.check import check_value_rows
    from posttrain.projections.mlps import gated
    from posttrain.projections.projection import Part, Projection

__getattr__ = exports(
    __name__,
    {
        "attentions": ("attention",),
        "check": ("check_value_rows",),
        "mlps": ("gated",),
        "projection": ("Part", "Projection"),
    },
)

__all__ = ["Part", "Projection", "attention", "check_value_rows", "gated"]
