"""One transaction of a memory: what is added in it is kept whole, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from posttrain.memory.added import Added, UnknownRun
from posttrain.memory.rows import Turn
from posttrain.memory.store.outbox import Outbox
from posttrain.memory.store.tables import MOST, Output, Tables, coded
from posttrain.memory.store.upkeep import States, Upkeep


class Writing:
    """Raw turns, their index rows, vectors, keys and work for later, all within one transaction.

    Args:
        tables: Of the transaction.
        states: See `Upkeep`.
        outbox: What is to be done with turns beside indexing them.
    """

    def __init__(self, tables: Tables, states: States, outbox: Outbox) -> None:
        self.tables, self.states, self.outbox = tables, states, outbox
        self._open: dict[str, Upkeep] = {}
        self._added: dict[str, list[Turn]] = {}

    def open(self, name: str) -> Upkeep | None:
        """A run, if there is one of this name."""
        if name not in self._open:
            run = self.tables.run(name, held=True)
            if run is None:
                return None
            self._open[name] = Upkeep(self.tables, run, name, self.states)
        return self._open[name]

    def known(self, name: str) -> Upkeep:
        """A run.

        Raises:
            UnknownRun: There is none of this name.
        """
        found = self.open(name)
        if found is None:
            raise UnknownRun(name)
        return found

    def made(self, name: str) -> Upkeep:
        """A run, made if there is none of this name."""
        found = self.open(name)
        if found is None:
            found = self._open[name] = Upkeep(self.tables, self.tables.make_run(name), name, self.states)
        return found

    def add(self, turn: Turn, key: str | None = None, *, supersede: bool = False) -> Added:
        """Keep a turn, unless it is there, or another one is in its place."""
        found = self.open(turn.run)
        content = coded(turn.action), coded(turn.observation)
        there = self._content(found, turn.turn)
        if found is not None:
            if there == content:
                if key is not None and self.tables.given(found.run, key) is None:
                    self.tables.give(found.run, key, turn.turn)
                return Added(turn.run, turn.turn, "same")
            if key is not None and (first := self.tables.given(found.run, key)) is not None:
                if first == turn.turn and content in self._superseded(found, turn.turn):
                    return Added(turn.run, turn.turn, "same")
                if first != turn.turn:
                    because = (
                        f"The key {key!r} was given for turn {first} of run {turn.run!r} already; give another key."
                    )
                    return Added(turn.run, turn.turn, "conflict", because)
                if not supersede:
                    because = (
                        f"The key {key!r} was given for turn {first} of run {turn.run!r} with another content, which "
                        "was kept; give each content a key of its own."
                    )
                    return Added(turn.run, turn.turn, "conflict", because)
            if found.run.closed:
                because = f"Run {turn.run!r} is closed, and turn {turn.turn} is not in it; add to another run."
                return Added(turn.run, turn.turn, "closed", because)
            if there is not None and not supersede:
                because = (
                    f"Turn {turn.turn} of run {turn.run!r} is there with another content, which was kept; number the "
                    "new one otherwise, or pass supersede=True to put it in the old one's place."
                )
                return Added(turn.run, turn.turn, "conflict", because)
        found = found or self.made(turn.run)
        if there is None:
            self.tables.put_turn(found.run, turn.turn, *content)
            found.added(turn)
        else:
            self.tables.supersede(found.run, turn.turn, *content)
            for table in ("outbox", "vector"):
                self.tables.delete(table, found.run, turn.turn, turn.turn)
            found.outdate(turn.turn)
        if key is not None and (there is None or self.tables.given(found.run, key) is None):
            self.tables.give(found.run, key, turn.turn)
        self._added.setdefault(turn.run, []).append(turn)
        return Added(turn.run, turn.turn, "added" if there is None else "superseded")

    def _content(self, found: Upkeep | None, turn: int) -> tuple[bytes, bytes] | None:
        """What is stored under a number; beyond a run's last turn there is nothing to look for."""
        return self.tables.content(found.run, turn) if found is not None and turn <= found.run.last else None

    def _superseded(self, found: Upkeep, turn: int) -> list[tuple[bytes, bytes]]:
        """The contents that a turn had before."""
        return [(action, observation) for _, _, action, observation in self.tables.superseded(found.run, turn)]

    def has(self, name: str, turn: int) -> bool:
        """Whether a turn is there."""
        return self._content(self.open(name), turn) is not None

    def close_run(self, name: str) -> None:
        """Refuse further turns of a run."""
        found = self.known(name)
        if not found.run.closed:
            found.run, found.changed = found.run._replace(closed=1), True

    def put_output(self, name: str, output: Output) -> None:
        """Keep what a model said, as another memory has it."""
        found = self.known(name)
        there = self.tables.outputs(found.run, output.turn, output.turn)
        if not any(each.model == output.model for each in there):
            self.tables.put_output(found.run, output)
            found.outdate(output.turn)

    def put_superseded(self, name: str, turn: int, version: int, action: str, observation: str) -> None:
        """Keep an old content, as another memory has it.

        Raises:
            ValueError: The contents before it are not there.
        """
        found, content = self.known(name), (coded(action), coded(observation))
        there = self._superseded(found, turn)
        if version > len(there):
            raise ValueError(f"of the {version} versions of turn {turn} before it, only {len(there)} came")
        if version == len(there) or content not in there:
            self.tables.insert("superseded", [(found.run.place(turn), len(there), *content)], 4)
            found.changed = True

    def erase(self, name: str, turns: Collection[int] | None) -> int:
        """Delete a run or some of its turns, and all that was made from them; gives the number of turns."""
        found = self.open(name)
        if found is None:
            return 0
        run = found.run
        there = self.tables.numbers(run)
        gone = there if turns is None else sorted(set(turns).intersection(there))
        if turns is None:
            self.tables.forget_run(run)
            del self._open[name]
            return len(gone)
        for turn in gone:
            self.tables.forget(run, turn)
        if gone:
            found.outdate(gone[0])
            found.run = found.run._replace(last=max(set(there) - set(gone), default=-1))
            found.refresh()
            if self.outbox.extractor:
                self.outbox.queue_missing(self.tables)
        return len(gone)

    def finish(self) -> None:
        """Write what is left to write."""
        for name, turns in self._added.items():
            self.outbox.added(self.tables, self._open[name].run, _newest(turns))
        for each in self._open.values():
            each.finish()

    def keep(self) -> None:
        """The transaction is committed."""
        for each in self._open.values():
            each.keep()


def _newest(turns: Sequence[Turn]) -> list[Turn]:
    """Of each number the content that came last."""
    return list({turn.turn: turn for turn in turns}.values())


def check_turn(turn: Turn) -> None:
    """Raise unless it can be kept.

    Raises:
        TypeError: The texts are none.
        ValueError: The number is none of a turn.
    """
    for name, value in (("run", turn.run), ("action", turn.action), ("observation", turn.observation)):
        if not isinstance(value, str):
            raise TypeError(f"{name}={value!r} must be a text; decode bytes first, with errors='surrogateescape'.")
    if isinstance(turn.turn, bool) or not isinstance(turn.turn, int) or not 0 <= turn.turn <= MOST:
        raise ValueError(f"turn={turn.turn!r} must be a whole number from 0 to {MOST}.")
