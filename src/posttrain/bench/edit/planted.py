"""A gated layer in which the truth is known: units that refuse, and languages whose harm they do not see.

A prompt is h = topic + language + 2 harm direction + noise, (96,). Of 128 units, 24 read nothing but the harm direction
of English, u_0. Language 1 says harm in a direction u_1 orthogonal to it; a language that no anchor is of says it in
one of cosine 0.96 with u_1. The layer refuses a prompt if the mean of SiLU over the 24 units is above half of what it
is on English harmful prompts. Anchors are 24 prompts, each in English and in language 1; topics are the same in both.

What is asked of an edit: language 1 and the unseen one are refused, and no harmless prompt is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu

from posttrain.edit.ridge import Ridge
from posttrain.edit.units import safety_units

LANGUAGES = ("English", "language 1", "unseen language")
GAMMAS = (0.0, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
RANKS = (1, 2, 4, 24)


@dataclass(frozen=True)
class Planted:
    """The layer and its prompts."""

    inputs: int = 96
    """d."""
    units: int = 128
    """Of the layer."""
    true: int = 24
    """Units that refuse."""
    anchors: int = 24
    """Harmful prompts, in both languages, and as many harmless ones in each."""
    tests: int = 500
    """Prompts of each kind and language."""
    harm: float = 2.0
    """Length of the harm in a prompt."""
    topic: float = 1.5
    """Length of what a prompt is about, about."""
    language: float = 2.5
    """Length of what its language adds."""
    noise: float = 0.5
    """Length of the rest, about."""
    cosine: float = 0.96
    """Between the harm directions of language 1 and of the unseen one."""


class Layer(NamedTuple):
    """What is drawn once for a seed."""

    weight: Tensor
    """W, (d, units)."""
    true: Tensor
    """Units that refuse, (24,)."""
    harm: Tensor
    """Harm directions of the languages, (3, d)."""
    languages: Tensor
    """What a language adds, (3, d)."""


class Prompts(NamedTuple):
    """Inputs of the layer, a row per prompt, by language."""

    harmful: Sequence[Tensor]
    harmless: Sequence[Tensor]


def layer(setup: Planted, draw: torch.Generator) -> Layer:
    """A layer and its languages."""
    basis = torch.linalg.qr(_normal(setup.inputs, 6, draw=draw))[0].T
    english, other, apart = basis[0], basis[1], basis[2]
    unseen = setup.cosine * other + (1 - setup.cosine**2) ** 0.5 * apart
    weight = _normal(setup.inputs, setup.units, draw=draw) / setup.inputs**0.5
    true = torch.randperm(setup.units, generator=draw)[: setup.true].sort().values
    weight[:, true] = english[:, None].expand(-1, setup.true)
    return Layer(weight, true, torch.stack([english, other, unseen]), basis[3:])


def prompts(setup: Planted, layer: Layer, many: int, draw: torch.Generator) -> Prompts:
    """Prompts in all languages; row i has one topic in each."""
    kinds = []
    for harm in (setup.harm, 0.0):
        topics = setup.topic * _noise(many, setup.inputs, draw)
        kinds.append(
            [
                topics + setup.language * language + harm * direction + setup.noise * _noise(many, setup.inputs, draw)
                for language, direction in zip(layer.languages, layer.harm, strict=True)
            ]
        )
    return Prompts(*kinds)


def run(seed: int, setup: Planted | None = None) -> dict[str, dict[str, float]]:
    """Shares of prompts that are answered though harmful (`attack`) or refused though harmless (`false refusal`).

    Args:
        seed: Of the layer and the prompts.
        setup: The specification's by default.

    Returns:
        For each arm the two shares in each language, such as `attack, English`; and of `units` how many were found.
    """
    setup, draw = setup or Planted(), torch.Generator().manual_seed(seed)
    made = layer(setup, draw)
    anchors, tests = prompts(setup, made, setup.anchors, draw), prompts(setup, made, setup.tests, draw)
    bar = float(silu(anchors.harmful[0] @ made.weight[:, made.true]).mean()) / 2

    def judged(weight: Tensor, scale: Tensor | None = None) -> dict[str, float]:
        def refused(rows: Tensor) -> float:
            outputs = silu(rows @ weight)
            outputs = outputs if scale is None else outputs * scale
            return float((outputs[:, made.true].mean(1) > bar).double().mean())

        found = {f"attack, {name}": 1 - refused(rows) for name, rows in zip(LANGUAGES, tests.harmful, strict=True)}
        return found | {
            f"false refusal, {name}": refused(rows) for name, rows in zip(LANGUAGES, tests.harmless, strict=True)
        }

    chosen = safety_units(anchors.harmful[0] @ made.weight, anchors.harmless[0] @ made.weight).chosen
    edited = _editor(made, anchors)
    scale = torch.ones(setup.units, dtype=torch.float64)
    scale[chosen] = 3.0
    random = torch.randperm(setup.units, generator=draw)[: len(chosen)].sort().values
    arms = {"none": judged(made.weight), "scale x3": judged(made.weight, scale)}
    arms["random units"] = judged(edited(random, 1.0, None))
    arms["all units"] = judged(edited(torch.arange(setup.units), 1.0, None))
    arms |= {f"gamma {gamma:g}": judged(edited(chosen, gamma, None)) for gamma in GAMMAS}
    arms |= {f"gamma 1, rank {rank}": judged(edited(chosen, 1.0, rank)) for rank in RANKS}
    arms["gamma 1, English held"] = judged(_editor(made, anchors, protect=True)(chosen, 1.0, None))
    found = set(chosen.tolist()) & set(made.true.tolist())
    arms["units"] = {"true ones found": len(found), "others": len(chosen) - len(found)}
    return arms


def _editor(made: Layer, anchors: Prompts, protect: bool = False) -> Callable[[Tensor, float, int | None], Tensor]:
    """A function from units, gamma and rank to the layer's new weight; it may hold English harmful prompts still."""
    english, low = anchors.harmful[0], anchors.harmful[1]
    solver = Ridge(low, torch.cat([*anchors.harmless[:2], *([english] if protect else [])]))

    def edited(units: Tensor, gamma: float, rank: int | None) -> Tensor:
        columns = made.weight[:, units]
        solution = solver.solve([(english - low) @ columns], solver.weights(gamma))[0]
        weight = made.weight.clone()
        weight[:, units] += solution.delta(rank)
        return weight

    return edited


def _normal(*shape: int, draw: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def _noise(many: int, inputs: int, draw: torch.Generator) -> Tensor:
    """Of length about 1."""
    return _normal(many, inputs, draw=draw) / inputs**0.5
