"""Evidence within a budget of tokens: the best turns whole where they fit, else cut around their proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from posttrain.memory.answer import Evidence
from posttrain.memory.rows import Field, Proof
from posttrain.text import BYTES
from posttrain.text import tokens as count

CUT = "\u2026"
"""Stands for what was left out."""
FEWEST = 24
"""A turn that gets fewer tokens is left out, unless it is the only one."""


def fitted(evidence: Sequence[Evidence], tokens: int | None) -> tuple[Evidence, ...]:
    """Evidence within a budget, ordered by turn.

    Args:
        evidence: The best first.
        tokens: For all of it; None is no limit.
    """
    kept: list[Evidence] = []
    left = tokens
    for at, each in enumerate(evidence):
        if left is None:
            kept.append(each)
            continue
        if left <= 0:
            break
        size = count(each.action) + count(each.observation)
        if size > left or (size > left // 2 and len(evidence) - at > 2):
            share = left if at + 1 == len(evidence) else min(left, max(FEWEST, left // 2))
            if size > share and share < FEWEST and kept:
                break
            each = cut(each, min(share, size))
            size = count(each.action) + count(each.observation)
        left -= size
        kept.append(each)
    return tuple(sorted(kept, key=lambda each: each.turn))


def cut(each: Evidence, tokens: int) -> Evidence:
    """A turn's parts within a budget: the action first, then the observation."""
    action = _part(each.action, "action", each.proofs, max(1, tokens // 2))
    left = tokens - count(action)
    return replace(each, action=action, observation=_part(each.observation, "observation", each.proofs, left))


def _part(text: str, field: Field, proofs: Sequence[Proof], tokens: int) -> str:
    """A text, or as much of it around its proofs as fits."""
    if count(text) <= tokens:
        return text
    room = int(tokens * BYTES) - 2 * len(CUT.encode())
    if room <= 0:
        return ""
    spans = [(proof.start, proof.end) for proof in proofs if proof.field == field and proof.start < len(text)]
    start = max(0, spans[0][0] - room // 4) if spans else 0
    piece = text[start : start + room]
    while piece and len(piece.encode("utf-8", "surrogatepass")) > room:
        piece = piece[: len(piece) * room // len(piece.encode("utf-8", "surrogatepass"))]
    return (CUT if start else "") + piece + (CUT if start + len(piece) < len(text) else "")
