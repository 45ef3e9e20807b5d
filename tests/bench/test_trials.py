"""Arms by seeds: rows are kept, a killed bench goes on, and the result holds every seed."""

import json

import pytest

from posttrain.bench.trials import run_trials, summary


def arms(seed):
    return {"plain": {"score": float(seed)}, "ours": {"score": seed + 1.0}}


def test_a_bench_goes_on_where_it_was_killed(tmp_path):
    asked = []

    def dies_at_two(seed):
        asked.append(seed)
        if seed == 2 and asked.count(2) == 1:
            raise KeyboardInterrupt
        return arms(seed)

    with pytest.raises(KeyboardInterrupt):
        run_trials(tmp_path, {"world": "a"}, range(4), dies_at_two)
    shown = []
    rows = run_trials(tmp_path, {"world": "a"}, range(4), dies_at_two, lambda *each: shown.append(each))
    assert asked == [0, 1, 2, 2, 3]
    assert [row["seed"] for row in rows] == [0, 1, 2, 3]
    assert shown == [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 4, 4)]


def test_rows_of_something_else_are_refused(tmp_path):
    run_trials(tmp_path, {"world": "a", "setup": 1}, [0], arms)
    with pytest.raises(ValueError, match="rows of another setup"):
        run_trials(tmp_path, {"world": "a", "setup": 2}, [0], arms)


def test_the_result_has_every_seed_and_can_be_written(tmp_path):
    result = summary(run_trials(tmp_path, {"world": "a"}, [10, 11, 12], arms), world="a")
    assert result["seeds"] == [10, 11, 12]
    assert result["arms"]["ours"]["measured"]["score"]["by_seed"] == [11.0, 12.0, 13.0]
    assert result["arms"]["plain"]["measured"]["score"]["mean"] == 11.0
    assert json.loads(json.dumps(result))["world"] == "a"
