"""Training some outputs of a module and no others: in an adapter, or in the weights themselves.

A LoRA adapter adds scale * B A to a weight W (out, in). Rows of B (out, r) that are zero leave their rows of W as they
are, bit for bit. PEFT starts with B = 0; `confine` makes the gradient of the other rows exactly 0, so that Adam's
moments stay 0, weight decay keeps 0 at 0, and so does momentum.

A full update makes the chosen rows a parameter of their own (`open_rows`), so that no optimiser has the others at all.
`merge` and `close_rows` write the chosen rows back and leave every other number of the model as it was, -0.0 included.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from posttrain.projections import Part, Projection

Chosen = dict[str, "Rows"]


class Rows:
    """The outputs of one module that are trained: those of all chosen projections that it holds."""

    def __init__(self, module: str, transposed: bool) -> None:
        self.module = module
        self.transposed = transposed
        self.index = torch.empty(0, dtype=torch.int64)

    def others(self, outputs: int) -> Tensor:
        """The rest of a module's outputs, (outputs - m,)."""
        rest = torch.ones(outputs, dtype=torch.bool)
        rest[self.index] = False
        return rest.nonzero()[:, 0]


def chosen_rows(projections: Iterable[Projection], parts: Sequence[Part] = ("v",)) -> Chosen:
    """By module the outputs of some parts."""
    found: Chosen = {}
    for each in projections:
        if each.part in parts:
            rows = found.setdefault(each.module, Rows(each.module, each.transposed))
            rows.index = torch.cat([rows.index, each.rows.cpu()]).unique()
    if not found:
        raise ValueError(f"None of the projections is one of {', '.join(parts)}; give attention(model).")
    return found


def confine(peft_model: Any, projections: Iterable[Projection], parts: Sequence[Part] = ("v",)) -> Any:
    """Keep a LoRA adapter's other rows at exactly zero while it is trained; gives the model back.

    Args:
        peft_model: The model as PEFT wrapped it.
        projections: Of `attention(model)` before that.
        parts: Which of them are trained.

    Raises:
        ValueError: A module carries no adapter, the adapter reaches more than these modules, or it starts from other
            rows than zero.
    """
    chosen = chosen_rows(projections, parts)
    layers = _lora_layers(peft_model, chosen)
    _check_reach(peft_model, chosen)
    check_confined(peft_model, projections, parts)
    for name, layer in layers.items():
        for factor in layer.lora_B.values():
            rest = chosen[name].others(factor.weight.shape[0])
            if len(rest):
                factor.weight.register_hook(_Mask(rest))
    return peft_model


class _Mask:
    """A gradient without some rows."""

    def __init__(self, rest: Tensor) -> None:
        self.rest = rest

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient.index_fill(0, self.rest.to(gradient.device), 0.0)


def check_confined(peft_model: Any, projections: Iterable[Projection], parts: Sequence[Part] = ("v",)) -> None:
    """Raise unless an adapter's other rows are exactly zero; arguments as of `confine`."""
    chosen = chosen_rows(projections, parts)
    for name, layer in _lora_layers(peft_model, chosen).items():
        if len(layer.lora_magnitude_vector) or any(factor.bias is not None for factor in layer.lora_B.values()):
            raise ValueError(
                f"The adapter of {name} changes more than rows of the weight (DoRA, or a bias); use plain LoRA."
            )
        for factor in layer.lora_B.values():
            rest = chosen[name].others(factor.weight.shape[0])
            if bool((factor.weight.detach()[rest.to(factor.weight.device)] != 0).any()):
                raise ValueError(
                    f"The adapter of {name} has numbers in rows that are not of {', '.join(parts)}; it was not trained "
                    "under confine, or PEFT's init_lora_weights is not one that starts with B = 0."
                )


def merge(peft_model: Any, projections: Iterable[Projection], parts: Sequence[Part] = ("v",)) -> Any:
    """Add an adapter to the weights; only the chosen rows differ afterwards, and the model without adapter is given.

    Raises:
        ValueError: The adapter has numbers in other rows.
    """
    chosen = chosen_rows(projections, parts)
    check_confined(peft_model, projections, parts)
    for name, layer in _lora_layers(peft_model, chosen).items():
        weight = layer.get_base_layer().weight
        before = weight.detach().clone()
        layer.merge(safe_merge=True)
        rest = chosen[name].others(before.shape[1 if chosen[name].transposed else 0]).to(weight.device)
        with torch.no_grad():
            if chosen[name].transposed:
                weight[:, rest] = before[:, rest]
            else:
                weight[rest] = before[rest]
    return peft_model.unload()


class _Opened(nn.Module):
    """A weight whose chosen rows are a parameter, laid out as in the weight; the rest is the original's.

    The parameter is float32 at least: in bfloat16 most steps of a fine-tuning would be rounded away.
    """

    index: Tensor

    def __init__(self, weight: Tensor, index: Tensor, transposed: bool) -> None:
        super().__init__()
        self.dim = 1 if transposed else 0
        self.register_buffer("index", index.to(weight.device), persistent=False)
        wide = torch.promote_types(weight.dtype, torch.float32)
        self.rows = nn.Parameter(weight.detach().index_select(self.dim, self.index).to(wide, copy=True))

    def forward(self, weight: Tensor) -> Tensor:
        return weight.index_copy(self.dim, self.index, self.rows.to(weight.dtype))


def open_rows(model: nn.Module, projections: Iterable[Projection], parts: Sequence[Part] = ("v",)) -> nn.Module:
    """Freeze a model but for the chosen rows, in place; `close_rows` makes it plain again."""
    chosen = chosen_rows(projections, parts)
    model.requires_grad_(False)
    for name, rows in chosen.items():
        module: Any = model.get_submodule(name)
        rest = len(rows.others(module.weight.shape[1 if rows.transposed else 0]))
        if rest or module.weight.dtype in (torch.float16, torch.bfloat16):
            opened = _Opened(module.weight, rows.index, rows.transposed)
            parametrize.register_parametrization(module, "weight", opened)
        else:
            module.weight.requires_grad_(True)
    return model


def close_rows(model: nn.Module, projections: Iterable[Projection], parts: Sequence[Part] = ("v",)) -> nn.Module:
    """Write the trained rows into the weights, in place; every other number is as it was before `open_rows`.

    All weights can be trained again afterwards, also those that were frozen before.
    """
    for name in chosen_rows(projections, parts):
        module: Any = model.get_submodule(name)
        if parametrize.is_parametrized(module, "weight"):
            opened = module.parametrizations.weight[0]
            trained, dim, index = opened.rows.detach(), opened.dim, opened.index
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            with torch.no_grad():
                module.weight.index_copy_(dim, index, trained.to(module.weight.dtype))
    return model.requires_grad_(True)


class Size(NamedTuple):
    """What a module's chosen rows cost to train."""

    inputs: int
    """d."""
    outputs: int
    """m, of the chosen rows."""

    @property
    def per_rank(self) -> int:
        """Weights that one rank of an adapter trains: d + m."""
        return self.inputs + self.outputs

    @property
    def most(self) -> int:
        """The rank beyond which an adapter gains no freedom."""
        return min(self.inputs, self.outputs)


def sizes(model: nn.Module, projections: Iterable[Projection], parts: Sequence[Part] = ("v",)) -> dict[str, Size]:
    """By module the size of the chosen rows; arguments as of `open_rows`."""
    found = {}
    for name, rows in chosen_rows(projections, parts).items():
        module: Any = model.get_submodule(name)
        found[name] = Size(module.weight.shape[0 if rows.transposed else 1], len(rows.index))
    return found


def _lora_layers(peft_model: Any, chosen: Chosen) -> dict[str, Any]:
    """The LoRA layers of the chosen modules, by the module's name in the model without adapter."""
    if not hasattr(peft_model, "get_base_model"):
        raise ValueError(f"{type(peft_model).__name__} carries no adapter; wrap it with peft.get_peft_model first.")
    base = peft_model.get_base_model()
    adapted = {name: module for name, module in base.named_modules() if hasattr(module, "lora_B")}
    for name in chosen:
        if name not in adapted:
            near = difflib.get_close_matches(name, adapted, 3, 0.6) or list(adapted)[:3]
            held = f"the nearest that do are {', '.join(near)}" if near else "no module does"
            raise ValueError(f"{name} carries no LoRA adapter; {held}. Make the config with value_only(model).")
    for name in adapted:
        if name not in chosen:
            raise ValueError(
                f"{name} carries an adapter too, which value-only tuning must not have; make the config with "
                "value_only(model)."
            )
    return {name: adapted[name] for name in chosen}


def _check_reach(peft_model: Any, chosen: Chosen) -> None:
    """Raise if something else is trained too."""
    for name, parameter in peft_model.get_base_model().named_parameters():
        if parameter.requires_grad and not any(name.startswith(f"{module}.lora_") for module in chosen):
            raise ValueError(
                f"{name} is trained too, which value-only tuning must not do; make the config with value_only(model)."
            )
