"""Vectors that are kept between questions are those of the database, whatever was added, changed or erased since."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.memory import Memory, Refused
from posttrain.memory.store.vectors import Vectors


class Lengths:
    """A vector of the lengths of a turn's text."""

    name = "lengths"

    def __init__(self, quick):
        self.quick = quick

    def __call__(self, texts):
        return np.array([[len(text), text.count("e"), 1.0] for text in texts])


def both(path, memory, run):
    """What a memory that has read before gives, and one that has just opened the file."""
    with Memory(path, embedder=Lengths(True)) as other:
        return [each.view(run).vectors("lengths") for each in (memory, other)]


def same(pair):
    (turn, matrix), (other_turn, other_matrix) = pair
    np.testing.assert_array_equal(turn, other_turn)
    np.testing.assert_array_equal(matrix, other_matrix)
    return turn.tolist()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 12)),
        st.tuples(st.just("supersede"), st.integers(0, 12)),
        st.tuples(st.just("erase"), st.integers(0, 12)),
        st.tuples(st.just("work"), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("quick", [True, False])
@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_any_order_of_changes(tmp_path_factory, quick, steps):
    path = tmp_path_factory.mktemp("vectors") / "agent.db"
    with Memory(path, embedder=Lengths(quick)) as memory:
        memory.add("run", 5, action="begin")
        for number, (what, turn) in enumerate(steps):
            if what == "add":
                with suppress(Refused):
                    memory.add("run", turn, action=f"step {number}", observation="e" * number)
            elif what == "supersede":
                memory.add("run", turn, action=f"other {number}", observation="e" * number, supersede=True)
            elif what == "work":
                memory.work(limit=turn)
            elif memory.runs():
                memory.erase("run", [turn])
            if memory.runs():
                same(both(path, memory, "run"))


def test_vectors_that_come_late_lie_where_their_turns_do(tmp_path):
    path = tmp_path / "agent.db"
    with Memory(path, embedder=Lengths(False)) as memory:
        for turn in (3, 1, 2):
            memory.add("run", turn, action="x" * turn)
            memory.work()
            assert same(both(path, memory, "run")) == sorted({3, 1, 2} & {3, turn, *([1] if turn == 2 else [])})
        turn, matrix = memory.view("run", as_of=2).vectors("lengths")
        assert turn.tolist() == [1, 2]
        assert matrix.shape == (2, 3)


def test_what_is_kept_is_bounded_and_what_is_asked_for_is_kept(tmp_path):
    with Memory(tmp_path / "agent.db", embedder=Lengths(True)) as memory:
        for run in "abc":
            for turn in range(10):
                memory.add(run, turn, action="look")
        kept = memory._lookups.vectors = Vectors(most_bytes=2 * 10 * 3 * 4)
        for run in "abcab":
            assert len(memory.view(run).vectors("lengths")[0]) == 10
        assert [space for _, space in kept._known] == ["lengths", "lengths"]
        memory._lookups.vectors = Vectors(most_bytes=1)
        assert len(memory.view("a").vectors("lengths")[0]) == 10
        memory.erase("a")
        assert not memory._lookups.vectors._known
