"""Files that are whole or not there, and logs that lose nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def write_whole(path: Path, text: str) -> Path:
    """Write `text` to a file beside `path`, then put it in place; a failure leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_json(path: Path, value: Any) -> Path:
    """`value` as indented JSON, whole or not at all."""
    return write_whole(path, json.dumps(value, indent=1, sort_keys=False) + "\n")


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line and hand it to the operating system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole JSON lines of a log; a last line that a kill cut short is left out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def rewrite_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Replace a log by `records`."""
    write_whole(path, "".join(json.dumps(record) + "\n" for record in records))
