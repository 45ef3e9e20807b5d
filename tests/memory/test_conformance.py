"""SQLite, PostgreSQL and plain lists give the same answers, whatever came in whatever order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import made_runs as runs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import needs_postgres, server

from posttrain.memory.added import RunChanged
from posttrain.memory.memory import Memory
from posttrain.memory.plain import PlainRun
from posttrain.memory.rows import Turn
from posttrain.memory.store.postgres import Postgres
from posttrain.memory.store.sqlite import SQLite

numbers = itertools.count()


@contextmanager
def memory(kind: str) -> Iterator[Memory]:
    """An empty one."""
    engine = SQLite(":memory:") if kind == "sqlite" else Postgres(server().address, f"memory_{next(numbers)}")
    with Memory(engine) as found:
        yield found


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Segments of 3 turns, of which 2 become one; and rows of all kinds."""
    monkeypatch.setattr("posttrain.memory.store.upkeep.FOLD", 3)
    monkeypatch.setattr("posttrain.memory.store.upkeep.JOIN", 2)
    monkeypatch.setattr("posttrain.memory.index.read", runs.read)


kinds = pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=needs_postgres)])
tries = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(found: Memory) -> list[list[tuple]]:
    """All that was made from the turns."""
    with found.engine.read() as tx:
        order = {"part": "id, name"}
        return [
            tx.execute(f"SELECT * FROM {table} ORDER BY {order.get(table, 'id')}")
            for table in ("fresh", "segment", "part")
        ]


@kinds
@tries
@given(turns=runs.runs())
def test_every_answer_is_that_of_the_reference(kind, turns):
    with memory(kind) as found:
        for turn in turns:
            found.add(turn.run, turn.turn, action=turn.action, observation=turn.observation)
        plain = PlainRun(turns)
        for until in (None, *plain.numbers[::5], -1):
            runs.assert_agree(found.view("run", until), plain, until)
        assert found.check() == []


@kinds
@tries
@given(turns=runs.runs(), data=st.data())
def test_order_of_arrival_retries_and_questions_in_between_change_nothing(kind, turns, data):
    with memory(kind) as shuffled, memory(kind) as straight:
        straight.add_many(turns)
        order = data.draw(st.permutations(turns))
        for place, turn in enumerate(order):
            shuffled.add(turn.run, turn.turn, action=turn.action, observation=turn.observation)
            if data.draw(st.booleans()):
                runs.assert_agree(shuffled.view("run"), PlainRun(order[: place + 1]), None)
        assert {each.status for each in shuffled.add_many(order)} == {"same"}
        runs.assert_agree(shuffled.view("run"), PlainRun(turns), None)
        assert rows(shuffled) == rows(straight)
        assert shuffled.check() == []


@kinds
@tries
@given(turns=runs.runs(), data=st.data())
def test_as_of_a_turn_is_what_its_prefix_alone_would_give(kind, turns, data):
    until = data.draw(st.integers(-1, turns[-1].turn + 1))
    prefix = [turn for turn in turns if turn.turn <= until]
    with memory(kind) as whole:
        whole.add_many(turns)
        runs.assert_agree(whole.view("run", until), PlainRun(prefix), until)


@kinds
@tries
@given(turns=runs.runs())
def test_rebuilding_gives_the_same_bytes(kind, turns):
    with memory(kind) as found:
        for turn in turns:
            found.add(turn.run, turn.turn, action=turn.action, observation=turn.observation)
        before = rows(found)
        found.rebuild()
        assert rows(found) == before


@kinds
@tries
@given(turns=runs.runs(), data=st.data())
def test_what_was_superseded_or_erased_is_as_if_it_had_never_been(kind, turns, data):
    changed = data.draw(st.sampled_from(turns))
    gone = data.draw(st.sets(st.sampled_from([turn.turn for turn in turns])))
    now = Turn("run", changed.turn, changed.action + " door", changed.observation)
    left = [now if turn is changed else turn for turn in turns if turn.turn not in gone]
    with memory(kind) as found:
        found.add_many(turns)
        assert (
            found.add("run", now.turn, action=now.action, observation=now.observation, supersede=True).status
            == "superseded"
        )
        assert found.erase("run", gone) == len(gone)
        reference = PlainRun(left)
        reference.run = "run"
        runs.assert_agree(found.view("run"), reference, None)
        assert found.check() == []


@kinds
@tries
@given(turns=runs.runs(most=12), other=runs.runs(most=12))
def test_runs_do_not_see_each_other(kind, turns, other):
    others = [Turn("run\x00", each.turn, each.action, each.observation) for each in other]
    with memory(kind) as found:
        mixed = [each for pair in itertools.zip_longest(turns, others) for each in pair if each is not None]
        found.add_many(mixed)
        runs.assert_agree(found.view("run"), PlainRun(turns), None)
        runs.assert_agree(found.view("run\x00"), PlainRun(others), None)
        assert found.runs() == ["run", "run\x00"]


@pytest.mark.parametrize("stride", [1, 2, 5])
@tries
@given(turns=runs.runs(most=60))
def test_two_who_add_to_one_run_in_turn_catch_up_with_each_other(tmp_path_factory, stride, turns):
    path = tmp_path_factory.mktemp("shared") / "agent.db"
    with Memory(path) as first, Memory(path) as second:
        for place, turn in enumerate(turns):
            memory = (first, second)[place // stride % 2]
            memory.add(turn.run, turn.turn, action=turn.action, observation=turn.observation)
        runs.assert_agree(first.view("run"), PlainRun(turns), None)
        assert second.check() == []


@kinds
def test_a_view_does_not_see_what_is_added_after_it(kind):
    with memory(kind) as found:
        found.add("run", 0, action="open door")
        view = found.view("run")
        found.add("run", 1, action="open door")
        assert view.lengths().turn.tolist() == [0]
        assert view.entities() == {"door": 1}
        assert view.until is None
        assert found.view("run").lengths().turn.tolist() == [0, 1]


@kinds
@pytest.mark.parametrize("question", ["scan", "ask"])
def test_a_view_whose_run_is_changed_before_its_end_says_so_and_questions_are_read_again(kind, question, monkeypatch):
    with memory(kind) as found:
        found.add_many([Turn("run", n, f"open door {n}", "") for n in (0, 1, 4)])
        late = [Turn("run", n, f"open door {n}", "") for n in (2, 3)]
        view = found.view("run")

        def read(view, query, **options):
            before = view.lengths().turn.tolist()
            found.add_many([late.pop()] if late else [])
            return before, view.hits(["door"]).turn.tolist()

        monkeypatch.setattr(f"posttrain.memory.retrieval.{question}.{question}", read)
        assert getattr(found, question)("run", "door") == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
        with pytest.raises(RunChanged, match="take a new view"):
            view.lengths()


@needs_postgres
def test_an_export_of_one_is_imported_by_the_other(tmp_path):
    turns = [Turn("run", n, f"open door {n}", "\ud83d\ude00 a\x00b key 1 open" * n) for n in range(10)]
    with memory("sqlite") as first, memory("postgres") as second, memory("sqlite") as third:
        first.add_many(turns, [f"key {n}" for n in range(10)])
        first.close_run("run")
        first.export(tmp_path / "first.jsonl")
        second.import_from(tmp_path / "first.jsonl")
        second.export(tmp_path / "second.jsonl")
        third.import_from(tmp_path / "second.jsonl")
        assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "second.jsonl").read_bytes()
        assert rows(first) == rows(third)
        runs.assert_agree(second.view("run"), PlainRun(turns), None)
