"""Step numbers in questions, in many phrasings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.memory.retrieval.address import addresses

FIRST, LAST = 0, 149
numbers = st.integers(FIRST, LAST)


@pytest.mark.parametrize(
    ("question", "steps", "spans"),
    [
        ("What happened at step 12?", (12,), ()),
        ("Compare step 12 with turn 15.", (12, 15), ()),
        ("In steps 3-7, what went on?", (3, 7), ((3, 7),)),
        ("In steps 3\u20137, what went on?", (3, 7), ((3, 7),)),
        ("Steps 3 through 7?", (3, 7), ((3, 7),)),
        ("From step 3 to step 7?", (3, 7), ((3, 7),)),
        ("From step 3 until 7?", (3, 7), ((3, 7),)),
        ("Between step 4 and step 9?", (4, 9), ((4, 9),)),
        ("Between 4 and 9?", (4, 9), ((4, 9),)),
        ("Steps 3, 5 and 9?", (3, 5, 9), ()),
        ("Steps 3, 5-6, and 9?", (3, 5, 6, 9), ((5, 6),)),
        ("step 4 -> 9 -> 11?", (4, 9, 11), ()),
        ("step #7, step no. 8, step number 9, turn-10", (7, 8, 9, 10), ()),
        ("step twelve", (12,), ()),
        ("the 12th step", (12,), ()),
        ("the third step", (2,), ()),
        ("The first three steps?", (0, 2), ((0, 2),)),
        ("The last 5 actions?", (145, 149), ((145, 149),)),
        ("steps 12 through 10", (10, 12), ()),
        ("Which step opened the first door?", (), ()),
        ("The first step that opened it?", (), ()),
        ("Between 400 and 900 dollars?", (), ()),
        ("It cost 12 dollars in room 7.", (), ()),
        ("step 3.5", (), ()),
        ("", (), ()),
    ],
)
def test_addresses_of(question, steps, spans):
    found = addresses(question, FIRST, LAST)
    assert (found.steps, found.spans) == (steps, spans)


@pytest.mark.parametrize(
    ("question", "until", "since"),
    [
        ("Where was it until step 9?", 9, None),
        ("What was done before step 9?", 8, None),
        ("By step 9, how many?", 9, None),
        ("As of step 9, where?", 9, None),
        ("What was done after step 9?", None, 10),
        ("Since step 9, what?", None, 9),
        ("Where was it right after step 9?", None, None),
        ("At step 9?", None, None),
    ],
)
def test_bounds_of(question, until, since):
    found = addresses(question, FIRST, LAST)
    assert (found.until, found.since) == (until, since)


def test_the_time_of_a_question_is_its_bound_or_its_largest_step():
    assert addresses("At step 3, and at step 8?", FIRST, LAST).latest == 8
    assert addresses("Before step 9, what of step 3?", FIRST, LAST).latest == 8
    assert addresses("When?", FIRST, LAST).latest is None


@given(st.lists(numbers, min_size=1, max_size=5))
def test_every_number_of_a_list_is_read(steps):
    question = f"What do steps {', '.join(map(str, steps))} have in common?"
    assert addresses(question, FIRST, LAST).steps == tuple(sorted(set(steps)))


@given(numbers, numbers)
def test_ranges_are_read_whichever_way_they_are_put(one, other):
    first, last = sorted((one, other))
    for form in ("steps {} to {}", "steps {}-{}", "between step {} and step {}", "from turn {} through turn {}"):
        found = addresses("Name what was opened in " + form.format(first, last), FIRST, LAST)
        assert found.steps == tuple(sorted({first, last}))
        assert found.spans == (((first, last),) if first < last else ())


@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    found = addresses(text, FIRST, LAST)
    assert list(found.steps) == sorted(set(found.steps))
    assert all(first < last for first, last in found.spans)


def test_what_is_left_has_no_address():
    assert "12" not in addresses("At step 12 and in steps 3-7, what?", FIRST, LAST).rest


def test_a_huge_number_is_a_step_that_is_not_there():
    assert addresses("At step 999999999999?", FIRST, LAST).steps == (999_999_999_999,)
    assert addresses("steps 0 to 999999999999", FIRST, LAST).spans[0][1] <= 100_000
