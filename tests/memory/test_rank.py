"""BM25 against the textbook, and what the signals of addresses and words mean."""

import math
import random

import numpy as np
import pytest
from loft import turns, view

from posttrain.embedding import HashedNGrams
from posttrain.memory.embedders import Space
from posttrain.memory.plain import PlainRun
from posttrain.memory.retrieval import rank
from posttrain.memory.retrieval.address import addresses
from posttrain.memory.retrieval.ask import ask
from posttrain.memory.rows import Turn
from posttrain.text import news, terms


def textbook(documents, query, b, k1=rank.K1):
    """Okapi BM25 as it is written down, one document and word at a time."""
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        total = 0.0
        for word in dict.fromkeys(query):
            having = sum(word in each for each in documents)
            often = document.count(word)
            if often:
                rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
                total += rarity * often * (k1 + 1) / (often + k1 * (1 - b + b * len(document) / mean))
        scores.append(total)
    return scores


def random_turns(rng, many):
    words = ["lamp", "key", "chest", "door", "red", "oak", "open", "take", "put", "closed", "go", "east"]
    draw = lambda most: " ".join(rng.choice(words) for _ in range(rng.randrange(most)))  # noqa: E731
    return [Turn("r", number, draw(5), draw(12)) for number in range(many)]


@pytest.mark.parametrize("seed", range(8))
def test_bm25_is_the_textbooks(seed):
    rng = random.Random(seed)
    log = random_turns(rng, rng.randint(1, 20))
    query = list(dict.fromkeys(terms("red lamp opened nowhere chest")))
    run = PlainRun(log).view()
    found = rank.bm25(run.hits(query), run.lengths(), len(query))
    actions = [terms(turn.action) for turn in log]
    fresh = [terms(news(t.observation, log[i - 1].observation if i else "")) for i, t in enumerate(log)]
    if any(actions):
        np.testing.assert_allclose(found.action, textbook(actions, query, rank.B_ACTION), atol=1e-12)
    if any(fresh):
        np.testing.assert_allclose(found.news, textbook(fresh, query, rank.B_NEWS), atol=1e-12)


def test_bm25_of_nothing_is_nothing():
    run = view()
    assert not rank.bm25(run.hits([]), run.lengths(), 0).action.any()
    assert not rank.bm25(run.hits(["zebra"]), run.lengths(), 1).news.any()


def signals(question, **given):
    run = view()
    where = addresses(question, 0, 16)
    return rank.signals(run, run.lengths(), where, rank.words(where.rest), **given)[0]


def test_addresses_and_what_lies_around_them():
    found = signals("step 8")
    assert np.flatnonzero(found["address"]).tolist() == [8]
    assert np.flatnonzero(found["before"]).tolist() == [7]
    assert np.flatnonzero(found["next"]).tolist() == [9, 10, 11]
    assert found["near"][7] == found["near"][9] == pytest.approx(math.exp(-0.5))
    assert found["near"][8] == 0


def test_a_long_range_is_not_all_of_it_an_address():
    """Of steps 0 to 14 only the ends are addresses; of 3 to 6 all are."""
    assert np.flatnonzero(signals("steps 0 to 14")["address"]).tolist() == [0, 14]
    assert np.flatnonzero(signals("steps 0 to 14")["between"]).tolist() == list(range(1, 14))
    assert np.flatnonzero(signals("steps 3 to 6")["address"]).tolist() == [3, 4, 5, 6]


def test_a_range_past_the_end_has_the_part_that_is_there():
    assert np.flatnonzero(signals("steps 14 to 22")["address"]).tolist() == [14, 15, 16]


def test_parts_that_are_left_out_give_no_signal():
    assert not {"address", "near"} & set(signals("red lamp at step 8", address=False))
    assert not {"action", "news", "pairs"} & set(signals("red lamp at step 8", lexical=False))


def test_every_signal_has_a_weight_and_a_number_for_every_turn():
    found = signals("red lamp at step 8")
    assert set(found) <= set(rank.WEIGHTS)
    assert all(values.shape == (17,) and np.isfinite(values).all() for values in found.values())


def test_an_action_that_was_done_before_counts_less():
    assert signals("oak chest opened")["again"][[5, 8, 15]].tolist() == pytest.approx([0, 1 / 3, 2 / 3])


def test_vectors_are_used_where_a_view_has_them():
    space = Space("plain", HashedNGrams(64), quick=True)
    run = PlainRun(turns(), HashedNGrams(64)).view()
    explained = ask(run, "red lamp", explain=True, space=space).explained
    assert explained["signals"]["vectors"]
    assert "vectors" not in ask(run, "red lamp", explain=True).explained["signals"]
    assert "vectors" not in ask(view(), "red lamp", explain=True, space=space).explained["signals"]
    assert "vectors" not in ask(run, "red lamp", explain=True, space=space, without=["vectors"]).explained["signals"]


def test_a_question_of_many_words_is_cut():
    assert len(rank.words(" ".join(f"word{number}" for number in range(10_000)))) == rank.WORDS
