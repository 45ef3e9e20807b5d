"""A write-ahead log: what is done was written before. Restart and replay read it from its beginning."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from posttrain.files import WriteError, writing


class AuditLog:
    """An append-only JSONL file, whose lines are whole or not there.

    Args:
        path: The file; one writer at a time, held by a lock.
        durability: `process` hands every line to the operating system, which a killed process cannot undo;
            `power` also waits until the disk has it.

    Raises:
        WriteError: A line could not be written. Who gets it must not do what the line says.
    """

    def __init__(self, path: Path, durability: Literal["process", "power"] = "process") -> None:
        self.path = path
        self.sync = durability == "power"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("ab+", buffering=0)
        if not path.is_file():
            self.file.close()
            raise WriteError(f"{path} is no regular file; give the log a name of its own.")
        self.torn = False
        """Whether a line may have been written in part."""
        self._lock()
        self._mend()

    def append(self, record: dict[str, Any]) -> None:
        """Write one line; afterwards what it says may be done."""
        line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
        try:
            if self.torn:
                self._cut(self.size)
            self.torn = True
            while line:
                line = line[self.file.write(line) :]
            if self.sync:
                os.fdatasync(self.file.fileno())
        except OSError as error:
            raise WriteError(
                f"{self.path} could not be written ({error.strerror}); nothing is let through without its line."
            ) from error
        self.torn = False
        self.size = self.file.tell()

    def close(self) -> None:
        """Release the file."""
        self.file.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        """Keep a second writer out."""
        import fcntl

        try:
            fcntl.flock(self.file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.file.close()
            raise WriteError(
                f"{self.path} is held by another process; stop it, or give this one its own log."
            ) from None

    def _mend(self) -> None:
        """Cut off a last line that a crash left unfinished: what it says was not done."""
        whole = 0
        self.file.seek(0)
        for chunk in iter(lambda: self.file.read(1 << 20), b""):
            cut = chunk.rfind(b"\n")
            whole = self.file.tell() - len(chunk) + cut + 1 if cut >= 0 else whole
        self.size = whole
        if whole < self.file.seek(0, os.SEEK_END):
            self._cut(whole)

    def _cut(self, size: int) -> None:
        """Leave so many bytes."""
        self.file.truncate(size)
        self.file.seek(size)


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log, one by one; an unfinished last line is left out."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"{path}, line {number} is no JSON; was the log edited?") from None
            if not isinstance(record, dict):
                raise ValueError(f"{path}, line {number} is no record; was the log edited?")
            yield record
