"""A memory in one SQLite file: one writer at a time, any number of readers, in any number of processes."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posttrain.extras import need
from posttrain.files import WriteError
from posttrain.memory.added import MemoryFileError
from posttrain.memory.store import schema
from posttrain.memory.store.engine import Durability

OLDEST = (3, 51, 3)
"""Older versions can lose a commit when one process writes while another one checkpoints."""

WORDS = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "int": "INTEGER",
    "bytes": "BLOB",
    "clustered": " WITHOUT ROWID",
}


class Statements:
    """A connection, as a transaction sees it. There is one writer at a time, so that rows need no holding."""

    holding = ""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Transaction.execute`."""
        return self.connection.execute(sql, values).fetchall()

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Transaction.executemany`."""
        self.connection.executemany(sql, rows)


class SQLite:
    """See `Engine`.

    Args:
        path: Of the file, which is made if it is not there; `:memory:` is a memory of this object alone.
        durability: Of what is acknowledged.
        patience: Seconds to wait for another process that writes.
        vfs: A file layer of apsw's, for tests.
    """

    def __init__(
        self, path: str | Path, durability: Durability = "process", patience: float = 30.0, vfs: str | None = None
    ) -> None:
        self.apsw = need("apsw")
        self.where, self.durability, self.patience, self.vfs = str(path), durability, patience, vfs
        version = tuple(int(each) for each in self.apsw.sqlite_lib_version().split(".")[:3])
        if version < OLDEST:
            raise MemoryFileError(
                f"SQLite {'.'.join(map(str, version))} can lose turns when several processes write; a memory needs "
                f"{'.'.join(map(str, OLDEST))} or newer: pip install --upgrade apsw."
            )
        if not self.where or "\0" in self.where:
            raise MemoryFileError(f"{self.where!r} is no name of a file; give one, or ':memory:'.")
        if not self._alone and not Path(path).parent.is_dir():
            raise MemoryFileError(f"{path} cannot be made: its folder is not there; choose a folder that is.")
        self._lock = threading.RLock()
        self._readers: list[Any] = []
        self._closed = False
        self._path = self.where if self._alone else os.path.abspath(self.where)
        with self._speaking():
            self._writer = self._connect(self.apsw.SQLITE_OPEN_CREATE)
        self._moved = ctypes.c_int()
        try:
            with self._speaking():
                self._prepare()
        except BaseException:
            self._writer.close()
            raise

    @property
    def _alone(self) -> bool:
        return self.where == ":memory:"

    def _connect(self, also: int = 0) -> Any:
        found = self.apsw.Connection(self._path, self.apsw.SQLITE_OPEN_READWRITE | also, self.vfs)
        found.set_busy_timeout(int(self.patience * 1000))
        found.pragma("cache_size", -8000)
        found.pragma("synchronous", "FULL" if self.durability == "power" else "NORMAL")
        return found

    def _prepare(self) -> None:
        """Make the tables, or see that they are ours."""
        self._to_wal()
        with self.write() as tx:
            mark, version = (self._writer.pragma(name) for name in ("application_id", "user_version"))
            if mark == schema.MARK:
                if version > schema.VERSION:
                    raise MemoryFileError(
                        f"{self.where} was written by a newer posttrain (version {version} of its tables, this one "
                        f"knows {schema.VERSION}); update posttrain, or export from there and import here."
                    )
                return
            if mark or tx.execute("SELECT 1 FROM sqlite_schema LIMIT 1"):
                raise MemoryFileError(f"{self.where} is a database, but no memory of posttrain; choose another file.")
            for statement in schema.TABLES.format(**WORDS).split(";\n"):
                tx.execute(statement)
            self._writer.pragma("application_id", schema.MARK)
            self._writer.pragma("user_version", schema.VERSION)

    def _to_wal(self) -> None:
        """Readers shall not wait for writers. Two processes that do this at once get in each other's way."""
        if self._alone:
            return
        until = time.monotonic() + self.patience
        while True:
            try:
                if self._writer.pragma("journal_mode", "wal") != "wal":
                    raise MemoryFileError(
                        f"{self.where} is on a file system that SQLite cannot share; choose a local one."
                    )
                return
            except self.apsw.BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @contextmanager
    def write(self) -> Iterator[Statements]:
        """See `Engine.write`."""
        with self._lock, self._speaking():
            self._check_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield Statements(self._writer)
                self._check_there()
                self._writer.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        """Undo what was begun; SQLite may have done it already."""
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except self.apsw.Error:
            self._writer.close(True)
            self._writer = self._connect()

    @contextmanager
    def read(self) -> Iterator[Statements]:
        """See `Engine.read`."""
        if self._alone:
            with self._lock, self._speaking(reading=True):
                self._check_open()
                yield Statements(self._writer)
            return
        with self._speaking(reading=True):
            with self._lock:
                self._check_open()
                self._check_there()
                reader = self._readers.pop() if self._readers else None
            reader = reader or self._connect()
            try:
                reader.execute("BEGIN")
                yield Statements(reader)
            finally:
                if reader.in_transaction:
                    reader.execute("ROLLBACK")
                with self._lock:
                    if self._closed:
                        reader.close()
                    else:
                        self._readers.append(reader)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"The memory {self.where} is closed; open it again.")

    def _check_there(self) -> None:
        """Raise if the file was deleted or replaced: the open one still takes turns, and nobody else will see them."""
        self._moved.value = 0
        self._writer.file_control("main", self.apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(self._moved))
        if self._moved.value:
            raise MemoryFileError(
                f"{self.where} was deleted, moved or replaced while it was open; nothing was written. Put it back, or "
                "close this memory and open the one that is there now."
            )

    @contextmanager
    def _speaking(self, *, reading: bool = False) -> Iterator[None]:
        """SQLite's errors as sentences."""
        apsw = self.apsw
        try:
            yield
        except (apsw.FullError, apsw.IOError) as error:
            if reading:
                raise MemoryFileError(
                    f"{self.where} could not be read ({error}); look at the disk, or restore a copy."
                ) from error
            raise WriteError(
                f"{self.where} could not be written ({error}), and no answer has anything of it: free some space, or "
                "look at the disk. Then add it again; should the disk have kept it after all, it stays as it is."
            ) from error
        except apsw.TooBigError as error:
            raise ValueError(
                f"A text, or what is made from it, is larger than SQLite takes (1 GB); nothing was written to "
                f"{self.where}. Split it into several turns."
            ) from error
        except apsw.BusyError as error:
            raise MemoryFileError(
                f"{self.where} is held by another process for more than {self.patience:g} s; nothing was written. "
                "Try again, or end that process."
            ) from error
        except apsw.NotADBError as error:
            raise MemoryFileError(f"{self.where} is no SQLite database; choose another file.") from error
        except apsw.CantOpenError as error:
            raise MemoryFileError(
                f"{self.where} cannot be opened ({error}); choose a file that you may write to."
            ) from error
        except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise MemoryFileError(
                f"{self.where} may only be read ({error}); choose a file that you may write to."
            ) from error
        except apsw.CorruptError as error:
            raise MemoryFileError(
                f"{self.where} is damaged ({error}); restore a copy, or save what can be read with SQLite's .recover."
            ) from error

    def scrub(self) -> None:
        """Write the file anew from what is in it, and empty the log beside it.

        Raises:
            MemoryFileError: Someone still reads an older state, which the log must keep.
        """
        if self._alone:
            return
        with self._lock, self._speaking():
            self._check_open()
            for reader in self._readers:
                reader.close()
            self._readers.clear()
            self._writer.execute("VACUUM")
            busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
            if busy:
                raise MemoryFileError(
                    f"{self.where}: what was erased is gone from all answers, but somebody still reads an older state, "
                    "and so its text is still in the log beside the file; end that reader and call scrub()."
                )

    def sizes(self) -> dict[str, int]:
        """See `Engine.sizes`."""
        if self._alone:
            return {}
        found = {name: Path(self._path + name) for name in ("", "-wal", "-shm")}
        return {Path(self.where).name + name: path.stat().st_size for name, path in found.items() if path.exists()}

    def close(self) -> None:
        """See `Engine.close`. The last one to close leaves one file and no log."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for connection in (*self._readers, self._writer):
                    connection.close()
                self._readers.clear()
