"""Who may do what: tokens, each limited to some runs and, if wanted, to reading.

[[token]]
name = "planner"            # for messages of the server
env = "PLANNER_TOKEN"       # the variable that holds the token; or token = "..." in a file that only you can read
runs = ["shop-1"]           # names
prefixes = ["team-a/"]      # and how names begin; "" is every run
write = false               # only reading; true by default
"""

from __future__ import annotations

import hmac
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from posttrain.guard.policy import Strict, Unfit, parse, read_text

PRINTED = frozenset(string.ascii_letters + string.digits + string.punctuation)


class Forbidden(ValueError):
    """A right is missing. The sentence depends on what was asked and on the token, never on what the memory holds."""


@dataclass(frozen=True)
class Rights:
    """What one client may do. It knows of no run but those it may read."""

    runs: tuple[str, ...] = ()
    """By their names."""
    prefixes: tuple[str, ...] = ("",)
    """By how their names begin; the empty one is every run."""
    write: bool = True
    """Whether it may add turns."""

    def covers(self, run: str) -> bool:
        """Whether a run is one of these."""
        return run in self.runs or run.startswith(self.prefixes)

    def check(self, run: str, write: bool = False) -> None:
        """Raise unless the run may be read, or written."""
        if not self.covers(run):
            raise Forbidden(
                f"The run {_short(run)} is not open to this client; ask whoever runs the server for the right."
            )
        if write and not self.write:
            raise Forbidden("This client may only read; ask whoever runs the server for the right to add turns.")


@dataclass(frozen=True)
class Token(Strict):
    """One client, as it stands in a rights file."""

    name: str
    """For messages of the server."""
    env: str = ""
    """Variable that holds the token."""
    token: str = ""
    """Itself, in a file that only its owner can read."""
    runs: tuple[str, ...] = ()
    """By their names."""
    prefixes: tuple[str, ...] = ()
    """By how their names begin; the empty one is every run."""
    write: bool = True
    """Whether it may add turns."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.env) == bool(self.token):
            raise Unfit("a token needs one of env (the variable that holds it) and token (itself)", "env")
        if not self.runs and not self.prefixes:
            raise Unfit('a token needs runs or prefixes; prefixes = [""] is every run', "runs")

    @property
    def rights(self) -> Rights:
        """What it opens."""
        return Rights(self.runs, self.prefixes, self.write)


@dataclass(frozen=True)
class Tokens(Strict):
    """A rights file."""

    token: tuple[Token, ...]
    """All clients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.token:
            raise Unfit("there must be at least one token", "token")
        names = [each.name for each in self.token]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise Unfit(f"two tokens have the name {twice[0]!r}", "token")


class Keys:
    """Tokens, and what each opens.

    Args:
        rights: By token.
    """

    def __init__(self, rights: Mapping[str, Rights]) -> None:
        for token in rights:
            if not token or not PRINTED.issuperset(token):
                raise ValueError(
                    "A token must be printed ASCII characters without spaces, as a header cannot carry others."
                )
        self._rights = {token.encode(): each for token, each in rights.items()}

    def find(self, given: bytes) -> Rights | None:
        """The rights of a token, None if it is no token. The time taken does not tell how much of it is right."""
        found = None
        for token, rights in self._rights.items():
            if hmac.compare_digest(token, given):
                found = rights
        return found


def from_variable(name: str, rights: Rights, environment: Mapping[str, str] = os.environ) -> Keys:
    """One token, from an environment variable."""
    token = environment.get(name)
    if not token:
        raise ValueError(f"--token-env {name}: there is no such environment variable, or it is empty.")
    return Keys({token: rights})


def from_file(path: Path, environment: Mapping[str, str] = os.environ) -> Keys:
    """The tokens of a rights file.

    Raises:
        ValueError: One sentence, which names no token.
    """
    if not path.is_file():
        raise ValueError(f"There is no rights file at {path}; `--rights` takes a TOML file.")
    text = read_text(path)
    try:
        tokens = parse(Tokens, text, str(path)).token
    except ValueError as error:  # its end may be a value, and that a token
        raise ValueError(re.sub(r" \(given: .*\)\.$", ".", str(error), flags=re.DOTALL)) from None
    if any(each.token for each in tokens) and path.stat().st_mode & 0o077:
        raise ValueError(f"{path} holds tokens and others can read it; chmod 600 it, or name variables with env.")
    found: dict[str, Rights] = {}
    for each in tokens:
        value = each.token or environment.get(each.env, "")
        if not value:
            raise ValueError(f"{path}: {each.name!r} reads the variable {each.env}, which is not set or empty.")
        if value in found:
            raise ValueError(f"{path}: {each.name!r} has the token of another entry; give each its own.")
        found[value] = each.rights
    return Keys(found)


def _short(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:100]}…")
