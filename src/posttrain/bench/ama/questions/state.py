"""Type C: how something stood right after a step, be it printed whole or only to be worked out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from posttrain.bench.ama.questions.candidate import Candidate
from posttrain.bench.ama.questions.trace import Trace
from posttrain.bench.ama.worlds.event import AGENT, CARRIED

SINGLE = ("location", "state", "label")
"""Attributes that a template of the same name asks for."""
AWAY = 2
"""The evidence lies at least so many steps before the one that is named."""
MOST = 8
"""Pieces of evidence."""


def candidates(trace: Trace, rng: random.Random) -> Iterator[Candidate]:
    """All templates of the type."""
    movable = {thing for verb, thing in trace.done if verb in ("take", "put", "drop")}
    for entity, attribute in trace.changes:
        if entity == AGENT:
            yield from _single(trace, rng, AGENT, "location", "agent")
        elif attribute in SINGLE and (attribute != "location" or entity in movable):
            yield from _single(trace, rng, entity, attribute, attribute)
        elif attribute == "notch":
            yield from _notch(trace, rng, entity)
    for place in trace.listings:
        if place == CARRIED or (place, "state") in trace.changes:
            yield from _contents(trace, rng, place)


def _single(trace: Trace, rng: random.Random, entity: str, attribute: str, template: str) -> Iterator[Candidate]:
    """A value that some turn prints whole."""
    spans = trace.spans(entity, attribute)
    for span in spans:
        shown = trace.within(trace.printed[entity, attribute], max(span.first, 0), span.last)
        if not shown or shown[0] + AWAY > span.last:
            continue
        step = rng.randint(shown[0] + AWAY, span.last)
        evidence = tuple(trace.within(shown, 0, step))
        if evidence[-1] + AWAY > step:
            continue
        slots = {"thing": entity, "step": step} if template != "agent" else {"step": step}
        yield Candidate("C", template, slots, span.value, (evidence,), hard=span is not spans[-1])


def _notch(trace: Trace, rng: random.Random, dial: str) -> Iterator[Candidate]:
    """The last reading and every turn of the dial since."""
    turned = trace.done.get(("turn", dial), [])
    spans = trace.spans(dial, "notch")
    for span in spans:
        if span.first + AWAY > span.last:
            continue
        step = rng.randint(span.first + AWAY, span.last)
        needle = _since(trace, trace.printed[dial, "notch"], turned, step)
        if needle:
            slots = {"thing": dial, "step": step}
            yield Candidate("C", "notch", slots, span.value, needle, hard=span is not spans[-1])


def _contents(trace: Trace, rng: random.Random, place: str) -> Iterator[Candidate]:
    """The last listing and every coming and going since."""
    moved = sorted(
        event.step
        for event in trace.events
        if event.done
        and (
            (event.verb in ("take", "put", "drop") and place == CARRIED)
            or (event.verb in ("take", "put") and event.place == place)
        )
    )
    listings = trace.listings[place]
    marks = sorted({*listings, *moved})
    for mark, following in zip(marks, [*marks[1:], trace.end], strict=True):
        if mark + AWAY >= following:
            continue
        step = rng.randint(mark + AWAY, following - 1)
        needle = _since(trace, listings, moved, step)
        if needle and _once(trace, needle[1:]):
            answer = tuple(sorted(trace.inside(place, step)))
            template, slots = ("contents", {"thing": place, "step": step})
            if place == CARRIED:
                template, slots = "inventory", {"step": step}
            hard = bool(moved) and moved[-1] > step
            yield Candidate("C", template, slots, answer, needle, unordered=True, hard=hard)


def _once(trace: Trace, needle: Sequence[tuple[int, ...]]) -> bool:
    """Whether nothing went and came back, which would leave steps that change nothing among the evidence."""
    things = [trace.events[piece[0]].thing for piece in needle]
    return len(set(things)) == len(things)


def _since(
    trace: Trace, readings: Sequence[int], changes: Sequence[int], step: int
) -> tuple[tuple[int, ...], ...] | None:
    """The last reading up to a step, any other between the same two changes, and every change after it."""
    last = trace.last(readings, step + 1)
    if last is None:
        return None
    after = trace.within(changes, last + 1, step)
    before = trace.last(changes, last + 1)
    same = trace.within(readings, -1 if before is None else before, last)
    needle = (tuple(reversed(same)), *((change,) for change in after))
    latest = max(last, *after) if after else last
    return needle if len(needle) <= MOST and latest + AWAY <= step else None
