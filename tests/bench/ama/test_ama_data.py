"""AMA-Bench's two formats, what is refused, and the silver evidence."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.bench.ama.data import DOMAINS, PLACEHOLDER, load
from posttrain.bench.ama.log import KINDS
from posttrain.bench.ama.silver import cited, silver, write

DATA = Path(os.environ.get("POSTTRAIN_DATA", "../shared/data")) / "ama_bench_sample"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no directory at {DATA}; set POSTTRAIN_DATA")


def episode(**changes):
    return {
        "episode_id": 7,
        "task": "Find the lamp.",
        "task_type": "rooms",
        "domain": "Game",
        "trajectory": [
            {"turn_idx": 0, "action": None, "observation": "dark"},
            {"turn_idx": 1, "action": PLACEHOLDER, "observation": None},
            {"turn_idx": 4, "action": "light lamp", "observation": "bright"},
        ],
        "qa_pairs": [{"question": "What of step 1?", "answer": "Nothing, until step 4.", "type": "A"}],
        **changes,
    }


def lines(folder, *episodes):
    path = folder / "set.jsonl"
    path.write_text("\n".join(map(json.dumps, episodes)) + "\n", encoding="utf-8")
    return path


def test_the_released_format(tmp_path):
    (found,) = load(lines(tmp_path, episode()))
    assert (found.name, found.task, found.domain) == ("rooms-7", "Find the lamp.", "game")
    assert [(turn.run, turn.turn, turn.action, turn.observation) for turn in found.turns] == [
        ("rooms-7", 0, "", "dark"),
        ("rooms-7", 1, "", ""),
        ("rooms-7", 4, "light lamp", "bright"),
    ]
    assert found.questions[0].type in KINDS


def test_the_sites_format_is_a_file_for_each_episode(tmp_path):
    for number in (2, 1):
        content = {name: value for name, value in episode(episode_id=number).items() if name != "task_type"}
        (tmp_path / f"rooms-{number}.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no episode")
    assert [each.name for each in load(tmp_path)] == ["rooms-1", "rooms-2"]


def test_a_turn_holds_nothing_else_than_a_memory_may_know(tmp_path):
    (found,) = load(lines(tmp_path, episode(success=True, state="fail")))
    assert {name for turn in found.turns for name in vars(turn)} == {"run", "turn", "action", "observation"}


def test_lines_may_hold_odd_separators(tmp_path):
    odd = episode(task="one\u2028two\u0085three")
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(odd, ensure_ascii=False) + "\n", encoding="utf-8")
    assert load(path)[0].task == odd["task"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"episode_id": None}, "episode_id"),
        ({"task": 3}, "task"),
        ({"domain": None}, "domain"),
        ({"trajectory": []}, "trajectory"),
        ({"trajectory": "x"}, "trajectory"),
        ({"trajectory": [{"turn_idx": "0"}]}, "turn_idx"),
        ({"trajectory": [{"turn_idx": True}]}, "turn_idx"),
        ({"trajectory": [{"turn_idx": 1}, {"turn_idx": 1}]}, "turn_idx"),
        ({"trajectory": [{"turn_idx": 0, "action": ["x"]}]}, "action"),
        ({"trajectory": ["x"]}, "turn_idx"),
        ({"qa_pairs": None}, "qa_pairs"),
        ({"qa_pairs": ["x"]}, "question"),
        ({"qa_pairs": [{"question": "x", "answer": "y", "type": "E"}]}, "'E'"),
        ({"qa_pairs": [{"question": "x", "type": "A"}]}, "answer"),
    ],
)
def test_what_is_no_episode_is_refused_in_one_sentence(tmp_path, changes, word):
    with pytest.raises(ValueError, match="line 2") as error:
        load(lines(tmp_path, episode(), episode(episode_id=8) | changes))
    assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]", "3", "{" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"a\.json"):
        load(tmp_path)


def test_nothing_and_twice_the_same_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing at"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no episode"):
        load(tmp_path)
    with pytest.raises(ValueError, match="more than once"):
        load(lines(tmp_path, episode(), episode()))


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("At step 12.", {12}),
        ("(step 3)", {3}),
        ("Steps 3-5 and step 9", {3, 4, 5, 9}),
        ("steps 3\u20135", {3, 4, 5}),
        ("steps 3, 5 and 9", {3, 5, 9}),
        ("steps 3, 5, and 9", {3, 5, 9}),
        ("Turns 3 to 5", {3, 4, 5}),
        ("turn 3 through turn 5", {3, 4, 5}),
        ("between step 3 and step 9", {3, 9}),
        ("Step 3 / Step 5", {3, 5}),
        ("step 3 \u2192 5", {3, 5}),
        ("steps 5-3", {5}),
        ("step 99", set()),
        ("steps 28-99", {28, 29}),
        ("step 3.5, footstep 4, 5 steps", set()),
        ("12 coins", set()),
    ],
)
def test_citations_of(text, turns):
    assert cited(text, range(30)) == turns


@given(st.sets(st.integers(0, 50), min_size=1, max_size=8))
def test_every_cited_turn_that_exists_is_found(turns):
    text = "It was done at steps " + ", ".join(map(str, sorted(turns))) + "."
    assert cited(text, range(0, 51, 2)) == {turn for turn in turns if turn % 2 == 0}


@given(st.text(max_size=200))
def test_only_turns_that_exist_are_cited(text):
    assert cited(text, range(5)) <= set(range(5))


def test_new_evidence_is_what_the_question_does_not_name(tmp_path):
    """The question names 1, the answer 4; step 2 is not there."""
    asked = [{"question": "What of step 1?", "answer": "Step 1, step 2 and step 4.", "type": "C"},
             {"question": "Why?", "answer": "So.", "type": "B"}]  # fmt: skip
    (found,) = load(lines(tmp_path, episode(qa_pairs=asked)))
    (label,) = silver(found)
    assert (label.all, label.new, label.type, label.index) == ((1, 4), (4,), "C", 0)


def test_labels_are_written_without_any_text_of_the_data(tmp_path):
    record = write(load(lines(tmp_path, episode())), tmp_path / "silver.json")
    assert json.loads((tmp_path / "silver.json").read_text()) == json.loads(json.dumps(record))
    assert (record["questions"], record["labelled"], record["with_new"]) == (1, 1, 1)
    assert "lamp" not in (tmp_path / "silver.json").read_text()


@needs_data
def test_the_sample_loads_whole():
    found = load(DATA)
    assert all(len(each.questions) == 12 for each in found)
    assert {each.domain for each in found} <= set(DOMAINS.values())
    labels = [label for each in found for label in silver(each)]
    assert len(labels) > len(found) * 12 * 0.85
    assert all(set(label.new) <= set(label.all) for label in labels)
