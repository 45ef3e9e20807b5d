"""What a memory answers: turns with proofs, values and chains that were read from them, or that there is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from posttrain.memory.rows import Proof


@dataclass(frozen=True)
class Evidence:
    """A turn that bears on a question."""

    turn: int
    action: str
    observation: str
    """As it came, or its parts around the proofs where the budget in tokens is short; a cut shows as an ellipsis."""
    score: float
    proofs: tuple[Proof, ...] = ()
    """What in it bears on the question; empty where the whole turn was asked for."""
    signals: tuple[str, ...] = ()
    """Why it was taken, such as `address` or `cause`."""


@dataclass(frozen=True)
class Finding:
    """Something that was read from the evidence without a model: a value, a count, a chain of causes."""

    what: str
    """`value`, `count`, `turns`, `chain`, `timeline`."""
    text: str
    """In one sentence."""
    value: Any
    """For programs."""
    proofs: tuple[Proof, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the memory has on a question. An empty one says so, and why."""

    run: str
    question: str
    as_of: int | None
    evidence: tuple[Evidence, ...] = ()
    """Ordered by turn."""
    findings: tuple[Finding, ...] = ()
    because: str = ""
    """Why there is no evidence, where there is none."""
    explained: Mapping[str, Any] = field(default_factory=dict)
    """With `explain=True`: the plan, and every signal with what it gave."""

    @property
    def turns(self) -> tuple[int, ...]:
        """Of the evidence."""
        return tuple(each.turn for each in self.evidence)

    def __bool__(self) -> bool:
        """Whether there is evidence."""
        return bool(self.evidence)
