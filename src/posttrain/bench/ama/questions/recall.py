"""Type A: what happened at a step, in a few steps, or first."""

from __future__ import annotations

import random
from collections.abc import Iterator

from posttrain.bench.ama.questions.candidate import Candidate, steps
from posttrain.bench.ama.questions.phrases import PAST
from posttrain.bench.ama.questions.trace import Trace


def candidates(trace: Trace, rng: random.Random) -> Iterator[Candidate]:
    """All templates of the type."""
    for event in trace.events[1:]:
        yield Candidate("A", "action", {"step": event.step}, event.command, steps(event.step))
    for _ in range(40):
        size = rng.randint(3, 6)
        first = rng.randrange(1, max(2, trace.end - size))
        window = trace.events[first : first + size]
        slots = {"first": first, "last": first + len(window) - 1}
        answer = tuple(event.command for event in window)
        if len(window) >= 3:
            yield Candidate("A", "window", slots, answer, steps(*(event.step for event in window)))
    for (verb, thing), found in trace.done.items():
        if thing and verb in PAST:
            slots = {"verb": verb, "thing": thing}
            yield Candidate("A", "first", slots, found[0], steps(found[0]), hard=len(found) > 1)
            if found[0] < trace.end:
                answer = trace.events[found[0] + 1].command
                needle = steps(found[0], found[0] + 1)
                yield Candidate("A", "after", slots, answer, needle, hard=len(found) > 1)
