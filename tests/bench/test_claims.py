"""Cells of the page of claims on made-up results: every verdict can be reached, and means what it says."""

import json
import random
from collections import defaultdict

import pytest

from posttrain import stats
from posttrain.bench import claims
from posttrain.bench.claims import ceeh, second_order, upskill
from posttrain.bench.claims.claim import gain, larger, ordered, tabled, versus

ALL = {"holds", "does not hold", "undecided"}
DEFINITE = (upskill._every_seed,)
"""Counts seeds, so it holds or it does not."""


class Drawn(dict):
    """Measures of an arm that are drawn when they are asked for: one of a few levels, nearly the same on all seeds or
    widely spread."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance

    def __missing__(self, name: str):
        level, spread = self.chance.choice([0.2, 0.5, 0.72, 1.3]), self.chance.choice([1e-3, 1e-3, 0.1])
        self[name] = {"by_seed": [level + spread * self.chance.random() for _ in range(5)]}
        return self[name]


def drawn(experiment: str, seed: int) -> dict:
    """A result with all arms of an experiment."""
    chance, arms = random.Random(seed), {}
    labels = claims.EXPERIMENTS[experiment].config.arms
    for label in labels:
        arms[label] = {"measured": Drawn(chance)}
        for name, value in ((name, Drawn(chance)[name]["by_seed"]) for name in ("auc", "sampled_auc", "final")):
            first = arms[labels[0]].get(f"{name}_by_seed", value)
            gap = stats.paired(value, first)
            arms[label] |= {
                f"{name}_by_seed": value,
                name: {"mean": sum(value) / 5},
                f"{name}_minus_first": {**gap.difference._asdict(), "wins": gap.wins},
            }
    return {"arms": arms}


def verdict_of(cell: str) -> str:
    return cell.removeprefix("**").partition("**")[0]


COMPARED = [claim for claim in claims.CLAIMS if claims.EXPERIMENTS[claim.experiment].config is not None]


@pytest.mark.parametrize("claim", COMPARED, ids=lambda claim: f"{claim.method} {claim.test[:40]}")
def test_every_verdict_of_a_claim_can_be_reached(claim, monkeypatch):
    monkeypatch.setattr(stats.bootstrap, "__kwdefaults__", stats.bootstrap.__kwdefaults__ | {"draws": 200})
    if tabled.__qualname__ in claim.measured.__qualname__:
        assert "**" not in claim.measured(drawn(claim.experiment, 0))
        return
    wanted = ALL - {"undecided"} if claim.measured in DEFINITE else ALL
    found = set()
    for seed in range(600):
        found.add(verdict_of(claim.measured(drawn(claim.experiment, seed))))
        if found == wanted:
            break
    assert found == wanted


# -- what the verdicts mean, by hand ----------------------------------------------------------------------------------


def measured(**values: list[float]) -> dict:
    """A result whose arms have the measure `m`."""
    return {"arms": {label: {"measured": {"m": {"by_seed": found}}} for label, found in values.items()}}


LOW, HIGH, WIDE = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7], [0.0, 0.2, 0.9]


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (HIGH, LOW, "**holds**: +0.400 [+0.400, +0.400], larger on 3 of 3 seeds (0.600 against 0.200)"),
        (LOW, HIGH, "**does not hold**: -0.400 [-0.400, -0.400], larger on 0 of 3 seeds (0.200 against 0.600)"),
        (LOW, LOW, "**undecided**: +0.000 [+0.000, +0.000], larger on 0 of 3 seeds (0.200 against 0.200)"),
    ],
)
def test_larger(a, b, said):
    assert larger("m", "a", "b")(measured(a=a, b=b)) == said


@pytest.mark.parametrize(
    ("middle", "holds"),
    [([0.3, 0.4, 0.5], "holds"), (WIDE, "undecided"), ([0.6, 0.7, 0.8], "does not hold")],
)
def test_ordered(middle, holds):
    """LOW < middle < HIGH: every step above 0, one that may be either, one below 0."""
    assert verdict_of(ordered("m", ("a", "b", "c"))(measured(a=LOW, b=middle, c=HIGH))) == holds


def test_tabled_gives_means_and_no_verdict():
    assert tabled(("m",), ("b", "a"))(measured(a=LOW, b=HIGH)) == "`b`: m 0.600; `a`: m 0.200"


def test_versus_takes_the_best_of_the_others():
    arms = {
        label: {"final_by_seed": value, "final": {"mean": sum(value) / 3}}
        for label, value in {"ours": HIGH, "poor": LOW, "good": [0.6, 0.7, 0.8]}.items()
    }
    said = versus("ours", ("poor", "good"))({"arms": arms})
    assert said.startswith("**does not hold** against `good`: -0.100")
    assert said.endswith("(ours 0.600, poor 0.200, good 0.700)")


def test_gain_is_the_difference_to_the_first_arm():
    arms = {"ours": {"auc_minus_first": {"mean": 0.1, "low": 0.05, "high": 0.2, "n": 3, "wins": 3}}}
    assert gain("ours")({"arms": arms}) == "**holds**: +0.100 [+0.050, +0.200], larger on 3 of 3 seeds"


def arms_with(table: dict[str, dict[str, list[float]]]) -> dict:
    found: dict = defaultdict(lambda: {"measured": {}})
    for label, measures in table.items():
        found[label]["measured"] = {name: {"by_seed": by_seed} for name, by_seed in measures.items()}
    return {"arms": found}


@pytest.mark.parametrize(
    ("lengths", "accuracy", "holds"),
    [
        ([60, 60, 60], [0.9, 0.9, 0.9], "holds"),
        ([60, 60, 60], [0.8, 0.8, 0.8], "does not hold"),
        ([95, 95, 95], [0.9, 0.9, 0.9], "does not hold"),
        ([60, 69, 75], [0.9, 0.9, 0.9], "undecided"),
    ],
)
def test_shorter_is_30_percent_at_the_same_accuracy(lengths, accuracy, holds):
    """GRPO: 100 tokens at 0.9."""
    result = arms_with({
        ceeh.GRPO: {"easy length": [100] * 3, "easy accuracy": [0.9] * 3},
        ceeh.EA: {"easy length": lengths, "easy accuracy": accuracy},
    })  # fmt: skip
    assert verdict_of(ceeh._shorter(result)) == holds


@pytest.mark.parametrize(
    ("random_", "reweighted", "filtered", "holds"),
    [
        (LOW, HIGH, HIGH, "holds"),
        (HIGH, LOW, HIGH, "does not hold"),
        (LOW, HIGH, LOW, "does not hold"),
        (LOW, WIDE, HIGH, "undecided"),
    ],
)
def test_filtered_needs_reweighting_to_help_and_filtering_not_to_be_worse(random_, reweighted, filtered, holds):
    table = {"random": random_, "reweighted": reweighted, "filtered": filtered}
    result = arms_with({label: {second_order.BALANCED: found} for label, found in table.items()})
    assert verdict_of(second_order.filtered_over(tuple(table))(result)) == holds


@pytest.mark.parametrize(
    ("ours", "information", "holds"),
    [(HIGH, [1.2, 1.3, 1.4], "holds"), (HIGH, [0.9, 1.3, 1.4], "does not hold"), (WIDE, [1.2] * 3, "does not hold")],
)
def test_every_seed_means_every_seed(ours, information, holds):
    result = arms_with({
        upskill.CONTROL: {"pass@5": LOW},
        upskill.SEQUENCE: {"pass@5": ours, "information, sequence": information},
    })  # fmt: skip
    assert verdict_of(upskill._every_seed(result)) == holds


def test_every_claim_is_about_an_experiment_and_arms_of_it(tmp_path):
    """Without a result a claim is not measured yet, and the page is whole."""
    assert {claim.experiment for claim in claims.CLAIMS} <= set(claims.EXPERIMENTS)
    page = claims.render(tmp_path, tmp_path / "claims.md").read_text()
    assert page.count("not measured yet") == len(claims.CLAIMS)
    assert all(sentence in page for sentence in claims.NOT_HERE)


def test_what_is_measured_survives_json():
    result = drawn("ceeh-chain", 1)
    (claim,) = [claim for claim in claims.CLAIMS if claim.measured == ceeh._shorter]
    said = claim.measured(result)
    assert claim.measured(json.loads(json.dumps(result))) == said
