"""A log with questions: what a memory is given, what it is asked, and what a right answer rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from posttrain.memory.rows import Turn

Kind: TypeAlias = Literal["A", "B", "C", "D"]
"""A recall, B causal inference, C state updating, D state abstraction."""

KINDS: dict[Kind, str] = {"A": "recall", "B": "causal", "C": "state", "D": "abstraction"}
QUOTAS: dict[Kind, int] = {"A": 4, "B": 3, "C": 3, "D": 2}
"""Questions of each type about one log, as in the paper."""

Value: TypeAlias = str | int | tuple[str, ...] | tuple[int, ...]
"""Of an answer: a text, a number, a list in order, or a sorted set."""


class Shown(NamedTuple):
    """A state that the observation of a turn prints in its own words."""

    entity: str
    attribute: str
    value: str


class Printed(NamedTuple):
    """A state, and the turn whose observation prints it."""

    entity: str
    attribute: str
    value: str
    turn: int


@dataclass(frozen=True)
class Question:
    """A question about a log."""

    id: str
    """Unique within its log."""
    kind: Kind
    template: str
    """What is asked, such as `first`; a rule reader goes by it and by `slots`."""
    slots: Mapping[str, Any]
    """What it is asked about."""
    text: str
    """As it is put."""
    answer: Value | None
    """None where the log does not tell."""
    needle: tuple[tuple[int, ...], ...] = ()
    """The evidence in pieces, and for each the turns that hold it, any one of which will do; what made it so is first.
    Empty where nobody labelled it."""
    unordered: bool = False
    """Whether an answer that is a list is a set."""

    def __post_init__(self) -> None:
        if self.answer is None and self.needle:
            raise ValueError(f"question {self.id!r} has evidence but no answer; give its answer too.")
        if any(not piece for piece in self.needle):
            raise ValueError(f"question {self.id!r} has a piece of evidence in no turn; leave the piece out.")

    @property
    def answerable(self) -> bool:
        """Whether the log tells the answer."""
        return self.answer is not None

    @property
    def turns(self) -> tuple[int, ...]:
        """A smallest set of turns that holds the evidence, ordered."""
        return tuple(sorted({piece[0] for piece in self.needle}))

    @property
    def named(self) -> frozenset[int]:
        """Turns that the question itself names by their numbers."""
        if "named" in self.slots:
            return frozenset(self.slots["named"])
        return frozenset(value for name, value in self.slots.items() if name in ("step", "first", "last"))


@dataclass(frozen=True)
class Log:
    """One trajectory with its questions."""

    name: str
    """Also of the run in a memory."""
    world: str
    form: str
    """How it is printed: `prose`, `json` or `table`."""
    length: str
    """Its nominal length, such as `8K`."""
    task: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...] = ()
    truth: tuple[Printed, ...] = field(default=(), repr=False)
    """Every state that an observation prints, in order."""

    @property
    def tokens(self) -> int:
        """Estimated: four characters are one."""
        return sum(len(turn.action) + len(turn.observation) for turn in self.turns) // 4


def tokens_of(length: str) -> int:
    """`8K` is 8,192 tokens, `1M` is 1,048,576.

    Raises:
        ValueError: It is no length.
    """
    unit = {"K": 1024, "M": 1024 * 1024}.get(length[-1:].upper(), 0)
    digits = length[:-1]
    if not unit or not digits.isascii() or not digits.isdigit() or int(digits) < 1:
        raise ValueError(f"length {length!r} is none; write a whole number of K or M, such as 8K, 128K or 1M.")
    return int(digits) * unit
