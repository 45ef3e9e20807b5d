"""Files and folders that are whole or not there, and logs that lose nothing."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SPACE = "free some space or choose another folder"
ADVICE: dict[int | None, str] = {
    **dict.fromkeys((None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG), SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a folder that you may write to"),
    errno.EISDIR: "choose another name; this is a folder's",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "choose another folder; a file is in this one's place"),
    errno.ENOENT: "choose a folder that is there",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do about a reason; None is that of an error that is not the system's."""


class WriteError(OSError):
    """A file could not be written; the sentence names it, the reason and what to do."""


@contextmanager
def writing(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Make an OSError inside, or one of `also` that a full disk raises, a WriteError that names `path`."""
    try:
        yield
    except WriteError:
        raise
    except (OSError, *also) as error:
        reason = getattr(error, "strerror", None) or (str(error) or type(error).__name__).splitlines()[0]
        advice = ADVICE.get(getattr(error, "errno", None), "choose another folder")
        raise WriteError(f"{path} could not be written ({reason}); {advice}.") from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, put in place at the end; a failure leaves the old file as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A folder beside `path` that is there for a while; what a killed process left of one is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}.part")
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if old == made or not _runs(old.suffixes[-2].removeprefix(".")):
            shutil.rmtree(old, ignore_errors=True)
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def whole_folder(path: Path, *also: type[Exception]) -> Iterator[Path]:
    """A folder to fill, put in the place of `path`, an empty folder or none, at the end; a failure leaves nothing.

    Args:
        path: The folder.
        also: Exceptions that are a failure to write, see `writing`.
    """
    with writing(path, *also), scratch(path) as made:
        yield made
        made.replace(path)


def _runs(process: str) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def write_whole(path: Path, text: str) -> Path:
    """Write `text` to `path`, whole or not at all."""
    with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path


def write_json(path: Path, value: Any) -> Path:
    """`value` as indented JSON, whole or not at all."""
    return write_whole(path, json.dumps(value, indent=1, sort_keys=False) + "\n")


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line, whole or not at all, and hand it to the operating system."""
    line = (json.dumps(record) + "\n").encode()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                file.truncate(before)
                raise


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole JSON lines of a log; a last line that a kill cut short is left out."""
    yield from read_new_lines(path)[0]


def read_new_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The whole JSON lines after a byte offset, and the offset to go on from; a shorter log is read from its start."""
    if not path.is_file():
        return [], 0
    with path.open("rb") as file:
        start = offset if file.seek(0, os.SEEK_END) >= offset else 0
        file.seek(start)
        lines, newline, _ = file.read().rpartition(b"\n")
    return [json.loads(line) for line in lines.splitlines()], start + len(lines) + len(newline)


def rewrite_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Replace a log by `records`."""
    write_whole(path, "".join(json.dumps(record) + "\n" for record in records))
