"""What made a step possible, and what it made possible: a walk over CAUSES and READ edges and controls."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from posttrain.memory.answer import Finding
from posttrain.memory.extract.said import AGENT, CONTENTS, PLACE, STATE
from posttrain.memory.retrieval.deed import LOOKS, MOVES, deed, that
from posttrain.memory.retrieval.pick import Picked, Window, having, naming
from posttrain.memory.retrieval.question import Plan, named_each
from posttrain.memory.rows import Edge, Turn
from posttrain.memory.view import View
from posttrain.text import terms

DIRECT, SEEN, FAR, NAMED, TOLD = 3.0, 1.5, 1.0, 3.0, 4.0
"""Weights of a cause, of a state that was only seen, of a cause's cause; more where the question names the thing; and
of what is told about a named thing."""
ENABLES = {"open": "unlock", "take": "open", "put": "open"}
"""What must have been done to a thing, or to what it is in, before a kind of action."""
KINDS = ("open", "unlock", "take", "put", "on", "close")
"""Kinds of actions that make others possible."""
LOOKED = 400
"""At most so many turns of a thing are read."""
STEPS = 4
"""At most so many steps of a question are walked from."""


def cause(view: View, plan: Plan, end: int) -> Picked:
    """The evidence of causes, or of effects where the question asks for these."""
    found = Picked()
    steps = list(plan.where.steps[:STEPS])
    if not steps and plan.names and plan.kinds:
        steps = _events(view, plan, end)
        for step in steps:
            found.add(step, DIRECT + NAMED)
    if not steps:
        return found
    if plan.later:
        _effects(view, plan, steps, found)
        return found
    edges = view.edges(targets=steps, kinds=["CAUSES", "READ"])
    causes = [edge for edge in edges if edge.kind == "CAUSES"]
    caused = {(edge.target, edge.entity, edge.other) for edge in causes}
    for edge in edges:
        if edge.kind == "CAUSES" or (edge.target, edge.entity, edge.other) not in caused:
            found.add(edge.source, _weight(plan, edge), edge.proof)
    sources = sorted({edge.source for edge in causes} - set(steps))[:32]
    for edge in view.edges(targets=sources, kinds=["CAUSES"]) if sources else ():
        found.add(edge.source, FAR * (edge.entity != AGENT), edge.proof)
    _controls(view, edges, steps, found)
    for name in plan.names:
        _told(view, name, max(steps), found)
        _last_deeds(view, plan, name, min(steps), found)
    best = max(causes, key=lambda edge: (_weight(plan, edge), edge.source), default=None)
    if best is not None:
        text = f"Step {best.source} set the {best.other} of {best.entity}, which step {best.target} needs."
        found.findings.append(Finding("chain", text, [best.source, best.target], (best.proof,)))
    return found


def _weight(plan: Plan, edge: Edge) -> float:
    weight = DIRECT if edge.kind == "CAUSES" else SEEN
    if edge.entity in plan.names or set(terms(edge.entity)[-1:]) & set(terms(plan.words)):
        return weight + NAMED
    return weight if edge.entity != AGENT else weight / 3


def _events(view: View, plan: Plan, end: int) -> list[int]:
    """The steps that the question describes in place of a number: the first, or else the last, that did it."""
    for name in plan.names:
        turns = naming(view, name, Window(0, end), newest=not plan.first)
        if done := next(that(turns, plan.kinds, name), None):
            return [done.turn]
    return []


def _effects(view: View, plan: Plan, steps: list[int], found: Picked) -> None:
    """What steps made possible, the next of it first."""
    edges = [
        edge for edge in view.edges(sources=steps, kinds=["CAUSES"]) if edge.entity in plan.names or not plan.names
    ]
    turns = {turn.turn: turn for turn in view.turns(sorted({edge.target for edge in edges})[:64])}
    uses = [edge for edge in edges if edge.target in turns and not _handled(turns[edge.target])]
    for rank, edge in enumerate([*uses, *(edge for edge in edges if edge not in uses)]):
        found.add(edge.target, max(FAR, DIRECT + NAMED - rank), edge.proof)
    if uses:
        text = f"Step {uses[0].target} is the first that needs what step {uses[0].source} did to {uses[0].entity}."
        found.findings.append(Finding("chain", text, [uses[0].source, uses[0].target], (uses[0].proof,)))


def _handled(turn: Turn) -> bool:
    """Whether a thing was only moved about or looked at."""
    what = deed(turn.action)
    return what is None or what.kind in MOVES or what.kind in LOOKS


def _controls(view: View, edges: Iterable[Edge], steps: list[int], found: Picked) -> None:
    """Things that are told to move, open or switch what a step needed: where that is told, and their latest use."""
    needed = {edge.entity for edge in edges if edge.entity != AGENT and edge.other != PLACE}
    if not needed:
        return
    looking = _looking(view)
    for name in sorted(needed):
        seen = np.intersect1d(having(view, name, "observation"), looking)[:LOOKED].tolist()
        looks = [deed(turn.action, LOOKS) for turn in view.turns(seen)]
        texts = {" ".join(look.rest) for look in looks if look}
        looked = sorted({each for names in named_each(sorted(texts), view) for each in names} - {name})
        for fact in view.facts(looked, attribute=lambda each: each not in (PLACE, CONTENTS)) if looked else ():
            if fact.value.casefold() == name:
                found.add(fact.turn, TOLD, fact.proof)
                for turn in naming(view, fact.entity, Window(0, min(steps) - 1), newest=True):
                    if (what := deed(turn.action)) and what.kind not in LOOKS:
                        found.add(turn.turn, DIRECT + NAMED)
                        break


def _looking(view: View) -> np.ndarray:
    """Steps that looked at something."""
    hits = view.hits(sorted(LOOKS))
    return hits.turn[hits.action > 0]


def _told(view: View, name: str, until: int, found: Picked) -> None:
    """What is told about a thing that is no place and no state of it, whenever that was, such as what it moves."""
    for fact in view.facts([name], attribute=lambda each: each not in (PLACE, STATE, CONTENTS)):
        if fact.writer is None:
            found.add(fact.turn, TOLD, fact.proof)


def _last_deeds(view: View, plan: Plan, name: str, before: int, found: Picked) -> None:
    """The latest step of each kind that did something to a thing."""
    last: dict[str, int] = {}
    turns = itertools.islice(naming(view, name, Window(0, before - 1), newest=True), LOOKED)
    for turn in that(turns, KINDS, name):
        if what := deed(turn.action):
            last.setdefault(what.kind, turn.turn)
    enabling = {ENABLES[kind] for kind in plan.kinds if kind in ENABLES}
    for kind, step in last.items():
        found.add(step, DIRECT + NAMED if kind in enabling else NAMED if kind in plan.kinds else FAR)
