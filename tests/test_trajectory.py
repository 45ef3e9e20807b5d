"""Spans point at what they say, and calls are read as they were made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.trajectory import EVERY_EFFECT, Malformed, Passage, Span, ToolCall, passages, tool_calls


@given(st.text("abAB", max_size=12), st.text("abAB", min_size=1, max_size=2))
def test_a_found_span_is_where_the_text_is(text, needle):
    found = list(Passage.whole(text, "user").find(needle))
    assert [text[s.start : s.end].lower() for s in found] == [needle.lower()] * len(found)
    places = [i for i in range(len(text)) if text.lower().startswith(needle.lower(), i)]
    assert [s.start for s in found] == places


def test_a_passage_inside_a_message_counts_from_the_message():
    passage = Passage(Span("user", 3, "content", 10, 20), "to b.test!")
    assert list(passage.find("b.test")) == [Span("user", 3, "content", 13, 19)]


def test_sources_are_roles_tools_and_what_a_message_brings():
    page = Passage.whole("a title", "preview:http://a.test", path="title")
    messages = [
        {"role": "developer", "content": "rules"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "name": "fetch_url", "content": "page"},
        {"role": "tool", "content": "a title", "passages": [page]},
    ]
    assert [(p.span.source, p.span.message, p.span.path, p.text) for p in passages(messages)] == [
        ("system", 0, "content", "rules"),
        ("user", 1, "content[0]", "hello"),
        ("tool:fetch_url", 3, "content", "page"),
        ("preview:http://a.test", 4, "title", "a title"),
    ]


def test_calls_are_read_and_malformed_ones_are_kept():
    def call(name, arguments):
        return {"id": name, "type": "function", "function": {"name": name, "arguments": arguments}}

    message = {
        "role": "assistant",
        "tool_calls": [
            call("read", '{"url": "http://a.test"}'),
            call("other", {"x": 1}),
            call("bad", "{"),
            call("list", "[1]"),
        ],
    }
    read, other, bad, listed = tool_calls(message, {"read": frozenset(("read",))})
    assert read == ToolCall("read", {"url": "http://a.test"}, frozenset(("read",)), "read")
    assert isinstance(other, ToolCall)
    assert other.effects == EVERY_EFFECT
    assert isinstance(bad, Malformed)
    assert "no JSON" in bad.because
    assert isinstance(listed, Malformed)
    assert tool_calls({"role": "assistant", "content": "hi", "tool_calls": None}) == []


def test_a_span_says_where_it_is():
    assert str(Span("user", 1, "content", 2, 5)) == "user (message 1, content, characters 2 to 5)"
    with pytest.raises(AttributeError):
        Span("user", 1, "content", 2, 5).end = 6


@pytest.mark.parametrize("arguments", ["[" * 100_000, '{"n": ' + "1" * 5000 + "}"])
def test_arguments_that_json_cannot_read_are_answered(arguments):
    (call,) = tool_calls({"tool_calls": [{"function": {"name": "x", "arguments": arguments}}]})
    assert isinstance(call, Malformed)
    assert "are no JSON" in call.because


def test_places_are_right_behind_letters_that_grow_in_lower_case():
    (span,) = Passage.whole("\u0130stanbul: Example.com", "user").find("example.COM")
    assert "\u0130stanbul: Example.com"[span.start : span.end] == "Example.com"
