"""What each tool takes, checked strictly: nothing is converted, nothing unknown is let through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Number = Annotated[int, Field(ge=0, lt=2**53)]


class Arguments(BaseModel):
    """Strict: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True, frozen=True)


class Nothing(Arguments):
    """No argument."""


class OfRun(Arguments):
    """Arguments that name a run."""

    run: Name
    """The episode, conversation or task."""


class Add(OfRun):
    """A turn."""

    turn: Number
    """Its number in the run, from 0; numbers may be left out."""
    action: str = ""
    """What the agent did."""
    observation: str = ""
    """What it saw then."""
    key: Name | None = None
    """Names this very call: repeating it with the same key changes nothing."""


class AsOf(OfRun):
    """Arguments of a question."""

    as_of: Number | None = None
    """Only what was known after this turn; the whole run by default."""
    tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = 8000
    """At most about so many tokens of evidence; null is no limit."""


class Ask(AsOf):
    """A question."""

    question: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    """In plain words; step numbers, time bounds and names of things in it are understood."""
    turns: Annotated[int, Field(ge=1, le=1000)] = 10
    """At most so many turns of evidence."""
    explain: bool = False
    """Also say how the evidence was found."""


class Timeline(AsOf):
    """A thing."""

    entity: Name
    """Its name."""
    attribute: Name | None = None
    """One of its attributes; all by default."""


class Why(AsOf):
    """A turn."""

    turn: Number
    """Whose causes are asked for."""
    entity: Name | None = None
    """Only causes that have to do with this thing."""
    hops: Annotated[int, Field(ge=1, le=10)] = 2
    """How many causes back."""


class Scan(AsOf):
    """A search of every turn."""

    query: Annotated[str, StringConstraints(min_length=1, max_length=20_000)] | dict[str, Any]
    """What to look for: a text that turns contain, or an object of the fixed query language."""


def checked(kind: type[Arguments], given: Mapping[str, Any] | bytes) -> Arguments:
    """Arguments as Python has them, or as JSON; raises pydantic's error."""
    return kind.model_validate_json(given) if isinstance(given, bytes) else kind.model_validate(given)


def sentence(error: ValidationError) -> str:
    """The first of what is wrong with arguments."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"There is no argument {name[:100]!r}."
    if first["type"] == "missing":
        return f"The argument {name} is missing."
    if not name:
        return f"The arguments must be one JSON object ({first['msg'][:200]})."
    value = first["input"]
    given = f" (given: {repr(value)[:50]})" if isinstance(value, int | float | bool) or value is None else ""
    return f"{name}: {first['msg']}{given}."
