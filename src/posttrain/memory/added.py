"""What became of a turn that was to be added, and what a memory refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["added", "superseded", "same", "conflict", "closed"]
"""New; in place of an older content; there already; refused because the turn has another content; refused because the
run is closed."""


class Refused(ValueError):
    """A turn was not added; nothing was overwritten."""


class UnknownRun(ValueError):
    """Nothing was ever added to this run."""

    def __init__(self, run: str) -> None:
        super().__init__(f"There is no run {run!r} in this memory; add a turn to it, or look at runs() for the names.")


class RunChanged(RuntimeError):
    """While a view was read, something before its end was changed: a late turn, another content, a model's rows."""

    def __init__(self, run: str) -> None:
        super().__init__(f"Run {run!r} was changed before its end while it was read; take a new view and read again.")


class MemoryFileError(OSError):
    """A database that cannot be opened or used; the sentence says why and what to do."""


@dataclass(frozen=True)
class Added:
    """What became of one turn."""

    run: str
    turn: int
    status: Status
    because: str = ""
    """Why it was refused, where it was."""

    @property
    def kept(self) -> bool:
        """Whether the memory has it now."""
        return self.status in ("added", "superseded", "same")
