"""q, k, v and o of each layer of a decoder, in modules of their own, fused in one, or latent (DeepSeek's MLA)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from posttrain.projections.layers import Layer, decoder_layers
from posttrain.projections.layouts import FUSED, Fused, Rows, latent
from posttrain.projections.projection import Part, Projection
from posttrain.projections.refuse import Owners, check_linear, check_mixers, check_model, is_conv1d, unknown

PARTS: tuple[Part, ...] = ("q", "k", "v", "o")
SEPARATE = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}
OUT = ("o_proj", "out_proj", "dense", "c_proj")
LATENT_QUERY = ("q_b_proj", "q_proj")
"""With a low-rank query the second factor, otherwise the whole one."""
LATENT = "kv_b_proj"


def attention(model: Any, layers: Sequence[int] | None = None) -> list[Projection]:
    """The projections of the attention: q, k, v, o of each layer, in order of layers.

    In latent attention (MLA) k and v are the parts of `kv_b_proj` for each head; the part of the key that carries
    the position, which all heads share, is in another module and in no projection. q is `q_b_proj`, or `q_proj`.

    Args:
        model: A decoder of transformers, not quantised, without an adapter.
        layers: Only these; all by default.

    Raises:
        ValueError: With the layer and the reason: a layout that is not known, keys that are also the values, keys
            and values of another layer, another mixer than softmax attention, quantised or tied weights.
    """
    check_model(model)
    config, owners = model.config.get_text_config(), Owners(model)
    found = []
    for layer in decoder_layers(model, layers):
        check_mixers(layer.number, layer.name, layer.module, config)
        name, module = _attention_of(layer)
        for projection in _projections(layer, name, module, config):
            check_linear(projection.module, projection.module_of(model))
            owners.check(projection.module_of(model))
            found.append(projection)
    return found


def _attention_of(layer: Layer) -> tuple[str, nn.Module]:
    """The one attention of a layer, with its dotted name."""
    found = [
        (inner, module)
        for inner, module in layer.module.named_modules()
        if type(module).__name__ in FUSED or LATENT in dict(module.named_children()) or hasattr(module, "q_proj")
    ]
    if not found:
        wanted = ["q_proj", "k_proj", "v_proj", "o_proj"]
        raise unknown(layer.number, layer.name, layer.module, "attention", wanted)
    if len(found) > 1:
        raise ValueError(
            f"Layer {layer.number} ({layer.name}) has {len(found)} attentions ({', '.join(n for n, _ in found)}); only "
            "decoder layers with one are supported, without cross-attention."
        )
    inner, module = found[0]
    return f"{layer.name}.{inner}", module


def _projections(layer: Layer, name: str, module: Any, config: Any) -> Iterator[Projection]:
    """q, k, v, o of one attention."""
    fused = FUSED.get(type(module).__name__)
    out = fused.out if fused else next((each for each in OUT if hasattr(module, each)), None)
    if out is None:
        raise unknown(layer.number, layer.name, layer.module, "output projection", OUT)
    homes = _fused(fused, name, module, config) if fused else _apart(layer, name, module, config)
    last = getattr(module, out)
    check_linear(f"{name}.{out}", last)
    homes["o"] = (out, torch.arange(_outputs(last)))
    for part in PARTS:
        home, rows = homes[part]
        transposed = is_conv1d(getattr(module, home))
        yield Projection(layer.number, part, f"{name}.{home}", rows, transposed)


Homes = dict[str, tuple[str, torch.Tensor]]


def _fused(fused: Fused, name: str, module: Any, config: Any) -> Homes:
    """The slices of a fused module; together they are all of its outputs, once each."""
    whole = getattr(module, fused.module)
    check_linear(f"{name}.{fused.module}", whole)
    rows = fused.rows(config)
    _check_parts(f"{name}.{fused.module}", rows, _outputs(whole))
    return {part: (fused.module, rows[part]) for part in ("q", "k", "v")}


def _apart(layer: Layer, name: str, module: Any, config: Any) -> Homes:
    """Modules of their own for q, k and v, or latent ones."""
    if LATENT in dict(module.named_children()):
        check_linear(f"{name}.{LATENT}", getattr(module, LATENT))
        rows = latent(config)
        _check_parts(f"{name}.{LATENT}", rows, _outputs(getattr(module, LATENT)))
        query = next(each for each in LATENT_QUERY if getattr(module, each, None) is not None)
        check_linear(f"{name}.{query}", getattr(module, query))
        return {
            "q": (query, torch.arange(_outputs(getattr(module, query)))),
            **{part: (LATENT, rows[part]) for part in ("k", "v")},
        }
    _check_own_values(layer, name, module)
    for each in SEPARATE.values():
        check_linear(f"{name}.{each}", getattr(module, each))
    homes = {part: (each, torch.arange(_outputs(getattr(module, each)))) for part, each in SEPARATE.items()}
    _check_heads(layer, name, module, homes)
    return homes


def _check_own_values(layer: Layer, name: str, module: Any) -> None:
    """Raise if the layer has no keys and values of its own, or if they are one."""
    has = {part: getattr(module, each, None) for part, each in SEPARATE.items()}
    config = getattr(module, "config", None)
    shared = getattr(config, "num_kv_shared_layers", 0) or 0
    if getattr(module, "is_kv_shared_layer", False) or (has["k"] is None and has["v"] is None):
        raise ValueError(
            f"Layer {layer.number} ({name}) takes its keys and values from an earlier layer (num_kv_shared_layers="
            f"{shared}); it has no values of its own to tune."
        )
    if getattr(module, "store_full_length_kv", False) and shared:
        raise ValueError(
            f"Layer {layer.number} ({name}) lends its keys and values to later layers (num_kv_shared_layers={shared}); "
            "a change of its values would change theirs."
        )
    if has["v"] is None or has["v"] is has["k"]:
        raise ValueError(
            f"Layer {layer.number} ({name}) uses its keys as values (attention_k_eq_v); a change of its values would "
            "change where it attends."
        )
    if has["k"] is None:
        raise unknown(layer.number, layer.name, layer.module, "keys", ["k_proj"])


def _check_heads(layer: Layer, name: str, module: Any, homes: Homes) -> None:
    """Raise unless the sizes fit: heads of queries to heads of keys are as inputs of o to outputs of v."""
    q, k, v = (len(homes[part][1]) for part in ("q", "k", "v"))
    out = next(getattr(module, each) for each in OUT if hasattr(module, each))
    o = out.weight.shape[0 if is_conv1d(out) else 1]
    if q * v != k * o:
        raise ValueError(
            f"Layer {layer.number} ({name}) has {q} outputs of q, {k} of k, {v} of v and {o} inputs of o, which do not "
            "fit to one head size: one of them holds something else too (a gate, perhaps), and its layout is not known."
        )


def _check_parts(name: str, rows: Rows, outputs: int) -> None:
    """Raise unless the parts are all outputs of a module, once each."""
    parts = torch.cat(list(rows.values())).sort().values
    if not torch.equal(parts, torch.arange(outputs)):
        raise ValueError(
            f"{name} has {outputs} outputs, but its config describes {len(parts)} of q, k and v; the model and its "
            "config do not belong together."
        )


def _outputs(module: Any) -> int:
    """Of a linear module."""
    return module.weight.shape[1 if is_conv1d(module) else 0]
