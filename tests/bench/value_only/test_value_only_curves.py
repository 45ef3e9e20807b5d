"""The figure of the closed forms, the pictures and the tables: made of any result, and the figure's numbers agree."""

import numpy as np
import pytest

from posttrain.bench.claims import value_only as claims
from posttrain.bench.trials import summary
from posttrain.bench.value_only import curves, linear, picture, report, softmax, softmax_picture
from posttrain.tune import theory

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def drawn():
    return curves.measured(samples=2_000)


def test_every_curve_is_the_risk_of_its_weights():
    data, theta_0 = theory.isotropic(), np.eye(5)[0]
    for curve in curves.curves(theta_0, data).values():
        for n in (0, 1, 20):
            for theta in (theta_0, -theta_0):
                assert curve.risk(n, theta) == pytest.approx(theory.risk(curve.weights, n, theta, data))


def test_the_figure_has_both_tasks_and_runs_near_every_curve(drawn):
    assert set(drawn["curves"]) == set(curves.curves(np.eye(5)[0], theory.isotropic()))
    for tasks in drawn["curves"].values():
        for task in tasks.values():
            assert len(task["exact"]) == 21
            for n, run in zip(drawn["sampled_at"], task["sampled"], strict=True):
                assert abs(run["mean"] - task["exact"][n]) < 5 * run["error"] + 1e-9
    assert drawn["worst"] == curves.worst(drawn["curves"]) < 0.25


def test_the_numbers_are_the_notebook_s(drawn):
    assert [round(value, 3) for value in drawn["numbers"].values()] == [2.438, 0.322, 0.654, 0.931, 1.1, 0.553]


def rows(names, measures, seeds=(10, 11, 12)):
    return [
        {
            "seed": seed,
            "arms": {name: {each: 0.1 + 0.01 * seed + i for i, each in enumerate(measures)} for name in names},
        }
        for seed in seeds
    ]


def linear_result():
    shots = linear.Linear().shots
    measures = [linear.measure(task, n) for task in linear.TASKS for n in range(shots + 1)]
    made = rows([linear.PRETRAINED, *linear.ARMS], measures)
    for row in made:
        row["arms"]["theory"] = dict.fromkeys(
            ("a, trained", "a, in theory", "w, trained", "w, in theory"), 0.5 + 0.001 * row["seed"]
        )
    return summary(made, title="t", says="s. Means over seeds.", setup={"shots": shots})


def softmax_result(names=(softmax.NONE, *softmax.ARMS)):
    measures = [softmax.measure(task, n) for task in softmax.TASKS for n in range(11)]
    measures += [f"matched: {softmax.measure(task, 10)}" for task in softmax.TASKS] + ["steps", "learnt", "moved"]
    setup = {"shape": {"shots": 10, "start_token": True}, "matched": 0.05}
    return summary(rows(names, measures), title="t", says="s. Means over seeds.", setup=setup)


def test_every_picture_can_be_drawn(drawn, tmp_path):
    grid = softmax_result((softmax.NONE, *softmax.grid()))
    for number, (draw, result) in enumerate(
        (
            (picture.closed_forms, drawn),
            (picture.trained, linear_result()),
            (softmax_picture.picture, softmax_result()),
            (softmax_picture.rates, grid),
        )
    ):
        assert draw(result, tmp_path / f"{number}.png").read_bytes().startswith(PNG)


def test_a_table_has_every_arm_and_puts_other_measures_aside():
    result = linear_result()
    first, *aside = report.trained(("target, 0 shots", "random, 20 shots"))(result)
    assert first.row_count == len(linear.ARMS) + 1
    assert ["theory: a, trained 0.511" in each.plain for each in aside] == [True]


@pytest.mark.parametrize(
    ("value", "said"), [(0.1234, "0.123"), (9.9999, "10.000"), (12.345, "12.3"), (-123.4, "-123"), (0.0, "0.000")]
)
def test_numbers_have_three_digits_or_so(value, said):
    assert report.number(value) == said


def test_every_claim_and_section_can_be_written(drawn):
    results = {
        "value-only-theory": drawn,
        claims.LINEAR: linear_result(),
        claims.SOFTMAX: softmax_result(),
        claims.BARE: softmax_result(),
    }
    assert set(results) == set(claims.EXPERIMENTS)
    for claim in claims.CLAIMS:
        assert claim.measured(results[claim.experiment])
    for name, experiment in claims.EXPERIMENTS.items():
        lines = experiment.section(results[name])
        table = [line for line in lines if line.startswith("|")]
        assert len({line.count("|") for line in table}) == 1
        assert f"![{name}](../results/{name}.png)" in lines


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([1, 1, 1], [2, 2, 3], "holds"),
        ([2, 2, 3], [1, 1, 1], "does not hold"),
        ([1, 2, 1], [2, 1, 1], "undecided"),
    ],
)
def test_rises_by_hand(before, after, said):
    result = {"arms": {"arm": {"measured": {"a": {"by_seed": before}, "b": {"by_seed": after}}}}}
    assert claims.rises("arm", "a", "b")(result).startswith(f"**{said}**")


def test_times_by_hand():
    """2, 8 over 1, 1: the geometric mean is 4."""
    cells = {"v": {"measured": {"e": {"by_seed": [2.0, 8.0]}}}, "none": {"measured": {"e": {"by_seed": [1.0, 1.0]}}}}
    assert claims.times("e", "v")({"arms": cells}) == "`v` 4.0 [2.0, 8.0]"


@pytest.mark.parametrize(("worst", "said"), [(0.009, "holds"), (0.011, "does not hold")])
def test_closed_forms_hold_within_one_per_cent(worst, said):
    assert claims.closed_forms({"worst": worst, "numbers": {"x": 1.0}}).startswith(f"**{said}**")
