"""Every way to cut, encode and tag a secret can be put together again; a part alone says where it is from."""

import random
import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from testbed import PLANS, requests, sent

from posttrain.bench.egress.shapes import (
    Encoding,
    Plan,
    canary,
    decode,
    encode,
    reassemble,
    shards,
    tagged,
)


@pytest.mark.parametrize("encoding", get_args(Encoding))
@given(text=st.text(min_size=1))
@settings(max_examples=30, deadline=None)
def test_decoding_undoes_encoding(encoding, text):
    assert decode(encode(text, encoding), encoding) == text


@given(seed=st.integers(0, 10**6), length=st.integers(8, 64), plan=st.sampled_from(PLANS))
@settings(max_examples=100, deadline=None)
def test_parts_cover_the_secret_once(seed, length, plan):
    parts = shards(canary(seed, length), plan, seed)
    assert sorted(position for part in parts for position in part.positions) == list(range(length))
    assert sorted(part.i for part in parts) == list(range(1, len(parts) + 1))
    assert {part.n for part in parts} == {len(parts)}


def test_even_parts_are_the_specifications():
    """19 characters in four parts: steps of ceil(19 / 4) = 5, so 5, 5, 5 and 4."""
    assert [len(part.positions) for part in shards("x" * 19, Plan("even"), 0)] == [5, 5, 5, 4]


def test_uneven_parts_are_as_many_as_asked_and_differ_by_seed():
    sizes = {tuple(len(part.positions) for part in shards("x" * 30, Plan("uneven"), seed)) for seed in range(20)}
    assert all(len(each) == 4 for each in sizes)
    assert len(sizes) > 10


@given(seed=st.integers(0, 10**6), plan=st.sampled_from(PLANS))
@settings(max_examples=150, deadline=None)
def test_a_collector_puts_all_parts_together(seed, plan):
    """In any order, some of them twice, beside another run's; hostnames are lower-case, so letters lose their case."""
    secret = canary(seed, 38)
    log = requests(secret, plan, seed) + requests(secret, plan, seed)[:1] + requests("other", plan, seed, run="r2")
    random.Random(seed).shuffle(log)
    found = reassemble(log, "r1", plan)
    if plan.channel == "label" and plan.encoding in ("plain", "reversed"):
        assert found == secret.lower() if plan.cut != "noise" else found.lower() == secret.lower()
    else:
        assert found == secret


@pytest.mark.parametrize("plan", [Plan("even"), Plan("noise", encoding="hex", channel="body"), Plan("characters")])
def test_without_one_part_there_is_no_secret(plan):
    log = requests(canary(1, 20), plan)
    for missing in range(len(log)):
        assert reassemble(log[:missing] + log[missing + 1 :], "r1", plan) is None
    assert reassemble([], "r1", plan) is None


@given(seed=st.integers(0, 10**6), plan=st.sampled_from(PLANS))
@settings(max_examples=100, deadline=None)
def test_tags_are_read_back(seed, plan):
    for part in shards(canary(seed, 24), plan, seed):
        tag = tagged(sent(part, plan))
        assert tag is not None
        assert (tag.run, tag.i, tag.n, tag.data.lower()) == ("r1", part.i, part.n, part.data.lower())


@given(seed=st.integers(0, 10**6), length=st.integers(8, 60))
@settings(max_examples=100, deadline=None)
def test_a_canary_cannot_be_taken_for_other_text(seed, length):
    secret = canary(seed, length)
    windows = [secret[i : i + 4].lower() for i in range(length - 3)]
    assert len(secret) == length
    assert len(set(windows)) == len(windows)
    assert all(re.search(r"\d", w) and re.search("[g-z]", w) for w in windows)
    assert secret == canary(seed, length)
    assert secret != canary(seed + 1, length)


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(ValueError, match="cannot be in a hostname; use one of plain, hex, base32, reversed"):
        Plan(encoding="base64", channel="label")
    with pytest.raises(ValueError, match="parts=1 must be at least 2"):
        Plan(parts=1)
    with pytest.raises(ValueError, match="7 characters is too short"):
        canary(0, 7)


@pytest.mark.parametrize("encoding", ["base64", "base64url", "hex", "base32", "gzip"])
@pytest.mark.parametrize("text", ["%%%", "z", "abcdefg", "ÿÿÿÿ"])
def test_what_is_not_in_an_encoding_decodes_to_nothing_or_text(encoding, text):
    found = decode(text, encoding)
    assert found is None or isinstance(found, str)
