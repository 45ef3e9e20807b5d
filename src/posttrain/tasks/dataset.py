"""Your own prompts: a JSON Lines file, a Parquet file, a saved `datasets` directory, or rows in memory.

`load` gives every row the keys `prompt`, `answer` and `id`, and keeps the other columns under their own names.
Nothing is dropped in silence: a row that cannot be used is an error that names its line, or, on request, a line
of `Loaded.skipped`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles a chat message may have."""
NO_TEXT = ("id", "task", "subject")
"""Columns that are hardly a prompt or an answer, and are not suggested as one."""


class DatasetError(ValueError):
    """The data set cannot be used as it is; the message says which line or column and what to do."""


@dataclass(frozen=True)
class Columns:
    """Which columns of the source hold what training needs."""

    prompt: str = "prompt"
    """The prompt: a text, or a list of `{"role", "content"}` messages."""
    answer: str = "answer"
    """What the verifier compares a completion with: a text or a number."""
    id: str = "id"
    """The row's name: a text or a whole number. Where a row has none, it is a hash of its prompt."""

    def __post_init__(self) -> None:
        names = (self.prompt, self.answer, self.id)
        if not all(names):
            raise ValueError(f"{self}: a column's name is empty; leave it out to use the default.")
        if len(set(names)) < len(names):
            raise ValueError(f"{self}: prompt, answer and id must be three different columns.")


class Broken(NamedTuple):
    """A row that could not be used."""

    line: int
    """Its line in a JSON Lines file, else its row, from 1."""
    reason: str
    """What is wrong with it."""


@dataclass(frozen=True)
class Loaded:
    """The rows of a data set and what is noteworthy about them."""

    rows: list[dict[str, Any]]
    """One dict per prompt: `prompt`, `answer` (text), `id` (text) and every other column."""
    skipped: list[Broken]
    """The rows left out; empty unless `skip_broken`."""
    duplicates: int
    """How many rows repeat the prompt of an earlier row; they are kept."""


class _Source(NamedTuple):
    """Numbered records that are not validated yet."""

    name: str
    unit: str  # "line" or "row"
    records: Iterable[tuple[int, Any]]  # a `Broken` stands for a record that could not be read


def load(
    source: str | Path | Iterable[Mapping[str, Any]],
    columns: Columns | None = None,
    *,
    skip_broken: bool = False,
) -> Loaded:
    """The rows of a data set, each with `prompt`, `answer` and `id`.

    Blank lines are ignored. A number as an answer becomes its shortest text (72.0 gives "72"). If the source has
    a column named `prompt`, `answer` or `id` that `columns` maps elsewhere, the mapped column replaces it.

    Args:
        source: A `.jsonl` or `.parquet` file, a directory of `Dataset.save_to_disk`, a `datasets.Dataset`, or
            any iterable of mappings.
        columns: Which columns hold the prompt, the answer and the id; `Columns()` if left out.
        skip_broken: List rows that cannot be used in `Loaded.skipped` instead of raising at the first.

    Returns:
        The rows in the order of the source.

    Raises:
        DatasetError: There is no such source, it is not of a known kind, it has no rows, a needed column is
            missing, a row is broken, or two different prompts have one id.
        ImportError: The source needs `datasets` or `pyarrow`, which are not installed.
    """
    columns = columns or Columns()
    opened = _open(source)
    records = list(opened.records)
    if not records:
        raise DatasetError(f"{opened.name} has no rows; give a data set with at least one prompt.")
    found = list(dict.fromkeys(key for _, record in records if isinstance(record, Mapping) for key in record))
    if found:
        _check_columns(opened.name, found, columns)

    numbered: list[tuple[int, dict[str, Any]]] = []
    skipped: list[Broken] = []
    for number, record in records:
        try:
            numbered.append((number, _row(record, columns)))
        except DatasetError as error:
            skipped.append(Broken(number, str(error)))
            if not skip_broken:
                raise DatasetError(
                    f"{opened.name}, {opened.unit} {number}: {error}; mend it, or skip broken rows."
                ) from None
    if not numbered:
        raise DatasetError(
            f"{opened.name}: all {len(skipped)} rows are broken, the first ({opened.unit} {skipped[0].line}) "
            f"because {skipped[0].reason}."
        )
    _check_ids(opened, numbered)
    prompts = {_canonical(row["prompt"]) for _, row in numbered}
    return Loaded([row for _, row in numbered], skipped, duplicates=len(numbered) - len(prompts))


def _open(source: str | Path | Iterable[Mapping[str, Any]]) -> _Source:
    if not isinstance(source, str | Path):
        return _open_memory(source, type(source).__name__)
    path = Path(source).expanduser()
    if not path.exists():
        raise DatasetError(
            f"{source} does not exist; give a .jsonl or .parquet file or a saved `datasets` directory "
            "(a data set on a hub is loaded with `datasets` first and passed as an object)."
        )
    if path.is_dir():
        return _open_directory(path)
    if path.suffix == ".jsonl":
        return _Source(str(path), "line", _read_jsonl(path))
    if path.suffix == ".parquet":
        return _Source(str(path), "row", _read_parquet(path))
    raise DatasetError(f"{path} ends in {path.suffix or 'nothing'!r}; expected a .jsonl or .parquet file.")


def _open_memory(source: Iterable[Any], name: str) -> _Source:
    if isinstance(source, Mapping):
        raise DatasetError(f"{name} holds {', '.join(map(repr, source))}, not rows; pass one of them.")
    with_format = getattr(source, "with_format", None)  # a `datasets` object may be set to give tensors
    return _Source(name, "row", enumerate(with_format(None) if with_format else source, start=1))


def _open_directory(path: Path) -> _Source:
    if (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
        raise DatasetError(f"{path} holds the splits {', '.join(splits)}; give one, e.g. {path / splits[0]}.")
    if not (path / "dataset_info.json").exists() or not (path / "state.json").exists():
        raise DatasetError(f"{path} was not written by Dataset.save_to_disk; give a .jsonl or .parquet file.")
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise ImportError(f"{path} needs `datasets`: pip install 'posttrain[trl]'") from error
    return _open_memory(load_from_disk(str(path)), str(path))


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"{path} needs `pyarrow`: pip install 'posttrain[trl]'") from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise DatasetError(f"{path} is not a Parquet file ({error}); write it anew.") from error
    yield from enumerate(rows, start=1)


def _read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError:
                yield number, Broken(number, "it is not UTF-8")
            except (ValueError, RecursionError) as error:
                yield number, Broken(number, f"it is not JSON ({error})")


def _check_columns(name: str, found: list[str], columns: Columns) -> None:
    wanted = {"prompt": columns.prompt, "answer": columns.answer}
    if columns.id != "id":  # an id that is asked for by name must exist
        wanted["id"] = columns.id
    missing = {role: column for role, column in wanted.items() if column not in found}
    if not missing:
        return
    free = [column for column in found if column not in (*wanted.values(), *NO_TEXT)] or ["NAME"]
    flags = " ".join(f"--columns.{role} {free[min(i, len(free) - 1)]}" for i, role in enumerate(missing))
    raise DatasetError(
        f"{name} has no column {' or '.join(map(repr, missing.values()))}, it has {', '.join(found)}; "
        f"say which holds what, e.g. {flags}"
    )


def _row(record: Any, columns: Columns) -> dict[str, Any]:
    if isinstance(record, Broken):
        raise DatasetError(record.reason)
    if not isinstance(record, Mapping):
        raise DatasetError(f"it is {type(record).__name__}, expected an object with named columns")
    for column in (columns.prompt, columns.answer):
        if record.get(column) is None:
            raise DatasetError(f"column {column!r} is {'null' if column in record else 'missing'}")
    prompt = _prompt(record[columns.prompt], columns.prompt)
    answer = _text_or_number(record[columns.answer], columns.answer)
    given = record.get(columns.id)
    name = prompt_id(prompt) if given is None else _text_or_number(given, columns.id)
    mapped = (columns.prompt, columns.answer, columns.id)
    others = {key: value for key, value in record.items() if key not in mapped}
    return others | {"prompt": prompt, "answer": answer, "id": name}


def _prompt(value: Any, column: str) -> str | list[dict[str, str]]:
    if isinstance(value, str):
        return _text(value, column)
    if not isinstance(value, list):
        raise DatasetError(f"column {column!r} is {type(value).__name__}, expected a text or a list of messages")
    messages = [_message(message, f"message {i} of column {column!r}") for i, message in enumerate(value, 1)]
    if not any(message["content"].strip() for message in messages):
        raise DatasetError(f"column {column!r} is empty")
    return messages


def _message(message: Any, where: str) -> dict[str, str]:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise DatasetError(f'{where} is not an object with "role" and "content"')
    extra = [key for key, value in message.items() if key not in ("role", "content") and value is not None]
    if extra:
        raise DatasetError(f'{where} also has {", ".join(extra)}, expected only "role" and "content"')
    if message["role"] not in ROLES:
        raise DatasetError(f"{where} has the role {message['role']!r}, expected one of {', '.join(ROLES)}")
    if not isinstance(message["content"], str):
        raise DatasetError(f"{where} has content of type {type(message['content']).__name__}, expected text")
    return {"role": message["role"], "content": _unicode(message["content"], where)}


def _text_or_number(value: Any, column: str) -> str:
    if isinstance(value, str):
        return _text(value, column)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise DatasetError(f"column {column!r} is {type(value).__name__}, expected a text or a number")
    if not math.isfinite(value):
        raise DatasetError(f"column {column!r} is {value}, expected a finite number")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _text(value: str, column: str) -> str:
    if not value.strip():
        raise DatasetError(f"column {column!r} is empty")
    return _unicode(value, f"column {column!r}")


def _unicode(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{where} has half of a surrogate pair, which is not a character") from None
    return value


def _canonical(prompt: str | list[dict[str, str]]) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def prompt_id(prompt: str | list[dict[str, str]]) -> str:
    """A stable id made from a prompt's text."""
    return hashlib.sha256(_canonical(prompt).encode()).hexdigest()[:16]


def _check_ids(source: _Source, numbered: list[tuple[int, dict[str, Any]]]) -> None:
    first: dict[str, tuple[int, str]] = {}
    for number, row in numbered:
        prompt = _canonical(row["prompt"])
        earlier, known = first.setdefault(row["id"], (number, prompt))
        if known != prompt:
            raise DatasetError(
                f"{source.name}, {source.unit}s {earlier} and {number} have one id, {row['id']!r}, for two "
                "different prompts; give each prompt its own id, or remove the column."
            )
