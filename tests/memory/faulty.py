"""File layers under SQLite that fail, or that lose what was not synced when the power goes."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path
from typing import Any

import apsw

_names = itertools.count()


class Layer(apsw.VFS):
    """Watches every change of a database's files.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"layer {next(_names)}"
        self.folder = folder
        self.writes, self.fails_at, self.error = 0, 0, apsw.IOError
        self.reads_fail = False
        self.synced: dict[str, bytearray] = {}
        """What the disk surely has."""
        self.pending: dict[str, list[tuple[int, bytes | None]]] = {}
        """What it may have: writes, and cuts, at their places."""
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> File:
        return File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.synced.pop(os.path.basename(filename), None)
        self.pending.pop(os.path.basename(filename), None)
        super().xDelete(filename, syncdir)

    def change(self) -> None:
        """One more write; it fails if it is to."""
        self.writes += 1
        if self.fails_at and self.writes >= self.fails_at:
            raise self.error("the disk failed")

    def cut_power(self, seed: int) -> None:
        """Leave the files as a disk may have them that was not asked to write any further."""
        draw = random.Random(seed)
        for name, data in self.synced.items():
            found = bytearray(data)
            for place, written in self.pending.get(name, ()):
                if draw.random() < 0.5:
                    _apply(found, place, written)
            (self.folder / name).write_bytes(found)
        for path in self.folder.iterdir():
            if path.name not in self.synced:
                path.unlink()


class File(apsw.VFSFile):
    """One of its files."""

    def __init__(self, layer: Layer, name: Any, flags: list[int]) -> None:
        self.layer = layer
        path = name.filename() if hasattr(name, "filename") else str(name)
        self.name = os.path.basename(path)
        super().__init__("", name, flags)
        if self.name not in layer.synced:
            layer.synced[self.name] = bytearray(Path(path).read_bytes() if os.path.exists(path) else b"")

    def xRead(self, amount: int, offset: int) -> bytes:
        if self.layer.reads_fail:
            raise self.layer.error("the disk failed")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.layer.change()
        super().xWrite(data, offset)
        self.layer.pending.setdefault(self.name, []).append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self.layer.change()
        super().xTruncate(newsize)
        self.layer.pending.setdefault(self.name, []).append((newsize, None))

    def xSync(self, flags: int) -> None:
        self.layer.change()
        super().xSync(flags)
        for change in self.layer.pending.pop(self.name, ()):
            _apply(self.layer.synced[self.name], *change)


def _apply(data: bytearray, place: int, written: bytes | None) -> None:
    if written is None:
        del data[place:]
        return
    if len(data) < place:
        data.extend(bytes(place - len(data)))
    data[place : place + len(written)] = written
