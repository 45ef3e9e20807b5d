"""How well each turn of a run fits a question's words and addresses: signals, which a weighted sum makes one order.

A signal has a number for every turn, most of them between 0 and 1. Words are matched by BM25 in two fields, actions
and what observations tell that is new, with statistics of the view alone. Only few turns are read: those that the
cheap signals prefer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from posttrain.embedding import cosines
from posttrain.memory.embedders import Space
from posttrain.memory.retrieval.address import Addresses
from posttrain.memory.rows import Turn
from posttrain.memory.view import Hits, Lengths, View
from posttrain.text import terms

K1 = 1.2
"""BM25's saturation."""
B_ACTION, B_NEWS = 0.3, 0.75
"""BM25's share of the length, for actions and for observations."""
WORDS = 64
"""At most so many different words of a question are looked up."""
READ = 160
"""Of so many turns the action is read."""
CLOSE = 48
"""Of so many the observation too."""
SHOWN = 4000
"""Characters of an observation that are read."""
SHORT = 9
"""A range of at most so many steps is an address; of a longer one, only its ends are."""
LINKED, LONG = 24, 5000
"""At most so many words of addressed turns are looked for in others; a third of it in a run of more turns than that."""
FILLER = frozenset(
    terms("step steps turn turns agent action actions observation trajectory question exactly after before")
)
"""Words of questions about logs, not of logs."""
CHANGING = frozenset(
    terms(
        "take put move open close use clean heat cool slice toggle insert create edit replace write type drop pick give"
        " lock unlock press set update delete remove add push pull fill submit fix modify change apply implement do"
        " collect place turn"
    )
)
"""Verbs of actions that change something."""

WEIGHTS: Mapping[str, float] = {
    "address": 8.0,
    "range": 0.5,
    "between": 1.2,
    "near": 0.7,
    "before": 0.4,
    "action": 0.9,
    "news": 0.7,
    "pairs": 0.7,
    "smooth": 0.8,
    "changing": 0.7,
    "again": -0.4,
    "link": 0.2,
    "vectors": 0.5,
    "next": 0.5,
}
"""What each signal counts."""


class Lexical(NamedTuple):
    """BM25 of each turn."""

    action: np.ndarray
    news: np.ndarray
    rarity: np.ndarray
    """Of each term that was asked for: the larger of its two inverse document frequencies."""


def words(question: str) -> list[str]:
    """The different words of a question that are looked up."""
    return [word for word in dict.fromkeys(terms(question[:20_000])) if word not in FILLER][:WORDS]


def bm25(hits: Hits, lengths: Lengths, asked: int) -> Lexical:
    """BM25 in both fields.

    Args:
        hits: Where the terms occur.
        lengths: Of all turns of the view.
        asked: How many terms were asked for.
    """
    at = np.searchsorted(lengths.turn, hits.turn)
    rarities, scores = [], []
    for counts, length, b in ((hits.action, lengths.action, B_ACTION), (hits.news, lengths.news, B_NEWS)):
        documents = np.bincount(hits.term, counts > 0, asked) if asked else np.zeros(0)
        rarity = _rarity(documents, len(length))
        mean = float(length.mean()) if len(length) else 0.0
        norm = K1 * (1 - b + b * length[at] / mean) if mean else np.ones(len(at))
        gains = np.where(counts > 0, rarity[hits.term] * counts * (K1 + 1) / (counts + norm), 0.0)
        scores.append(np.bincount(at, gains, len(length)))
        rarities.append(np.where(documents > 0, rarity, 0.0))
    return Lexical(scores[0], scores[1], np.maximum(*rarities))


def _rarity(documents: np.ndarray, many: int) -> np.ndarray:
    """The inverse document frequency of terms that so many of all turns have."""
    return np.log1p((many - documents + 0.5) / (documents + 0.5))


def signals(
    view: View, lengths: Lengths, where: Addresses, asked: Sequence[str], *, address: bool = True, lexical: bool = True
) -> tuple[dict[str, np.ndarray], list[Turn]]:
    """The signals of words and addresses.

    Args:
        view: The run.
        lengths: Of all its turns.
        where: The question's addresses.
        asked: The question's words.
        address: Whether addresses count.
        lexical: Whether words count.

    Returns:
        Name to a number for every turn; and the turns that were read.
    """
    found: dict[str, np.ndarray] = {}
    turn, many = lengths.turn, len(lengths.turn)
    anchors = np.zeros(0, np.int64)
    if address and where.steps:
        found, anchors = _placed(turn, where)
    if lexical and asked:
        words = bm25(view.hits(asked), lengths, len(asked))
        found["action"], found["news"] = _unit(words.action), _unit(words.news)
        found["smooth"] = _beside((found["action"] + found["news"]) / 2)
        if len(anchors):
            found["link"] = _linked(view, lengths, anchors)
        total = fused(found, many)
        first = _best(total, READ)
        best = np.sort(first)
        turns = view.turns(turn[best].tolist())
        places = np.searchsorted(turn, [each.turn for each in turns])
        found["changing"] = _spread(places, [_changes(each) for each in turns], many)
        found["again"] = _spread(places, _again(turns), many)
        close = set(first[:CLOSE].tolist())
        near = [(place, each) for place, each in zip(places.tolist(), turns, strict=True) if place in close]
        rare = dict(zip(asked, words.rarity.tolist(), strict=True))
        scores = _pairs([each for _, each in near], asked, rare)
        found["pairs"] = _unit(_spread([place for place, _ in near], scores, many))
        return found, turns
    return found, []


def alike(view: View, lengths: Lengths, space: Space, question: str) -> dict[str, np.ndarray]:
    """The cosine of each turn's vector with the question's, so far as it is above the mean."""
    turn, matrix = view.vectors(space.name)
    if not len(turn):
        return {}
    found = cosines(matrix, np.asarray(space.embed([question]), np.float32)[0])
    spread = np.zeros(len(lengths.turn))
    spread[np.searchsorted(lengths.turn, turn)] = np.maximum(found - found.mean(), 0.0)
    return {"vectors": _unit(spread)}


def fused(found: Mapping[str, np.ndarray], many: int) -> np.ndarray:
    """The weighted sum of the signals."""
    total = np.zeros(many)
    for name, values in found.items():
        total += WEIGHTS[name] * values
    return total


def _placed(turn: np.ndarray, where: Addresses) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The signals of addresses, and the addressed places."""
    exact = np.isin(turn, where.steps)
    ranged = np.zeros(len(turn), bool)
    for first, last in where.spans:
        if last - first < SHORT:
            ranged |= (turn >= first) & (turn <= last)
    exact |= ranged
    between = (turn > min(where.steps)) & (turn < max(where.steps))
    anchors = np.flatnonzero(exact)
    near, before, after = (np.zeros(len(turn)) for _ in range(3))
    if len(anchors):
        places = np.arange(len(turn))
        right = np.searchsorted(anchors, places)
        ahead = np.abs(anchors[np.minimum(right, len(anchors) - 1)] - places)
        behind = np.abs(places - anchors[np.maximum(right - 1, 0)])
        near = np.where(exact, 0.0, np.exp(-np.minimum(ahead, behind) / 2))
        before[anchors[anchors > 0] - 1] = 1.0
        after[anchors[-1] + 1 : anchors[-1] + 4] = 1.0
    before[exact] = 0.0
    found = {"address": exact, "range": ranged, "between": between & ~exact, "near": near, "before": before}
    found["next"] = after
    return {name: np.asarray(values, float) for name, values in found.items()}, anchors


def _linked(view: View, lengths: Lengths, anchors: np.ndarray) -> np.ndarray:
    """How many rare words each turn shares with the addressed ones."""
    many = len(lengths.turn)
    turns = view.turns(lengths.turn[anchors[:8]].tolist())
    did = {word for each in turns for word in terms(each.action[:SHOWN])}
    saw = {word for each in turns for word in terms(each.observation[:SHOWN])}
    asked = sorted(did | saw, key=lambda word: (word not in did, -len(word), word))[
        : LINKED if many <= LONG else LINKED // 3
    ]
    hits = view.hits(asked)
    spread = np.bincount(hits.term, minlength=len(asked))
    rare = (spread >= 2) & (spread <= max(2, many // 4))
    kept = rare[hits.term]
    at = np.searchsorted(lengths.turn, hits.turn[kept])
    gains = _rarity(spread, many)[hits.term[kept]]
    total = np.bincount(at, gains, many) / np.sqrt(4 + lengths.action + lengths.news)
    total[anchors] = 0.0
    return _unit(total)


def _pairs(turns: Sequence[Turn], asked: Sequence[str], rarity: Mapping[str, float]) -> list[float]:
    """How many of the question's neighbouring words are neighbours in the observation."""
    wanted = {(a, b): (rarity[a] + rarity[b]) / 2 for a, b in pairwise(asked)}
    found = [wanted.keys() & set(pairwise(terms(each.observation[:SHOWN]))) for each in turns]
    return [sum(wanted[pair] for pair in sorted(each)) for each in found]


def _changes(turn: Turn) -> float:
    return float(not CHANGING.isdisjoint(terms(turn.action[:200])[:12]))


def _again(turns: Sequence[Turn]) -> list[float]:
    """How often the same action came before, up to 3 times."""
    seen: dict[str, int] = {}
    found = []
    for each in turns:
        found.append(min(seen.get(each.action, 0), 3) / 3)
        seen[each.action] = seen.get(each.action, 0) + 1
    return found


def _best(total: np.ndarray, most: int) -> np.ndarray:
    """The places of the largest numbers, earlier turns first among equals."""
    if len(total) > 4 * most:
        least = np.partition(total, len(total) - most)[len(total) - most]
        places = np.flatnonzero(total >= least)
    else:
        places = np.arange(len(total))
    return places[np.argsort(-total[places], kind="stable")][:most]


def _spread(places: Sequence[int] | np.ndarray, values: Sequence[float], many: int) -> np.ndarray:
    found = np.zeros(many)
    found[np.asarray(places, np.int64)] = values
    return found


def _unit(values: np.ndarray) -> np.ndarray:
    """Divided by the largest."""
    most = float(values.max()) if len(values) else 0.0
    return values / most if most > 0 else values


def _beside(values: np.ndarray) -> np.ndarray:
    """The mean of the turns before and after."""
    found = np.zeros(len(values))
    found[1:] += values[:-1] / 2
    found[:-1] += values[1:] / 2
    return found
