"""Type D: what a long stretch comes to: every step at which something happened, sets, counts, returns."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from posttrain.bench.ama.questions.candidate import Candidate, steps
from posttrain.bench.ama.questions.trace import Trace

FEWEST, MOST = 3, 16
"""Steps that count, in a window."""


def candidates(trace: Trace, rng: random.Random) -> Iterator[Candidate]:
    """All templates of the type."""
    moved: dict[str, list[int]] = defaultdict(list)
    visits: dict[str, list[int]] = defaultdict(list)
    failed = [event.step for event in trace.events if not event.done]
    for event in trace.events:
        if event.done and event.verb in ("take", "put", "drop"):
            moved[event.thing].append(event.step)
        elif event.done and event.verb == "go" and event.place:
            visits[event.place].append(event.step)
    for thing, found in moved.items():
        for first, last, inside in _windows(trace, rng, found):
            slots = {"thing": thing, "first": first, "last": last}
            yield Candidate("D", "moves", slots, tuple(inside), steps(*inside), unordered=True)
    for room, found in visits.items():
        for first, last, inside in _windows(trace, rng, found):
            slots = {"thing": room, "first": first, "last": last}
            yield Candidate("D", "visits", slots, len(inside), steps(*inside))
    for (verb, thing), found in trace.done.items():
        if verb in ("open", "close", "unlock", "pull", "turn", "take"):
            for first, last, inside in _windows(trace, rng, found):
                slots = {"verb": verb, "thing": thing, "first": first, "last": last}
                yield Candidate("D", "count", slots, len(inside), steps(*inside))
    for first, last, inside in _windows(trace, rng, failed):
        slots = {"first": first, "last": last}
        yield Candidate("D", "failed", slots, tuple(inside), steps(*inside), unordered=True)
    entered = sorted(step for found in visits.values() for step in found)
    taken = sorted(step for (verb, _), found in trace.done.items() if verb == "take" for step in found)
    for template, found in (("rooms", entered), ("taken", taken)):
        yield from _sets(trace, rng, template, found)


def _sets(trace: Trace, rng: random.Random, template: str, found: Sequence[int]) -> Iterator[Candidate]:
    """Which rooms or things there were; any one step of each will do."""
    for first, last, inside in _windows(trace, rng, found):
        by_name: dict[str, list[int]] = defaultdict(list)
        for step in inside:
            event = trace.events[step]
            by_name[event.place if template == "rooms" else event.thing].append(step)
        if len(by_name) >= FEWEST:
            slots = {"first": first, "last": last}
            needle = tuple(map(tuple, by_name.values()))
            yield Candidate("D", template, slots, tuple(sorted(by_name)), needle, unordered=True)


def _windows(trace: Trace, rng: random.Random, found: Sequence[int]) -> Iterator[tuple[int, int, Sequence[int]]]:
    """Windows over some steps: first and last step, and those that count; as long as they can be around these."""
    if len(found) < FEWEST:
        return
    for _ in range(4):
        size = rng.randint(FEWEST, min(MOST, len(found)))
        at = rng.randrange(len(found) - size + 1)
        before = found[at - 1] + 1 if at else 0
        after = found[at + size] - 1 if at + size < len(found) else trace.end
        inside = found[at : at + size]
        yield rng.randint(before, inside[0]), rng.randint(inside[-1], after), inside
