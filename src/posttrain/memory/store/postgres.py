"""A memory in PostgreSQL: the same tables, the same rows and the same answers as in SQLite.

Runs are written to side by side; whoever writes to a run holds its row. How durable a commit is, is set at the server
(`synchronous_commit`, on unless somebody turned it off: what is acknowledged survives a power cut).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from posttrain.extras import need
from posttrain.memory.added import MemoryFileError
from posttrain.memory.store import schema

WORDS = {"serial": "BIGSERIAL PRIMARY KEY", "int": "BIGINT", "bytes": "BYTEA", "clustered": ""}

LOCK = schema.MARK
"""Of the advisory lock that whoever makes the tables holds."""

UNREADABLE = (
    "The address of the database cannot be read; write postgresql://user:password@host:port/database, and in the user "
    "and the password %40 for @, %2F for /, %3F for ?, %5B for [, %20 for a space and %25 for %."
)


@lru_cache(maxsize=512)
def _ours(sql: str) -> str:
    """A statement with psycopg's marks of parameters."""
    return sql.replace("?", "%s")


class Statements:
    """A connection, as a transaction sees it."""

    holding = " FOR UPDATE"

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Transaction.execute`."""
        found = self.connection.execute(_ours(sql), values)
        return found.fetchall() if found.description else []

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Transaction.executemany`."""
        with self.connection.cursor() as cursor:
            cursor.executemany(_ours(sql), rows)


class Postgres:
    """See `Engine`.

    Args:
        address: `postgresql://user:password@host/database`.
        schema_name: Of the tables; one database can hold several memories.
        patience: Seconds to wait for a connection, and for another one that writes.
    """

    def __init__(self, address: str, schema_name: str = "posttrain_memory", patience: float = 30.0) -> None:
        self.psycopg = need("psycopg")
        self.address, self.schema, self.patience = address, schema_name, patience
        self.where = self._named()
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._closed = False
        with self._speaking():
            self._prepare()

    def _named(self) -> str:
        """The address without its password."""
        try:
            parts = self.psycopg.conninfo.conninfo_to_dict(self.address)
        except self.psycopg.Error:  # whose sentence quotes the password
            raise MemoryFileError(UNREADABLE) from None
        if _ambiguous(self.address):
            raise MemoryFileError(UNREADABLE)
        return f"postgresql://{parts.get('host', '')}/{parts.get('dbname', '')}"

    def _connect(self) -> Any:
        sql = self.psycopg.sql
        try:
            found = self.psycopg.connect(self.address, connect_timeout=max(2, int(self.patience)), autocommit=True)
        except self.psycopg.OperationalError as error:
            raise MemoryFileError(
                f"{self.where} cannot be reached ({_line(error)}); nothing was written: try again once the server "
                "is there."
            ) from error
        try:
            name = sql.Identifier(self.schema)
            found.execute(sql.SQL("SET search_path TO {}").format(name))
            found.execute(f"SET lock_timeout TO {int(self.patience * 1000)}")
        except BaseException:
            found.close()
            raise
        return found

    def _prepare(self) -> None:
        """Make the tables, or see that they are ours."""
        sql = self.psycopg.sql
        with self._connection() as found, found.transaction():
            found.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            found.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema)))
            there = {name for (name,) in found.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (self.schema,)
            )}  # fmt: skip
            if "about" in there:
                ((version,),) = found.execute("SELECT version FROM about").fetchall()
                if version > schema.VERSION:
                    raise MemoryFileError(
                        f"{self.where} was written by a newer posttrain (version {version} of its tables, this one "
                        f"knows {schema.VERSION}); update posttrain, or export from there and import here."
                    )
                return
            if there:
                raise MemoryFileError(
                    f"{self.where} has a schema {self.schema!r} that is no memory of posttrain; choose another "
                    "database."
                )
            found.execute("CREATE TABLE about (version BIGINT NOT NULL)")
            found.execute("INSERT INTO about VALUES (%s)", (schema.VERSION,))
            for statement in schema.TABLES.format(**WORDS).split(";\n"):
                if statement.strip():
                    found.execute(statement)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection of its own, kept for the next one unless it broke."""
        with self._lock:
            if self._closed:
                raise ValueError(f"The memory {self.where} is closed; open it again.")
            found = self._idle.pop() if self._idle else None
        if found is None or found.closed or not self._answers(found):
            found = self._connect()
        try:
            yield found
        finally:
            with self._lock:
                keep = not (self._closed or found.closed or found.broken)
                if keep:
                    self._idle.append(found)
            if not keep:
                found.close()

    def _answers(self, connection: Any) -> bool:
        """Whether the server has not gone away while a connection lay idle."""
        try:
            connection.execute("")
        except self.psycopg.OperationalError:
            connection.close()
            return False
        return True

    @contextmanager
    def write(self) -> Iterator[Statements]:
        """See `Engine.write`."""
        with self._speaking(), self._connection() as found, found.transaction():
            yield Statements(found)

    @contextmanager
    def read(self) -> Iterator[Statements]:
        """See `Engine.read`."""
        with self._speaking(reading=True), self._connection() as found, found.transaction():
            found.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Statements(found)

    @contextmanager
    def _speaking(self, *, reading: bool = False) -> Iterator[None]:
        """The server's errors as sentences."""
        errors = self.psycopg.errors
        try:
            yield
        except errors.LockNotAvailable as error:
            raise MemoryFileError(
                f"{self.where} is held by another one that writes for more than {self.patience:g} s; nothing was "
                "written. Try again, or end that one."
            ) from error
        except (self.psycopg.OperationalError, self.psycopg.InterfaceError) as error:
            if reading:
                raise MemoryFileError(f"{self.where} went away ({_line(error)}); ask again once it is back.") from error
            raise MemoryFileError(
                f"{self.where} went away ({_line(error)}); add the turn again once it is back: should it have been "
                "kept just before, it stays as it is."
            ) from error
        except errors.ProgramLimitExceeded as error:
            raise ValueError(
                f"A text, or what is made from it, is larger than PostgreSQL takes ({_line(error)}); nothing was "
                f"written to {self.where}. Split it into several turns."
            ) from error
        except errors.InsufficientPrivilege as error:
            raise MemoryFileError(
                f"{self.where} does not let this user ({_line(error)}); grant what is missing."
            ) from error

    def scrub(self) -> None:
        """Write all tables anew from what is in them.

        The server's own log of changes, its replicas and its backups are out of reach; they keep what was erased for as
        long as the server is set to.
        """
        with self._speaking(), self._connection() as found:
            for name in schema.NAMES:
                found.execute(f"VACUUM (FULL) {name}")

    def sizes(self) -> dict[str, int]:
        """See `Engine.sizes`."""
        with self.read() as tx:
            return {
                name: tx.execute("SELECT pg_total_relation_size(?::regclass)", (name,))[0][0] for name in schema.NAMES
            }

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()


def _ambiguous(address: str) -> bool:
    """Whether a part of the password may have been read as a part of something else, which is shown."""
    if "\0" in address:
        return True
    start, mark, rest = address.partition("://")
    if not mark or start not in ("postgresql", "postgres"):
        return False
    front, _, options = rest.partition("?")
    server, slash, database = front.partition("/")
    return server.count("@") > 1 or "@" in database or ("@" in options and "@" not in server and not slash)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
