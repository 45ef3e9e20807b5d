"""A memory for agents: turns are added as they come, and questions are answered with evidence (AMA-Agent)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from posttrain.embedding import Embedder
from posttrain.memory.added import Added, Refused, RunChanged
from posttrain.memory.answer import Answer
from posttrain.memory.embedders import space_of
from posttrain.memory.rows import Turn
from posttrain.memory.store import outbox, portable
from posttrain.memory.store.check import check
from posttrain.memory.store.engine import Durability, Engine
from posttrain.memory.store.outbox import Extractor, Outbox, Worked
from posttrain.memory.store.stored import Lookups, StoredView
from posttrain.memory.store.tables import Tables
from posttrain.memory.store.upkeep import States, Upkeep
from posttrain.memory.store.writing import Writing, check_turn
from posttrain.memory.view import View

if TYPE_CHECKING:
    from posttrain.memory.retrieval.scan import Query

TRIES = 20
"""So often a question is read again, if late turns come in between."""


class Memory:
    """Runs of turns in a database, and what can be found in them.

    It may be used by several threads, and the database by several processes.

    Args:
        where: A file of SQLite's, which is made if it is not there; `postgresql://...`; `:memory:`; or an engine.
        durability: What an acknowledged turn survives: the end of the `process`, or a cut of the `power` too. A
            PostgreSQL server has its own setting, by default the latter.
        embedder: Makes vectors: `lexical`, `minilm`, or a function with a `name`. Agents' logs gain little from any.
        extractor: Reads rows out of turns with a model, later, in `work`.

    Raises:
        MemoryFileError: The database cannot be opened; the sentence says why.
    """

    def __init__(
        self,
        where: str | Path | Engine,
        *,
        durability: Durability = "process",
        embedder: str | Embedder | None = None,
        extractor: Extractor | None = None,
    ) -> None:
        self.outbox = Outbox(space_of(embedder), extractor)
        self.engine = engine_of(where, durability) if isinstance(where, (str, Path)) else where
        self._states = States()
        self._lookups = Lookups(self.engine, self._refresh)

    # Adding

    def add(
        self,
        run: str,
        turn: int,
        *,
        action: str = "",
        observation: str = "",
        key: str | None = None,
        supersede: bool = False,
    ) -> Added:
        """Keep a turn. It is durable, and found, when this returns.

        Args:
            run: The episode, conversation or task.
            turn: Its number there, from 0. Turns may come in any order; at the end of the run is quickest.
            action: What the agent did.
            observation: What it saw then.
            key: For retries: a key that was given before takes the same turn again, and refuses any other.
            supersede: Put it in the place of another content, which is kept beside.

        Raises:
            Refused: Another content is there, the key was given for another one, or the run is closed. Nothing was
                changed.
            WriteError: It could not be written; no answer has anything of it.
        """
        given = Turn(run, turn, action, observation)
        check_turn(given)
        with self._writing() as work:
            found = work.add(given, key, supersede=supersede)
        if not found.kept:
            raise Refused(found.because)
        return found

    def add_many(self, turns: Iterable[Turn], keys: Sequence[str | None] | None = None) -> list[Added]:
        """Keep many turns in one transaction, which is much quicker than one by one.

        Args:
            turns: Of any runs.
            keys: One for each turn, as in `add`.

        Returns:
            What became of each; those that are refused say why, and the others are kept.
        """
        given = list(turns)
        if keys is not None and len(keys) != len(given):
            raise ValueError(f"{len(keys)} keys were given for {len(given)} turns; give one for each, None for no key.")
        for turn in given:
            check_turn(turn)
        with self._writing() as work:
            for run in sorted(
                {turn.run for turn in given}
            ):  # in one order, so that two who write do not block each other
                work.made(run)
            return [work.add(turn, key) for turn, key in zip(given, keys or [None] * len(given), strict=True)]

    def close_run(self, run: str) -> None:
        """Refuse further turns of a run."""
        with self._writing() as work:
            work.close_run(run)

    # Reading

    def runs(self) -> list[str]:
        """Names of all runs, ordered."""
        with self.engine.read() as tx:
            return [name for _, name in Tables(tx).names()]

    def view(self, run: str, as_of: int | None = None) -> View:
        """A run as it was known after a turn; what retrieval reads. What is added at its end later does not show.

        Raises:
            UnknownRun: Nothing was ever added to it.
            RunChanged: From its methods, later: something before the end was changed in the meantime.
        """
        return StoredView(self._lookups, run, as_of)

    def ask(
        self,
        run: str,
        question: str,
        *,
        turns: int = 10,
        tokens: int | None = None,
        as_of: int | None = None,
        explain: bool = False,
    ) -> Answer:
        """Evidence on a question, or why there is none.

        Args:
            run: Where to look.
            question: In plain words.
            turns: At most so many.
            tokens: At most about so many, in all turns together; None is no limit.
            as_of: As was known after this turn; None is now.
            explain: Tell every signal that was used.
        """
        from posttrain.memory.retrieval.ask import ask

        space = self.outbox.space
        return self._read(
            run, as_of, lambda view: ask(view, question, turns=turns, tokens=tokens, explain=explain, space=space)
        )

    def timeline(self, run: str, entity: str, *, attribute: str | None = None, as_of: int | None = None) -> Answer:
        """The versions of an entity's states, in order."""
        from posttrain.memory.retrieval.walk import timeline

        return self._read(run, as_of, lambda view: timeline(view, entity, attribute=attribute))

    def why(self, run: str, turn: int, *, entity: str | None = None, hops: int = 2, as_of: int | None = None) -> Answer:
        """The earlier turns that made a turn possible."""
        from posttrain.memory.retrieval.walk import why

        return self._read(run, as_of, lambda view: why(view, turn, entity=entity, hops=hops))

    def scan(self, run: str, query: str | Query, *, as_of: int | None = None) -> Answer:
        """Count or list over all turns of a run."""
        from posttrain.memory.retrieval.scan import scan

        return self._read(run, as_of, lambda view: scan(view, query))

    def _read(self, run: str, as_of: int | None, read: Callable[[View], Answer]) -> Answer:
        """What is read from a view, which is read again if somebody changed the run in the meantime."""
        for _ in range(TRIES):
            try:
                return read(self.view(run, as_of))
            except RunChanged:
                continue
        return read(self.view(run, as_of))

    # Keeping

    async def work_async(self, limit: int | None = None, *, at_once: int = 8) -> Worked:
        """Do what waits for the embedder and the extractor. What fails is told, and tried again by the next call.

        Args:
            limit: At most so many turns of each; None is all.
            at_once: Turns that are worked on at the same time.
        """
        return await outbox.work(self.engine, self.outbox, self._upkeep, limit, at_once)

    def work(self, limit: int | None = None, *, at_once: int = 8) -> Worked:
        """The same, outside of an event loop."""
        return asyncio.run(self.work_async(limit, at_once=at_once))

    def erase(self, run: str, turns: Collection[int] | None = None) -> int:
        """Delete a run, or some of its turns, with all that was made from them, and leave no trace in the database.

        The file is written anew, which takes a moment for a large one. Copies, exports, and what a file system keeps
        of old files are out of its reach. So is the working memory of other processes that have the database open: no
        answer of theirs has anything of it from now on, but what they had read for earlier answers stays there until
        they ask about that run again, or about 32 others, or end.

        Returns:
            The number of turns that are gone.

        Raises:
            MemoryFileError: It is gone from all answers, but somebody still reads an older state; see `scrub`.
        """
        with self._writing() as work:
            gone = work.erase(run, turns)
        self._lookups.clear()
        self._states.clear()
        self.scrub()
        return gone

    def scrub(self) -> None:
        """Leave no trace of what was erased in the database's files."""
        self.engine.scrub()

    def export(self, path: str | Path, run: str | None = None) -> int:
        """Write all that cannot be made again as lines of JSON; gives the number of turns."""
        if run is not None:
            self.view(run)
        return portable.export(self.engine, Path(path), run)

    def import_from(self, path: str | Path) -> list[Added]:
        """Add what `export` wrote. What is there already stays, so that it can be done again.

        Raises:
            ValueError: The file is none of ours, or is cut off; the sentence says how far it was imported.
            Refused: A turn is there with another content, or its run is closed.
        """
        return portable.read(Path(path), self._writing)

    def rebuild(self, run: str | None = None) -> None:
        """Make the index of a run, or of all, again from the turns as they came. Answers stay the same."""
        for name in self.runs() if run is None else [run]:
            with self._writing() as work:
                found = work.known(name)
                found.outdate(0)
                found.refresh()

    def check(self) -> list[str]:
        """What is wrong with the index, in sentences: it must be what would be made from the turns now."""
        with self.engine.read() as tx:
            return check(Tables(tx))

    def close(self) -> None:
        """Give back what is open."""
        self.engine.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[Writing]:
        with self.engine.write() as tx:
            work = Writing(Tables(tx), self._states, self.outbox)
            yield work
            work.finish()
        work.keep()

    def _refresh(self, run: str) -> None:
        with self._writing() as work:
            if found := work.open(run):
                found.refresh()

    def _upkeep(self, tables: Tables, run: str) -> Upkeep:
        return Writing(tables, self._states, self.outbox).known(run)


def engine_of(where: str | Path, durability: Durability) -> Engine:
    """The database behind a path or an address."""
    if durability not in ("process", "power"):
        raise ValueError(f"durability={durability!r} is unknown; use 'process' or 'power'.")
    if str(where).startswith(("postgresql://", "postgres://")):
        from posttrain.memory.store.postgres import Postgres

        return Postgres(str(where))
    from posttrain.memory.store.sqlite import SQLite

    return SQLite(where, durability)


__all__: Sequence[Any] = ("Memory", "engine_of")
