"""From a question to evidence: a plan, the signals that it calls for, and one order of the turns within a budget.

    score(t) = sum_i w_i s_i(t) + sum_p w_p [t is picked by p]

The s_i are words and addresses (`rank.py`), the p are versions of states at the time asked for (`state.py`), causes
(`cause.py`) and steps that a count or a list is of (`tally.py`). Nothing is evidence where the run cannot tell
(`absent.py`). There is no model in it, and the same view gives the same answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from posttrain.memory.answer import Answer, Evidence, Finding
from posttrain.memory.embedders import Space
from posttrain.memory.retrieval import rank
from posttrain.memory.retrieval.absent import absent
from posttrain.memory.retrieval.budget import fitted
from posttrain.memory.retrieval.cause import cause
from posttrain.memory.retrieval.pick import Picked, Window
from posttrain.memory.retrieval.question import Plan, plan
from posttrain.memory.retrieval.state import state
from posttrain.memory.retrieval.tally import earliest, tally
from posttrain.memory.rows import Proof, Turn
from posttrain.memory.view import Lengths, View

PARTS = ("address", "edges", "time", "scan", "words", "vectors")
"""What can be left out, to see what it is worth: steps that the question names, the graph's walks, the time that bounds
states, the whole log for counts and lists, the question's words, and its vector."""


def ask(
    view: View,
    question: str,
    *,
    turns: int = 10,
    tokens: int | None = None,
    explain: bool = False,
    without: Collection[str] = (),
    space: Space | None = None,
) -> Answer:
    """The evidence that a run has on a question.

    Args:
        view: The run.
        question: In plain words; it is read as words, whatever marks are in it.
        turns: At most so many turns of evidence.
        tokens: At most about so many tokens of evidence together; what does not fit is cut around its proofs.
        explain: Whether to say what was understood, and what each signal gave.
        without: Parts of `PARTS` to leave out.
        space: Whose vectors of the turns are compared with the question's, where the view has some; None uses none.

    Raises:
        ValueError: A budget is below 1, or a part is unknown.
    """
    for name, value in (("turns", turns), ("tokens", tokens)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} leaves no room for evidence; give at least 1.")
    if unknown := sorted(set(without) - set(PARTS)):
        raise ValueError(f"without={unknown[0]!r} is no part of the planner; use some of {', '.join(PARTS)}.")
    lengths = view.lengths()

    def nothing(because: str, explained: Mapping[str, Any]) -> Answer:
        return Answer(view.run, question, view.until, because=because, explained=explained if explain else {})

    if not question.strip():
        return nothing("The question is empty; ask for something.", {})
    if not len(lengths.turn):
        return nothing("Nothing is known of this run at that time.", {})
    wanted = plan(question, view, lengths)
    if because := absent(view, wanted, lengths):
        return nothing(because, {"plan": _told(wanted)})
    asked = rank.words(wanted.words)
    signals, read = rank.signals(
        view, lengths, wanted.where, asked, address="address" not in without, lexical="words" not in without
    )
    if space is not None and "vectors" not in without:
        signals |= rank.alike(view, lengths, space, wanted.words)
    total = rank.fused(signals, len(lengths.turn))
    picked = _picked(view, wanted, lengths, without)
    proofs, why = _added(total, picked, lengths)
    best = _best(total, turns)
    if not len(best):
        return nothing("No word of the question occurs in this run.", {"plan": _told(wanted)})
    chosen = lengths.turn[best].tolist()
    scores = dict(zip(chosen, total[best].tolist(), strict=True))
    reasons = {step: (*why[step], *_reasons(signals, place)) for step, place in zip(chosen, best.tolist(), strict=True)}
    have = {turn.turn: turn for turn in read if turn.turn in scores}
    have |= {turn.turn: turn for turn in view.turns([step for step in chosen if step not in have])}
    evidence = [_evidence(have[step], scores[step], proofs[step], reasons[step]) for step in chosen]
    findings: list[Finding] = [each for one in picked.values() for each in one.findings]
    explained = {}
    if explain:
        explained = {"plan": _told(wanted), "words": asked, "signals": _given(signals, picked, lengths, turns)}
    kept = fitted(evidence, tokens)
    return Answer(view.run, question, view.until, kept, tuple(findings), explained=explained)


def _picked(view: View, wanted: Plan, lengths: Lengths, without: Collection[str]) -> dict[str, Picked]:
    """What the plan's own signals pick."""
    first, last = int(lengths.turn[0]), int(lengths.turn[-1])
    where, found = wanted.where, {}
    if "scan" not in without:
        inside = where.inside or (where.since or first, last if where.until is None else where.until)
        window = Window(max(first, inside[0]), min(last, inside[1]))
        listed = tally(view, wanted, window)
        if listed is None:
            listed = earliest(view, wanted, window)
        if listed is not None:
            found["scan"] = listed
    if "edges" not in without and wanted.causes:
        found["cause"] = cause(view, wanted, last)
    if wanted.states and not wanted.counts:
        bound = where.latest if "time" not in without else None
        found["state"] = state(view, wanted, last if bound is None else min(bound, last))
    return {name: each for name, each in found.items() if each.picks or each.findings}


def _added(
    total: np.ndarray, picked: Mapping[str, Picked], lengths: Lengths
) -> tuple[dict[int, list[Proof]], dict[int, list[str]]]:
    """Add the picks' weights to the scores, the largest of each signal for a turn; and what they rest on."""
    proofs: dict[int, list[Proof]] = defaultdict(list)
    why: dict[int, list[str]] = defaultdict(list)
    for name, each in picked.items():
        weights: dict[int, float] = {}
        for pick in each.picks:
            weights[pick.turn] = max(weights.get(pick.turn, 0.0), pick.weight)
            if pick.proof is not None:
                proofs[pick.proof.turn].append(pick.proof)
        steps = sorted(weights)
        places = np.searchsorted(lengths.turn, steps)
        for step, place in zip(steps, places.tolist(), strict=True):
            if place < len(total) and lengths.turn[place] == step:
                total[place] += weights[step]
                why[step].append(name)
    return proofs, why


def _best(total: np.ndarray, most: int) -> np.ndarray:
    """The places with the largest scores, of those that have any; rounded, so that engines agree on ties."""
    rounded = np.round(total, 9)
    places = np.flatnonzero(rounded > 0)
    return places[np.argsort(-rounded[places], kind="stable")][:most]


def _reasons(signals: Mapping[str, np.ndarray], place: int) -> tuple[str, ...]:
    return tuple(name for name, values in signals.items() if values[place] > 0 and rank.WEIGHTS[name] > 0)


def _evidence(turn: Turn, score: float, proofs: Sequence[Proof], signals: tuple[str, ...]) -> Evidence:
    kept = tuple(sorted(set(proofs)))
    return Evidence(turn.turn, turn.action, turn.observation, round(score, 9), kept, signals)


def _told(wanted: Plan) -> dict[str, Any]:
    return {"kind": wanted.kind, **{name: value for name, value in asdict(wanted).items() if name != "words"}}


def _given(
    signals: Mapping[str, np.ndarray], picked: Mapping[str, Picked], lengths: Lengths, most: int
) -> dict[str, list[tuple[int, float]]]:
    """For each signal the turns that it gave most to."""
    found = {}
    for name, values in signals.items():
        best = _best(values, most)
        found[name] = [(int(lengths.turn[at]), round(float(values[at]), 6)) for at in best]
    for name, each in picked.items():
        found[name] = sorted({(pick.turn, round(pick.weight, 6)) for pick in each.picks})
    return found
