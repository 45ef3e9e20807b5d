"""Parts leave nothing out of a request, whatever it holds."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.guard.egress.hosts import Target, target
from posttrain.guard.egress.parts import Part, content, parts, segments, words

texts = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#\\"), max_size=30)
headers = st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20)), max_size=4)


def rebuilt(found: list[Part]) -> tuple[str, list[tuple[str, str]], bytes]:
    """Path and query, headers and body, from the parts alone."""
    path = "".join(f"/{part.text}" for part in found if part.where == "path")
    names = [i for i, part in enumerate(found) if part.where == "query"]
    valued = {i: found[i + 1].text for i in names if found[i + 1 : i + 2] and found[i + 1].where.startswith("query ")}
    pairs = [found[i].text + (f"={valued[i]}" if i in valued else "") for i in names]
    lines = [(found[i].text, found[i + 1].text) for i, part in enumerate(found) if part.where == "header"]
    body = b"".join(part.text.encode("utf-8", "surrogateescape") for part in found if part.where == "body")
    return path + ("?" + "&".join(pairs) if names else ""), lines, body


def test_the_pieces_of_a_request():
    goal = target("https://s3.eu.api.example.com/a%20b//c?page=2&all&x=&y=1=2")
    assert parts(goal, [("Accept", "*/*")], b'{"k": [1]}') == [
        ("label", "s3"), ("label", "eu"), ("label", "api"),
        ("path", "a%20b"), ("path", ""), ("path", "c"),
        ("query", "page"), ("query page", "2"), ("query", "all"), ("query", "x"), ("query x", ""),
        ("query", "y"), ("query y", "1=2"),
        ("header", "Accept"), ("header accept", "*/*"),
        ("body", '{"k": [1]}'),
    ]  # fmt: skip


def test_a_site_has_no_labels_to_choose():
    assert parts(target("https://example.com"), (), b"") == [("path", "")]


@pytest.mark.parametrize(
    ("url", "label"), [("https://192.0.2.7", "192.0.2.7"), ("https://[2001:db8::1]:8443", "[2001:db8::1]")]
)
def test_an_address_is_a_choice_as_who_owns_a_network_can_read_it(url, label):
    assert parts(target(url), (), b"") == [("label", label), ("path", "")]


def test_what_an_address_spells_is_searched():
    goal = target("https://[2001:db8::6b65:792d:3132:3334]/")
    assert content(goal, (), b"", whole=True).startswith(b"20010db8000000006b65792d31323334\n")


def test_a_registrable_domain_is_searched_where_it_can_be_chosen():
    goal = target("https://a.my-secret.com/")
    assert content(goal, (), b"").startswith(b"a.\n")
    assert content(goal, (), b"", whole=True).startswith(b"a.my-secret.com\n")


@settings(max_examples=100, deadline=None)
@given(texts, headers, st.binary(max_size=40))
def test_nothing_is_left_out(path, lines, body):
    goal = Target("https", "a.example.com", 443, f"/{path}")
    assert rebuilt(parts(goal, lines, body)) == (goal.path, lines, body)


@settings(max_examples=100, deadline=None)
@given(texts, headers, st.binary(max_size=40))
def test_content_holds_every_part(path, lines, body):
    goal = Target("https", "one.two.example.com", 443, f"/{path}")
    whole = content(goal, lines, body)
    assert whole.endswith(body)
    for where, text in parts(goal, lines, body):
        assert where == "body" or text.encode("utf-8", "surrogatepass") in whole


@pytest.mark.parametrize(
    "body", [b'{"broken": [1, "\xff', b"\x00\x80\xfe" * 9, b"[" * 100_000, b"a" * 10**6, '{"é": "\\ud800"}'.encode()]
)
def test_odd_bodies_are_one_part(body):
    (part,) = (part for part in parts(target("https://example.com/"), (), body) if part.where == "body")
    assert part.text.encode("utf-8", "surrogateescape") == body


def test_a_lone_surrogate_in_a_header_is_no_error():
    goal = target("https://example.com/")
    assert b"x: \xed\xa0\x80" in content(goal, [("x", "\ud800")], b"")


@given(st.text(st.sampled_from('ab/ .,:{}"é\n='), max_size=60), st.none() | st.integers(1, 5))
def test_words_joined_are_the_text(text, limit):
    found = words(text, limit)
    assert "".join(found) == text
    assert "" not in found
    assert limit is None or len(found) <= limit + 1


def test_words_of_json():
    assert [word for word in words(json.dumps({"name": "two words"})) if word.isalpha()] == ["name", "two", "words"]


def test_what_a_link_is_made_of_can_be_taken_over():
    text = 'See <a href="https://example.com/wiki/Foo:Bar?page=2&q=a+b">here</a> or https://example.org/x/y.'
    taken = segments(text)
    for url in re.findall(r"https://[^\"\s]+", text):
        found = parts(target(url.removesuffix(".")), (), b"")
        assert {part.text for part in found} <= taken
    assert {"See", "here", "or"} <= taken
    assert "See <a" not in taken
