"""What a store lost in writing: states that an observation printed in words, and that the graph does not give back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from posttrain.bench.ama.log import Printed
from posttrain.memory.graph import name_of
from posttrain.memory.rows import Fact


class Fidelity(NamedTuple):
    """How many states were printed, how many the store gives back, and the first that it does not."""

    printed: int
    kept: int
    lost: tuple[Printed, ...] = ()


def fidelity(facts: Sequence[Fact], truth: Sequence[Printed], show: int = 5) -> Fidelity:
    """Whether the store knows, right after each turn, every state that the turn prints.

    A state counts as kept if some attribute of the entity has that value then; what the attribute is called is the
    store's own affair.

    Args:
        facts: All versions of all states of the run, in order.
        truth: What was printed, in order.
        show: So many of the lost are told.
    """
    states: dict[str, dict[str, str]] = defaultdict(dict)
    coming, kept, lost = 0, 0, []
    for each in truth:
        while coming < len(facts) and facts[coming].turn <= each.turn:
            fact = facts[coming]
            states[fact.entity][fact.attribute] = name_of(fact.value)
            coming += 1
        if name_of(each.value) in states.get(name_of(each.entity), {}).values():
            kept += 1
        else:
            lost.append(each)
    return Fidelity(len(truth), kept, tuple(lost[:show]))
