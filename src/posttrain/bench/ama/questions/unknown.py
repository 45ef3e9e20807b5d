"""Questions that a log does not answer: unknown names, steps beyond the end, states that nobody saw."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from posttrain.bench.ama.questions.candidate import Candidate
from posttrain.bench.ama.questions.trace import Trace
from posttrain.bench.ama.worlds.event import AGENT

REASONS = ("unknown", "beyond", "unseen")


def candidates(trace: Trace, rng: random.Random, strangers: Sequence[str]) -> Iterator[tuple[str, Candidate]]:
    """Each with why it has no answer.

    Args:
        trace: Of the log.
        rng: Draws.
        strangers: Names of things that are nowhere in the log.
    """
    for thing in strangers:
        step = rng.randint(trace.end // 3, trace.end)
        yield "unknown", Candidate("A", "first", {"verb": "take", "thing": thing}, None)
        yield "unknown", Candidate("C", "location", {"thing": thing, "step": step}, None)
        slots = {"verb": "unlock", "thing": thing, "step": step}
        yield "unknown", Candidate("B", "first key", slots, None)
    for _ in range(4):
        step = trace.end + rng.randint(2, 400)
        yield "beyond", Candidate("A", "action", {"step": step}, None)
        yield "beyond", Candidate("A", "window", {"first": step, "last": step + rng.randint(2, 5)}, None)
    things = sorted({entity for entity, attribute in trace.changes if entity != AGENT and attribute != "moves"})
    for thing in things:
        for attribute in ("label", "notch"):
            if trace.named.get(thing) and (thing, attribute) not in trace.printed:
                step = rng.randint(trace.named[thing][0], trace.end)
                yield "unseen", Candidate("C", attribute, {"thing": thing, "step": step}, None)
