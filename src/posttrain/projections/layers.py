"""The decoder layers of a model, with their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn


class Layer(NamedTuple):
    """One decoder layer."""

    number: int
    """From 0."""
    name: str
    """Dotted, within the model."""
    module: nn.Module


def decoder_layers(model: Any, layers: Sequence[int] | None = None) -> list[Layer]:
    """The layers of a model's decoder, in order; `layers` chooses some.

    Raises:
        ValueError: The decoder has no list of layers as long as its config says, or a number is none of a layer.
    """
    prefix, stack = _stack(model)
    wanted = range(len(stack)) if layers is None else sorted(set(layers))
    wrong = [number for number in wanted if not 0 <= number < len(stack)]
    if wrong or not len(wanted):
        raise ValueError(f"layers={list(layers or ())} must be numbers from 0 to {len(stack) - 1}, one at least.")
    return [Layer(number, f"{prefix}.{number}", stack[number]) for number in wanted]


def decoder(model: Any) -> Any:
    """The module that reads token ids and holds the layers, without a head."""
    prefix, _ = _stack(model)
    return model.get_submodule(prefix.rpartition(".")[0])


def _stack(model: Any) -> tuple[str, nn.ModuleList]:
    """The list of a decoder's layers, with its dotted name: that of `get_decoder()`, or the only one of its length."""
    many = model.config.get_text_config().num_hidden_layers
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == many
    ]
    own = [each for each in lists if any(child is each[1] for child in model.get_decoder().children())]
    found = own[:1] or lists
    if len(found) != 1:
        held = ", ".join(name for name, _ in found)
        raise ValueError(
            f"{type(model).__name__} has {f'several lists ({held})' if found else 'no list'} of {many} layers, as its "
            "config says; such a model is not known here."
        )
    return found[0]
