"""What cannot be taken apart into projections, and the sentence that says why."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OTHER_MIXERS = re.compile(
    r"Mamba|SSM|R[wW][kK][vV]|DeltaNet|Linear(Attn|Attention)|LightningAttention|Recurrent|Retention|Conv(1d)?$"
)
"""Class names of what mixes tokens without softmax attention; GPT-2's Conv1D, a linear module, is no such class."""
OTHER_TYPES = ("linear_attention", "conv", "mamba", "moe", "hybrid", "hybrid_sliding", "recurrent")
"""Values of `layer_types` without softmax attention, or with more than it."""


def is_linear(module: Any) -> bool:
    """Whether it is a linear module of torch, or transformers' Conv1D, which GPT-2 has."""
    return isinstance(module, nn.Linear) or is_conv1d(module)


def is_conv1d(module: Any) -> bool:
    """Whether it is transformers' Conv1D: linear, with the weight stored as (in, out)."""
    return any(kind.__name__ == "Conv1D" and "transformers" in kind.__module__ for kind in type(module).__mro__)


def check_model(model: Any) -> None:
    """Raise on what no layer of the model allows: another kind of model, quantised weights, an adapter."""
    if not hasattr(model, "get_decoder") or not hasattr(model, "config"):
        raise ValueError(f"{type(model).__name__} is no model of transformers; load one with AutoModelForCausalLM.")
    for name, module in model.named_modules():
        if hasattr(module, "base_layer") or hasattr(module, "parametrizations"):
            raise ValueError(
                f"{name} already carries an adapter or a part that is being trained; merge it, or give the model "
                "without it."
            )
    check_config(model.config)


def check_config(config: Any) -> None:
    """Raise on what a model's config tells alone: an encoder, or quantised weights."""
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"This model ({config.model_type}) has an encoder; only decoders are supported.")
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        kind = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        method = getattr(kind, "value", kind)
        raise ValueError(
            f"The weights are quantised ({method}), so that they cannot be changed in place; load the model without "
            "quantisation, in bfloat16 or float32."
        )


def check_linear(name: str, module: Any) -> None:
    """Raise unless a module is linear, loaded and in floating point."""
    if not is_linear(module):
        raise ValueError(
            f"{name} is a {type(module).__name__}, not a linear layer of torch; a quantised or replaced layer cannot "
            "be changed in place, so load the model without it."
        )
    if module.weight.is_meta:
        raise ValueError(f"{name} is not loaded (its weight is on the meta device); load the whole model.")
    if module.weight.dtype not in FLOATS:
        raise ValueError(
            f"{name} has weights of {module.weight.dtype}, which are quantised; load the model in bfloat16 or float32."
        )


class Owners:
    """Which names each parameter of a model has."""

    def __init__(self, model: nn.Module) -> None:
        self.names: dict[int, list[str]] = defaultdict(list)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self.names[id(parameter)].append(name)

    def check(self, module: Any) -> None:
        """Raise if a module's weight is also another's."""
        first, *others = self.names[id(module.weight)]
        if others:
            raise ValueError(
                f"{first} is the same weight as {others[0]} (tied), so that a change of one layer would change the "
                "other; untie them first."
            )


def check_mixers(number: int, name: str, layer: nn.Module, config: Any) -> None:
    """Raise if a layer mixes tokens in another way than by softmax attention."""
    types = getattr(config, "layer_types", None)
    if types is not None and types[number] in OTHER_TYPES:
        raise ValueError(
            f"Layer {number} ({name}) is of the type {types[number]!r}: it mixes tokens by something else than softmax "
            "attention, where no values can be told from keys; choose layers with attention alone, layers=[...]."
        )
    for inner, module in layer.named_modules():
        if inner and not is_conv1d(module) and OTHER_MIXERS.search(type(module).__name__):
            raise ValueError(
                f"Layer {number} ({name}) mixes tokens by {inner} ({type(module).__name__}), where no values "
                "can be told from keys; choose layers with attention alone, layers=[...]."
            )


def unknown(number: int, name: str, layer: nn.Module, what: str, wanted: Sequence[str]) -> ValueError:
    """The sentence for a layer whose layout is not known: what it has, and what comes near."""
    linear = [inner for inner, module in layer.named_modules() if is_linear(module)]
    leaves = {inner.rpartition(".")[2] for inner in linear}.difference(wanted)
    near = sorted({hit for want in wanted for hit in difflib.get_close_matches(want, leaves, 2, 0.6)})
    close = f" The nearest to {', '.join(wanted)} are {', '.join(near)}." if near else ""
    held = f"its linear modules are {', '.join(linear)}" if linear else "it has no linear module"
    return ValueError(f"Layer {number} ({name}) has no {what} that is known here: {held}.{close}")
