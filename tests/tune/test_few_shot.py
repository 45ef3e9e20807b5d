"""The schedule of the few-shot loss, and the examples of each row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.tune import FewShot, with_examples
from posttrain.tune.few_shot import Pool

TASKS = st.lists(st.sampled_from("xyz"), min_size=1, max_size=30)


def rows(tasks):
    return [{"prompt": f"q{i}?", "completion": f"a{i}", "task": task} for i, task in enumerate(tasks)]


def test_linear_by_hand():
    """T = 5: (4 - t) / 4."""
    assert [FewShot().at(t, 5) for t in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert [FewShot(initial=2).at(t, 3) for t in range(3)] == [2, 1, 0]


def test_other_schedules():
    assert [FewShot("constant", 0.5).at(t, 9) for t in (0, 8)] == [0.5, 0.5]
    assert [FewShot("none").at(t, 9) for t in (0, 8)] == [0, 0]
    assert FewShot(lambda step, total: step / total).at(3, 6) == 0.5


@given(st.integers(1, 10_000), st.floats(0, 10))
def test_linear_starts_at_the_initial_weight_and_only_falls(total, initial):
    few = FewShot(initial=initial)
    found = [few.at(step, total) for step in {0, total // 3, total // 2, total - 1, total}]
    assert few.at(0, total) == pytest.approx(initial)
    assert all(0 <= value <= initial for value in found)
    if total > 1:
        assert few.at(total - 1, total) == few.at(total, total) == 0


def test_the_prompt_by_hand():
    few = FewShot(shots=2, separator=" | ")
    first, *_ = with_examples(rows("xxx"), few)
    assert first in ("q1?a1 | q2?a2 | q0?", "q2?a2 | q1?a1 | q0?")


@given(TASKS, st.integers(1, 4), st.integers(0, 3))
def test_examples_are_other_rows_of_the_same_task(tasks, shots, seed):
    few, given_rows = FewShot(shots=shots, separator=";", seed=seed), rows(tasks)
    if min(tasks.count(task) for task in tasks) <= shots:
        with pytest.raises(ValueError, match=r"with other prompts than row \d+, and \d examples"):
            with_examples(given_rows, few)
        return
    for row, prompt in zip(given_rows, with_examples(given_rows, few), strict=True):
        *examples, own = prompt.split(";")
        assert own == row["prompt"]
        assert len({*examples}) == len(examples) == shots
        drawn = [given_rows[int(text.split("?")[0][1:])] for text in examples]
        assert all(each["task"] == row["task"] and each is not row for each in drawn)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), st.data(), st.integers(0, 5))
def test_a_pool_gives_as_many_others_as_there_are(prompts, data, seed):
    """However often a prompt comes: each row at most once, none with the prompt that it is for."""
    pool = Pool([{"prompt": prompt, "completion": str(n)} for n, prompt in enumerate(prompts)])
    row = data.draw(st.sampled_from(pool.rows))
    others = len(prompts) - prompts.count(row["prompt"])
    assert pool.others(row) == others
    for many in range(others + 2):
        drawn = pool.draw(row, many, f"{seed}")
        assert len(drawn) == min(many, others) == len({each["completion"] for each in drawn})
        assert all(each["prompt"] != row["prompt"] for each in drawn)


def test_a_prompt_that_comes_again_is_no_example_of_itself():
    """Of four rows two have one prompt: it would tell the answer."""
    again = [*rows("xxx"), rows("xxx")[0]]
    first = again[0]["prompt"]
    for prompt in (with_examples(again, FewShot(shots=2, seed=seed, separator=";"))[0] for seed in range(8)):
        assert prompt.split(";").count(first) == 1
    with pytest.raises(ValueError, match="'x' has 2 rows with other prompts than row 0, and 3 examples are needed"):
        with_examples(again, FewShot(shots=3))


@given(st.integers(3, 12), st.integers(0, 5))
def test_the_same_seed_draws_the_same(n, seed):
    few = FewShot(shots=2, seed=seed)
    assert with_examples(rows("x" * n), few) == with_examples(rows("x" * n), few)


def test_without_a_column_all_rows_are_one_task():
    plain = [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows("xyz")]
    assert with_examples(plain, FewShot(shots=2))[0].count("?") == 3


def test_chats_get_earlier_turns_and_one_system_message():
    chats = [
        {
            "prompt": [{"role": "system", "content": f"s{i}"}, {"role": "user", "content": f"q{i}"}],
            "completion": [{"role": "assistant", "content": f"a{i}"}],
        }
        for i in range(2)
    ]
    turns = with_examples(chats, FewShot(shots=1))[0]
    assert [turn["content"] for turn in turns] == ["s0", "q1", "a1", "q0"]


def test_impossible_settings_are_refused():
    for options, match in (
        ({"weight": "cosine"}, "weight="),
        ({"initial": -1}, "initial=-1"),
        ({"shots": 0}, "shots=0"),
    ):
        with pytest.raises(ValueError, match=match):
            FewShot(**options)
