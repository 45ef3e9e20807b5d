"""The socket where a program that sees inside TLS asks, and the add-on for mitmproxy that does."""

import asyncio
import base64
import json
import os
import runpy
import stat
import sys
import types

import pytest
from proxied import SECRET, Place, awaited, behind

from posttrain.guard.egress import judge_socket

ADDON = judge_socket.__file__.replace("judge_socket.py", "mitmproxy_addon.py")


async def ask(path, *lines: dict | bytes) -> list[dict]:
    """Answers to lines on one connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    answers = []
    for line in lines:
        writer.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        answers.append(json.loads(await reader.readline()))
    writer.close()
    return answers


def question(place: Place, path: str = "/", **more) -> dict:
    return {"method": "GET", "url": f"https://{place.at}{path}", "session": "a", **more}


@awaited
async def test_it_judges_what_is_inside_of_tls_and_logs_it(tmp_path):
    path = tmp_path / "judge.sock"
    async with behind(tmp_path, mitm_socket=path) as place:
        body = base64.b64encode(SECRET.encode()).decode()
        answers = await ask(
            path,
            question(place, "/x?a=b", headers=[["User-Agent", "x"]], host=place.at),
            question(place, method="POST", body=body),
            question(place, f"/?q={SECRET}"),
            {**question(place), "url": "https://evil.test/"},
            {"method": "CONNECT", "url": f"https://{place.at}/"},
            {"method": "CONNECT", "url": "https://evil.test:443/"},
        )
        assert [answer["action"] for answer in answers] == ["allow", "deny", "deny", "deny", "allow", "deny"]
        assert [answer.get("rule") for answer in answers[1:3]] == ["content.secrets"] * 2
        assert all(answer["because"] for answer in answers if answer["action"] == "deny")
        facts = [record["facts"] for record in place.records()]
        assert [record["sent"] for record in place.records()] == [True, False, False, False, True, False]
        assert [(each["session"], each["sees"]) for each in facts] == [("a", "all")] * 4 + [("default", "host")] * 2
        assert place.origin.connections == 0


@awaited
async def test_shards_and_redirects_are_counted_as_in_the_proxy(tmp_path):
    path = tmp_path / "judge.sock"
    async with behind(tmp_path, mitm_socket=path, rules="redirects.hops = 1") as place:
        answers = await ask(path, *(question(place, f"/?q={SECRET[6 * i : 6 * i + 6]}") for i in range(2)))
        assert [answer["action"] for answer in answers] == ["allow", "deny"]
        steps = [(question(place, f"/{i}"), {**question(place, f"/{i}"), "redirect": f"/{i + 1}"}) for i in range(3)]
        answers = await ask(path, *(line for step in steps for line in step))
        assert [answer["action"] for answer in answers[::2]] == ["allow", "allow", "deny"]
        assert answers[4]["rule"] == "redirects.hops"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"hello", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (
            b'{"url": "https://api.test/", "method": "GET", "session": "' + b"x" * 129 + b'"}',
            "more than 128 characters",
        ),
        (b'{"url": "https://api.test/", "method": "GET", "session": "a\\nb"}', "cannot be printed"),
        (b"[]", "one JSON object"),
        (b"{}", "url must be text"),
        (b'{"url": "https://api.test/"}', "method must be text"),
        (b'{"url": 5, "method": "GET"}', "url must be text"),
        (b'{"url": "https://api.test/", "redirect": 5}', "redirect must be text"),
        (b'{"url": "https://api.test/", "method": "GET", "session": 5}', "session must be text"),
        (b'{"url": "https://api.test/", "method": "GET", "body": "?"}', "body must be base64"),
        (b'{"url": "https://api.test/", "method": "GET", "body": "\\u00fc"}', "body must be base64"),
        (b'{"url": "https://api.test/", "method": "GET", "headers": {"a": "b"}}', "pairs of text"),
        (b'{"url": "https://api.test/", "method": "GET", "headers": [["a", 5]]}', "pairs of text"),
        (b'{"url": "https://api.test/", "method": "GET", "host": "evil.test"}', "another host"),
        (b'{"url": "https://api.test/", "method": "GET", "host": "a@b"}', "cannot be read"),
        (b'{"url": "nonsense", "redirect": "/"}', "must be one that was allowed"),
    ],
)
@awaited
async def test_what_cannot_be_read_is_denied(tmp_path, line, words):
    path = tmp_path / "judge.sock"
    async with behind(tmp_path, mitm_socket=path) as place:
        first, second = await ask(path, line, question(place))
        assert first["action"] == "deny"
        assert words in first["because"]
        assert second == {"action": "allow"}


@awaited
async def test_a_line_that_never_ends_is_hung_up_on(tmp_path):
    path = tmp_path / "judge.sock"
    async with behind(tmp_path, mitm_socket=path, limits="body = 1000\nhead = 1000") as place:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * 100_000)
        assert await reader.read(-1) == b""
        writer.close()
        assert (await ask(path, question(place)))[0]["action"] == "allow"


@awaited
async def test_only_its_owner_can_ask_and_a_path_that_is_in_use_is_refused(tmp_path):
    path = tmp_path / "judge.sock"
    async with behind(tmp_path, mitm_socket=path) as place:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with pytest.raises(ValueError, match="answered by another process"):
            await judge_socket.JudgeSocket(place.proxy.door, path).start()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is no socket"):
        await judge_socket.JudgeSocket(place.proxy.door, tmp_path / "file").start()


@awaited
async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path):
    import socket

    path = tmp_path / "judge.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with behind(tmp_path, mitm_socket=path) as place:
        assert (await ask(path, question(place)))[0]["action"] == "allow"


@awaited
async def test_a_log_that_cannot_be_written_denies(tmp_path):
    path = tmp_path / "judge.sock"
    async with behind(tmp_path, mitm_socket=path) as place:
        assert place.gateway.log is not None
        place.gateway.log.file.close()
        place.gateway.log.append = broken
        (answer,) = await ask(path, question(place))
        assert (answer["action"], answer["rule"]) == ("deny", "log")


def broken(_record):
    raise OSError(28, "No space left on device")


# The add-on


class Headers(dict):
    """Case-insensitive enough: names are given in lower case."""

    @property
    def fields(self):
        return tuple((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in self.items())


class Flow:
    """What the add-on uses of a flow of mitmproxy."""

    def __init__(self, place: Place, path: str = "/", *, host: str = "", content: bytes | None = b"", **headers: str):
        name = host or "api.test"
        self.killed = False
        self.response = None
        self.client_conn = types.SimpleNamespace(id="client")
        self.request = types.SimpleNamespace(
            method="GET", url=f"https://{name}:{place.origin.port}{path}", host=name, port=place.origin.port,
            host_header=f"{name}:{place.origin.port}", raw_content=content, trailers=None, stream=True,
            headers=Headers({name.replace("_", "-"): value for name, value in headers.items()}),
        )  # fmt: skip

    def kill(self):
        self.killed = True

    @property
    def passed(self) -> bool:
        return not self.killed and self.response is None


class Response(types.SimpleNamespace):
    @classmethod
    def make(cls, status, body, headers):
        return cls(status_code=status, body=body, headers=headers)


class OptionsError(Exception):
    pass


@pytest.fixture
def addon(monkeypatch, tmp_path):
    """The add-on, with as much of mitmproxy as it uses."""
    fake = types.ModuleType("mitmproxy")
    fake.http = types.SimpleNamespace(Response=Response)  # type: ignore[attr-defined]
    fake.ctx = types.SimpleNamespace(options=types.SimpleNamespace())  # type: ignore[attr-defined]
    fake.exceptions = types.SimpleNamespace(OptionsError=OptionsError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mitmproxy", fake)
    monkeypatch.setenv("EGRESS_JUDGE", str(tmp_path / "judge.sock"))
    return runpy.run_path(ADDON)["addons"][0]


def user(name: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:x'.encode()).decode()}"


@awaited
async def test_the_addon_lets_pass_what_the_judge_allows_and_answers_the_rest(tmp_path, addon):
    async with behind(tmp_path, mitm_socket=tmp_path / "judge.sock") as place:
        connect = Flow(place, proxy_authorization=user("agent"))
        connect.request.headers["proxy-authorization"] = user("agent")
        await addon.http_connect(connect)
        assert connect.passed
        assert "proxy-authorization" not in connect.request.headers
        good, bad = Flow(place, "/x", user_agent="a"), Flow(place, content=SECRET.encode())
        for flow in (good, bad):
            addon.requestheaders(flow)
            assert flow.request.stream is False
            await addon.request(flow)
        assert good.passed
        assert bad.response is not None
        assert (bad.response.status_code, json.loads(bad.response.body)["rule"]) == (403, "content.secrets")
        assert {record["facts"]["session"] for record in place.records()} == {"agent"}
        addon.client_disconnected(types.SimpleNamespace(id="client"))
        assert addon.sessions == {}


@awaited
async def test_the_addon_refuses_what_it_cannot_show(tmp_path, addon):
    async with behind(tmp_path, mitm_socket=tmp_path / "judge.sock") as place:
        trailers = Flow(place)
        trailers.request.trailers = {"x": "y"}
        tunnel = Flow(place)
        tunnel.request.method = "CONNECT"
        for flow in (Flow(place, content=None), Flow(place, upgrade="websocket"), trailers, tunnel):
            await addon.request(flow)
            assert flow.response is not None
            assert flow.response.status_code == 403
        fronted = Flow(place)
        fronted.request.host_header = "evil.test"
        await addon.request(fronted)
        assert "another host" in fronted.response.body  # type: ignore[attr-defined]
        assert place.records() == []
        evil = Flow(place, host="evil.test")
        await addon.http_connect(evil)
        assert evil.response is not None


@awaited
async def test_the_addon_forwards_no_header_that_is_not_judged(tmp_path, addon):
    async with behind(tmp_path, mitm_socket=tmp_path / "judge.sock") as place:
        hidden = Flow(place, connection=SECRET, keep_alive=SECRET, te=SECRET, proxy_connection=SECRET, accept="*/*")
        grpc = Flow(place, te="trailers")
        second = Flow(place, host=place.at)
        second.request.headers = Headers({"Host": SECRET})
        for flow in (hidden, grpc, second):
            await addon.request(flow)
        assert (hidden.passed, hidden.request.headers) == (True, {"accept": "*/*"})
        assert (grpc.passed, grpc.request.headers) == (True, {"te": "trailers"})
        assert not second.passed


@awaited
async def test_the_addon_tells_of_redirects(tmp_path, addon):
    async with behind(tmp_path, mitm_socket=tmp_path / "judge.sock", rules="redirects.hops = 1") as place:
        passed = []
        for i in range(3):
            flow = Flow(place, f"/{i}")
            await addon.request(flow)
            passed.append(flow.passed)
            flow.response = types.SimpleNamespace(status_code=302, headers={"location": f"/{i + 1}"})  # type: ignore
            await addon.response(flow)
        assert passed == [True, True, False]


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"[]\n", b"{}\n", b'"allow"\n', b"x" * (1 << 21)])
@awaited
async def test_the_addon_kills_a_flow_when_the_judge_is_broken(tmp_path, addon, answer):
    async def judge(reader, writer):
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with behind(tmp_path) as place:
        flow = Flow(place)
        await addon.request(flow)
        assert flow.killed  # nobody listens
        server = await asyncio.start_unix_server(judge, tmp_path / "judge.sock")
        async with server:
            flow = Flow(place)
            await addon.request(flow)
            assert flow.killed


def test_the_addon_lets_no_other_bytes_out(addon):
    frame = types.SimpleNamespace(from_client=True, content=b"x", drop=lambda: setattr(frame, "dropped", True))
    addon.websocket_message(types.SimpleNamespace(websocket=types.SimpleNamespace(messages=[frame])))
    assert frame.dropped
    piece, answer = (types.SimpleNamespace(from_client=side, content=b"x") for side in (True, False))
    addon.tcp_message(types.SimpleNamespace(messages=[piece]))
    addon.udp_message(types.SimpleNamespace(messages=[answer]))
    assert (piece.content, answer.content) == (b"", b"x")


def test_the_addon_refuses_options_that_hide_requests(addon, monkeypatch):
    addon.configure(set())
    sys.modules["mitmproxy"].ctx.options.ignore_hosts = ["x"]
    with pytest.raises(OptionsError, match="ignore_hosts"):
        addon.configure(set())
    sys.modules["mitmproxy"].ctx.options.ignore_hosts = []
    monkeypatch.delenv("EGRESS_JUDGE")
    with pytest.raises(OptionsError, match="EGRESS_JUDGE"):
        addon.configure(set())


@pytest.mark.parametrize("header", ["", "Bearer x", "Basic ?", "Basic Ong=", "Basic /w=="])
def test_who_cannot_be_read_is_the_default_session(addon, header):
    assert type(addon).http_connect.__globals__["session_of"](header) == "default"


def test_the_addon_imports_nothing_of_posttrain():
    with open(ADDON, encoding="utf-8") as file:
        imports = [line for line in file if line.lstrip().startswith(("import ", "from "))]
    assert not [line for line in imports if "posttrain" in line]
