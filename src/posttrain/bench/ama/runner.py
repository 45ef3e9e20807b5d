"""Logs by methods to rows. They are written to a JSONL file as they come; a killed bench goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from posttrain.bench.ama.judge import judge, read, token_f1, told
from posttrain.bench.ama.log import Log, Question
from posttrain.bench.ama.methods.method import Method
from posttrain.bench.ama.methods.table import METHODS, OURS
from posttrain.bench.ama.plan import SETTINGS, Job, Plan
from posttrain.bench.ama.reader import answer, score
from posttrain.bench.ama.rows import Asked, Row
from posttrain.bench.resume import kept_rows
from posttrain.chat import Chat
from posttrain.files import append_line
from posttrain.memory.rows import Turn

MOST = 50
"""Turns within the budget of tokens."""
Show = Callable[[Row, int, int], None]


class Readers:
    """A model that reads, and one that judges.

    Args:
        reader: Answers from turns.
        judge: Compares the answer with the reference.
        settings: Of `SETTINGS`.
    """

    def __init__(self, reader: Chat, judge: Chat, settings: Sequence[str] = ("end",)) -> None:
        for setting in settings:
            if setting not in SETTINGS:
                raise ValueError(f"there is no setting {setting!r}; choose among {', '.join(SETTINGS)}.")
        self.reader, self.judge, self.settings = reader, judge, tuple(settings)

    @property
    def names(self) -> dict[str, Any]:
        """Who they are."""
        return {"reader": self.reader.name, "judge": self.judge.name, "settings": list(self.settings)}


async def run(plan: Plan, out: Path, readers: Readers | None = None, show: Show | None = None) -> list[Row]:
    """Run what the folder does not hold, and again what broke.

    Args:
        plan: What to run.
        out: Folder; the rows are `rows.jsonl` in it.
        readers: Models; None is retrieval, and the rule reader where there are rules.
        show: Called after each row with its number and the number of all.

    Raises:
        ValueError: The data cannot be read, or the folder holds rows of other budgets, data or models.
    """
    jobs, methods = plan.jobs(), plan.chosen
    path = out / "rows.jsonl"
    head = {"k": plan.k, "tokens": plan.tokens, "data": plan.data is not None, **(readers.names if readers else {})}
    kept = kept_rows(path, head, "rows of other data, budgets or models")
    done = {key: Row.from_record(row) for key, row in kept.items()}
    rows: list[Row] = []
    for job in jobs:
        for method in methods:
            key = f"{method} / {job.name}"
            if key not in done:
                done[key] = await run_row(plan, job, method, readers)
                append_line(path, done[key].record())
            rows.append(done[key])
            if show is not None:
                show(done[key], len(rows), len(jobs) * len(methods))
    return rows


async def run_row(plan: Plan, job: Job, name: str, readers: Readers | None) -> Row:
    """One method on one log. Whatever breaks in it is noted, and nothing of it counts."""
    log = job.load()
    row = Row(log.name, name, log.world, log.form, log.length, log.tokens, len(log.turns))
    try:
        method = METHODS[name].make()
        try:
            return await _row(plan, job, log, method, readers, row)
        finally:
            method.close()
    except Exception as error:  # noqa: BLE001 - stores, peers and models are others'; each error is a row
        return replace(row, error=f"{type(error).__name__}: {error}")


async def _row(plan: Plan, job: Job, log: Log, method: Method, readers: Readers | None, row: Row) -> Row:
    begun = time.perf_counter()
    method.build(log.turns)
    built = time.perf_counter() - begun
    asked = []
    for question in log.questions:
        each = _search(plan, method, question, METHODS[row.method].readers_only)
        if job.read is not None:
            given = {setting: _given(setting, log, method, question, each.turns) for setting in SETTINGS}
            rules = {name: score(question, answer(question, turns, job.read)) for name, turns in given.items()}
            each = replace(each, rules=rules)
        if readers is not None:
            each = replace(each, model=await _read(readers, log, method, question, each))
        asked.append(each)
    lost = _fidelity(method, log) if row.method == OURS else (0, 0)
    return replace(row, build=built, asked=tuple(asked), printed=lost[0], kept=lost[1])


def _search(plan: Plan, method: Method, question: Question, readers_only: bool) -> Asked:
    """One question; a method that only fills a context has no number of turns."""
    k = 0 if readers_only else plan.k if plan.data else max(plan.k, len(question.needle))
    begun = time.perf_counter()
    found = method.retrieve(question.text, k) if k else []
    seconds = time.perf_counter() - begun
    within = method.retrieve(question.text, MOST, plan.tokens)
    return Asked(
        question.id, question.kind, question.template, question.answerable, question.needle,
        tuple(sorted(question.named)), tuple(found), k, tuple(within), seconds,
    )  # fmt: skip


def _given(setting: str, log: Log, method: Method, question: Question, found: Sequence[int]) -> Sequence[Turn]:
    """What a reader gets."""
    if setting == "end":
        return method.stored(found)
    if setting == "stored":
        return method.stored(question.turns)
    wanted = set(question.turns)
    return [turn for turn in log.turns if turn.turn in wanted]


async def _read(readers: Readers, log: Log, method: Method, question: Question, each: Asked) -> dict[str, Any]:
    """What the models make of it; a setting with evidence is left out where nobody labelled any."""
    found = {}
    for setting in readers.settings:
        if setting != "end" and not question.needle and question.answerable:
            continue
        reference = told(question.answer)
        turns = _given(setting, log, method, question, each.within)
        said = await read(readers.reader, log.task, turns, question.text)
        right = await judge(readers.judge, log.task, question.text, reference, said)
        found[setting] = {"answer": said, "right": right, "f1": token_f1(said, reference)}
    return found


def _fidelity(method: Method, log: Log) -> tuple[int, int]:
    facts = getattr(method, "facts", None)
    if facts is None:
        return 0, 0
    from posttrain.bench.ama.fidelity import fidelity

    found = fidelity(facts(), log.truth)
    return found.printed, found.kept
