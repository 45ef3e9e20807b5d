"""Work on turns that a model does later: it is noted with the turn, done once, and what came of it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from posttrain.memory.embedders import Space
from posttrain.memory.rows import Edge, Fact, Posting, Turn
from posttrain.memory.store import fresh
from posttrain.memory.store.engine import Engine
from posttrain.memory.store.outputs import asked
from posttrain.memory.store.tables import MOST, Output, Run, Tables
from posttrain.memory.store.upkeep import Upkeep

Row: TypeAlias = Fact | Posting | Edge


class Extractor(Protocol):
    """Reads rows out of a turn with a model. Its rows are kept beside those of the rules, and say `by="llm:NAME"`."""

    @property
    def name(self) -> str:
        """Of the model and the way it is asked; under another name it is asked again."""
        ...

    def __call__(self, turn: Turn, before: Turn | None) -> Awaitable[Sequence[Row]]:
        """The rows of a turn, given the one before it. It may be asked twice if the process ends in between."""
        ...


@dataclass(frozen=True)
class Worked:
    """What came of work that had waited."""

    done: int
    failed: int
    """Still waiting: they are tried again by the next call."""
    errors: tuple[str, ...] = ()
    """Of those, each once, with the first turn it came up at."""


@dataclass(frozen=True)
class Outbox:
    """What one memory does later, and how."""

    space: Space | None
    extractor: Extractor | None

    @property
    def maker(self) -> str:
        """The `by` of the extractor's rows."""
        return f"llm:{self.extractor.name}" if self.extractor else ""

    @property
    def embedding(self) -> str:
        """The name of the embedder's work."""
        return f"embed:{self.space.name}" if self.space else ""

    @property
    def works(self) -> tuple[str, ...]:
        """Names of what is noted with a turn; a quick embedder is not."""
        slow = self.space is not None and not self.space.quick
        return tuple(name for name in (self.embedding if slow else "", self.maker) if name)

    def added(self, tables: Tables, run: Run, turns: Sequence[Turn]) -> None:
        """Embed turns that were written, or note it as work; extraction also for the turns that now follow them."""
        if self.space and self.space.quick:
            places = [run.place(turn.turn) for turn in turns]
            tables.put_vectors(self.space.name, zip(places, self.space.rows(turns), strict=True))
        for work in self.works:
            tables.queue(work, [run.place(turn.turn) for turn in turns])
        if self.extractor:
            after = [n for turn in turns if turn.turn < run.last for n in tables.numbers(run, turn.turn + 1, most=1)]
            tables.queue(self.maker, [run.place(number) for number in after])

    def queue_missing(self, tables: Tables) -> None:
        """Note work on turns that were added without this embedder or extractor."""
        if self.space:
            tables.queue_missing(self.embedding, "vector", "space", self.space.name)
        if self.extractor:
            tables.queue_missing(self.maker, "output", "model", self.maker)


async def work(
    engine: Engine, outbox: Outbox, upkeep: Callable[[Tables, str], Upkeep], limit: int | None, at_once: int
) -> Worked:
    """Do what waits.

    Args:
        engine: The database.
        outbox: What, and how.
        upkeep: Of a run, by its name.
        limit: At most so many turns of each work; None is all.
        at_once: Turns that are worked on at the same time.
    """
    done, failed, errors = 0, 0, dict[str, None]()
    with engine.write() as tx:
        outbox.queue_missing(Tables(tx))
    for name in filter(None, (outbox.embedding, outbox.maker)):
        after, left = -1, limit
        while left is None or left > 0:
            with engine.read() as tx:
                tables = Tables(tx)
                places = tables.waiting(name, after, at_once if left is None else min(left, at_once))
                waiting = {place: pair for place in places if (pair := _pair(tables, place))}
                said = {place for place, pair in waiting.items() if _said(tables, name, place, pair)}
            if not places:
                break
            after, left = places[-1], None if left is None else left - len(places)
            pairs = [pair for place, pair in waiting.items() if place not in said]
            turns = [turn for turn, _ in pairs]
            if name == outbox.maker:
                found = await asyncio.gather(*(_extracted(outbox, *pair) for pair in pairs), return_exceptions=True)
            else:
                assert outbox.space
                (made,) = await asyncio.gather(asyncio.to_thread(outbox.space.rows, turns), return_exceptions=True)
                found = made if isinstance(made, list) else [made] * len(turns)
            with engine.write() as tx:
                tables = Tables(tx)
                for place in said:
                    tables.done(name, place)
                for place, answer in zip((place for place in waiting if place not in said), found, strict=True):
                    pair = waiting[place]
                    if isinstance(answer, Exception):
                        error = f"{name}, turn {pair[0].turn} of {pair[0].run!r}: {answer or type(answer).__name__}"
                        tables.failed(name, place, error)
                        errors[error] = None
                        failed += 1
                    elif isinstance(answer, BaseException):
                        raise answer
                    elif _pair(tables, place) == pair:
                        _keep(tables, outbox, upkeep, name, place, pair, answer)
                        done += 1
    return Worked(done, failed, tuple(errors))


def _at(place: int) -> tuple[Run, int]:
    """The run of a turn's place, of which only the identity is known, and the turn's number."""
    return Run(place >> 32, 0, 0, 0, MOST, None), place & MOST


def _pair(tables: Tables, place: int) -> tuple[Turn, Turn | None] | None:
    """A turn with the one before it, if it is there."""
    run, number = _at(place)
    name = tables.name(run.id)
    if name is None:
        return None
    found = tables.turns(run, name, number, number)
    return (found[0], tables.before(run, name, number)) if found else None


def _said(tables: Tables, work: str, place: int, pair: tuple[Turn, Turn | None]) -> bool:
    """Whether a model has said already what it would be asked, such as in an export."""
    run, number = _at(place)
    return any(each.model == work and each.asked == asked(*pair) for each in tables.outputs(run, number, number))


async def _extracted(outbox: Outbox, turn: Turn, before: Turn | None) -> list[Row]:
    """The extractor's rows, checked.

    Raises:
        ValueError: They are of another turn, or say that somebody else made them.
    """
    assert outbox.extractor
    rows = list(await outbox.extractor(turn, before))
    for row in rows:
        at = row.target if isinstance(row, Edge) else row.turn
        text = turn.text(row.proof.field)
        if at != turn.turn or row.by != outbox.maker:
            raise ValueError(f"the model gave a row of turn {at} by {row.by!r}, not of {turn.turn} by {outbox.maker!r}")
        if row.proof.turn == turn.turn and not 0 <= row.proof.start <= row.proof.end <= len(text):
            raise ValueError(f"the model's proof {row.proof} is not in its turn, of {len(text)} characters")
    return rows


def _keep(
    tables: Tables,
    outbox: Outbox,
    upkeep: Callable[[Tables, str], Upkeep],
    work: str,
    place: int,
    pair: tuple[Turn, Turn | None],
    answer: bytes | Sequence[Row],
) -> None:
    """Write what came of a work, in place of the note."""
    turn, before = pair
    if isinstance(answer, bytes):
        assert outbox.space
        tables.put_vectors(outbox.space.name, [(place, answer)])
    else:
        facts = [row for row in answer if isinstance(row, Fact)]
        postings = [row for row in answer if isinstance(row, Posting)]
        edges = [row for row in answer if isinstance(row, Edge)]
        run, rows = upkeep(tables, turn.run), fresh.rows_written(facts, postings, edges)
        tables.put_output(run.run, Output(turn.turn, outbox.maker, asked(turn, before), rows))
        if answer:
            run.outdate(turn.turn)
            run.finish()
    tables.done(work, place)
