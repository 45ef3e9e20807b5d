"""The forward proxy: what the server gets, what the client gets, and what stands in the log."""

import asyncio
import json
import shutil
import socket
import ssl
import struct
import subprocess

import pytest
from proxied import OK, SECRET, awaited, behind, client_hello, echo, plain, split, user

from posttrain.guard.egress.proxy import Proxy
from posttrain.guard.egress.relay import Wire
from posttrain.guard.egress.resolver import StaticResolver

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")


# Plain HTTP


@awaited
async def test_a_request_arrives_as_it_was_judged(tmp_path):
    async with behind(tmp_path) as place:
        more = f"X-One: 1\r\nX-Two: zwei \u00fc\r\nConnection: X-Two\r\nTE: gzip\r\n{user('a')}"
        said = f"POST http://{place.at}/p%20q?a=b#c HTTP/1.1\r\nHost: {place.at}\r\n{more}Content-Length: 4\r\n\r\nbody"
        reader, writer = await place.dial()
        writer.write(said.encode())
        assert await reader.readexactly(len(OK)) == OK
        writer.close()
        kept = f"Host: {place.at}\r\nX-One: 1\r\nContent-Length: 4\r\nConnection: close"
        assert bytes(place.origin.seen) == f"POST /p%20q?a=b HTTP/1.1\r\n{kept}\r\n\r\nbody".encode()
        (record,) = place.records()
        assert record["sent"] is True
        assert record["facts"]["session"] == "a"
        assert (record["facts"]["method"], record["facts"]["body"]) == ("POST", 4)


@awaited
async def test_a_denial_is_a_verdict_as_json_and_nothing_is_looked_up(tmp_path):
    async with behind(tmp_path) as place:
        status, body = await place.get("/", host=f"evil.test:{place.origin.port}")
        assert status == 403
        assert set(verdict := json.loads(body)) == {"rule", "because", "verdict"}
        assert verdict["rule"].startswith("destinations.")
        assert place.resolver.asked == []
        assert place.origin.connections == 0
        assert [record["sent"] for record in place.records()] == [False]


@pytest.mark.parametrize(
    "hide", [str, lambda s: s.encode().hex(), lambda s: s[::-1]], ids=["plainly", "in hex", "backwards"]
)
@awaited
async def test_a_secret_in_the_query_is_denied(tmp_path, hide):
    async with behind(tmp_path) as place:
        status, body = await place.get(f"/search?q={hide(SECRET)}")
        assert status == 403
        assert json.loads(body)["rule"] == "content.secrets"
        assert place.origin.connections == 0
        assert SECRET not in place.log.read_text()


@awaited
async def test_a_secret_in_a_chunked_body_is_denied(tmp_path):
    async with behind(tmp_path) as place:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (SECRET[:9].encode(), SECRET[9:].encode()))
        head = plain(place.at, "/", "Transfer-Encoding: chunked\r\n", "POST")
        status, body = split(await place.say(head + chunks + b"0\r\n\r\n"))
        assert (status, json.loads(body)["rule"]) == (403, "content.secrets")
        assert place.origin.connections == 0


@awaited
async def test_shards_are_stopped_before_half_has_left(tmp_path):
    """Four shards of six characters: the second would make it 12 of 24, so one leaves."""
    async with behind(tmp_path) as place:
        statuses = [(await place.get(f"/{i}?q={SECRET[6 * i : 6 * i + 6]}"))[0] for i in range(4)]
        assert statuses == [200, 403, 403, 403]
        assert place.records()[1]["rule"] == "session.coverage"
        assert len(place.origin.requests) == 1


@awaited
async def test_every_session_has_its_own_account(tmp_path):
    async with behind(tmp_path) as place:
        for i, name in enumerate(("a", "b", "c")):
            assert (await place.get(f"/?q={SECRET[6 * i : 6 * i + 6]}", more=user(name)))[0] == 200
        assert (await place.get(f"/?q={SECRET[18:]}", more=user("a")))[0] == 403
        assert [record["facts"]["session"] for record in place.records()] == ["a", "b", "c", "a"]


@awaited
async def test_a_session_that_was_fixed_cannot_be_chosen(tmp_path):
    async with behind(tmp_path, session="the agent") as place:
        statuses = [(await place.get(f"/?q={SECRET[6 * i : 6 * i + 6]}", more=user(f"s{i}")))[0] for i in range(2)]
        assert statuses == [200, 403]
        assert {record["facts"]["session"] for record in place.records()} == {"the agent"}


@awaited
async def test_a_token_is_asked_for(tmp_path):
    async with behind(tmp_path, token="let me in") as place:
        for more in ("", user("a"), user("a", "let me"), "Proxy-Authorization: Basic ?\r\n"):
            answer = await place.say(plain(place.at, more=more))
            assert split(answer)[0] == 407
            assert b"Proxy-Authenticate: Basic" in answer
        _, _, answer = await place.tunnel()
        assert answer.startswith(b"HTTP/1.1 407")
        assert place.records() == []
        assert (await place.get("/", more=user("a", "let me in")))[0] == 200


def test_beyond_this_machine_a_token_is_needed():
    with pytest.raises(ValueError, match="set a token"):
        Proxy(None, host="0.0.0.0")  # type: ignore[arg-type]


@awaited
async def test_a_connection_serves_request_after_request(tmp_path):
    """Pipelined even; each answer is framed anew, whatever the server's framing was."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    async with behind(tmp_path, [OK, chunked, b"HTTP/1.1 204 No Content\r\n\r\n", OK]) as place:
        reader, writer = await place.dial()
        one = plain(place.at).replace(b"Connection: close\r\n", b"")
        writer.write(one * 3)
        writer.write(plain(place.at, method="HEAD"))
        answers = await reader.read(-1)
        writer.close()
        want = OK + chunked.replace(b"Connection: close\r\n", b"") + b"HTTP/1.1 204 No Content\r\n\r\n"
        assert answers.replace(b"Transfer-Encoding", b"transfer-encoding").startswith(
            want.replace(b"Transfer-Encoding", b"transfer-encoding")
        )
        assert answers.count(b"ok") == 2
        assert answers.endswith(b"\r\n\r\n")
        assert len(place.origin.requests) == 4


@awaited
async def test_an_answer_without_length_goes_through_to_its_end(tmp_path):
    body = bytes(range(256)) * 4096

    async def stream(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with behind(tmp_path, stream) as place:
        old = f"GET http://{place.at}/ HTTP/1.0\r\n\r\n".encode()
        assert split(await place.say(old)) == (200, body)


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nbroken", b"HTTP/1.1 101 X\r\n\r\n"])
@awaited
async def test_a_server_that_does_not_speak_http_is_502(tmp_path, answer):
    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with behind(tmp_path, speak) as place:
        status, body = await place.get("/")
        assert status == 502
        assert b"gave no answer that can be read" in body


@awaited
async def test_an_answer_that_breaks_off_is_not_made_whole(tmp_path):
    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    async with behind(tmp_path, speak) as place:
        answer = await place.say(plain(place.at))
        assert answer == b"" or (b"Content-Length: 10\r\n" in answer and split(answer)[1] == b"half")


@awaited
async def test_nobody_there_is_502(tmp_path):
    async def gone(address, port, host):
        raise ConnectionRefusedError(111, "Connection refused")

    async with behind(tmp_path, connect=gone) as place:
        status, body = await place.get("/")
        assert (status, b"cannot be reached: Connection refused" in body) == (502, True)
        _, _, answer = await place.tunnel()
        assert answer.startswith(b"HTTP/1.1 502")


@awaited
async def test_redirects_are_recognised_as_they_come_back(tmp_path):
    """Two in a row may be followed, so the third is denied; asking again does not help."""
    async with behind(tmp_path, rules="redirects.hops = 2") as place:
        place.origin.answers = [
            b"HTTP/1.1 302 Found\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n" % i for i in range(1, 9)
        ]
        statuses = [(await place.get(f"/{i}"))[0] for i in range(4)] + [(await place.get("/3"))[0]]
        assert statuses == [302, 302, 302, 403, 403]
        assert [record["facts"].get("hop", 0) for record in place.records()] == [0, 1, 2, 3, 3]
        assert place.records()[-1]["rule"] == "redirects.hops"
        assert (await place.get("/3", more=user("someone else")))[0] == 302


@awaited
async def test_what_was_checked_is_what_is_connected_to(tmp_path):
    """The resolver's second answer leads inside; it is never asked for it."""
    dialled = []

    async def connect(address, port, host):
        dialled.append((address, port, host))
        return "127.0.0.1", port

    names = StaticResolver({"api.test": [["192.0.2.7"], ["10.0.0.1"]]})
    async with behind(tmp_path, resolver=names, connect=connect, rules="") as place:
        place.gateway.resolver = StaticResolver({"api.test": [["93.184.216.34"], ["10.0.0.1"]]})
        assert (await place.get("/"))[0] == 200
        assert dialled == [("93.184.216.34", place.origin.port, "api.test")]
        status, body = await place.get("/")
        assert status == 403
        assert json.loads(body)["rule"] == "destinations.networks"
        assert "10.0.0.1" in json.loads(body)["because"]
        assert len(dialled) == 1
        assert [(r["sent"], r.get("rule")) for r in place.records()[1:]] == [
            (True, None),
            (False, "destinations.networks"),
        ]


@awaited
async def test_a_name_that_is_not_known_fails_closed(tmp_path):
    async with behind(tmp_path, resolver=StaticResolver({})) as place:
        assert (await place.get("/"))[0] == 403
        _, _, answer = await place.tunnel()
        assert answer.startswith(b"HTTP/1.1 403")
        assert [record["sent"] for record in place.records()] == [True, False] * 2
        assert place.origin.connections == 0


# Tunnels


@awaited
async def test_bytes_go_both_ways_intact_and_each_way_ends_by_itself(tmp_path):
    sent = bytes(range(256)) * 4096
    async with behind(tmp_path, echo) as place:
        reader, writer, answer = await place.tunnel()
        assert answer.startswith(b"HTTP/1.1 200")
        hello = client_hello("api.test")
        writer.write(hello + sent)
        writer.write_eof()
        assert await reader.read(-1) == hello + sent
        writer.close()
        (record,) = place.records()
        assert (record["facts"]["sees"], record["facts"]["method"], record["sent"]) == ("host", "CONNECT", True)


@awaited
async def test_a_hello_in_single_bytes_and_one_that_comes_early(tmp_path):
    hello = client_hello("api.test")
    async with behind(tmp_path, echo) as place:
        reader, writer, _ = await place.tunnel()
        for byte in hello[:40]:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(hello[40:])
        assert await reader.readexactly(len(hello)) == hello
        writer.close()
        early, writer = await place.dial()
        writer.write(f"CONNECT {place.at} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode() + hello)
        await early.readuntil(b"\r\n\r\n")
        assert await early.readexactly(len(hello)) == hello
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    key, file = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "2", "-subj", "/CN=api.test", "-addext", "subjectAltName=DNS:api.test,DNS:b.api.test",
         "-keyout", key, "-out", file],
        check=True, capture_output=True,
    )  # fmt: skip
    return file, key


@needs_openssl
@awaited
async def test_tls_through_the_tunnel(tmp_path, certificate):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=certificate[0])
    async with behind(tmp_path, tls=server) as place:
        _, writer, _ = await place.tunnel()
        await writer.start_tls(client, server_hostname="api.test")
        writer.write(f"GET / HTTP/1.1\r\nHost: api.test\r\nX: {SECRET}\r\n\r\n".encode())
        reader = writer.transport.get_protocol()._stream_reader  # type: ignore[attr-defined]
        assert await reader.readexactly(len(OK)) == OK
        writer.close()
        assert len(place.origin.requests) == 1
        # The same certificate would do for the other name, but it is not the one that CONNECT named.
        _, writer, _ = await place.tunnel()
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            await writer.start_tls(client, server_hostname="b.api.test")
        writer.close()
        assert len(place.origin.requests) == 1
        assert place.records()[-1]["rule"] == "destinations.sni"


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (client_hello("b.api.test"), "another server"),
        (client_hello("evil.test"), "another server"),
        (client_hello(None), "no SNI"),
        (b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", "must be TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "must be TLS"),
        (client_hello("api.test")[:100], "ended before"),
        (b"", "ended before"),
    ],
    ids=["a host below", "another host", "no name", "http", "ssh", "cut short", "nothing"],
)
@awaited
async def test_a_tunnel_that_does_not_ask_for_its_host_is_closed(tmp_path, first, words):
    async with behind(tmp_path) as place:
        reader, writer, _ = await place.tunnel()
        writer.write(first)
        writer.write_eof()
        assert len(await reader.read(-1)) in (0, 7)
        writer.close()
        assert bytes(place.origin.seen) == b""
        allowed, refused = place.records()
        assert (allowed["sent"], refused["sent"], refused["rule"]) == (True, False, "destinations.sni")
        assert words in refused["because"]


@awaited
async def test_an_address_is_asked_for_without_a_name(tmp_path):
    hello = client_hello(None)
    async with behind(tmp_path, echo) as place:
        reader, writer, _ = await place.tunnel(f"127.0.0.1:{place.origin.port}")
        writer.write(hello)
        assert await reader.readexactly(len(hello)) == hello
        writer.close()


@awaited
async def test_report_lets_another_name_pass_and_says_so(tmp_path):
    hello = client_hello("evil.test")
    async with behind(tmp_path, echo, rules='mode = "report"') as place:
        reader, writer, _ = await place.tunnel()
        writer.write(hello)
        assert await reader.readexactly(len(hello)) == hello
        writer.close()
        last = place.records()[-1]
        assert (last["sent"], last["judged"], last["rule"]) == (True, "deny", "destinations.sni")


@awaited
async def test_a_tunnel_to_an_unknown_host_is_403(tmp_path):
    async with behind(tmp_path) as place:
        reader, writer, answer = await place.tunnel("evil.test:443")
        assert answer.startswith(b"HTTP/1.1 403")
        assert json.loads(await reader.read(-1))["rule"].startswith("destinations.")
        writer.close()
        assert place.resolver.asked == []


# Many, and the end


@awaited
async def test_a_client_that_is_gone_when_it_is_refused_is_let_go():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        _, wire = await asyncio.get_running_loop().connect_accepted_socket(Wire, listener.accept()[0])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wire.end()
    while not wire.lost:
        await asyncio.sleep(0)


@awaited
async def test_a_hundred_tunnels_at_once(tmp_path):
    hello = client_hello("api.test")
    async with behind(tmp_path, echo) as place:
        opened = await asyncio.gather(*(place.tunnel(more=user(f"s{i}")) for i in range(100)))
        for i, (_, writer, _) in enumerate(opened):
            writer.write(hello + b"%03d" % i)
        got = await asyncio.gather(*(reader.readexactly(len(hello) + 3) for reader, _, _ in opened))
        assert [each[-3:] for each in got] == [b"%03d" % i for i in range(100)]
        for _, writer, _ in opened:
            writer.close()
        while place.proxy.clients:
            await asyncio.sleep(0.01)


@awaited
async def test_more_clients_than_allowed_are_told_to_come_back(tmp_path):
    async with behind(tmp_path, limits="connections = 2") as place:
        held = [await place.dial() for _ in range(2)]
        await asyncio.sleep(0.05)
        assert split(await place.say(b"", end=True))[0] == 503
        held[0][1].close()
        await asyncio.sleep(0.05)
        assert (await place.get("/"))[0] == 200
        held[1][1].close()


@awaited
async def test_a_stop_lets_a_request_end_and_takes_no_new_one(tmp_path):
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await go.wait()
        writer.write(OK)
        writer.close()

    async with behind(tmp_path, slow) as place:
        idle, idle_writer = await place.dial()
        running = asyncio.create_task(place.get("/"))
        await arrived.wait()
        stop = asyncio.create_task(place.proxy.stop())
        assert await idle.read(-1) == b""
        idle_writer.close()
        with pytest.raises(ConnectionError):
            await place.dial()
        go.set()
        assert await running == (200, b"ok")
        await stop
        assert place.proxy.clients == set()


@awaited
async def test_nothing_is_left_behind(tmp_path):
    async with behind(tmp_path, echo) as place:
        _, writer, _ = await place.tunnel()
        writer.write(client_hello("api.test"))
        await place.dial()
        await asyncio.sleep(0.05)
        await place.proxy.stop(grace=0.0)
        await asyncio.sleep(0.05)
        left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() if not task.done()}  # type: ignore[union-attr]
        assert not [name for name in left if name.startswith(("Client", "Proxy"))]
        assert place.proxy.clients == set()


@awaited
async def test_it_says_what_it_cannot_see(tmp_path):
    async with behind(tmp_path) as place:
        assert place.proxy.blind.startswith("of HTTPS the host alone")
    async with behind(tmp_path, mitm_socket=tmp_path / "judge.sock") as place:
        assert "judge.sock" in place.proxy.blind
        assert (tmp_path / "judge.sock").is_socket()
    assert not (tmp_path / "judge.sock").exists()


@awaited
async def test_a_judge_socket_that_cannot_listen_leaves_no_proxy_behind(tmp_path):
    (tmp_path / "file").write_text("x")
    async with behind(tmp_path) as place:
        broken = Proxy(place.gateway, port=place.proxy.port, mitm_socket=tmp_path / "judge.sock")
        with pytest.raises(OSError, match="cannot be listened on"):
            await broken.__aenter__()
        assert not (tmp_path / "judge.sock").exists()
        with pytest.raises(ValueError, match="no socket"):
            await Proxy(place.gateway, mitm_socket=tmp_path / "file").__aenter__()
