"""What truly happened in a world, for makers of questions: every change of every state, and what was printed when."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from posttrain.bench.ama.worlds.event import AGENT, Event

Changes = Mapping[tuple[str, str], Sequence[tuple[int, str]]]
"""By entity and attribute the steps at which it got a value, from the simulator; -1 is before the first."""


class Span(NamedTuple):
    """A value of a state, for as long as it lasted."""

    value: str
    first: int
    """The step that made it so."""
    last: int
    """The last step after which it was so."""


class Trace:
    """Events with the simulator's own account of the states.

    Args:
        events: From step 0 on, without gaps.
        changes: Of all states.
    """

    def __init__(self, events: Sequence[Event], changes: Changes) -> None:
        self.events = events
        self.changes = changes
        self.end = len(events) - 1
        self.printed: dict[tuple[str, str], list[int]] = defaultdict(list)
        """Steps whose observation prints a state of an entity."""
        self.done: dict[tuple[str, str], list[int]] = defaultdict(list)
        """Steps that did something to a thing, and it worked."""
        self.listings: dict[str, list[int]] = defaultdict(list)
        """Steps whose observation prints the whole contents of a place."""
        self.named: dict[str, list[int]] = defaultdict(list)
        """Steps in whose action or observation a thing is named, as a part of the event."""
        for event in events:
            names = {event.thing, event.place, event.tool}
            for shown in event.truth:
                self._add(self.printed[shown.entity, shown.attribute], event.step)
                names |= {shown.entity, shown.value}
            if event.done:
                self.done[event.verb, event.thing].append(event.step)
            if event.listed:
                self.listings[event.listed].append(event.step)
            for name in sorted(names):
                self.named[name].append(event.step)
        self.movers: dict[str, list[str]] = defaultdict(list)
        """By what is moved from elsewhere, the levers that move it."""
        for entity, attribute in changes:
            if attribute == "moves":
                self.movers[self.spans(entity, attribute)[-1].value].append(entity)

    @staticmethod
    def _add(steps: list[int], step: int) -> None:
        if not steps or steps[-1] != step:
            steps.append(step)

    def spans(self, entity: str, attribute: str) -> list[Span]:
        """The values of a state, one after the other."""
        found = self.changes.get((entity, attribute), ())
        ends = [step - 1 for step, _ in found[1:]] + [self.end]
        return [Span(value, step, end) for (step, value), end in zip(found, ends, strict=True)]

    def value(self, entity: str, attribute: str, step: int) -> str:
        """A state right after a step."""
        found = self.changes[entity, attribute]
        return found[bisect.bisect_right(found, step, key=lambda change: change[0]) - 1][1]

    def inside(self, place: str, step: int) -> list[str]:
        """What is in a place right after a step."""
        located = [entity for entity, attribute in self.changes if attribute == "location" and entity != AGENT]
        return [entity for entity in located if self.value(entity, "location", step) == place]

    def last(self, steps: Sequence[int], before: int) -> int | None:
        """The last of some steps that is before a step."""
        at = bisect.bisect_left(steps, before)
        return steps[at - 1] if at else None

    def within(self, steps: Sequence[int], first: int, last: int) -> Sequence[int]:
        """Those of some steps that lie in a window, its ends included."""
        return steps[bisect.bisect_left(steps, first) : bisect.bisect_right(steps, last)]

    def between(self, name: str, first: int, last: int) -> bool:
        """Whether a thing is named strictly between two steps."""
        return bool(self.within(self.named.get(name, ()), first + 1, last - 1))
