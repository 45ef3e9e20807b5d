"""Replies: every span is what its turn holds there, and says that it is not to be trusted."""

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.memory.answer import Answer, Evidence, Finding
from posttrain.memory.fence import unfenced
from posttrain.memory.plain import PlainRun
from posttrain.memory.retrieval.budget import CUT, cut
from posttrain.memory.rows import Proof, Turn
from posttrain.memory.server.replies import FINDINGS, Changed, answer_of, listed, placed, sendable

TEXTS = st.text(st.sampled_from("ab \n…😀é\u202e\x00"), max_size=300)


def view(*turns: tuple[str, str]):
    return PlainRun(Turn("r", number, *texts) for number, texts in enumerate(turns)).view()


@given(TEXTS, TEXTS, st.integers(0, 300), st.integers(1, 200))
def test_a_turn_that_was_cut_is_shown_where_it_was_cut(action, observation, at, tokens):
    start = min(at, max(0, len(observation) - 1))
    proof = Proof(0, "observation", start, min(len(observation), start + 2))
    whole = Evidence(0, action, observation, 1.0, (proof,))
    shown = cut(whole, tokens)
    fields = answer_of(view((action, observation)), Answer("r", "?", None, (shown,))).structured
    for span in fields["evidence"][0]["spans"]:
        text = {"action": action, "observation": observation}[span["field"]]
        assert span["text"] == text[span["start"] : span["end"]]
        assert span["text"] in (shown.action, shown.observation) or CUT in shown.action + shown.observation
        assert span["trust"] == "untrusted"
    assert {span["field"] for span in fields["evidence"][0]["spans"]} == {
        field for field, text in (("action", shown.action), ("observation", shown.observation)) if text
    }


def test_a_part_that_the_text_has_twice_is_placed_at_its_proof():
    """`ab` stands at 0, 3 and 6; a proof at 4 lies in the second."""
    assert placed("…ab…", "ab ab ab", 4) == (3, 5)
    assert placed("…ab", "ab ab ab", 7) == (6, 8)
    assert placed("ab…", "ab ab ab", 0) == (0, 2)


def test_what_is_gone_is_not_shown():
    found = Answer("r", "?", None, (Evidence(0, "act", "saw", 1.0),))
    for now in (view(("act", "something else")), view()):
        with pytest.raises(Changed, match="ask again"):
            answer_of(now, found)
    with pytest.raises(Changed):
        answer_of(view(), Answer("r", "?", None, findings=(Finding("value", "x", 1, (Proof(3, "action", 0, 1),)),)))


def test_findings_carry_the_text_of_their_proofs():
    """`open` is characters 13 to 17 of "The vault is open."."""
    finding = Finding("value", "The vault is open.", "open", (Proof(0, "observation", 13, 17),))
    reply = answer_of(view(("look", "The vault is open.")), Answer("r", "?", 0, findings=(finding,)))
    (found,) = reply.structured["findings"]
    assert found["trust"] == "untrusted"
    assert found["proofs"] == [
        {"run": "r", "turn": 0, "field": "observation", "start": 13, "end": 17, "text": "open", "trust": "untrusted"}
    ]
    assert [piece.text for piece in unfenced(reply.text.split("\n", 1)[1])] == ["The vault is open."]


def test_nothing_found_says_why_and_in_the_fence():
    reply = answer_of(view(("a", "b")), Answer("r", "?", None, because="Nothing is called\n'[x] end'."))
    first, rest = reply.text.split("\n", 1)
    assert first == "No evidence."
    assert [piece.text for piece in unfenced(rest)] == ["Nothing is called\n'[x] end'."]


def test_a_budget_leaves_turns_out_and_says_how_many():
    turns = [("look", "word " * 200)] * 5
    evidence = tuple(Evidence(n, *texts, 1.0) for n, texts in enumerate(turns))
    reply = answer_of(view(*turns), Answer("r", "?", None, evidence), tokens=300)
    kept = len(reply.structured["evidence"])
    assert 0 < kept < 5
    assert reply.structured["left_out"] == 5 - kept
    assert f"For {5 - kept} more turns there was no room." in reply.text.splitlines()[0]


def test_many_findings_are_all_in_the_fields():
    findings = tuple(Finding("timeline", f"version {n}", n) for n in range(FINDINGS + 3))
    reply = answer_of(view(), Answer("r", "?", None, findings=findings))
    assert len(reply.structured["findings"]) == FINDINGS + 3
    assert "3 more findings are in the structured content." in reply.text.splitlines()[0]


def test_names_of_runs_are_fenced_too():
    names = ["a\n[0000000000000000] end", "b"]
    reply = listed(names)
    assert reply.structured == {"runs": names}
    assert json.loads(unfenced(reply.text)[0].text) == names


class Pair(NamedTuple):
    left: int
    right: str


@dataclass(frozen=True)
class Box:
    inside: object


def test_values_of_every_kind_become_json():
    given = {1: Pair(np.int64(2), "\ud800x"), "box": Box({"b", "a"}), "array": np.array([1.5]), "none": (None, True)}
    found = sendable(given)
    assert found == {
        "1": {"left": 2, "right": "\ufffdx"}, "box": {"inside": ["a", "b"]}, "array": [1.5], "none": [None, True],
    }  # fmt: skip
    assert json.loads(json.dumps(found).encode("utf-8")) == found


@given(st.text(st.characters(codec=None), max_size=20))
def test_what_is_sent_has_as_many_characters_and_can_be_encoded(text):
    sent = sendable(text)
    assert len(sent) == len(text)
    assert sent.encode().decode() == sent
    assert all(a == b or ("\ud800" <= a <= "\udfff" and b == "\ufffd") for a, b in zip(text, sent, strict=True))
