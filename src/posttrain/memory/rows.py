"""What a memory is made of: turns as they came, and the rows of the indexes that are made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Field: TypeAlias = Literal["action", "observation"]
"""The two texts of a turn."""

Role: TypeAlias = Literal["write", "read", "mention"]
"""How a turn has to do with an entity: its action changed it, its action used it, or it is only named."""

Kind: TypeAlias = Literal["WRITE", "READ", "CAUSES", "ASSOC", "NEXT"]
"""Of edges; see `Edge`."""

RULES = "rules"
"""Who made a row, where no model did."""


@dataclass(frozen=True)
class Turn:
    """One step of an agent: what it did, and what it saw then. It is kept as it came."""

    run: str
    """The episode, conversation or task that it belongs to."""
    turn: int
    """Its number in the run, from 0; numbers may be left out."""
    action: str
    observation: str

    def text(self, field: Field) -> str:
        """One of its two texts."""
        return self.action if field == "action" else self.observation


class Proof(NamedTuple):
    """The characters of a turn that a row was read from."""

    turn: int
    field: Field
    start: int
    """First character."""
    end: int
    """One beyond the last."""


class Fact(NamedTuple):
    """A version of a state: from this turn on, until the next version, the entity's attribute has this value."""

    entity: str
    attribute: str
    value: str
    turn: int
    """Whose observation shows it first."""
    writer: int | None
    """The turn whose action changed it; None where it was only seen."""
    proof: Proof
    """Where the value is printed."""
    by: str = RULES


class Posting(NamedTuple):
    """An entity in a turn."""

    entity: str
    turn: int
    role: Role
    proof: Proof
    """Where it is named."""
    by: str = RULES


class Edge(NamedTuple):
    """A relation, with its proof.

    | kind | from | to | entity | other |
    |---|---|---|---|---|
    | WRITE | the turn whose action changed the state | the turn whose observation shows it | whose state | attribute |
    | READ | the turn of the version | the later turn whose action uses it | whose state | attribute |
    | CAUSES | the turn that wrote the version | the turn whose action reads it | whose state | attribute |
    | ASSOC | a turn | the same turn | one entity | the other entity |
    | NEXT | a turn | the one after it | | |
    """

    kind: Kind
    source: int
    target: int
    entity: str
    other: str
    proof: Proof
    by: str = RULES


class Terms(NamedTuple):
    """The words of a turn, as they are looked up, with how often each occurs."""

    action: Mapping[str, int]
    news: Mapping[str, int]
    """Of what the observation says that the observation before it did not."""


class Entry(NamedTuple):
    """All rows that are made from one turn."""

    turn: int
    terms: Terms
    facts: tuple[Fact, ...] = ()
    postings: tuple[Posting, ...] = ()
    edges: tuple[Edge, ...] = ()
