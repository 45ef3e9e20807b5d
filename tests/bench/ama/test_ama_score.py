"""Recall, differences and shares on rows that were made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.bench.ama.fidelity import fidelity
from posttrain.bench.ama.log import Log, Printed, Question, tokens_of
from posttrain.bench.ama.plan import Plan
from posttrain.bench.ama.reader import score as points
from posttrain.bench.ama.rows import Asked, Row
from posttrain.bench.ama.score import fresh, recall, score
from posttrain.memory.rows import Fact, Proof, Turn
from posttrain.stats import bootstrap, grouped


def asked(needle, turns, *, kind="A", named=(), answerable=True, **more):
    return Asked("q", kind, "first", answerable, needle, named, turns, 10, turns, 0.002, **more)


def row(method, log, *questions, **more):
    return Row(log, method, "rooms", "prose", "8K", 8200, 100, 0.5, questions, **more)


def test_a_piece_is_found_by_any_of_its_turns():
    assert recall([(1,), (2, 3)], [3]) == 0.5
    assert recall([(1,), (2, 3)], [3, 2, 1]) == 1
    assert recall([], [3]) is None


def test_new_is_what_the_question_does_not_name():
    each = asked(((1,), (2, 3), (4,)), (2,), named=(3, 4))
    assert fresh(each) == [(1,)]


def test_means_intervals_and_differences():
    """Ours finds 1 and 1/2, the rule 0 and 1/2: means 0.75 and 0.25, difference 0.5 over two logs."""
    rule = "address, ±1, BM25"
    rows = [
        row("ours", "a", asked(((1,),), (1,)), asked((), (5,), answerable=False), printed=4, kept=3),
        row("ours", "b", asked(((1,), (2,)), (2,)), asked((), (), answerable=False)),
        row(rule, "a", asked(((1,),), (9,)), asked((), (5,), answerable=False)),
        row(rule, "b", asked(((1,), (2,)), (1,)), asked((), (5,), answerable=False)),
    ]
    result = score(Plan(methods=("ours", rule)), rows)
    ours = result["methods"]["ours"]
    assert ours["all"]["all"]["mean"] == 0.75
    assert ours["all"]["all, whole"]["mean"] == 0.5
    assert ours["all"]["all"]["n"] == 2
    assert ours["kinds"]["B"] == {}
    assert ours["false evidence"]["mean"] == 0.5
    assert ours["false abstention"]["mean"] == 0
    assert ours["fidelity"]["mean"] == 0.75
    assert ours["times"]["query_ms_p50"] == pytest.approx(2)
    assert ours["times"]["build_ms_per_turn"] == pytest.approx(5)
    gap = next(each for each in result["differences"] if each["measure"] == "all")
    assert (gap["mean"], gap["n"], gap["questions"]) == (0.5, 2, 2)
    assert result["says"] == "no model: retrieval only"


def test_a_broken_row_counts_for_nothing():
    rows = [row("BM25", "a", asked(((1,),), (1,))), row("BM25", "b", error="OSError: gone")]
    found = score(Plan(methods=("BM25",)), rows)["methods"]["BM25"]
    assert (found["all"]["all"]["mean"], found["all"]["all"]["n"]) == (1, 1)
    assert (found["errors"], found["because"]) == (1, ["OSError: gone"])


def test_what_a_judge_did_not_decide_is_unscored_and_not_wrong():
    models = {"reader": "x", "judge": "y", "settings": ["end"]}
    given = [{"end": {"answer": "a", "right": right, "f1": 0.5}} for right in (True, None, False, None)]
    rows = [row("BM25", "a", *(asked(((1,),), (1,), model=each) for each in given))]
    found = score(Plan(methods=("BM25",), readers=True), rows, models)["methods"]["BM25"]
    assert found["all"]["model, end"]["mean"] == 0.5
    assert found["all"]["model, end"]["questions"] == 2
    assert found["unscored"] == 2


def test_points_for_values_lists_and_sets():
    def question(answer, unordered=False):
        return Question("q", "A", "first", {}, "?", answer, ((1,),) if answer is not None else (), unordered)

    assert points(question("hall"), "hall") == 1
    assert points(question((1, 2)), (2, 1)) == 0
    assert points(question((1, 2), True), (2, 1)) == 1
    assert points(question((1, 2, 3), True), (1, 9)) == pytest.approx(2 / 5)
    assert points(question((), True), ()) == 1
    assert points(question("hall"), None) == 0
    assert points(question(None), None) == 1
    assert points(question(None), "hall") == 0


def fact(entity, attribute, value, turn):
    return Fact(entity, attribute, value, turn, None, Proof(turn, "observation", 0, 1))


def test_a_state_is_kept_if_the_store_knows_it_at_that_turn():
    facts = [fact("box", "state", "open", 1), fact("box", "place", "hall", 1), fact("box", "state", "closed", 4)]
    truth = [Printed("Box", "is", "open", 1), Printed("box", "is", "open", 3), Printed("box", "is", "open", 4),
             Printed("box", "is", "closed", 5), Printed("box", "at", "Hall", 9),
             Printed("lid", "is", "open", 9)]  # fmt: skip
    found = fidelity(facts, truth)
    assert (found.printed, found.kept) == (6, 4)
    assert found.lost == (truth[2], truth[5])


@given(st.lists(st.lists(st.integers(0, 1), max_size=4), min_size=1, max_size=6).filter(any))
def test_a_grouped_mean_is_the_mean_of_all_and_lies_in_its_interval(groups):
    found = grouped(groups, draws=300)
    values = [value for group in groups for value in group]
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.low <= found.mean <= found.high
    assert found.n == sum(bool(group) for group in groups)


def test_groups_of_one_are_the_plain_bootstrap():
    values = [0.0, 1.0, 1.0, 0.5]
    assert grouped([[v] for v in values]) == pytest.approx(bootstrap(values))
    with pytest.raises(ValueError, match="at least one group"):
        grouped([[], []])


def test_lengths():
    assert (tokens_of("8K"), tokens_of("1M"), tokens_of("128k")) == (8192, 1024 * 1024, 131072)
    for wrong in ("8", "K", "", "-1K", "1.5K", "0K", "8G", "²K"):
        with pytest.raises(ValueError, match="whole number of K or M"):
            tokens_of(wrong)


def test_evidence_without_an_answer_is_refused():
    with pytest.raises(ValueError, match="has evidence but no answer"):
        Question("q", "A", "first", {}, "?", None, ((1,),))
    with pytest.raises(ValueError, match="in no turn"):
        Question("q", "A", "first", {}, "?", 3, ((),))


def test_tokens_are_a_quarter_of_the_characters():
    assert Log("n", "w", "prose", "8K", "", (Turn("n", 0, "abcd", "efgh" * 3),)).tokens == 4
