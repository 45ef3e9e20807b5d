"""Columns keep every number, and segments every row."""

import made_runs as runs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.memory.index import entries
from posttrain.memory.store.columns import form_of, packed, record, unpacked
from posttrain.memory.store.segment import Segment, fold, joined

NUMBER = st.one_of(st.integers(-3, 3), st.integers(0, 300), st.integers(-70_000, 70_000), st.integers(-(2**40), 2**40))


@given(rows=st.lists(st.tuples(st.integers(0, 600), NUMBER, NUMBER), min_size=1))
def test_numbers_come_back(rows):
    table = np.array(rows, np.int64)
    assert unpacked(packed(table, form_of(table)), form_of(table)).tolist() == table.tolist()


@pytest.mark.parametrize(("most", "size"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4)])
def test_a_column_is_as_narrow_as_its_numbers_let_it_be(most, size):
    """Of the first column 0 and `most`; the second is 7 throughout and takes no room."""
    assert record(form_of(np.array([[0, 7], [most, 7]]))).itemsize == size


@pytest.fixture(autouse=True)
def all_kinds(monkeypatch):
    monkeypatch.setattr("posttrain.memory.index.read", runs.read)


@settings(deadline=None)
@given(turns=runs.runs(), cut=st.integers(0, 24))
def test_two_segments_joined_are_the_segment_of_both(turns, cut):
    made = entries(turns)
    halves = [part for part in (made[:cut], made[cut:]) if part]
    assert joined([fold(part) for part in halves]).stored() == fold(made).stored()


@settings(deadline=None)
@given(turns=runs.runs())
def test_a_segment_can_be_taken_apart_and_stored_again(turns):
    stored = fold(entries(turns)).stored()
    assert Segment(0, stored.form, stored.lengths).columns(stored.parts).stored() == stored
