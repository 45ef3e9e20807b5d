"""What extraction gives: states that a text tells and things that it names, each with the characters that say so."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

AGENT = "you"
"""The entity that acts."""
PLACE = "location"
"""The attribute that holds where an entity is: a room, a container, or `inventory`."""
STATE = "state"
"""The attribute of states that are told without one, such as that a chest is open."""
CARRIED = "inventory"
"""The place of what the agent carries; also the agent's attribute with the list of it, as it is printed."""
CONTENTS = "contents"
"""The attribute of a container or a room with the list of what is in it, as it is printed."""
CONTENT = "content"
"""The attribute of what was written to a file, a table or a field."""

READ = 65_536
"""At most so many first characters of a text are read; the index of words has all of it."""
STATES = 256
"""At most so many states are kept of a turn."""
NAMES = 16
"""At most so many names are kept of a turn, beside those of its action and of its new states."""
LONG = 200
"""A longer value is kept as its beginning and a digest, so that any change of it still shows."""
WORDY = 80
"""Nothing longer is taken for a name."""

_ODD = re.compile("[\x00\ud800-\udfff]")


def name_of(text: str) -> str:
    """The one form of a name: case folded, single spaces. Equal names are one entity, and nothing else is merged."""
    return " ".join(text.casefold().split())


def value_of(text: str) -> str:
    """The one form of a value: as it is printed, with single spaces; a long one is cut, with a digest of all of it."""
    value = " ".join(text.split())
    if len(value) <= LONG:
        return value
    return f"{value[: LONG - 20]}… {hashlib.blake2b(value.encode(), digest_size=8).hexdigest()}"


def readable(text: str) -> str:
    """The part of a text that is read; characters that no database keeps are replaced, one by one."""
    text = text[:READ]
    return text if text.isascii() and "\x00" not in text else _ODD.sub("\ufffd", text)


class Said(NamedTuple):
    """A state that a text tells."""

    entity: str
    attribute: str
    value: str
    start: int
    """Of the characters that print the value, or name the entity where the value is not printed."""
    end: int
    named: tuple[int, int]
    """Of the characters that name the entity; those of the value where nothing does."""
    done: bool = False
    """Whether it is told as what the agent just did."""


class Named(NamedTuple):
    """A thing that a text names."""

    entity: str
    start: int
    end: int


class Heard(NamedTuple):
    """What an observation tells."""

    states: list[Said]
    names: list[Named]
    used: list[Named]
    """Things that the agent did something with, as the observation tells it."""
