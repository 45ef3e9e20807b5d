"""What a proxy must survive: requests that are none, that two parsers read differently, that are huge or never end."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxied import SECRET, awaited, behind, client_hello, echo, plain, split, user

from posttrain.files import WriteError
from posttrain.guard.audit import AuditLog

HEADS = {
    "no method": (b"\x16\x03\x01\x02\x00\x01", 400),
    "not http": (b"hello\r\n\r\n", 400),
    "origin form": (b"GET / HTTP/1.1\r\nHost: {at}\r\n\r\n", 400),
    "https in plain": (b"GET https://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n", 400),
    "another scheme": (b"GET ftp://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n", 400),
    "bare line feeds": (b"GET http://{at}/ HTTP/1.1\nHost: {at}\n\n", 400),
    "a bare line feed": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\nX: y\r\n\r\n", 400),
    "folded": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX: y\r\n z\r\n\r\n", 400),
    "space before the colon": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX : y\r\n\r\n", 400),
    "no host": (b"GET http://{at}/ HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nHost: {at}\r\n\r\n", 400),
    "another host": (b"GET http://{at}/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", 400),
    "another port": (b"GET http://{at}/ HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    "no utf-8": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX: \xff\xfe\r\n\r\n", 400),
    "control characters": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX: a\x01b\r\n\r\n", 400),
    "null": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX: a\x00b\r\n\r\n", 400),
    "delete": (b"GET http://{at}/\x7f HTTP/1.1\r\nHost: {at}\r\n\r\n", 400),
    "two lengths": (
        b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a length twice": (
        b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        400,
    ),
    "a length list": (b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    "no length": (b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nContent-Length: +3\r\n\r\nabc", 400),
    "another coding": (b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "chunks in 1.0": (b"POST http://{at}/ HTTP/1.0\r\nHost: {at}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "broken chunks": (
        b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        400,
    ),
    "trailers": (
        b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: secret\r\n\r\n",
        400,
    ),
    "a short body": (b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nContent-Length: 9\r\n\r\nabc", 400),
    "half a head": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n", 400),
    "another version": (b"GET http://{at}/ HTTP/2.0\r\nHost: {at}\r\n\r\n", 505),
    "a user nobody can read": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nProxy-Authorization: Basic !\r\n\r\n", 400),
    "a long user": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n" + user("x" * 129).encode() + b"\r\n", 400),
    "a user with a line's end": (
        b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n" + user("a\nsession b").encode() + b"\r\n",
        400,
    ),
    "a bearer": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nProxy-Authorization: Bearer x\r\n\r\n", 400),
    "two users": (
        b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nProxy-Authorization: Basic YTo=\r\n"
        b"Proxy-Authorization: Basic Yjo=\r\n\r\n",
        400,
    ),
    "a huge head": (b"GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    "a huge line": (b"GET http://{at}/" + b"x" * 40_000, 431),
    "connect without port": (b"CONNECT api.test HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    "connect with path": (b"CONNECT {at}/x HTTP/1.1\r\nHost: {at}\r\n\r\n", 400),
    "connect to a url": (b"CONNECT https://{at} HTTP/1.1\r\nHost: {at}\r\n\r\n", 400),
    "connect with body": (b"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\nContent-Length: 3\r\n\r\nabc", 400),
    "connect for another": (b"CONNECT {at} HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", 400),
    "connect with user": (b"CONNECT api.test@evil.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", 403),
    "connect to a number": (b"CONNECT 2130706433:443 HTTP/1.1\r\nHost: 2130706433:443\r\n\r\n", 403),
    "connect to port 0": (b"CONNECT api.test:0 HTTP/1.1\r\nHost: api.test:0\r\n\r\n", 403),
    "connect to port 99999": (b"CONNECT api.test:99999 HTTP/1.1\r\nHost: api.test:99999\r\n\r\n", 403),
}


@pytest.mark.parametrize(("data", "status"), HEADS.values(), ids=HEADS)
@awaited
async def test_what_is_no_request_is_answered_by_one_sentence(tmp_path, data, status):
    async with behind(tmp_path) as place:
        answer = await place.say(data.replace(b"{at}", place.at.encode()), end=True)
        got, body = split(answer)
        assert got == status, answer
        assert status == 403 or (body.endswith(b".\n") and body.count(b"\n") == 1)
        assert place.origin.connections == 0
        assert not any(record["sent"] for record in place.records())
        assert (await place.get("/"))[0] == 200


def lines() -> st.SearchStrategy[bytes]:
    """Near to requests, so that some get far."""
    piece = st.sampled_from(
        [b"CONNECT ", b"GET ", b"http://", b"api.test", b":443", b":", b" HTTP/1.1", b"\r\n", b"\n", b" ", b"\t", b"\0",
         b"Host: api.test", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"\xff", b"@", b"[::1]", b"\r\n\r\n"]
    )  # fmt: skip
    return st.lists(piece | st.binary(max_size=4), max_size=12).map(b"".join)


@given(st.lists(st.binary(max_size=80) | lines(), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_bytes_of_any_kind_never_crash_it(every):
    @awaited
    async def all_of_them():
        failures = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        with tempfile.TemporaryDirectory() as folder:
            async with behind(Path(folder)) as place:
                for answer in await asyncio.gather(*(place.say(data, end=True) for data in every)):
                    assert answer == b"" or 400 <= split(answer)[0] < 600, answer
                assert place.origin.connections == 0
                assert (await place.get("/"))[0] == 200
        assert failures == []

    all_of_them()


@awaited
async def test_a_body_of_100_mb_is_refused_at_its_announcement(tmp_path):
    async with behind(tmp_path) as place:
        reader, writer = await place.dial()
        writer.write(plain(place.at, "/", "Content-Length: 100000000\r\n", "POST"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")
        writer.close()
        assert place.records() == []


@awaited
async def test_a_body_of_100_mb_in_chunks_is_refused_early_and_the_client_can_read_why(tmp_path):
    """The client keeps sending until it is stopped; memory stays within one body."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with behind(tmp_path, limits="body = 100_000") as place:
        reader, writer = await place.dial()
        writer.write(plain(place.at, "/", "Transfer-Encoding: chunked\r\n", "POST"))
        for _ in range(100):
            writer.write(chunk)
            await writer.drain()
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 413")
        assert all(len(client.buffer) == 0 for client in place.proxy.clients)
        writer.close()
        assert place.records() == []


@awaited
async def test_a_body_that_is_announced_as_too_long_is_not_waited_for(tmp_path):
    """100-continue is for bodies that may come."""
    async with behind(tmp_path, limits="body = 10") as place:
        long = plain(place.at, "/", "Expect: 100-continue\r\nContent-Length: 11\r\n", "POST")
        assert (await place.say(long)).startswith(b"HTTP/1.1 413")
        reader, writer = await place.dial()
        writer.write(plain(place.at, "/", "Expect: 100-continue\r\nContent-Length: 10\r\n", "POST"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"0123456789")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize(
    "said", [b"", b"GET ht", b"POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nContent-Length: 50\r\n\r\n"]
)
@awaited
async def test_slow_requests_are_cut_off(tmp_path, said):
    """A byte now and then does not help."""
    async with behind(tmp_path, limits="seconds = 0.3\nsilence = 0.3") as place:
        reader, writer = await place.dial()
        writer.write(said.replace(b"{at}", place.at.encode()))
        end = asyncio.create_task(reader.read(-1))
        while not end.done():
            writer.write(b"x")
            await asyncio.sleep(0.02)
        assert end.exception() is not None or end.result() == b"" or end.result().startswith(b"HTTP/1.1 4")
        writer.close()
        assert place.origin.connections == 0


@awaited
async def test_a_tunnel_without_a_handshake_or_without_a_word_is_cut_off(tmp_path):
    hello = client_hello("api.test")
    async with behind(tmp_path, echo, limits="seconds = 0.3\nsilence = 0.3") as place:
        mute, first, _ = await place.tunnel()
        still, second, _ = await place.tunnel()
        second.write(hello)
        assert await still.readexactly(len(hello)) == hello
        for reader in (mute, still):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        first.close()
        second.close()


@awaited
async def test_a_tunnel_with_words_stays(tmp_path):
    hello = client_hello("api.test")
    async with behind(tmp_path, echo, limits="seconds = 0.4\nsilence = 0.4") as place:
        reader, writer, _ = await place.tunnel()
        writer.write(hello)
        await reader.readexactly(len(hello))
        for _ in range(8):
            await asyncio.sleep(0.1)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        writer.close()


@awaited
async def test_a_client_that_reads_nothing_stops_the_server_too(tmp_path):
    """What waits in the proxy stays small while 50 MB want to come."""

    async def flood(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(50):
            writer.write(bytes(1 << 20))
            await writer.drain()

    async with behind(tmp_path, flood) as place:
        _, writer = await asyncio.open_connection("127.0.0.1", place.proxy.port, limit=1 << 10)
        writer.write(plain(place.at))
        await asyncio.sleep(0.2)
        (client,) = place.proxy.clients
        assert client.transport.get_write_buffer_size() < 1 << 20
        assert client.upstream is not None
        assert len(client.upstream.buffer) < 1 << 20
        client.abort()
        writer.close()


class Full(AuditLog):
    """A log on a disk that is full at times."""

    full = False

    def append(self, record):
        if self.full:
            raise WriteError("egress.jsonl could not be written (No space left on device).")
        super().append(record)


@awaited
async def test_a_full_disk_stops_everything_and_only_as_long(tmp_path, capfd):
    log = Full(tmp_path / "egress.jsonl")
    hello = client_hello("api.test")
    async with behind(tmp_path, log=log, mitm_socket=tmp_path / "judge.sock") as place:
        assert (await place.get("/1"))[0] == 200
        log.full = True
        for _ in range(3):
            status, body = await place.get("/2")
            assert (status, b"No space left" in body) == (503, True)
        assert (await place.get("/", host="evil.test"))[0] == 503
        _, _, answer = await place.tunnel()
        assert answer.startswith(b"HTTP/1.1 503")
        assert capfd.readouterr().err.count("No space left") == 1
        log.full = False
        reader, writer, _ = await place.tunnel()
        log.full = True
        writer.write(client_hello("evil.test"))
        assert await reader.read(-1) != hello
        log.full = False
        assert (await place.get("/3"))[0] == 200
        assert place.origin.requests == [b"GET /1 HTTP/1.1", b"GET /3 HTTP/1.1"]
        writer.close()


@awaited
async def test_too_many_sessions_are_denied_and_those_that_are_there_go_on(tmp_path):
    async with behind(tmp_path, rules="session.sessions = 2") as place:
        part = SECRET[:6]
        statuses = [(await place.get(f"/?q={part}", more=user(name)))[0] for name in ("a", "b", "c", "a")]
        assert statuses == [200, 200, 403, 200]
