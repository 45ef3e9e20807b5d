"""A memory as lines of JSON: the turns and all else that cannot be made again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from posttrain.files import whole
from posttrain.memory.added import Added, Refused
from posttrain.memory.rows import Turn
from posttrain.memory.store.engine import Engine
from posttrain.memory.store.line import Line, plain
from posttrain.memory.store.outputs import check_rows
from posttrain.memory.store.tables import MOST, Output, Run, Tables
from posttrain.memory.store.writing import Writing

FORMAT = 1
"""Of the lines."""
BATCH = 500
"""Lines that are imported in one transaction."""


def export(engine: Engine, path: Path, run: str | None) -> int:
    """Write all runs, or one, to a file, whole or not at all; gives the number of turns."""
    count, turns = 0, 0
    with engine.read() as tx, whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        for line in _lines(Tables(tx), run):
            count += 1
            turns += "observation" in line and "version" not in line
            file.write(json.dumps(line) + "\n")
        file.write(json.dumps({"end": count}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return turns


def _lines(tables: Tables, only: str | None) -> Iterator[dict[str, Any]]:
    yield {"posttrain_memory": FORMAT}
    for _, name in tables.names():
        run = tables.run(name)
        if run is None or (only is not None and name != only):
            continue
        keys: dict[int, list[str]] = {}
        for key, turn in tables.keys(run):
            keys.setdefault(turn, []).append(key)
        said = plain(name)
        for turn in _turns(tables, run, name):
            content = {"action": plain(turn.action), "observation": plain(turn.observation)}
            given = {"keys": [plain(key) for key in keys[turn.turn]]} if turn.turn in keys else {}
            yield {"run": said, "turn": turn.turn, **content, **given}
        for number, version, action, observation in tables.superseded(run):
            texts = (each.decode("utf-8", "surrogatepass") for each in (action, observation))
            content = dict(zip(("action", "observation"), map(plain, texts), strict=True))
            yield {"run": said, "turn": number, "version": version, **content}
        for each in tables.outputs(run):
            rows = plain(each.rows.decode("utf-8", "surrogatepass"))
            yield {"run": said, "turn": each.turn, "model": plain(each.model), "asked": each.asked.hex(), "rows": rows}
        if run.closed:
            yield {"run": said, "closed": True}


def _turns(tables: Tables, run: Run, name: str) -> Iterator[Turn]:
    first = 0
    while first <= MOST and (found := tables.turns(run, name, first, most=BATCH)):
        yield from found
        first = found[-1].turn + 1


def read(path: Path, writing: Callable[[], AbstractContextManager[Writing]]) -> list[Added]:
    """Add what a file has, some lines at a time; what is there already stays, so that it can be done again.

    Args:
        path: Of the file.
        writing: A transaction.

    Returns:
        What became of each turn.

    Raises:
        ValueError: The file is none of ours, or is cut off or damaged; the sentence says where, and how far it was
            imported.
        Refused: A turn is there with another content, or its run is closed; the same.
    """
    found: list[Added] = []
    with path.open("rb") as file:
        number, ended, batch = 0, False, list[tuple[int, bytes]]()
        for number, line in enumerate(file, 1):
            batch.append((number, line))
            if len(batch) == BATCH:
                ended = _batch(path, batch, writing, found)
                batch = []
        if batch:
            ended = _batch(path, batch, writing, found)
    if not ended:
        raise ValueError(
            f"{path} is cut off: its last line, {number}, is not the end of an export. All lines up to there were "
            "imported; get the whole file and import it again, which adds what is missing."
        )
    return found


def _batch(
    path: Path,
    batch: list[tuple[int, bytes]],
    writing: Callable[[], AbstractContextManager[Writing]],
    found: list[Added],
) -> bool:
    """Add what some lines say, all or nothing; gives whether the last one is the end."""
    before, ended, added = batch[0][0] - 1, False, list[Added]()
    lines = [(number, _line(path, number, line, before)) for number, line in batch]
    with writing() as work:
        for number, line in lines:
            try:
                ended = _put(work, number, line, added)
            except Refused as error:
                raise Refused(f"{path}, line {number}: {error} The lines up to {before} were imported.") from error
            except ValueError as error:
                raise ValueError(
                    f"{path} is damaged at line {number}: {error}; the lines up to {before} were imported. Get "
                    "the whole file and import it again, which adds what is missing."
                ) from error
    found += added
    return ended


def _put(work: Writing, number: int, line: Line, added: list[Added]) -> bool:
    """Add what one line says; gives whether it is the end.

    Raises:
        ValueError: It is no line of an export.
        Refused: Its turn was not added.
    """
    if number == 1:
        return False
    if "end" in line:
        if (end := line.number("end")) != number - 1:
            raise ValueError(f"it ends an export of {end} lines, and {number - 1} came before it")
        return True
    run = line.text("run")
    if "closed" in line:
        if line.values["closed"] is not True:
            raise ValueError(f"its 'closed' must be true, and is {line.values['closed']!r}")
        work.made(run)
        work.close_run(run)
        return False
    turn = line.number("turn")
    if "model" not in line and "version" not in line:
        given = Turn(run, turn, line.text("action"), line.text("observation"))
        each = [work.add(given, key) for key in line.texts("keys")] or [work.add(given)]
        for refused in (one for one in each if not one.kept):
            raise Refused(refused.because)
        added.append(each[0])
    elif not work.has(run, turn):
        raise ValueError(f"turn {turn} of run {run!r}, which it belongs to, did not come before it")
    elif "model" in line:
        rows = line.text("rows").encode("utf-8", "surrogatepass")
        output = Output(turn, line.text("model"), line.digest("asked"), rows)
        check_rows(output)
        work.put_output(run, output)
    else:
        work.put_superseded(run, turn, line.number("version"), line.text("action"), line.text("observation"))
    return False


def _line(path: Path, number: int, line: bytes, before: int) -> Line:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if number == 1 and isinstance(found, dict) and found.get("posttrain_memory") != FORMAT:
        raise ValueError(f"{path} is no export of a memory that this posttrain knows; its first line must say so.")
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} is cut off or damaged at line {number}; the lines up to {before} were imported. Get the "
            "whole file and import it again, which adds what is missing."
        )
    return Line(found)
