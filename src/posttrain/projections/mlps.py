"""gate and up of each layer's MLP, in modules of their own or as the halves of one.

Which half is the gate is not taken from a name: the MLP is run on made outputs of the fused module, once, and what
reaches its down projection tells. With the gate at -20 an activation such as SiLU or GELU is almost 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from posttrain.projections.layers import Layer, decoder_layers
from posttrain.projections.projection import Projection
from posttrain.projections.refuse import Owners, check_linear, check_model, is_linear

CLOSED = -20.0
"""An input at which the gate's activation is almost 0."""
SEPARATE, FUSED = ("gate_proj", "up_proj"), "gate_up_proj"


def gated(model: Any, layers: Sequence[int] | None = None) -> list[Projection]:
    """Gate and up of each decoder layer, gate before up, in order of layers.

    Args:
        model: A decoder of transformers, not quantised, without an adapter.
        layers: Only these; all by default.

    Raises:
        ValueError: With the layer and the reason: an MLP without a gate, a mixture of experts, quantised or tied
            weights, a layout that is not known.
    """
    check_model(model)
    owners = Owners(model)
    found = []
    for layer in decoder_layers(model, layers):
        _check_experts(layer)
        name, module = _mlp_of(layer)
        for projection in _projections(layer, name, module):
            owners.check(projection.module_of(model))
            found.append(projection)
    return found


def _check_experts(layer: Layer) -> None:
    for inner, module in layer.module.named_modules():
        if hasattr(module, "experts") or type(module).__name__.endswith("Experts"):
            raise ValueError(
                f"Layer {layer.number} ({layer.name}) is a mixture of experts ({inner}): which of them sees a prompt "
                "changes from token to token, so that its units are no fixed set; choose a dense layer, layers=[...], "
                "or a dense model."
            )


def _mlp_of(layer: Layer) -> tuple[str, nn.Module]:
    """The one gated MLP of a layer, with its dotted name."""
    found = [
        (f"{layer.name}.{inner}", module)
        for inner, module in layer.module.named_modules()
        if (all(hasattr(module, each) for each in SEPARATE) and hasattr(module, "down_proj")) or hasattr(module, FUSED)
    ]
    if len(found) == 1:
        return found[0]
    linear = [inner for inner, module in layer.module.named_modules() if is_linear(module)]
    held = f"has {len(found)} gated MLPs" if found else "has no gated MLP"
    raise ValueError(
        f"Layer {layer.number} ({layer.name}) {held}; one with gate_proj, up_proj and down_proj, or with gate_up_proj, "
        f"is needed, and its linear modules are {', '.join(linear) or 'none'}."
    )


def _projections(layer: Layer, name: str, module: Any) -> list[Projection]:
    """Gate and up of one MLP."""
    if not hasattr(module, FUSED):
        for each in SEPARATE:
            check_linear(f"{name}.{each}", getattr(module, each))
        sizes = [getattr(module, each).weight.shape[0] for each in SEPARATE]
        return [
            Projection(layer.number, part, f"{name}.{each}", torch.arange(size), False)
            for part, each, size in zip(("gate", "up"), SEPARATE, sizes, strict=True)
        ]
    check_linear(f"{name}.{FUSED}", getattr(module, FUSED))
    first, second = torch.arange(getattr(module, FUSED).weight.shape[0]).chunk(2)
    gate, up = (first, second) if _gate_is_first(layer, name, module) else (second, first)
    return [
        Projection(layer.number, "gate", f"{name}.{FUSED}", gate, False),
        Projection(layer.number, "up", f"{name}.{FUSED}", up, False),
    ]


def _gate_is_first(layer: Layer, name: str, module: Any) -> bool:
    """Whether the first half of the fused module's outputs is the gate."""
    down = [child for child in module.children() if is_linear(child) and child is not getattr(module, FUSED)]
    passed = [_passed(module, down[0], closed_first) for closed_first in (True, False)] if len(down) == 1 else []
    if sorted(passed) != [False, True]:
        raise ValueError(
            f"Layer {layer.number} ({name}) has a {FUSED} whose halves are no gate and up projection; its layout is "
            "not known."
        )
    return not passed[0]


def _passed(module: Any, down: nn.Module, closed_first: bool) -> bool:
    """Whether anything reaches the down projection when one half of the fused outputs is closed and the other is 1."""
    fused, reached = getattr(module, FUSED), []
    half = fused.weight.shape[0] // 2
    closed, one = fused.weight.new_full((1, 1, half), CLOSED), fused.weight.new_ones(1, 1, half)
    made = torch.cat([closed, one] if closed_first else [one, closed], -1)
    hooks = [
        fused.register_forward_hook(lambda *_: made),
        down.register_forward_pre_hook(lambda _, args: reached.append(args[0].detach())),
    ]
    try:
        with torch.no_grad():
            module(fused.weight.new_zeros(1, 1, fused.weight.shape[1]))
    finally:
        for hook in hooks:
            hook.remove()
    return bool((reached[0].abs() > 0.1).all())
