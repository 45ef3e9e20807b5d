"""What a judge's reply means, and the token F1 by hand."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.bench.ama import judge
from posttrain.chat import ScriptedChat
from posttrain.memory.rows import Turn


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("yes", True),
        ("No.", False),
        ("It is not the same step, so: **no**", False),
        ("One might say no, but the value agrees. Yes", True),
        ("yes or no? No!", False),
        ("Nothing is known of yesterday", None),
        ("", None),
        ("correct", None),
    ],
)
def test_the_last_whole_word_decides(text, right):
    assert judge.verdict(text) is right


def test_token_f1_by_hand():
    """'step 12 opened box' against 'Step 12, the box': told 4 words, asked 3, common step 12 box = 3; 2 * 3 / 7."""
    assert judge.token_f1("step 12 opened box", "Step 12, the box") == pytest.approx(6 / 7)
    assert judge.token_f1("a an the", "The") == 1, "nothing but articles on both sides"
    assert judge.token_f1("red red", "red") == pytest.approx(2 / 3), "a repeat counts once"
    assert judge.token_f1("", "x") == 0
    assert judge.token_f1("key_1", "key 1") == 1, "punctuation is a space"


@given(st.text(max_size=40), st.text(max_size=40))
def test_token_f1_is_symmetric_between_0_and_1_and_1_for_the_same(a, b):
    assert judge.token_f1(a, b) == judge.token_f1(b, a)
    assert 0 <= judge.token_f1(a, b) <= 1
    assert judge.token_f1(a, a) == 1


def test_the_reader_sees_turns_with_their_numbers_and_the_judge_the_reference():
    seen = []

    def script(messages, seed):
        seen.append(messages[-1]["content"])
        return {"role": "assistant", "content": " in the hall \n"}

    chat = ScriptedChat(script)
    said = asyncio.run(judge.read(chat, "clean", [Turn("r", 7, "go north", "You are in the hall.")], "Where?"))
    assert said == "in the hall"
    assert "[step 7]" in seen[0]
    assert "go north" in seen[0]
    assert "Where?" in seen[0]
    assert asyncio.run(judge.judge(chat, "clean", "Where?", "the cellar", said)) is None
    assert "the cellar" in seen[1]
    asyncio.run(judge.read(chat, "clean", [], "Where?"))
    assert "no steps were found" in seen[2]


def test_a_reference_is_words():
    assert judge.told((3, 5)) == "3; 5"
    assert judge.told(()) == "nothing"
    assert judge.told(4) == "4"
    assert judge.told(None) == "The log does not tell this."
