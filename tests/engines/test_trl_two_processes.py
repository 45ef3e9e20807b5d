"""Two processes take the steps of one, remember the same, and share their rows out."""

import pytest

from engines import runs
from engines.test_trl_agreement import CASES, REMEMBERING, compare_with_the_loop, split

LAUNCHED = {
    "rlad": (1, 1, 1), "rlad again": (2, 2, 1), "kdrl": (2, 2, 1), "ceeh": (2, 2, 3), "ceeh ME": (1, 1, 3),
    "upskill": (2, 2, 1), "second_order": (2, 2, 3), "second_order one question": (1, 1, 3),
    "second_order denoise": (1, 2, 2), "c_rl": (1, 1, 3), "uneven": (2, 2, 1), "uneven token mean": (2, 2, 1),
}  # fmt: skip
"""What two processes train: accumulation, inner steps and generations of each."""


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """All of it in one launch."""
    jobs = {case: (case.removesuffix(" again"), split(*shape, processes=2)) for case, shape in LAUNCHED.items()}
    return runs.several(tmp_path_factory.mktemp("launched"), jobs)


@pytest.mark.parametrize("case", LAUNCHED)
def test_two_processes_and_the_loop_take_the_same_steps(launched, monkeypatch, case):
    seen, (accumulation, inner, generations) = launched[case], LAUNCHED[case]
    recipe = (CASES | REMEMBERING)[case.removesuffix(" again")]
    assert [len(one.answers) for one in seen["generations"]] == [8 * accumulation] * generations
    compare_with_the_loop(monkeypatch, recipe, seen["generations"], inner, seen["parameters"])


@pytest.mark.parametrize("case", LAUNCHED)
def test_two_processes_have_the_same_weights_and_remember_the_same(launched, case):
    seen = launched[case]
    assert seen["sums"][0] == seen["sums"][1]
    assert seen["states"][0] == seen["states"][1]
    assert bool(seen["states"][0]) == (case in REMEMBERING)


@pytest.mark.parametrize("case", LAUNCHED)
def test_the_processes_have_equally_many_rows_that_divide(launched, case):
    """Answers, extra rows and rows that fill up; a generation is cut into as many micro-batches as it accumulates."""
    accumulation = LAUNCHED[case][0]
    for generation in launched[case]["generations"]:
        assert generation.sizes[0] == generation.sizes[1]
        assert generation.sizes[0] % accumulation == 0
        filled = sum(generation.sizes) - len(generation.answers) - len(generation.extra)
        assert filled >= 0
        if not generation.extra:
            assert filled == 0
    if case == "uneven":
        assert (len(generation.extra), generation.sizes) == (5, [12, 12])  # 8 + 1 and 8 + 4


@pytest.mark.parametrize("case", LAUNCHED)
def test_the_number_of_trained_tokens_is_that_of_all_processes(launched, case):
    for generation in launched[case]["generations"]:
        tokens = sum(len(ids) for _, ids in (*generation.answers, *generation.extra))
        assert generation.items == [sum(generation.trained)] * 2 == [tokens] * 2


def test_a_skill_follows_from_the_place_among_the_rows_of_all_processes(launched):
    """The first letter of a prompt is its skill."""
    (generation,) = launched["upskill"]["generations"]
    assert generation.skills == [1, 2] * 8
    assert [prompt[0] for prompt, _ in generation.answers] == [0, 1] * 8


def test_the_processes_share_the_critiques(launched):
    """One pair of answers with three critiques each: the second process judges the second answer."""
    generations = launched["second_order one question"]["generations"]
    judged = [generation for generation in generations if generation.extra]
    assert judged
    for generation in judged:
        prompts = [prompt for prompt, _ in generation.extra]
        assert [prompts.count(p) for p in prompts] == [3] * 6
        assert generation.sizes == [7, 7]
