"""Reading the anchors: the inputs of some layers, as rows or as sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from posttrain.edit.anchors import Anchors, Prompt
from posttrain.edit.capture import BATCH, Position, Rows, encode, joined, longest, stream
from posttrain.edit.inputs import Inputs, Kept, Summed

BLOCK = 512
"""Rows that are multiplied at a time."""


@dataclass(frozen=True)
class Reading:
    """How anchors are read."""

    position: Position = "last"
    """The token whose inputs count."""
    batch: int = BATCH
    """Prompts that are run at a time."""
    protect: bool = False
    """Whether English harmful prompts are held still as harmless ones are."""


def gather(
    model: Any, tokenizer: Any, anchors: Anchors, modules: Mapping[int, str], reading: Reading, *, summed: bool
) -> dict[int, Inputs]:
    """The inputs of some layers.

    Args:
        model: Of transformers.
        tokenizer: Its own.
        anchors: Prompts.
        modules: Layer to the module whose inputs are meant.
        reading: How.
        summed: As sums, else as rows.

    Returns:
        By layer.
    """
    names = list(modules.values())

    def each(prompts: Sequence[Prompt]) -> Iterator[Rows]:
        encoded = encode(tokenizer, prompts, longest(model))
        return stream(model, encoded, names, position=reading.position, batch=reading.batch)

    def whole(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        return joined(each(prompts), len(prompts))

    harmful, harmless = whole(anchors.harmful[anchors.english]), whole(anchors.harmless[anchors.english])
    others = {name: found for name, found in anchors.harmless.items() if found and name != anchors.english}
    if summed:
        sums = {name: _Adding(harmful[name]) for name in names}
        for name, rows in harmless.items():
            sums[name].still(rows)
        for language in anchors.languages:
            for places, inputs in each(anchors.harmful[language]):
                for name, rows in inputs.items():
                    sums[name].pair(places, rows)
        for prompts in others.values():
            for _, inputs in each(prompts):
                for name, rows in inputs.items():
                    sums[name].still(rows)
        return {
            layer: Summed(harmful[name], harmless[name], reading.protect, *sums[name].total())
            for layer, name in modules.items()
        }
    low = {language: whole(anchors.harmful[language]) for language in anchors.languages}
    safe = {anchors.english: harmless} | {language: whole(prompts) for language, prompts in others.items()}
    return {
        layer: Kept(
            harmful[name],
            harmless[name],
            reading.protect,
            {language: rows[name] for language, rows in low.items()},
            {language: rows[name] for language, rows in safe.items()},
        )
        for layer, name in modules.items()
    }


class _Adding:
    """Sums of products, a block of rows at a time."""

    def __init__(self, english: Tensor) -> None:
        self.english = english
        inputs = english.shape[1]
        self.sums = [torch.zeros(inputs, inputs, dtype=torch.float64) for _ in range(4)]
        self.many = [0, 0]
        self.waiting: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])

    def pair(self, places: list[int], rows: Tensor) -> None:
        """Harmful prompts and their places in English."""
        self.waiting[0].append(rows.double())
        self.waiting[1].append(self.english[places].double() - rows.double())
        self._flush(BLOCK)

    def still(self, rows: Tensor) -> None:
        """Harmless prompts."""
        self.waiting[2].append(rows.double())
        self._flush(BLOCK)

    def total(self) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[int, int]]:
        """X_low' X_low, X_low' E, E' E, X_harmless' X_harmless, and the numbers of prompts."""
        self._flush(1)
        low, cross, shift, safe = self.sums
        return low, cross, shift, safe, (self.many[0], self.many[1])

    def _flush(self, least: int) -> None:
        if sum(map(len, self.waiting[0])) >= least:
            low, shift = torch.cat(self.waiting[0]), torch.cat(self.waiting[1])
            for total, left, right in zip(self.sums, (low, low, shift), (low, shift, shift), strict=False):
                total.addmm_(left.T, right)
            self.many[0] += len(low)
            self.waiting[0].clear()
            self.waiting[1].clear()
        if sum(map(len, self.waiting[2])) >= least:
            safe = torch.cat(self.waiting[2])
            self.sums[3].addmm_(safe.T, safe)
            self.many[1] += len(safe)
            self.waiting[2].clear()


def wants_sums(anchors: Anchors, inputs: int, protect: bool) -> bool:
    """Whether there are as many anchors as inputs, or more."""
    english = len(anchors.harmful[anchors.english])
    harmless = sum(map(len, anchors.harmless.values()))
    return english * (len(anchors.languages) + protect) + harmless >= inputs


def memory(anchors: Anchors, inputs: int, summed: bool) -> int:
    """Bytes of one layer, about; sums are those of two parts of the anchors."""
    rows = sum(len(each) for kind in (anchors.harmful, anchors.harmless) for each in kind.values())
    return 8 * inputs * (8 * inputs + BLOCK if summed else rows)


def chunks(layers: Sequence[int], each: int, budget: int) -> list[list[int]]:
    """Layers that fit into a budget of bytes together, at least one at a time."""
    many = max(1, budget // max(each, 1))
    return [list(layers[at : at + many]) for at in range(0, len(layers), many)]
