"""Counting and listing over the whole log, never over the best turns: which steps, and how many."""

from __future__ import annotations

import itertools

from posttrain.memory.answer import Finding
from posttrain.memory.extract.act import failed
from posttrain.memory.extract.said import AGENT, PLACE
from posttrain.memory.retrieval.deed import EFFECTIVE, MOVES, deed, that, worked
from posttrain.memory.retrieval.pick import Picked, Window, acting, naming
from posttrain.memory.retrieval.question import Plan
from posttrain.memory.rows import Turn
from posttrain.memory.view import View

MEMBER, NEW, FIRST, NEXT = 12.0, 12.0, 13.0, 12.5
"""Weights of a step that counts, more if it is the first with its thing or place; of the first that did something, and
of the one after it."""


def tally(view: View, plan: Plan, window: Window) -> Picked | None:
    """The steps of a window that a counting or listing question asks for, all of them; None if it asks for none."""
    what = _members(view, plan, window)
    if what is None:
        return None
    found, steps = Picked(), [turn.turn for turn in what]
    fresh = _different(view, plan, what)
    for step in steps:
        found.add(step, MEMBER + NEW * (step in fresh))
    said = f"{len(steps)} steps from {window.first} to {window.last}: {', '.join(map(str, steps[:200])) or 'none'}."
    found.findings += [Finding("turns", said, steps), Finding("count", f"The count is {len(steps)}.", len(steps))]
    return found


def _members(view: View, plan: Plan, window: Window) -> list[Turn] | None:
    name = plan.names[0] if plan.names else None
    if plan.moved and name:
        return list(that(naming(view, name, window), MOVES, name))
    if plan.failed and not name and (plan.counts or plan.lists):
        return _failed(view, window)
    if not (plan.counts or plan.lists):
        return None
    if plan.entered:
        facts = [fact for fact in view.facts([AGENT], attribute=PLACE.__eq__) if fact.writer is not None]
        inside = [
            f.turn for f in facts if window.first <= f.turn <= window.last and (not name or f.value.casefold() == name)
        ]
        if inside or not name:
            return view.turns(inside)
    if plan.kinds and name:
        return list(that(naming(view, name, window), plan.kinds, name))
    if plan.kinds and any(kind in MOVES or kind in ("open", "close", "lock", "unlock", "write") for kind in plan.kinds):
        return list(that(acting(view, plan.kinds, window), plan.kinds))
    return None


def _different(view: View, plan: Plan, turns: list[Turn]) -> set[int]:
    """Of steps that are not about one thing, the first with each thing, or into each place."""
    if plan.names or plan.failed:
        return set()
    first: dict[str, int] = {}
    if plan.entered:
        places = {fact.turn: fact.value for fact in view.facts([AGENT], attribute=PLACE.__eq__)}
        for turn in turns:
            first.setdefault(places.get(turn.turn, ""), turn.turn)
    else:
        for turn in turns:
            what = deed(turn.action)
            first.setdefault(" ".join(what.rest[:3]) if what else "", turn.turn)
    return set(first.values())


def _failed(view: View, window: Window) -> list[Turn]:
    """The turns whose action did not work: that is told, or it changed nothing though its like always does."""
    broke: dict[int, Turn] = {}
    unclear: dict[int, Turn] = {}
    for turn in view.between(*window):
        what = deed(turn.action)
        told = worked(what, turn.observation) if what else not failed(turn.observation)
        if told is False:
            broke[turn.turn] = turn
        elif told is None and what and what.kind in EFFECTIVE:
            unclear[turn.turn] = turn
    wrote = {edge.source for edge in view.edges(sources=sorted(unclear), kinds=["WRITE"])} if unclear else set()
    broke |= {step: turn for step, turn in unclear.items() if step not in wrote}
    return [broke[step] for step in sorted(broke)]


def earliest(view: View, plan: Plan, window: Window) -> Picked | None:
    """The first step that did what the question says to what it names, and the step after it."""
    if not (plan.first and plan.names and plan.kinds):
        return None
    for name in plan.names:
        for turn in itertools.islice(that(naming(view, name, window), plan.kinds, name), 1):
            found = Picked()
            found.add(turn.turn, FIRST)
            if plan.following:
                after = view.between(turn.turn + 1, turn.turn + 1)
                for each in after:
                    found.add(each.turn, NEXT)
            found.findings.append(Finding("turns", f"The first such step is {turn.turn}.", [turn.turn]))
            return found
    return None
