"""ClientHellos as OpenSSL writes them, whole, in pieces, and broken."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxied import client_hello

from posttrain.guard.egress import tls

HELLO = client_hello("api.example.com")


def records(hello: bytes, size: int) -> bytes:
    """The same handshake message in records of `size` bytes."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(hello[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


def extension(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2) + len(value).to_bytes(2) + value


def server_name(*names: bytes, kind: int = 0) -> bytes:
    entries = b"".join(bytes((kind,)) + len(name).to_bytes(2) + name for name in names)
    return extension(0, len(entries).to_bytes(2) + entries)


def hello(*extensions: bytes, tail: bytes = b"") -> bytes:
    """A minimal ClientHello, written by hand from RFC 8446, 4.1.2."""
    every = b"".join(extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + len(every).to_bytes(2) + every + tail
    message = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message


@pytest.mark.parametrize("name", ["api.example.com", "xn--bcher-kva.example", "a.b.c.d.test"])
def test_the_name_is_the_one_that_openssl_was_given(name):
    assert tls.read(client_hello(name)) == tls.Hello(name, hides=False)


def test_no_name():
    assert tls.read(client_hello(None)) == tls.Hello("", hides=False)


def test_every_beginning_waits_for_more():
    assert all(tls.read(HELLO[:n]) is None for n in range(len(HELLO)))


@given(st.integers(len(HELLO) // tls.PIECES + 1, 600))
@settings(max_examples=20, deadline=None)
def test_how_it_is_cut_into_records_does_not_matter(size):
    cut = records(HELLO, size)
    assert tls.read(cut) == tls.read(HELLO)
    assert all(tls.read(cut[:n]) is None for n in range(0, len(cut), 7))


def test_reading_costs_no_more_for_many_small_records():
    """A client that sends byte by byte makes the proxy read again each time."""
    with pytest.raises(tls.NotTLS, match="cut into more than 16 records"):
        tls.read(records(HELLO, 1))


def test_what_follows_in_other_records_is_not_read():
    assert tls.read(HELLO + b"\x17\x03\x03\x00\x01x") == tls.read(HELLO)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_hello_or_refused_or_waited_for(data):
    with suppress(tls.NotTLS):
        assert tls.read(data) is None


@given(st.integers(0, len(HELLO) - 1), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_never_gives_another_name_than_it_spells(at, change):
    broken = bytearray(HELLO)
    broken[at] ^= change
    try:
        found = tls.read(bytes(broken))
    except tls.NotTLS:
        return
    assert found is None or found.name == "" or found.name.encode() in bytes(broken).lower()


@pytest.mark.parametrize(
    ("data", "because"),
    [
        (b"GET / HTTP/1.1", "no TLS handshake"),
        (b"\x16\x02\x00", "no TLS handshake"),
        (b"\x16\x03\x01\x00\x00", "impossible length"),
        (b"\x16\x03\x01\xff\xff", "impossible length"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "no ClientHello"),
        (b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "longer than"),
        (hello(server_name(b"a.test"), server_name(b"b.test")), "twice"),
        (hello(server_name(b"a.test", b"b.test")), "not one host name"),
        (hello(server_name(b"a.test", kind=1)), "not one host name"),
        (hello(server_name(b"")), "not one host name"),
        (hello(server_name(b"a\0.test")), "not one host name"),
        (hello(server_name(b"a.test")[:-1]), "ends too early"),
        (hello(server_name(b"a.test"), tail=b"x"), "after its end"),
        (hello()[:-2], None),
    ],
)
def test_broken_ones(data, because):
    if because is None:
        assert tls.read(data) is None
        return
    with pytest.raises(tls.NotTLS, match=because):
        tls.read(data)


def test_by_hand():
    assert tls.read(hello(server_name(b"API.Test"))) == tls.Hello("api.test", hides=False)
    assert tls.read(hello(server_name(b"a.test"), extension(0xFE0D, b"x"))) == tls.Hello("a.test", hides=True)


@pytest.mark.parametrize(
    ("name", "hides", "host", "words"),
    [
        ("a.test", False, "a.test", ""),
        ("a.test", True, "a.test", ""),
        ("", False, "192.0.2.1", ""),
        ("", False, "2001:db8::1", ""),
        ("192.0.2.1", False, "192.0.2.1", ""),
        ("b.test", False, "a.test", "another server"),
        ("a.test.", False, "a.test", "another server"),
        ("a.test", False, "192.0.2.1", "another server"),
        ("", False, "a.test", "no SNI"),
        ("", True, "a.test", "ECH"),
    ],
)
def test_which_names_belong_to_a_tunnel(name, hides, host, words):
    """The sentence repeats no name: each can carry a secret."""
    because = tls.mismatch(tls.Hello(name, hides), host)
    assert bool(because) == bool(words)
    assert words in because
    assert ".test" not in because
