"""EMPO2's memory: tips by task, and the states that were seen there. All of it is JSON, kept with the checkpoint.

    {"tips": {task: [[seen, tip, score], ...]}, "states": {task: [[text, visits], ...]}}

A task has lists of its own, so that a tip never leaks from one variation to another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from posttrain.embedding import Embedder, cosines

WORDS = 100
"""A tip is cut to so many words (the paper asks for one sentence of fewer)."""
LETTERS = 1000
"""A tip is cut to so many characters, whatever it counts as words."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_MARKER = re.compile(r"<\|[^<>|]*\|>|</?s>|<(?:bos|eos|pad|unk)>|\[/?INST\]")
"""Texts that chat templates write and tokenizers read as control tokens."""


class Tip(NamedTuple):
    """One entry of the memory."""

    seen: str
    """What was seen where it applies."""
    text: str
    """What it says."""
    score: float
    """What its episode earned, or its turn led to."""


def clean(text: str) -> str:
    """A tip on one line, without control characters and tokens, of bounded length; so it cannot pass for more."""
    return " ".join(_MARKER.sub(" ", _CONTROL.sub(" ", text)).split()[:WORDS])[:LETTERS].strip()


def add(memory: Mapping[str, Any], task: str, tips: Iterable[Tip], capacity: int) -> dict[str, Any]:
    """The memory with new tips of a task; the same tip is kept once, and the oldest leave first."""
    kept = {(seen, text): score for seen, text, score in memory["tips"].get(task, [])}
    for tip in tips:
        kept[tip.seen, tip.text] = max(tip.score, kept.get((tip.seen, tip.text), tip.score))
    listed = [[seen, text, score] for (seen, text), score in kept.items()]
    return {**memory, "tips": {**memory["tips"], task: listed[-capacity:]}}


def visit(
    memory: Mapping[str, Any], task: str, seen: Sequence[str], embed: Embedder, similarity: float, capacity: int
) -> dict[str, Any]:
    """The memory after states were seen in a task: each visits the most similar known one, or is a new one.

    Beyond `capacity` a new one takes the place of the one with the fewest visits, the oldest among equals.
    """
    known = [list(entry) for entry in memory["states"].get(task, [])]
    for text in seen:
        alike = cosines(embed([entry[0] for entry in known]), embed([text])[0]) if known else np.zeros(0)
        if len(alike) and alike.max() > similarity:
            known[int(alike.argmax())][1] += 1
            continue
        if len(known) >= capacity:
            known.remove(min(known, key=lambda entry: entry[1]))
        known.append([text, 1])
    return {**memory, "states": {**memory["states"], task: known}}


def retrieve(entries: Sequence[Sequence[Any]], seen: str, embed: Embedder, similarity: float, most: int) -> list[str]:
    """The tips of the best scores among those for what looks alike, newest first among equals, each text once."""
    if not entries:
        return []
    alike = cosines(embed([entry[0] for entry in entries]), embed([seen])[0])
    found = [entries[i] for i in reversed(np.flatnonzero(alike > similarity))]
    ranked = sorted(found, key=lambda entry: -entry[2])
    return list(dict.fromkeys(entry[1] for entry in ranked))[:most]


def novelty(states: Sequence[Sequence[Any]], episode: Sequence[str], embed: Embedder, similarity: float) -> list[float]:
    """1 / n of each state of an episode, n = 1 + visits to similar states, of earlier generations and of this episode.

    Args:
        states: What is known of the task, as (text, visits).
        episode: The states, in order.
        embed: Makes vectors.
        similarity: Two states are similar if their cosine is above it.
    """
    if not episode:
        return []
    vectors = embed(list(episode))
    known, visits = embed([state[0] for state in states]), np.array([state[1] for state in states], dtype=np.float64)
    found = []
    for t, vector in enumerate(vectors):
        before = visits[cosines(known, vector) > similarity].sum() if len(known) else 0.0
        own = (cosines(vectors[:t], vector) > similarity).sum() if t else 0
        found.append(1.0 / (1.0 + float(before) + float(own)))
    return found
