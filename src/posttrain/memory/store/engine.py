"""What a memory asks of a database: transactions, in which the SQL of `tables.py` runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias

Durability: TypeAlias = Literal["process", "power"]
"""What an acknowledged turn survives: the end of the process, or a power cut too."""


class Transaction(Protocol):
    """Statements that happen together or not at all. Parameters are written `?`."""

    holding: str
    """What a SELECT ends with that keeps others from changing its rows until the transaction is done."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement; gives its rows."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row."""
        ...


class Engine(Protocol):
    """A database with the tables of `schema.py`."""

    where: str
    """For sentences: a path, or a server without its password."""

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction that sees the newest state and keeps other writers of its runs out; durable when it is done."""
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """A transaction that sees one state, whatever others write."""
        ...

    def scrub(self) -> None:
        """Leave no trace of what was deleted in the files of the database."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes by file or table."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...
