"""Rows to tune on: a question, its answer, and the task that both belong to."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from posttrain.tasks.dataset import Columns, load

Row = dict[str, Any]
ALL = "all"
"""The task of rows that name none."""


def read(path: Path, columns: Columns, *, task: str = "task", chat: bool = False) -> list[Row]:
    """The rows of a file, each with `prompt`, `completion` and `task`.

    Args:
        path: See `posttrain.tasks.dataset.load`.
        columns: Its columns; `answer` names that of the completion.
        task: The column of the task; a row without it is of the task `all`.
        chat: Plain prompts become user turns. A prompt of messages has its completion as the assistant's turn.
    """
    found = []
    for row in load(path, columns).rows:
        prompt, answer = row["prompt"], row["answer"]
        if chat and isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        turns = answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]
        given = row.get(task)
        found.append({"prompt": prompt, "completion": turns, "task": ALL if given is None else str(given)})
    kinds = {type(row["prompt"]) for row in found}
    if len(kinds) > 1:
        raise ValueError(f"{path} has prompts of text and prompts of messages; give one kind, or --chat.")
    return found


def digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """Of rows, in their order; it tells whether two runs are of the same ones."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(json.dumps(row, sort_keys=True).encode())
    return whole.hexdigest()[:16]


def by_task(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by their tasks, in order."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["task"]].append(row)
    return dict(found)
