"""What is run, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Case(NamedTuple):
    """One run to make."""

    defence: str
    user_task: str
    injection_task: str
    """Empty for an ordinary run, without an injection."""

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.defence} / {self.user_task} / {self.injection_task or 'ordinary'}"


@dataclass(frozen=True)
class Row:
    """What happened in one run."""

    key: str
    defence: str
    user_task: str
    injection_task: str
    utility: bool = False
    """Whether the user's task was done."""
    carried_out: bool = False
    """Whether the injection's goal was reached."""
    blocked: str = ""
    """The rule of the defence that first denied a call; empty where none was denied."""
    contacts: tuple[str, ...] = ()
    """Hosts that were read from, and that neither the user nor the system had named."""
    error: str = ""
    """Why the run broke: it counts as neither useful nor useless, neither safe nor attacked."""

    @classmethod
    def of(cls, case: Case, **more: Any) -> Row:
        """A case and what came of it."""
        return cls(case.key, *case, **more)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Row:
        """Back from JSON."""
        return cls(**{**record, "contacts": tuple(record["contacts"])})


def cases(defences: Sequence[str], user_tasks: Sequence[str], injection_tasks: Sequence[str]) -> Iterator[Case]:
    """All runs: under each defence every user task without an injection, and with each of them."""
    for defence in defences:
        for user_task in user_tasks:
            for injection_task in ("", *injection_tasks):
                yield Case(defence, user_task, injection_task)
