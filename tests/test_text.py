"""Words, news and lengths of agents' texts."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.text import LONGEST, STOP, news, terms, tokens

lines = st.lists(st.text(string.ascii_letters + " .", max_size=12), max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("opened opening opens", ["open", "open", "open"]),
        ("readConfig", ["readconfig", "read", "config"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("max_size", ["max_size", "max", "size"]),
        ("src/app/main.py", ["src/app/main.py", "src", "app", "main", "py"]),
        ("cd 17", ["cd", "17"]),
        ("v1.2.3", ["v1.2.3", "v1", "v", "1", "2", "3"]),
        ("the lamp is on", ["lamp"]),
        ("", []),
        (" \n\t --- ", []),
    ],
)
def test_terms_of(text, expected):
    assert terms(text) == expected


def test_words_that_look_alike_stay_apart():
    assert terms("file_1.py")[0] != terms("file_10.py")[0]
    assert not set(terms("id17")[:1]) & set(terms("id71"))


def test_scripts_without_spaces_give_pairs():
    assert terms("知道了") == ["知道", "道了"]
    assert set(terms("知道")) <= set(terms("我知道了"))


@given(st.text(max_size=200), st.text(max_size=200))
def test_terms_of_two_lines_are_those_of_each(first, second):
    assert terms(first + "\n" + second) == terms(first) + terms(second)


@given(st.text(max_size=300))
def test_terms_are_short_lower_case_and_no_stop_words(text):
    for term in terms(text):
        assert term
        assert term == term.lower()
        assert term not in STOP
        assert not any(letter.isspace() for letter in term)


@given(st.text(string.ascii_lowercase + string.digits + "_./ ", max_size=100))
def test_case_does_not_matter_where_it_divides_nothing(text):
    assert terms(text.upper()) == terms(text)


def test_a_long_run_of_characters_is_cut_and_costs_little_memory():
    found = terms("x" * 5_000_000)
    assert found == ["x" * LONGEST]
    assert all(len(term) <= LONGEST for term in terms("a1" * 100_000))


def test_odd_characters_are_no_trouble():
    assert terms("nul\x00here") == ["nul", "here"]
    assert terms("\ud800lamp") == ["lamp"]


def test_news_are_the_lines_that_were_not_there():
    assert news("a\nb\nc", "b\nx") == "a\nc"
    assert news("a\nb", "a\nb") == ""
    assert news("a\nb", "") == "a\nb"


@given(lines, lines)
def test_news_and_what_was_there_make_up_the_text(text, before):
    new = news("\n".join(text), "\n".join(before)).split("\n")
    assert not set(filter(None, new)) & set(before)
    assert set(filter(None, text)) <= set(new) | set(before)
    assert set(filter(None, new)) <= set(text)


@given(st.text(max_size=100), st.text(max_size=100))
def test_tokens_grow_with_the_text(first, second):
    assert tokens(first) <= tokens(first + second) <= tokens(first) + tokens(second)


def test_tokens_of_known_lengths():
    """36 bytes are 10 tokens, and one byte is at least one."""
    assert (tokens("x" * 36), tokens("x"), tokens("")) == (10, 1, 0)
