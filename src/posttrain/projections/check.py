"""Whether slices of the values are right, measured on the model itself, layer by layer.

The model is run on a few tokens; then each attention is called alone on what it was given. The values' outputs are
right if and only if

- what is attended does not depend on them: with these weights changed, the attention's probabilities stay the same;
- nothing else carries content: with these weights (and biases) at 0, what enters the output projection is 0.

An output of q or k among them breaks the first, an output of v that is missing the second.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from posttrain.projections.layers import decoder
from posttrain.projections.projection import Projection

TOKENS = 12
TOLERANCE = 1e-6
"""How much a probability may change."""


class Call(NamedTuple):
    """How an attention was called."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Seen(NamedTuple):
    """What an attention did."""

    probabilities: Tensor
    """(..., T, T)"""
    content: Tensor
    """What enters the output projection, (1, T, d)."""


def check_value_rows(model: Any, projections: Sequence[Projection], *, tokens: int = TOKENS) -> None:
    """Raise unless the v of each layer is what its attention takes for values. The model is left as it was.

    Args:
        model: A decoder of transformers.
        projections: Of `attention(model)`; each layer's v and o are used.
        tokens: Of the text that is tried, drawn at random.

    Raises:
        ValueError: With the layer: an output among them is no value, or an output of the values is missing.
    """
    pairs = _pairs(projections)
    modules = {v.layer: model.get_submodule(v.module.rpartition(".")[0]) for v, _ in pairs}
    with torch.no_grad(), _plainly(model):
        calls = _calls(model, modules, tokens)
        for v, o in pairs:
            _check(model, v, o, modules[v.layer], calls[v.layer])


def _pairs(projections: Sequence[Projection]) -> list[tuple[Projection, Projection]]:
    """V and o of each layer."""
    by_part = {(each.layer, each.part): each for each in projections}
    values = [each for each in projections if each.part == "v"]
    if not values:
        raise ValueError("There are no values among the projections; give attention(model), with v and o.")
    for each in values:
        if (each.layer, "o") not in by_part:
            raise ValueError(f"Layer {each.layer} has v but no o among the projections; give attention(model).")
    return [(each, by_part[each.layer, "o"]) for each in values]


@contextmanager
def _plainly(model: Any) -> Iterator[None]:
    """Without dropout, and with attention that returns its probabilities."""
    training = {module: module.training for module in model.modules()}
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    model.eval()
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = implementation
        for module, was in training.items():
            module.training = was


def _calls(model: Any, modules: dict[int, nn.Module], tokens: int) -> dict[int, Call]:
    """How each attention is called when the model reads a few tokens."""
    reader = decoder(model)
    embeddings = reader.get_input_embeddings()
    ids = torch.randint(embeddings.weight.shape[0], (1, tokens), generator=torch.Generator().manual_seed(0))
    calls: dict[int, Call] = {}
    with ExitStack() as hooks:
        for layer, module in modules.items():

            def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], layer: int = layer) -> None:
                calls[layer] = Call(args, kwargs)

            hooks.callback(module.register_forward_pre_hook(keep, with_kwargs=True).remove)
        reader(input_ids=ids.to(embeddings.weight.device), use_cache=False)
    for layer, module in modules.items():
        if layer not in calls:
            raise ValueError(f"Layer {layer} ({type(module).__name__}) is not run when the model reads a text.")
    return calls


def _check(model: Any, v: Projection, o: Projection, module: nn.Module, call: Call) -> None:
    """Both properties of one layer; its weights are put back."""
    weight, bias = v.weight(model), v.bias(model)
    before = _seen(v.layer, module, o.module_of(model), call)
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    try:
        v.put(model, weight + (noise * 4 / weight.shape[1] ** 0.5).to(weight))
        moved = _seen(v.layer, module, o.module_of(model), call)
        v.put(model, torch.zeros_like(weight), None if bias is None else torch.zeros_like(bias))
        silent = _seen(v.layer, module, o.module_of(model), call)
    finally:
        v.put(model, weight, bias)
    change = float((moved.probabilities.float() - before.probabilities.float()).abs().max())
    if not change <= TOLERANCE:
        raise ValueError(
            f"Layer {v.layer}: outputs of {v.module} that are taken for values are not: with their weights changed, "
            f"attention probabilities change by up to {change:.2g}."
        )
    rest = int((silent.content != 0).flatten(0, -2).any(0).sum())
    if rest:
        raise ValueError(
            f"Layer {v.layer}: outputs of the values are missing among those of {v.module}: with these at 0, {rest} of "
            f"{silent.content.shape[-1]} inputs of {o.module} are still not 0."
        )


def _seen(layer: int, module: nn.Module, out: nn.Module, call: Call) -> Seen:
    """Call an attention alone."""
    content: list[Tensor] = []
    given = dict(call.kwargs)
    if "output_attentions" in inspect.signature(module.forward).parameters:
        given["output_attentions"] = True
    hook = out.register_forward_pre_hook(lambda _, args: content.append(args[0].clone()))
    try:
        output = module(*call.args, **given)
    finally:
        hook.remove()
    probabilities = output[1] if isinstance(output, tuple) and len(output) > 1 else None
    if not isinstance(probabilities, Tensor):
        raise ValueError(
            f"Layer {layer} ({type(module).__name__}) does not return its attention probabilities, so that its slices "
            "cannot be checked; this family is not supported."
        )
    return Seen(probabilities.clone(), content[-1])
