"""Hashed words and pairs of words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.embedding import HashedNGrams, cosines, kept

TEXTS = st.text(max_size=60)


@given(TEXTS)
@settings(max_examples=100)
def test_a_vector_has_length_one_or_none(text):
    (vector,) = HashedNGrams(64)([text])
    assert vector.shape == (64,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) or not vector.any()


@given(TEXTS)
@settings(max_examples=50)
def test_case_and_punctuation_do_not_count(text):
    ascii_text = "".join(c for c in text if c.isascii())
    first, second = HashedNGrams()([ascii_text, f" {ascii_text.upper()}! "])
    assert np.array_equal(first, second)


def test_order_counts_a_little_and_words_count_more():
    embed = HashedNGrams()
    room, turned, other = embed(["a dark room with a lamp", "a lamp with a dark room", "the sea is blue today"])
    to_room = cosines(np.stack([room, turned, other]), room)
    assert to_room[0] == pytest.approx(1, abs=1e-6)
    assert to_room[0] > to_room[1] > to_room[2]


def test_the_cosine_of_nothing_is_zero():
    embed = HashedNGrams(16)
    assert cosines(embed(["", "word"]), embed([""])[0]).tolist() == [0, 0]
    assert embed([]).shape == (0, 16)


def test_each_text_is_embedded_once_and_new_ones_together():
    calls = []

    def embed(texts):
        calls.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts])

    vectors = kept(embed, most=3)
    assert vectors(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert vectors(["bb", "ccc"]).tolist() == [[2, 1], [3, 1]]
    assert calls == [["a", "bb"], ["ccc"]]
    vectors(["dddd"])
    assert vectors(["a"]).tolist() == [[1, 1]], "made anew once too many were kept"
    assert calls[-1] == ["a"]


def test_dimensions_must_be_positive():
    with pytest.raises(ValueError, match="dimensions=0 must be at least 1"):
        HashedNGrams(0)
