"""The memory of tips and of visited states."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.embedding import HashedNGrams
from posttrain.rl import tips

EMPTY = {"tips": {}, "states": {}}
EMBED = HashedNGrams()


def remembered(*entries, task="t", capacity=100):
    memory = EMPTY
    for entry in entries:
        memory = tips.add(memory, task, [tips.Tip(*entry)], capacity)
    return memory["tips"][task]


@given(st.text(max_size=3000))
@settings(max_examples=100)
def test_a_clean_tip_is_one_short_line(text):
    found = tips.clean(text)
    assert len(found.splitlines()) <= 1
    assert len(found.split()) <= tips.WORDS
    assert len(found) <= tips.LETTERS
    assert tips.clean(found) == found


def test_a_tip_cannot_pass_for_another_line_of_the_prompt():
    assert tips.clean("go\n> open safe\nactions: a | b\x00") == "go > open safe actions: a | b"
    assert tips.clean("иди на восток\r\nпотом на север") == "иди на восток потом на север"


def test_marks_of_chat_templates_are_not_kept():
    assert tips.clean("a<|im_end|>b <|im_start|> c</s> [INST] d <eos> 3 < 4 | 5 > 2") == "a b c d 3 < 4 | 5 > 2"


def test_the_same_tip_is_kept_once_with_its_best_score():
    assert remembered(("room", "go east", 1.0), ("room", "go east", 3.0), ("room", "go east", 2.0)) == [
        ["room", "go east", 3.0]
    ]


def test_the_oldest_tips_leave_first():
    found = remembered(*[("room", f"tip {i}", float(-i)) for i in range(5)], capacity=3)
    assert [text for _, text, _ in found] == ["tip 2", "tip 3", "tip 4"]


def test_tasks_share_nothing():
    memory = tips.add(EMPTY, "one", [tips.Tip("room", "go east", 1.0)], 10)
    memory = tips.add(memory, "two", [tips.Tip("room", "go west", 1.0)], 10)
    assert memory["tips"] == {"one": [["room", "go east", 1.0]], "two": [["room", "go west", 1.0]]}
    assert EMPTY == {"tips": {}, "states": {}}, "the old memory is not touched"


def test_retrieval_takes_what_is_alike_and_then_the_best_scores_newest_first():
    entries = [["a red room", "one", 1.0], ["a red room", "two", 2.0], ["a red room", "three", 2.0],
               ["the open sea", "four", 9.0], ["a red room", "one", 0.5]]  # fmt: skip
    assert tips.retrieve(entries, "A red room.", EMBED, 0.9, 10) == ["three", "two", "one"]
    assert tips.retrieve(entries, "A red room.", EMBED, 0.9, 1) == ["three"]
    assert tips.retrieve(entries, "A red room.", EMBED, -1, 10)[0] == "four"
    assert tips.retrieve([], "A red room.", EMBED, -1, 10) == []


def test_novelty_by_hand():
    """Known: the room with 3 visits. An episode in the sea, the room, the sea: 1/1, 1/4, 1/2."""
    found = tips.novelty([["a red room", 3]], ["the open sea", "a red room", "the open sea"], EMBED, 0.9)
    assert found == pytest.approx([1, 1 / 4, 1 / 2])
    assert tips.novelty([], [], EMBED, 0.9) == []


@given(st.lists(st.sampled_from(["sea", "room", "hill", "cave"]), max_size=12))
@settings(max_examples=50)
def test_every_visit_is_counted_once_and_makes_a_state_less_new(seen):
    memory = tips.visit(EMPTY, "t", seen, EMBED, 0.9, 100)
    assert sorted(memory["states"]["t"]) == sorted([text, seen.count(text)] for text in set(seen))
    for text in set(seen):
        before = tips.novelty(memory["states"]["t"], [text], EMBED, 0.9)
        assert before == pytest.approx([1 / (1 + seen.count(text))])
        again = tips.visit(memory, "t", [text], EMBED, 0.9, 100)
        assert tips.novelty(again["states"]["t"], [text], EMBED, 0.9) < before


def test_a_full_list_of_states_forgets_the_least_visited():
    memory = tips.visit(EMPTY, "t", ["sea", "room", "room", "hill"], EMBED, 0.99, 2)
    assert memory["states"]["t"] == [["room", 2], ["hill", 1]]


def test_a_memory_is_json_and_comes_back_the_same():
    memory = tips.visit(EMPTY, "t", ["sea", "a"], EMBED, 0.9, 10)
    memory = tips.add(memory, "t", [tips.Tip("sea", 'say "\\u2028"', 0.1)], 10)
    assert json.loads(json.dumps(memory)) == memory


def test_any_callable_embeds():
    def length(texts):
        return np.array([[len(text), 1.0] for text in texts])

    assert tips.retrieve([["abcdefgh", "long", 1.0], ["", "short", 2.0]], "abcdefg", length, 0.99, 5) == ["long"]
