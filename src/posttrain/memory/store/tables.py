"""The SQL of a memory: what is read from and written to the tables of `schema.py`, within a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from posttrain.memory.rows import Turn
from posttrain.memory.store.engine import Transaction

MOST = (1 << 31) - 1
"""The largest number of a turn."""
CHUNK = 100
"""At most so many names are looked up by one statement."""

Parts: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Names and rows."""


def coded(text: str) -> bytes:
    """A text as it is stored: nothing in it is lost."""
    return text.encode("utf-8", "surrogatepass")


def text_of(stored: bytes) -> str:
    """The text that was stored."""
    return bytes(stored).decode("utf-8", "surrogatepass")


class Run(NamedTuple):
    """A row of `run`."""

    id: int
    closed: int
    revision: int
    """Grows with every change."""
    epoch: int
    """Grows with every change that is not a turn at the end."""
    last: int
    """Number of its last turn; -1 if it has none."""
    stale: int | None
    """From this turn on it must be indexed anew; None if it is all right."""

    def place(self, turn: int) -> int:
        """The number of a turn in the whole database."""
        return self.id << 32 | turn


class Output(NamedTuple):
    """What a model said about a turn."""

    turn: int
    model: str
    asked: bytes
    """See `outputs.asked`."""
    rows: bytes
    """See `fresh.rows_written`."""


def _turn(name: str, row: Sequence[Any]) -> Turn:
    """A turn of a run, from its place, action and observation."""
    return Turn(name, row[0] & MOST, text_of(row[1]), text_of(row[2]))


class Tables:
    """The rows of one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.execute = tx.execute

    # Runs

    def run(self, name: str, *, held: bool = False) -> Run | None:
        """A run, if anything was added to it; `held` keeps others from writing to it."""
        sql = "SELECT id, closed, revision, epoch, last, stale FROM run WHERE name = ?"
        found = self.execute(sql + self.tx.holding if held else sql, (coded(name),))
        return Run(*found[0]) if found else None

    def make_run(self, name: str) -> Run:
        """A new run, held; or the one that somebody else has just made."""
        self.execute("INSERT INTO run (name) VALUES (?) ON CONFLICT DO NOTHING", (coded(name),))
        found = self.run(name, held=True)
        assert found is not None
        return found

    def put_run(self, run: Run) -> None:
        """Write a run back, one revision further."""
        self.execute(
            "UPDATE run SET closed = ?, revision = ?, epoch = ?, last = ?, stale = ? WHERE id = ?",
            (int(run.closed), run.revision + 1, run.epoch, run.last, run.stale, run.id),
        )

    def name(self, id: int) -> str | None:
        """The name of a run."""
        found = self.execute("SELECT name FROM run WHERE id = ?", (id,))
        return text_of(found[0][0]) if found else None

    def names(self) -> list[tuple[int, str]]:
        """Identities and names of all runs, in the order of the names."""
        found = self.execute("SELECT id, name FROM run")
        return sorted(((each[0], text_of(each[1])) for each in found), key=lambda each: each[1])

    # Turns

    def content(self, run: Run, turn: int) -> tuple[bytes, bytes] | None:
        """Action and observation of a turn, as stored."""
        found = self.execute("SELECT action, observation FROM turn WHERE id = ?", (run.place(turn),))
        return (bytes(found[0][0]), bytes(found[0][1])) if found else None

    def put_turn(self, run: Run, turn: int, action: bytes, observation: bytes) -> None:
        """Write a turn that is not there."""
        self.execute("INSERT INTO turn VALUES (?, ?, ?)", (run.place(turn), action, observation))

    def turns(self, run: Run, name: str, first: int = 0, last: int = MOST, most: int = MOST) -> list[Turn]:
        """The turns from `first` to `last`, both included, in order, at most so many."""
        found = self.execute(
            "SELECT id, action, observation FROM turn WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (run.place(max(first, 0)), run.place(min(last, MOST)), most),
        )
        return [_turn(name, each) for each in found]

    def before(self, run: Run, name: str, turn: int) -> Turn | None:
        """The turn before one, if there is one."""
        found = self.execute(
            "SELECT id, action, observation FROM turn WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
            (run.place(0), run.place(turn)),
        )
        return _turn(name, found[0]) if found else None

    def supersede(self, run: Run, turn: int, action: bytes, observation: bytes) -> None:
        """Put another content in a turn's place, and keep the old one."""
        place = run.place(turn)
        self.execute(
            "INSERT INTO superseded SELECT id, (SELECT count(*) FROM superseded WHERE id = ?), action, observation "
            "FROM turn WHERE id = ?",
            (place, place),
        )
        self.execute("UPDATE turn SET action = ?, observation = ? WHERE id = ?", (action, observation, place))

    def superseded(self, run: Run, turn: int | None = None) -> list[tuple[int, int, bytes, bytes]]:
        """Turn, version, action and observation of contents that others took the place of."""
        span = (run.place(0), run.place(MOST)) if turn is None else (run.place(turn), run.place(turn))
        found = self.execute("SELECT * FROM superseded WHERE id BETWEEN ? AND ? ORDER BY id, version", span)
        return [(each[0] & MOST, each[1], bytes(each[2]), bytes(each[3])) for each in found]

    def given(self, run: Run, key: str) -> int | None:
        """The turn that a key was given for."""
        found = self.execute("SELECT turn FROM given WHERE run = ? AND name = ?", (run.id, coded(key)))
        return found[0][0] if found else None

    def give(self, run: Run, key: str, turn: int) -> None:
        """Remember a key."""
        self.execute("INSERT INTO given VALUES (?, ?, ?)", (run.id, coded(key), turn))

    def keys(self, run: Run) -> list[tuple[str, int]]:
        """All keys of a run, with their turns."""
        found = self.execute("SELECT name, turn FROM given WHERE run = ? ORDER BY turn, name", (run.id,))
        return [(text_of(each[0]), each[1]) for each in found]

    def forget(self, run: Run, turn: int) -> None:
        """Delete all that came with a turn, and what models said about it or about the turn after it."""
        for table in ("turn", "superseded", "output", "outbox", "vector"):
            self.delete(table, run, turn, turn)
        self.execute("DELETE FROM given WHERE run = ? AND turn = ?", (run.id, turn))
        for after in self.numbers(run, turn + 1, most=1) if turn < MOST else ():
            self.delete("output", run, after, after)

    def forget_run(self, run: Run) -> None:
        """Delete a run."""
        for id, _, _ in self.sizes(run, MOST):
            self.drop_segment(id)
        for table in ("turn", "superseded", "output", "outbox", "vector", "fresh"):
            self.delete(table, run)
        self.execute("DELETE FROM given WHERE run = ?", (run.id,))
        self.execute("DELETE FROM run WHERE id = ?", (run.id,))

    def delete(self, table: str, run: Run, first: int = 0, last: int = MOST) -> None:
        """Delete the rows of some turns from a table whose `id` is a turn's place."""
        self.execute(f"DELETE FROM {table} WHERE id BETWEEN ? AND ?", (run.place(first), run.place(last)))

    def insert(self, table: str, rows: Iterable[Sequence[Any]], columns: int) -> None:
        """Many rows."""
        self.tx.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})", rows)

    # Index rows

    def fresh(self, run: Run, first: int = 0) -> list[tuple[int, bytes, bytes]]:
        """Turn, words and graph of the last turns, in order."""
        found = self.execute(
            "SELECT id, words, graph FROM fresh WHERE id BETWEEN ? AND ? ORDER BY id",
            (run.place(first), run.place(MOST)),
        )
        return [(each[0] & MOST, each[1], each[2]) for each in found]

    def segments(self, run: Run) -> list[tuple[int, int, bytes, bytes]]:
        """Identity, last turn, form and lengths of all segments, in order."""
        return self.execute(
            "SELECT id, last, form, lengths FROM segment WHERE id BETWEEN ? AND ? ORDER BY id",
            (run.place(0), run.place(MOST)),
        )  # type: ignore[return-value]

    def sizes(self, run: Run, most: int) -> list[tuple[int, int, int]]:
        """Identity, last turn and number of turns of the last segments, the last one first."""
        found = self.execute(
            "SELECT id, last, length(lengths) FROM segment WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT ?",
            (run.place(0), run.place(MOST), most),
        )
        return [(each[0], each[1], each[2] // 12) for each in found]

    def segment(self, id: int) -> tuple[bytes, bytes]:
        """Form and lengths of a segment."""
        found = self.execute("SELECT form, lengths FROM segment WHERE id = ?", (id,))
        return bytes(found[0][0]), bytes(found[0][1])

    def parts(self, id: int, first: bytes = b"", last: bytes = b"\xff") -> list[tuple[bytes, bytes]]:
        """Names and rows of a segment's parts from one name to before another, ordered."""
        found = self.execute(
            "SELECT name, rows FROM part WHERE id = ? AND name >= ? AND name < ? ORDER BY name", (id, first, last)
        )
        return [(bytes(each[0]), bytes(each[1])) for each in found]

    def parts_named(self, run: Run, names: Sequence[bytes]) -> dict[int, list[tuple[bytes, bytes]]]:
        """Those parts that have one of the names, by segment."""
        found: dict[int, list[tuple[bytes, bytes]]] = {}
        for begin in range(0, len(names), CHUNK):
            some = names[begin : begin + CHUNK]
            # A cross join keeps SQLite from reading all parts of a name's range: segments first, then names.
            rows = self.execute(
                "SELECT part.id, part.name, part.rows FROM segment CROSS JOIN part WHERE segment.id BETWEEN ? AND ? "
                f"AND part.id = segment.id AND part.name IN ({', '.join('?' * len(some))})",
                (run.place(0), run.place(MOST), *some),
            )
            for id, name, stored in rows:
                found.setdefault(id, []).append((bytes(name), bytes(stored)))
        return found

    def put_segment(self, run: Run, turn: int, last: int, form: bytes, lengths: bytes, parts: Parts) -> None:
        """Write a segment."""
        id = run.place(turn)
        self.execute("INSERT INTO segment VALUES (?, ?, ?, ?)", (id, last, form, lengths))
        self.insert("part", [(id, *each) for each in parts], 3)

    def drop_segment(self, id: int) -> None:
        """Delete a segment."""
        self.execute("DELETE FROM part WHERE id = ?", (id,))
        self.execute("DELETE FROM segment WHERE id = ?", (id,))

    def outputs(self, run: Run, first: int = 0, last: int = MOST) -> list[Output]:
        """What models said about some turns, ordered by turn and model."""
        found = self.execute(
            "SELECT * FROM output WHERE id BETWEEN ? AND ? ORDER BY id, model", (run.place(first), run.place(last))
        )
        return [Output(each[0] & MOST, text_of(each[1]), bytes(each[2]), bytes(each[3])) for each in found]

    def put_output(self, run: Run, output: Output) -> None:
        """Keep what a model said, in place of what it said about an older content."""
        self.execute(
            "INSERT INTO output VALUES (?, ?, ?, ?) ON CONFLICT (id, model) "
            "DO UPDATE SET input = excluded.input, rows = excluded.rows",
            (run.place(output.turn), coded(output.model), output.asked, output.rows),
        )

    # Vectors, and what models have yet to do

    def vectors(self, run: Run, space: str, after: int = -1) -> list[tuple[int, bytes]]:
        """Turn and vector of the turns after one, in order."""
        found = self.execute(
            "SELECT id, numbers FROM vector WHERE id BETWEEN ? AND ? AND space = ? ORDER BY id",
            (run.place(after + 1), run.place(MOST), coded(space)),
        )
        return [(each[0] & MOST, bytes(each[1])) for each in found]

    def count_vectors(self, run: Run, space: str) -> int:
        """How many turns have a vector."""
        places = run.place(0), run.place(MOST)
        found = self.execute(
            "SELECT COUNT(*) FROM vector WHERE id BETWEEN ? AND ? AND space = ?", (*places, coded(space))
        )
        return found[0][0]

    def put_vectors(self, space: str, rows: Iterable[tuple[int, bytes]]) -> None:
        """Keep vectors, by the places of their turns; those that are there stay."""
        self.tx.executemany(
            "INSERT INTO vector VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(place, coded(space), numbers) for place, numbers in rows],
        )

    def queue(self, work: str, places: Iterable[int]) -> None:
        """Note work on some turns; what is noted already stays."""
        self.tx.executemany(
            "INSERT INTO outbox (id, work) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(each, coded(work)) for each in places],
        )

    def queue_missing(self, work: str, table: str, column: str, name: str) -> None:
        """Note work on all turns that have no row of that name in a table."""
        self.execute(
            f"INSERT INTO outbox (id, work) SELECT id, ? FROM turn WHERE NOT EXISTS (SELECT 1 FROM {table} "
            f"WHERE {table}.id = turn.id AND {table}.{column} = ?) ON CONFLICT DO NOTHING",
            (coded(work), coded(name)),
        )

    def waiting(self, work: str, after: int, most: int) -> list[int]:
        """Places of turns that wait for a work, from after a place on."""
        found = self.execute(
            "SELECT id FROM outbox WHERE work = ? AND id > ? ORDER BY id LIMIT ?", (coded(work), after, most)
        )
        return [each[0] for each in found]

    def done(self, work: str, place: int) -> None:
        """A work on a turn is done."""
        self.execute("DELETE FROM outbox WHERE work = ? AND id = ?", (coded(work), place))

    def failed(self, work: str, place: int, error: str) -> None:
        """A work on a turn failed."""
        self.execute(
            "UPDATE outbox SET tries = tries + 1, error = ? WHERE work = ? AND id = ?",
            (coded(error), coded(work), place),
        )

    def these(self, run: Run, name: str, numbers: Sequence[int]) -> list[Turn]:
        """Those of some turns that are there; the numbers are in order."""
        found: list[Turn] = []
        for begin in range(0, len(numbers), CHUNK):
            some = [run.place(number) for number in numbers[begin : begin + CHUNK]]
            rows = self.execute(
                f"SELECT id, action, observation FROM turn WHERE id IN ({', '.join('?' * len(some))}) ORDER BY id", some
            )
            found += [_turn(name, each) for each in rows]
        return found

    def numbers(self, run: Run, first: int = 0, last: int = MOST, most: int = MOST) -> list[int]:
        """Numbers of the turns from `first` to `last`, in order, at most so many."""
        found = self.execute(
            "SELECT id FROM turn WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (run.place(first), run.place(last), most),
        )
        return [each[0] & MOST for each in found]

    def orphans(self, table: str) -> int:
        """Rows of turns whose run is not there."""
        found = self.execute(
            f"SELECT count(*) FROM {table} WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.id = {table}.id >> 32)"
        )
        return found[0][0]
