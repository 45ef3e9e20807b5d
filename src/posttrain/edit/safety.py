"""Sparse weight editing: multilingual safety in closed form (Liang, Wang, Wang 2026, arXiv:2602.22554).

A model refuses harmful prompts in English and answers them in other languages. A few units of the gated MLP tell harm
from harmlessness in English; harm in other languages reaches them from the wrong direction. So the columns of the gate
and up projections in S, and no others, change by a Delta of low rank, after which a harmful prompt in any of the
languages gives there what its English translation gives:

    S = units that rise on English harmful prompts (App. B; `units.py`)
    D = X_english W_S - X_low W_S                                                        the safety gap, (N_h, m)
    min over rank(Delta) <= r of |X_low Delta - D|^2 + gamma |X_safe Delta|^2 + lambda |Delta|^2      (Eq. 8; ridge.py)

X_low holds the harmful prompts of all languages to edit, X_safe harmless ones in all languages, as they enter the
projections of one layer at one token; gate and up are solved separately and share one factorisation. The gap is between
outputs before the nonlinearity, which the objective leaves out (Sec. 4.3).

Differs from the paper: it says neither which layer, nor which token, nor gamma, lambda and how many anchors. Here the
token is the last one before the answer, gamma and lambda have no scale (`ridge.py`), and the layer is given or chosen
on held-out anchors (`choose.py`). Several layers are edited in turn, each on what the edits before it give it. An edit
after which the model tells harm in English less clearly is refused (`direction.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from posttrain.edit.anchors import Anchors
from posttrain.edit.capture import BATCH, POSITIONS, Position
from posttrain.edit.change import Change
from posttrain.edit.choose import choose
from posttrain.edit.direction import check
from posttrain.edit.gather import Reading, gather, memory, wants_sums
from posttrain.edit.in_place import applied, digests
from posttrain.edit.inputs import Inputs, Kept
from posttrain.edit.layer import Pick, Solve, measured, targets, width
from posttrain.edit.ridge import RANK
from posttrain.edit.units import UnitRule, jaccard
from posttrain.projections import Projection, gated

Part = Literal["gate", "up"]


@dataclass(frozen=True)
class SafetyEdit:
    """What to edit, and how."""

    languages: tuple[str, ...] = ()
    """Those to edit, of the anchors'; all besides English if none is named."""
    layers: Literal["auto"] | tuple[int, ...] = "auto"
    """Layers to edit, from 0, each in turn; `auto` takes the one that does best on held-out anchors."""
    parts: tuple[Part, ...] = ("gate", "up")
    """Projections to edit; the paper finds units in both."""
    position: Position = "last"
    """The token whose inputs count: the `last` before the answer, or the `mean` over the prompt."""
    units: UnitRule = field(default_factory=UnitRule)
    """Which units are changed."""
    gammas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Weight of harmless prompts, in units of N_h / N_s; of several, what does best on held-out anchors."""
    ridge: float = 1e-2
    """lambda, in units of the mean energy of the inputs."""
    ranks: tuple[int, ...] = (RANK,)
    """At most so high (Table 4: 32, and hardly any matters); of several, what does best on held-out anchors."""
    protect_english: bool = True
    """Hold English harmful prompts still as harmless ones are; the paper does not say."""
    held_out: float = 0.25
    """Share of the anchors that choose among layers, gammas and ranks; the edit is solved on all."""
    leakage: float = 0.3
    """Of choosing: how far a harmless prompt may be moved, in units of how far a harmful one should be (rms)."""
    keep_rise: float = 0.5
    """Share of the units' rise on English harmful prompts that must be left; 0 does not ask."""
    keep_probe: float = 0.9
    """Share of what a probe at the model's end tells English harmful prompts by that must be left; 0 does not ask."""
    batch: int = BATCH
    """Prompts that are run at a time."""
    memory: float = 2.0
    """GiB for inputs; where all layers need more, prompts are run again for each part of them."""
    seed: int = 0
    """Of what is held out."""

    def __post_init__(self) -> None:
        for name in ("languages", "layers", "parts", "gammas", "ranks"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) and (name, value) != ("layers", "auto"):
                raise ValueError(f"{name}={value!r} must be a tuple, such as {name}=({value!r},).")
        if self.layers != "auto" and (not self.layers or len(set(self.layers)) < len(self.layers)):
            raise ValueError(f"layers={self.layers} must name at least one layer, each once; or use 'auto'.")
        if not self.parts or not set(self.parts) <= {"gate", "up"}:
            raise ValueError(f"parts={self.parts} must be gate, up, or both.")
        if self.position not in POSITIONS:
            raise ValueError(f"position={self.position!r} is unknown; use {' or '.join(POSITIONS)}.")
        if not self.gammas or not all(gamma >= 0 and math.isfinite(gamma) for gamma in self.gammas):
            raise ValueError(f"gammas={self.gammas} must be finite numbers of at least 0; 1 is the default.")
        if not (self.ridge >= 0 and math.isfinite(self.ridge)):
            raise ValueError(f"ridge={self.ridge} must be a finite number of at least 0; 0.01 is the default.")
        if not self.ranks or not all(rank >= 1 for rank in self.ranks):
            raise ValueError(f"ranks={self.ranks} must be at least 1; the paper uses 32.")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must lie in (0, 1); 0.25 is the default.")
        if not self.leakage > 0:
            raise ValueError(f"leakage={self.leakage} must be above 0; 0.3 is the default.")
        if not 0 <= min(self.keep_rise, self.keep_probe) <= max(self.keep_rise, self.keep_probe) <= 1:
            raise ValueError(
                f"keep_rise={self.keep_rise} and keep_probe={self.keep_probe} must lie in [0, 1]; 0 does not ask."
            )
        if self.batch < 1 or not self.memory > 0:
            raise ValueError(f"batch={self.batch} and memory={self.memory} must be above 0.")

    @property
    def reading(self) -> Reading:
        """How anchors are read."""
        return Reading(self.position, self.batch, self.protect_english)

    @property
    def chooses(self) -> bool:
        """Whether there is something to choose."""
        return self.layers == "auto" or len(self.gammas) * len(self.ranks) > 1


@dataclass(frozen=True, eq=False)
class Edit:
    """Changes of a model's weights, not made yet."""

    changes: tuple[Change, ...]
    config: SafetyEdit
    before: dict[str, str]
    """Module to the digest of the weight that it is for."""
    anchors: dict[str, Any]
    """How many prompts of which kind and language it was solved on."""
    english: dict[str, float] = field(default_factory=dict)
    """Shares of what tells English harmful prompts from harmless ones that are left, by how it is told."""
    search: tuple[dict[str, Any], ...] = ()
    """Layers, gammas and ranks that were tried."""
    overlap: dict[str, float] = field(default_factory=dict)
    """Jaccard of the units that two languages would choose, by layer, part and languages."""
    notes: tuple[str, ...] = ()
    """What is worth a warning."""


def edit_safety(
    model: Any,
    tokenizer: Any,
    anchors: Anchors,
    config: SafetyEdit | None = None,
    *,
    pick: Pick | None = None,
    solve: Solve | None = None,
) -> Edit:
    """The edit of a model; `apply` makes it, `as_lora` writes it as an adapter.

    The model is as it was afterwards. Several layers change it while they are solved.

    Args:
        model: A decoder of transformers with gated MLPs.
        tokenizer: Its own.
        anchors: Prompts, see `anchors.load`.
        config: What to edit, and how.
        pick: Other units than those of `config.units`, for comparison.
        solve: Another solver, for comparison.

    Raises:
        ValueError: The model cannot be edited, no unit stands out, nothing meets the bounds, or English gets worse.
    """
    config = config or SafetyEdit()
    anchors = anchors.of(config.languages)
    by_layer = projections(model, config)
    pick = pick or (lambda inputs, weight: inputs.units(weight, config.units).chosen)
    solve = solve or (lambda inputs, columns, gamma, ridge: inputs.solve(columns, gamma, ridge))
    search: tuple[dict[str, Any], ...] = ()
    plan = [(layer, config.gammas[0], config.ranks[0]) for layer in by_layer]
    if config.chooses:
        plan, search = choose(model, tokenizer, anchors, by_layer, config, pick, solve)
    changes: list[Change] = []
    notes: list[str] = []
    overlap: dict[str, float] = {}
    for layer, gamma, rank in plan:
        with applied(model, changes):
            inputs = read(model, tokenizer, anchors, {layer: by_layer[layer]}, config)[layer]
            new = _solved(model, inputs, by_layer[layer], (gamma, config.ridge, rank), pick, solve)
            overlap |= _overlap(model, inputs, by_layer[layer], config.units)
        changes += new
        notes += _notes(layer, inputs.spanned(), new)
    before = digests(model, sorted({each.projection.module for each in changes}))
    english = check(model, tokenizer, anchors, changes, config)
    counts = {
        kind: {name: len(prompts) for name, prompts in each.items()}
        for kind, each in (("harmful", anchors.harmful), ("harmless", anchors.harmless))
    }
    about = {"english": anchors.english, "languages": list(anchors.languages), **counts}
    return Edit(tuple(changes), config, before, about, english, search, overlap, (*anchors.notes, *notes))


def projections(model: Any, config: SafetyEdit) -> dict[int, list[Projection]]:
    """The projections to edit, by layer in order."""
    by_layer: dict[int, list[Projection]] = {}
    for each in gated(model, None if config.layers == "auto" else config.layers):
        if each.part in config.parts:
            by_layer.setdefault(each.layer, []).append(each)
    return by_layer


def read(
    model: Any, tokenizer: Any, anchors: Anchors, by_layer: dict[int, list[Projection]], config: SafetyEdit
) -> dict[int, Inputs]:
    """The inputs of some layers at once, as rows if these fit into the memory."""
    modules, inputs = {layer: found[0].module for layer, found in by_layer.items()}, width(model, by_layer)
    summed = wants_sums(anchors, inputs, config.protect_english)
    summed = summed and len(modules) * memory(anchors, inputs, summed=False) > config.memory * 2**30
    return gather(model, tokenizer, anchors, modules, config.reading, summed=summed)


def _solved(
    model: Any,
    inputs: Inputs,
    found: Sequence[Projection],
    weights: tuple[float, float, int],
    pick: Pick,
    solve: Solve,
) -> list[Change]:
    """One layer's changes, for gamma, ridge and rank."""
    gamma, ridge, rank = weights
    aimed = targets(model, inputs, found, pick)
    if not aimed:
        raise ValueError(
            f"No unit of layer {found[0].layer} rises on harmful prompts in English; lower units.tau_mag and "
            "units.tau_stat, choose another layer, or give more anchors."
        )
    solutions = solve(inputs, [each.columns for each in aimed], gamma, ridge)
    return [measured(inputs, *each, gamma, rank) for each in zip(aimed, solutions, strict=True)]


def _overlap(model: Any, inputs: Inputs, found: Sequence[Projection], rule: UnitRule) -> dict[str, float]:
    if not isinstance(inputs, Kept):
        return {}
    return {
        f"layer {each.layer} {each.part}: {one}, {other}": share
        for each in found
        for (one, other), share in jaccard(inputs.by_language(each.weight(model), rule)).items()
    }


def _notes(layer: int, spanned: bool, changes: Sequence[Change]) -> list[str]:
    notes = []
    if spanned:
        notes.append(
            f"Harmless prompts span all inputs of layer {layer}: the larger gamma is, the nearer the edit is to none."
        )
    for each in changes:
        where = f"layer {each.projection.layer}'s {each.projection.part}"
        if each.measured.remaining > 0.9:
            notes.append(
                f"The edit of {where} leaves {each.measured.remaining:.0%} of the gap: gamma is large for so many "
                "harmless prompts, or the layer does not tell harm in these languages."
            )
        if each.measured.leakage > 0.5:
            notes.append(
                f"The edit of {where} moves harmless prompts by {each.measured.leakage:.0%} of the gap; "
                "raise gamma, or give more harmless prompts."
            )
    return notes
