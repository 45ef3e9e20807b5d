"""The query language against a naive evaluation, and queries that are none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loft import turns, view

from posttrain.memory.plain import PlainRun
from posttrain.memory.retrieval.scan import CHUNK, scan
from posttrain.memory.rows import Turn

words = st.sampled_from(["lamp", "Lamp", "red", "re", "oak chest", "a.b", "(x", "ox", "ß", "İ"])
texts = st.lists(words, max_size=4).map(" ".join)
events = st.lists(st.tuples(texts, texts), max_size=12)
conditions = st.builds(
    lambda way, text, field: {way: text, **({"field": field} if field else {})},
    st.sampled_from(["contains", "word", "equals", "starts"]),
    words,
    st.sampled_from(["action", "observation", None]),
)


def steps(answer):
    return next(each.value for each in answer.findings if each.what == "turns")


def holds(turn, condition):
    """A condition, one character after the other."""
    way = next(name for name in condition if name != "field")
    wanted = condition[way]
    for field in [condition["field"]] if "field" in condition else ["action", "observation"]:
        text = turn.text(field)
        if way == "equals":
            if same(text.strip(), wanted):
                return True
            continue
        for start in range(len(text) - len(wanted) + 1):
            if not same(text[start : start + len(wanted)], wanted):
                continue
            before, after = text[:start], text[start + len(wanted) :]
            alone = not (before and (before[-1].isalnum() or before[-1] == "_")) and not (
                after and (after[0].isalnum() or after[0] == "_")
            )
            if way == "contains" or (way == "word" and alone) or (way == "starts" and not before.strip()):
                return True
    return False


def same(text, wanted):
    return len(text) == len(wanted) and all(a == b or a.lower() == b.lower() for a, b in zip(text, wanted, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    events, st.lists(conditions, max_size=3), st.lists(conditions, max_size=2), st.integers(0, 12), st.integers(0, 12)
)
def test_a_scan_is_what_a_naive_reader_finds(log, where, unless, first, last):
    run = [Turn("r", number, action, seen) for number, (action, seen) in enumerate(log)]
    answer = scan(PlainRun(run).view(), {"where": where, "not": unless, "from": first, "to": last, "limit": 100})
    expected = [
        turn.turn
        for turn in run
        if first <= turn.turn <= last
        and all(holds(turn, each) for each in where)
        and not any(holds(turn, each) for each in unless)
    ]
    assert list(answer.turns) == expected
    if run:
        assert steps(answer) == expected
    assert bool(answer.because) == (not expected)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, list(range(17))),
        ({"verb": "open"}, [5, 8, 15]),
        ({"verb": "opened", "failed": False}, [8, 15]),
        ({"verb": "pick up"}, [1, 7, 10, 16]),
        ({"failed": True, "verb": "open"}, [5]),
        ({"verb": "open", "first": True}, [5]),
        ({"verb": "open", "last": True}, [15]),
        ({"from": 6, "to": 9, "where": [{"field": "action", "word": "lamp"}]}, [7, 9]),
        ({"fact": {"entity": "Oak Chest", "attribute": "state", "value": "open"}}, [8, 15]),
        ({"fact": {"entity": "oak chest", "attribute": "state", "value": "open"}, "to": 10}, [8]),
        ({"entity": "nobody"}, []),
        ("lamp into", [9]),
        ('{"where": [{"contains": "silver ring"}], "verb": "drop"}', [13]),
    ],
)
def test_scans_of_a_small_log(query, expected):
    assert steps(scan(view(), query)) == expected


def test_an_entity_is_found_by_its_role():
    written = steps(scan(view(), {"entity": "red lamp", "role": "write"}))
    every = steps(scan(view(), {"entity": "red lamp"}))
    assert {7, 9, 16} <= set(written) <= set(every)


def test_groups_add_up():
    answer = scan(view(), {"by": "verb"})
    groups = next(each.value for each in answer.findings if each.what == "groups")
    assert (groups["open"], groups["take"], groups["go"]) == (3, 4, 4)
    assert sum(groups.values()) == 17
    values = (
        scan(view(), {"fact": {"entity": "oak chest", "attribute": "state"}, "from": 6, "by": "value"})
        .findings[-1]
        .value
    )
    assert values == {"closed": 2, "open": 2}


def test_the_limit_bounds_the_evidence_and_not_the_findings():
    answer = scan(view(), {"limit": 2})
    assert (len(answer.turns), len(steps(answer))) == (2, 17)


def test_a_long_log_is_read_whole():
    run = [Turn("r", number, "open door" if number % 7 == 0 else "wait", "") for number in range(3 * CHUNK)]
    assert steps(scan(PlainRun(run).view(), {"verb": "open"})) == list(range(0, 3 * CHUNK, 7))


def test_proofs_are_what_was_looked_for():
    log = {turn.turn: turn for turn in turns()}
    for each in scan(view(), {"where": [{"contains": "SILVER"}]}).evidence:
        assert each.proofs
        assert all(log[p.turn].text(p.field)[p.start : p.end].lower() == "silver" for p in each.proofs)


def test_a_scan_of_a_view_is_a_scan_of_its_turns():
    query = {"verb": "open", "failed": False, "by": "entity"}
    answer, prefix = scan(view(10), query), scan(PlainRun(turns()[:11]).view(), query)
    assert (answer.evidence, answer.findings) == (prefix.evidence, prefix.findings)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("", "empty"),
        ("{", "JSON"),
        ("{" * 100_000, "JSON"),
        ([], "list"),
        ({"exec": "1"}, "'exec'"),
        ({"from": "3"}, "'3'"),
        ({"from": True}, "True"),
        ({"to": -1}, "-1"),
        ({"where": "lamp"}, "list"),
        ({"where": [{"regex": "x"}]}, "regex"),
        ({"where": [{"contains": ""}]}, "contains"),
        ({"where": [{"contains": "x", "word": "y"}]}, "one text"),
        ({"where": [{"contains": "x", "field": "thought"}]}, "thought"),
        ({"where": ["x"]}, "'x'"),
        ({"verb": ""}, "''"),
        ({"verb": 3}, "3"),
        ({"failed": "yes"}, "yes"),
        ({"role": "write"}, "entity"),
        ({"entity": "x", "role": "owner"}, "owner"),
        ({"fact": {"owner": "x"}}, "owner"),
        ({"fact": {"entity": 3}}, "3"),
        ({"first": True, "last": True}, "both"),
        ({"by": "length"}, "length"),
        ({"by": "value"}, "fact"),
        ({"limit": 10**12}, "1000000000000"),
    ],
)
def test_what_is_no_query_is_refused_in_one_sentence(query, word):
    with pytest.raises(ValueError, match=r"\.") as error:
        scan(view(), query)
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_patterns_of_other_languages_are_only_text():
    run = PlainRun([Turn("r", 0, "a.b", ""), Turn("r", 1, "axb", "")]).view()
    assert steps(scan(run, {"where": [{"contains": "a.b"}]})) == [0]
    assert steps(scan(run, ".*")) == []


def test_the_answer_names_its_query():
    assert json.loads(scan(view(), {"verb": "open"}).question) == {"verb": "open"}
