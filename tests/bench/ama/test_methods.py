"""Baselines beside slow references, and what every method must do."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.bench.ama.methods.baselines import (
    BM25,
    TFIDF,
    Address,
    Characters,
    Last,
    LongContext,
    code_words,
    text_of,
)
from posttrain.bench.ama.methods.table import METHODS
from posttrain.memory.rows import Turn

NAMES = ["red", "blue", "key", "box", "hall", "open", "step", "3", "12"]
WORDS = st.lists(st.sampled_from(NAMES), max_size=8).map(" ".join)
LOGS = st.lists(WORDS, min_size=1, max_size=8).map(
    lambda texts: [Turn("r", 2 * at, "look", text) for at, text in enumerate(texts)]
)


def slow_bm25(turns, question):
    texts = [text_of(turn).lower().split() for turn in turns]
    mean = sum(map(len, texts)) / len(texts)
    found = []
    for words in texts:
        total = 0.0
        for word in set(question.lower().split()):
            n = sum(word in other for other in texts)
            idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            f = words.count(word)
            total += idf * f * 2.5 / (f + 1.5 * (0.25 + 0.75 * len(words) / mean)) if f else 0
        found.append(total)
    return found


def slow_tfidf(turns, question):
    texts = [Counter(text_of(turn).lower().split()) for turn in turns]
    idf = {w: math.log((1 + len(texts)) / (1 + sum(w in t for t in texts))) + 1 for t in texts for w in t}
    asked = Counter(question.lower().split())
    found = []
    for text in texts:
        dot = sum(text[w] * asked[w] * idf[w] ** 2 for w in text if w in asked)
        found.append(dot / math.sqrt(sum((n * idf[w]) ** 2 for w, n in text.items())))
    return found


@settings(deadline=None)
@given(LOGS, WORDS)
def test_scores_are_those_of_the_formula(turns, question):
    for method, slow in ((BM25(), slow_bm25), (TFIDF(), slow_tfidf)):
        method.build(turns)
        assert method.scores(question).tolist() == pytest.approx(slow(turns, question))


def test_characters_find_what_shares_letters_and_do_not_depend_on_case():
    method = Characters()
    method.build([Turn("r", 0, "go", "the unlocked cabinet"), Turn("r", 1, "go", "seven dwarfs")])
    assert method.retrieve("UNLOCKING cabinets", 1) == [0]
    assert method.vector("Abcd").tolist() == method.vector("aBCD").tolist()
    assert method.vector("ab").any() == 0, "shorter than any n-gram"


def test_named_steps_come_first_then_their_neighbours():
    turns = [Turn("r", at, "go", "box" if at in (1, 9) else "nothing") for at in range(12)]
    method = Address(around=1)
    method.build(turns)
    assert method.retrieve("what of the box at step 5?", 5) == [5, 4, 6, 1, 9]
    assert method.retrieve("box at step 99", 2) == [1, 9]


def test_budgets_hold():
    turns = [Turn("r", at, "", "word " * 16) for at in range(20)]
    for method in (Last(), BM25(code_words), Characters()):
        method.build(turns)
        assert len(method.retrieve("word", 3)) == 3
        assert len(method.retrieve("word", 20, tokens=100)) == 5, "80 characters are 20 tokens"
        assert len(method.retrieve("word", 20, tokens=1)) == 1, "one turn is always given"
    method = LongContext()
    method.build(turns)
    assert method.retrieve("word", 1, tokens=100) == [0, 1, 18, 19]
    assert method.retrieve("word", 1, tokens=10**6) == list(range(20))
    assert method.retrieve("word", 1) == list(range(20))


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if not entry.missing])
def test_every_method_finds_turns_of_the_log_once_and_forgets_the_log_before(name):
    method = METHODS[name].make()
    try:
        method.build([Turn("first", at, "go", f"secret {at}") for at in range(3)])
        turns = [Turn("second", at, f"take box {at}", f"The box {at} is in the hall.") for at in (2, 5, 8)]
        method.build(turns)
        found = method.retrieve("Where is the box 5 at step 5?", 2)
        assert len(found) == len(set(found)) > 0
        assert set(found) <= {2, 5, 8}
        assert [turn.turn for turn in method.stored([8, 2, 99])] == [2, 8]
        assert method.stored([5])[0].observation == "The box 5 is in the hall."
    finally:
        method.close()


def test_a_method_that_is_not_installed_says_what_is_missing():
    entry = next(iter(METHODS.values()))._replace(modules=("json", "no_such_module_here"))
    assert entry.missing == ["no_such_module_here"]
