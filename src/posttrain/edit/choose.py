"""Which layer, gamma and rank: what closes most of the gap on held-out anchors, within a bound on leakage.

One factorisation and one spectrum serve all ranks of a layer and gamma. Anchors are split by id, so that no translation
of a held-out prompt is solved on. The gap is counted over gate and up together, in units of each one's |D|^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from posttrain.edit.anchors import Anchors
from posttrain.edit.gather import chunks, gather, memory, wants_sums
from posttrain.edit.inputs import Inputs
from posttrain.edit.layer import Pick, Solve, targets, width
from posttrain.projections import Projection

if TYPE_CHECKING:
    from posttrain.edit.safety import SafetyEdit

Plan = list[tuple[int, float, int]]
"""Layers, each with gamma and rank."""


@dataclass(frozen=True)
class Cell:
    """One of the possibilities, on held-out anchors."""

    layer: int
    gamma: float
    rank: int
    units: int
    """Of gate and up together."""
    remaining: float
    """Share of the gap that is left, |X_low Delta - D| / |D|."""
    leakage: float
    """How far a harmless prompt is moved, in units of how far a harmful one should be: rms over rms."""


def choose(
    model: Any,
    tokenizer: Any,
    anchors: Anchors,
    by_layer: dict[int, list[Projection]],
    config: SafetyEdit,
    pick: Pick,
    solve: Solve,
) -> tuple[Plan, tuple[dict[str, Any], ...]]:
    """The best possibility, or with given layers the best one of each; and all that were tried.

    Raises:
        ValueError: None is within the bound and closes any of the gap, or the anchors are too few.
    """
    cells = list(grid(model, tokenizer, anchors, by_layer, config, pick, solve))
    if not cells:
        raise ValueError(
            "No unit of any layer rises on harmful prompts in English; lower units.tau_mag and units.tau_stat, or give "
            "more anchors."
        )
    if config.layers == "auto":
        found = [best(cells, config.leakage)]
        if found[0].remaining >= 1:
            raise ValueError(
                f"Within a leakage of {config.leakage} no layer's edit closes the gap on held-out anchors (layer "
                f"{found[0].layer} leaves {found[0].remaining:.3f} of it); give more anchors, or name a layer."
            )
    else:
        found = [best([cell for cell in cells if cell.layer == layer], config.leakage) for layer in by_layer]
    return [(cell.layer, cell.gamma, cell.rank) for cell in found], tuple(asdict(cell) for cell in cells)


def best(cells: Sequence[Cell], leakage: float) -> Cell:
    """The one that leaves least of the gap, of those within a bound; of equals the one of lower rank."""
    within = [cell for cell in cells if cell.leakage <= leakage]
    if not within:
        least = min(cells, key=lambda cell: cell.leakage)
        raise ValueError(
            f"Nothing keeps leakage within {leakage}: layer {least.layer}, gamma {least.gamma:g} and rank {least.rank} "
            f"come nearest with {least.leakage:.3f}; try a larger gamma, more harmless anchors, or a wider bound."
        )
    return min(within, key=lambda cell: (cell.remaining, cell.rank))


def grid(
    model: Any,
    tokenizer: Any,
    anchors: Anchors,
    by_layer: dict[int, list[Projection]],
    config: SafetyEdit,
    pick: Pick,
    solve: Solve,
) -> Iterator[Cell]:
    """Every possibility; a layer in which no unit stands out has none."""
    parts, inputs = anchors.split(config.held_out, config.seed), width(model, by_layer)
    summed = wants_sums(anchors, inputs, config.protect_english)
    each = memory(anchors, inputs, summed)
    for layers in chunks(list(by_layer), each, int(config.memory * 2**30)):
        modules = {layer: by_layer[layer][0].module for layer in layers}
        fit, held = (gather(model, tokenizer, part, modules, config.reading, summed=summed) for part in parts)
        for layer in layers:
            yield from _cells(model, by_layer[layer], fit.pop(layer), held.pop(layer), config, pick, solve)


def _cells(
    model: Any,
    found: Sequence[Projection],
    fit: Inputs,
    held: Inputs,
    config: SafetyEdit,
    pick: Pick,
    solve: Solve,
) -> Iterator[Cell]:
    aimed = targets(model, fit, found, pick)
    if not aimed:
        return
    for gamma in config.gammas:
        solutions = solve(fit, [each.columns for each in aimed], gamma, config.ridge)
        curves = [held.curve(solution, each.columns) for solution, each in zip(solutions, aimed, strict=True)]
        for rank in dict.fromkeys(config.ranks):
            left, leaked = [curve.left(rank) for curve in curves], [curve.leak(rank) for curve in curves]
            units = sum(len(each.units) for each in aimed)
            yield Cell(found[0].layer, gamma, rank, units, _root_mean(left), _root_mean(leaked))


def _root_mean(values: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values))
