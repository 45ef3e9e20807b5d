"""What was encoded is among the views, wherever it stands; and there are never more views than asked for."""

import base64 as reference
import gzip
import random
import string
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.egress.encodings import ENCODERS, PLACES, undoable
from posttrain.guard.egress.decode import inflated, views
from posttrain.guard.egress.secrets import Secrets

VALUES = {
    "hex": "9f86d081884c7d659a2feaa0c55ad015",
    "base62": "kZ8qT3vXw1LmN0pRs7YbCdEfGh2JuA",
    "base64url": "sk-proj-Wq_8ZrT2-kLxV0nB5yHdMc7Pa",
    "printable": "p@ss: w0rd+%41\\{Tr0ub4dor&3}",
}
secrets = pytest.mark.parametrize("secret", VALUES.values(), ids=VALUES.keys())


def found(data: bytes, depth: int, secret: str) -> float:
    """The share of a secret that is found in a request."""
    seen = views(data, depth, 64)
    assert not seen.overflow
    carried = Secrets({"s": secret}).carried(view.data for view in seen.views)
    return carried["s"].share if carried else 0.0


# -- recall -------------------------------------------------------------------------------------------------------


@secrets
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_one_encoding_is_undone_at_depth_1(encoder, place, secret):
    assert found(place(encoder(secret.encode())), 1, secret) == 1.0


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("outer", ENCODERS)
def test_two_encodings_are_undone_at_depth_2(outer, place):
    for inner in ENCODERS:
        for secret in (VALUES["hex"], VALUES["base62"], VALUES["base64url"]):
            if undoable(outer, inner):
                data = place(ENCODERS[outer](ENCODERS[inner](secret.encode())))
                assert found(data, 2, secret) == 1.0, (inner, secret)


@pytest.mark.parametrize("encoder", ["base64", "hex", "base32", "gzip", "reversed"])
def test_no_deeper_than_asked(encoder):
    encode, secret = ENCODERS[encoder], VALUES["base62"].encode()
    wrapped = reference.b64encode(encode(reference.b64encode(secret)))
    assert found(b"!" + wrapped + b"!", 3, VALUES["base62"]) == 1.0
    assert found(b"!" + wrapped + b"!", 1, VALUES["base62"]) == 0.0


# -- runs inside other text ---------------------------------------------------------------------------------------

junk = st.text(string.ascii_letters + string.digits + "/-_+:. \n", max_size=20).map(str.encode)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=5, max_size=40), junk, junk, st.sampled_from(["base64", "base64url", "hex", "hex upper"]))
def test_a_run_is_found_from_any_phase(data, before, after, encoder):
    text = before + ENCODERS[encoder](data) + after
    assert any(data in view.data for view in views(text, 1, 64).views)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=5, max_size=40), st.text(string.ascii_uppercase + "234567", max_size=20), st.booleans())
def test_a_run_of_base32_is_found_from_any_phase(data, before, lower):
    text = before.encode() + reference.b32encode(data).rstrip(b"=")
    assert any(data in view.data for view in views(text.lower() if lower else text, 1, 64).views)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=5, max_size=40), junk, st.sampled_from(["hex colon", "hex 0x list", "hex backslash"]))
def test_pairs_of_hex_digits_are_found_with_their_marks(data, before, encoder):
    text = before + b"!" + ENCODERS[encoder](data)
    assert any(data in view.data for view in views(text, 1, 64).views)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.binary(min_size=30, max_size=300), st.binary(max_size=60), st.booleans())
def test_a_stream_is_inflated_wherever_it_begins(before, data, after, zipped):
    stream = gzip.compress(data) if zipped else zlib.compress(data)
    assert any(data in view.data for view in views(before + stream + after, 1, 64).views)


def test_a_stream_that_breaks_off_gives_what_came_before():
    text = "".join(random.Random(0).choices(string.ascii_letters, k=5000)).encode()
    stream = gzip.compress(text)[:2000]
    assert any(text[:1500] in view.data for view in views(stream, 1, 64).views)


def test_escapes_that_are_none_stay():
    assert [view.how for view in views(b"50% of %zz, C:\\dir, \\q", 1, 64).views] == [""]


# -- what a search may cost ---------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | st.text("%\\u0061x+=AZaz-_\n", max_size=400).map(str.encode), st.integers(0, 4))
def test_any_bytes_have_views(data, depth):
    seen = views(data, depth, 20)
    assert len(seen.views) <= 20
    assert sum(len(view.data) for view in seen.views) <= 1 << 18
    assert len({view.data for view in seen.views}) == len(seen.views)
    if data:
        assert seen.views[0] == (data, "")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 10))
def test_a_limit_that_cuts_is_an_overflow_and_keeps_the_first(data, limit):
    every = views(data, 2, 10**6)
    cut = views(data, 2, limit)
    assert cut.views == every.views[:limit]
    assert cut.overflow == (len(every.views) > limit)


def test_less_decoded_views_come_first():
    data = PLACES["query"](ENCODERS["base64"](ENCODERS["hex"](b"a long enough text")))
    depths = [view.how.count(",") + bool(view.how) for view in views(data, 2, 64).views]
    assert depths == sorted(depths)
    assert max(depths) == 2


@pytest.mark.parametrize(
    "data",
    [gzip.compress(bytes(10**8)), gzip.compress(gzip.compress(bytes(10**8))), b"\x78\x9c" * 10**5],
    ids=["bomb", "bomb in a stream", "many beginnings"],
)
def test_a_bomb_does_not_fill_the_memory(data):
    seen = views(data, 2, 64)
    assert sum(len(view.data) for view in seen.views) <= max(1 << 18, 48 * len(data))


@pytest.mark.parametrize("size", [10**8, (1 << 18) - 400], ids=["bomb", "fits, but leaves no room for the work"])
def test_a_bomb_is_an_overflow(size):
    assert views(gzip.compress(bytes(size)), 1, 64).overflow


@pytest.mark.parametrize("data", [gzip.compress(bytes(10**6)), b"\x78\x9c" * 1000], ids=["bomb", "many beginnings"])
def test_inflating_ends_where_the_room_ends(data):
    some = inflated(data, 10_000)
    assert not some.whole
    assert len(some.data) < 10_000 + 64 * 1100  # deflate makes at most 1,032 bytes of one


@pytest.mark.parametrize("piece", ["%25", "\\u0061", "\\", "%", "\n", "61:", "0x", "+%20", "aaaaaaa\n", "a-", "A"])
def test_large_requests_of_one_piece_are_searched_whole(piece):
    assert not views(piece.encode() * 20_000, 2, 64).overflow
