"""Type B: which earlier step made a step possible, and what a step led to.

A key opens by being picked up, a lid by having been unlocked or opened, a gate by a lever elsewhere. What a lever moves
is hidden, and printed only where somebody looks at it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from posttrain.bench.ama.questions.candidate import Candidate, steps
from posttrain.bench.ama.questions.trace import Trace
from posttrain.bench.ama.worlds.event import Event


def candidates(trace: Trace, rng: random.Random) -> Iterator[Candidate]:
    """All templates of the type."""
    del rng  # every cause there is
    for event in trace.events:
        if event.done and event.verb in MAKERS:
            for maker in MAKERS[event.verb]:
                yield from maker(trace, event)


def _key(trace: Trace, event: Event) -> Iterator[Candidate]:
    taken = trace.last(trace.done["take", event.tool], event.step)
    if taken is None:
        return
    hard = trace.between(event.tool, taken, event.step)
    slots = {"thing": event.thing, "verb": event.verb, "step": event.step}
    yield Candidate("B", "key", slots, taken, steps(event.step, taken), hard=hard)
    if event.verb == "unlock" and trace.done["unlock", event.thing][0] == event.step:
        yield Candidate("B", "first key", {"thing": event.thing}, taken, steps(event.step, taken), hard=hard)


def _unlocked(trace: Trace, event: Event) -> Iterator[Candidate]:
    return _after(trace, event, "unlock", event.thing, "unlocked")


def _opened(trace: Trace, event: Event) -> Iterator[Candidate]:
    return _after(trace, event, "open", event.place, "opened")


def _after(trace: Trace, event: Event, verb: str, thing: str, template: str) -> Iterator[Candidate]:
    """The last time before an action that something was done to a thing."""
    before = trace.last(trace.done[verb, thing], event.step)
    if before is not None:
        hard = trace.between(thing, before, event.step)
        yield Candidate("B", template, {"thing": thing, "step": event.step}, before, steps(before), hard=hard)


def _origin(trace: Trace, event: Event) -> Iterator[Candidate]:
    taken = trace.last(trace.done["take", event.thing], event.step)
    if taken is not None:
        hard = trace.between(event.thing, taken, event.step)
        slots = {"thing": event.thing, "step": event.step}
        yield Candidate("B", "origin", slots, trace.events[taken].place, steps(taken), hard=hard)


def _effect(trace: Trace, event: Event) -> Iterator[Candidate]:
    """The first lock that a key opens after it was picked up, and before it is picked up again."""
    again = next((step for step in trace.done["take", event.thing] if step > event.step), trace.end + 1)
    for later in trace.events[event.step + 1 : again]:
        if later.done and later.verb in ("unlock", "lock") and later.tool == event.thing:
            hard = trace.between(event.thing, event.step, later.step)
            slots = {"thing": event.thing, "step": event.step}
            yield Candidate("B", "effect", slots, later.step, steps(later.step), hard=hard)
            return


def _lever(trace: Trace, event: Event) -> Iterator[Candidate]:
    looks = trace.printed[event.thing, "moves"]
    if looks:
        gate = trace.spans(event.thing, "moves")[-1].value
        slots = {"thing": event.thing, "step": event.step}
        yield Candidate("B", "lever", slots, gate, (tuple(looks),), hard=event.step not in looks)


def _gate(trace: Trace, event: Event) -> Iterator[Candidate]:
    """Through what a lever opened."""
    door = passed(event)
    for lever in trace.movers.get(door, ()) if door else ():
        pulled = trace.last(trace.done["pull", lever], event.step)
        looks = trace.printed[lever, "moves"]
        if pulled is not None and looks:
            hard = trace.between(door, pulled, event.step)
            needle = ((event.step,), (pulled,), tuple(looks))
            yield Candidate("B", "gate", {"step": event.step}, pulled, needle, hard=hard)


BACK = {"north": "south", "south": "north", "east": "west", "west": "east"}


def passed(event: Event) -> str:
    """The door that the agent has come through, from the way back; empty where there is none."""
    back = BACK.get(event.tool)
    return next((way.door for way in event.exits if way.direction == back), "")


MAKERS = {
    "unlock": (_key,),
    "lock": (_key,),
    "open": (_unlocked,),
    "take": (_opened, _effect),
    "put": (_opened, _origin),
    "drop": (_origin,),
    "pull": (_lever,),
    "go": (_gate,),
}
"""By the action that is asked about."""
