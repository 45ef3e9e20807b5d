"""Entropy by hand and by its invariances; which values look like keys, and which harmless shapes they have."""

import math
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.egress.benign import KINDS, Traffic
from posttrain.guard.egress.entropy import BENIGN, shannon, tokens
from posttrain.guard.egress.facts import Token
from posttrain.guard.egress.hosts import target
from posttrain.guard.egress.parts import Part, parts
from posttrain.guard.egress.policy import Entropy

KEY = "kZ8qT3vXw1LmN0pRs7YbCdEf"
some = st.text("abcdeé0-", max_size=40)


@pytest.mark.parametrize(
    ("text", "bits"),
    [("", 0), ("a", 0), ("aaaa", 0), ("ab", 1), ("aabb", 1), ("abcd", 2), ("aaab", 2 - 0.75 * math.log2(3)),
     ("01234567", 3)],
)  # fmt: skip
def test_bits_by_hand(text, bits):
    assert shannon(text) == pytest.approx(bits, abs=1e-12)


@given(some)
def test_bits_are_minus_the_mean_logarithm_of_frequencies(text):
    count = Counter(text)
    assert shannon(text) == pytest.approx(-sum(math.log2(count[c] / len(text)) for c in text) / max(1, len(text)))


@given(some, st.randoms(use_true_random=False))
def test_bits_do_not_depend_on_order_or_repetition(text, random):
    shuffled = "".join(random.sample(text, len(text)))
    assert shannon(shuffled) == pytest.approx(shannon(text))
    assert shannon(text * 3) == pytest.approx(shannon(text))
    assert 0 <= shannon(text) <= math.log2(max(1, len(set(text)))) + 1e-12


def test_a_key_is_seen_wherever_it_stands():
    goal = target(f"https://{KEY.lower()}.api.example.com/v1/{KEY}?key={KEY}&{KEY}=1")
    found = tokens(parts(goal, [("Authorization", f"Bearer {KEY}")], f'{{"key": ["{KEY}"]}}'.encode()))
    found = [token for token in found if token.length == len(KEY)]
    assert {token.where for token in found} == {
        "label", "path", "query key", "query", "header authorization", "body",
    }  # fmt: skip
    assert all(token.shape == "" for token in found)


def test_percent_encodings_are_undone_and_words_are_cut_at_separators():
    coded = "".join(f"%{ord(c):02x}" for c in KEY)
    (found,) = tokens([Part("query q", f"a%20{coded}%26b=1")])
    assert found == Token("query q", len(KEY), round(shannon(KEY), 3))


def test_short_and_regular_words_are_none():
    assert (
        tokens([Part("path", "0123456"), Part("path", "ab" * 50), Part("body", "aaaaaaaabbbb, 1 2 3 4 5 6 7 8")]) == ()
    )
    assert [token.length for token in tokens([Part("path", "01234567")])] == [8]


@given(st.lists(st.text(string.ascii_letters, min_size=8, max_size=30), max_size=60))
def test_there_are_at_most_32_and_those_of_most_bits_come_first(values):
    found = tokens([Part("path", value) for value in values])
    enough = sorted((round(shannon(value), 3) for value in set(values) if shannon(value) >= 3), reverse=True)
    assert [token.bits for token in found] == enough[:32]


@pytest.mark.parametrize(
    ("where", "value", "shape"),
    [
        ("path", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "git-hash"),
        ("path", "9f86d081884c7d659a2feaa0c55ad015" * 2, "git-hash"),
        ("path", "9f86d081884c7d65" * 3, ""),
        ("path", "9F86D081884C7D659A2FEAA0", ""),
        ("body", "550e8400-e29b-41d4-a716-446655440000", "uuid"),
        ("body", "550E8400-E29B-41D4-A716-446655440000", "uuid"),
        ("query X-Amz-Signature", KEY, "signature"),
        ("query x-goog-signature", KEY, "signature"),
        ("query sig", KEY, "signature"),
        ("query Key-Pair-Id", KEY, "signature"),
        ("query signature2", KEY, ""),
        ("header sig", KEY, ""),
        ("query since", "1987-06-25T14:39:20.123Z", "date"),
        ("query since", "19870625T143920Z", "date"),
        ("query t", "1740478953126", "date"),
        ("path", "implicit-prompt-injection", "words"),
        ("path", "read_the_docs_v2", "words"),
        ("path", "test_utils.parser-2.10.1", "words"),
        ("query", "X-Amz-SignedHeaders", "words"),
        ("path", "xkqzvbnm-wrtpsdfg", ""),
        ("path", "abcdefghijklmnopqrs", ""),
        ("path", KEY, ""),
    ],
)
def test_shapes(where, value, shape):
    assert {token.shape for token in tokens([Part(where, value)])} == {shape}


def test_the_policy_names_the_shapes_that_there_are():
    assert set(Entropy().benign) == set(BENIGN)


def test_no_random_key_of_letters_and_digits_has_a_shape():
    traffic = Traffic(5)
    keys = [Part("path", make()) for make in (lambda: traffic.mixed(24), lambda: traffic.upper(24)) for _ in range(500)]
    for key in keys:
        assert [token.shape for token in tokens([key])] in ([""], [])


@pytest.mark.parametrize("kind", [Traffic.commit, Traffic.amazon, Traffic.google, Traffic.azure, Traffic.blob])
def test_requests_for_hashes_and_signed_urls_hold_no_key(kind):
    assert kind in KINDS
    rules = Entropy()
    for seed in range(20):
        request = kind(Traffic(seed))
        found = tokens(parts(target(request.url), (), request.body))
        keys = [token for token in found if token.length >= rules.length and token.bits >= rules.bits]
        assert all(token.shape in rules.benign for token in keys), keys


def test_a_large_value_is_one_token():
    (found,) = tokens([Part("body", string.ascii_letters * 5000)])
    assert (found.length, found.bits) == (260_000, pytest.approx(math.log2(52), abs=1e-3))


def test_many_different_characters_are_counted_like_few():
    few, many = ("".join(map(chr, range(0x4E00, 0x4E00 + n))) for n in (50, 5000))
    assert shannon(few) == pytest.approx(math.log2(50))
    assert shannon(many + many) == pytest.approx(math.log2(5000))
