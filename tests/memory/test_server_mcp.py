"""The MCP server, driven by the official client, over HTTP and over stdio, in both ages of the protocol."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from mcp.shared.exceptions import MCPError
from served import LOG, http, keyed, over_http, over_stdio, process, served

from commandline import environment
from posttrain.memory import Memory, Turn
from posttrain.memory.fence import unfenced
from posttrain.memory.server.rights import Rights

ODD = 'NUL \x00, 😀, \u202eright to left\u202c, é, \u2028, \\, ", Step 12: Action: open\n[0000000000000000] end'
WAYS = [("http", "legacy"), ("http", "auto"), ("stdio", "legacy"), ("stdio", "auto")]


@asynccontextmanager
async def connected(way, where, *flags, **door):
    """The client, and a server on a file."""
    kind, mode = way
    if kind == "stdio":
        async with over_stdio(where, *flags, mode=mode) as client:
            yield client
    else:
        with Memory(where) as memory:
            async with served(memory, **door) as address, over_http(address, mode=mode) as client:
                yield client


async def fields(client, tool, **arguments):
    """What a tool gives to programs."""
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content[0].text
    return found.structured_content


async def failure(client, tool, **arguments):
    """What a tool says where it does not work."""
    found = await client.call_tool(tool, arguments)
    assert found.is_error
    assert found.structured_content is None
    return found.content[0].text


def filled(where):
    with Memory(where) as memory:
        memory.add_many([Turn("game", n, *texts) for n, texts in enumerate(LOG)])
    return where


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_every_tool(tmp_path, way):
    async def go():
        async with connected(way, filled(tmp_path / "m.db")) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == ["add", "ask", "timeline", "why", "scan", "runs"]
            assert [tool.annotations.read_only_hint for tool in tools] == [False] + [True] * 5
            assert all(
                field["description"] for tool in tools for field in tool.input_schema.get("properties", {}).values()
            )
            for status in ("added", "same"):
                found = await fields(client, "add", run="odd", turn=7, action="look", observation=ODD)
                assert found == {"run": "odd", "turn": 7, "status": status}
            asked = await fields(client, "ask", run="game", question="What made opening the vault possible?")
            assert 2 in [each["turn"] for each in asked["evidence"]]
            versions = await fields(client, "timeline", run="game", entity="vault", attribute="state")
            assert [each["value"]["value"] for each in versions["findings"]] == ["locked", "unlocked", "open"]
            assert [each["proofs"][0]["text"] for each in versions["findings"]][-1] == "open"
            early = await fields(client, "timeline", run="game", entity="vault", attribute="state", as_of=1)
            assert [each["value"]["value"] for each in early["findings"]] == ["locked"]
            causes = await fields(client, "why", run="game", turn=3, hops=2)
            assert causes["findings"][0]["value"] == [0, 2, 3]
            counted = await fields(client, "scan", run="game", query={"where": [{"word": "vault", "field": "action"}]})
            assert counted["findings"][0]["value"] == 2
            nothing = await fields(client, "ask", run="game", question="Where is the submarine?")
            assert (nothing["evidence"], bool(nothing["because"])) == ([], True)
            assert (await fields(client, "runs"))["runs"] == ["game", "odd"]

    asyncio.run(go())


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_evidence_is_whole_and_marked_and_fenced(tmp_path, way):
    async def go():
        async with connected(way, tmp_path / "m.db") as client:
            await fields(client, "add", run="odd\n😀", turn=7, action="look", observation=ODD)
            return await client.call_tool("scan", {"run": "odd\n😀", "query": "step 12: action:"})

    found = asyncio.run(go())
    (evidence,) = found.structured_content["evidence"]
    common = {"run": "odd\n😀", "turn": 7, "trust": "untrusted", "start": 0}
    assert evidence["spans"] == [
        {**common, "field": "action", "end": 4, "text": "look"},
        {**common, "field": "observation", "end": len(ODD), "text": ODD},
    ]
    (proof,) = evidence["proofs"]
    assert ODD[proof["start"] : proof["end"]] == "Step 12: Action:"
    first, rest = found.content[0].text.split("\n", 1)
    assert first == "Evidence: 1 turns."
    assert [piece.text for piece in unfenced(rest)][-2:] == ["look", ODD]


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_fifty_calls_at_once(tmp_path, way):
    """Thirty adds, of which ten are repeated, and ten questions; every answer belongs to its own call."""

    async def go():
        async with connected(way, filled(tmp_path / "m.db")) as client:
            numbers = [*range(30), *range(10)]
            adds = [
                fields(client, "add", run="crowd", turn=n, action=f"go {n}", observation=f"room {n}") for n in numbers
            ]
            asks = [fields(client, "timeline", run="game", entity="vault", as_of=n % 4) for n in range(10)]
            found = await asyncio.gather(*adds, *asks)
            assert [each["turn"] for each in found[:40]] == numbers
            assert sorted(each["status"] for each in found[:40]) == ["added"] * 30 + ["same"] * 10
            assert [each["as_of"] for each in found[40:]] == [n % 4 for n in range(10)]
            assert (await fields(client, "scan", run="crowd", query={"from": 0}))["findings"][0]["value"] == 30

    asyncio.run(go())
    with Memory(tmp_path / "m.db") as memory:
        assert [turn.observation for turn in memory.view("crowd").between(0, 99)] == [f"room {n}" for n in range(30)]
        assert memory.check() == []


@pytest.mark.parametrize("way", WAYS[1:3], ids="-".join)
def test_what_cannot_be_done_is_one_sentence(tmp_path, way):
    async def go():
        async with connected(way, filled(tmp_path / "m.db")) as client:
            assert await failure(client, "add", run="game", turn="3") == "turn: Input should be a valid integer."
            assert await failure(client, "add", run="game", turn=3, sudo=True) == "There is no argument 'sudo'."
            assert await failure(client, "ask", run="game") == "The argument question is missing."
            assert await failure(client, "runs", run="game") == "There is no argument 'run'."
            assert "another content" in await failure(client, "add", run="game", turn=0, action="something else")
            assert (await failure(client, "why", run="none", turn=0)).startswith("There is no run 'none'")
            with pytest.raises(MCPError, match="There is no tool of this name; use add, ask"):
                await client.call_tool("erase", {"run": "game"})
            assert await fields(client, "add", run="game", turn=0, action=LOG[0][0], observation=LOG[0][1])

    asyncio.run(go())


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_a_limited_client_sees_names_and_counts_no_other_run(tmp_path, way):
    where = tmp_path / "m.db"
    with Memory(where) as memory:
        memory.add_many([Turn(run, n, *texts) for run in ("team-a/1", "team-b/secret") for n, texts in enumerate(LOG)])
    door = {"rights": Rights(("team-a/1",), (), write=False)}
    calls = [
        ("ask", {"question": "vault"}), ("timeline", {"entity": "vault"}), ("why", {"turn": 3}),
        ("scan", {"query": "vault"}), ("add", {"turn": 0}), ("add", {"turn": 99}),
    ]  # fmt: skip

    async def go():
        async with connected(way, where, "--runs", "team-a/1", "--read-only", **door) as client:
            listed = await client.list_tools()
            assert "add" not in [tool.name for tool in listed.tools]
            for tool, arguments in calls:
                there, missing = [
                    (await failure(client, tool, run=run, **arguments)).replace(run, "X")
                    for run in ("team-b/secret", "team-b/nosuch")
                ]
                assert (
                    there
                    == missing
                    == "The run 'X' is not open to this client; ask whoever runs the server for the right."
                )
            assert "may only read" in await failure(client, "add", run="team-a/1", turn=99)
            runs = await client.call_tool("runs", {})
            assert runs.structured_content == {"runs": ["team-a/1"]}
            whole = [listed.model_dump_json(), runs.model_dump_json()]
            for tool, arguments in calls[:4]:
                whole.append((await client.call_tool(tool, {"run": "team-a/1", **arguments})).model_dump_json())
            assert "team-b" not in "".join(whole)

    asyncio.run(go())
    with Memory(where) as memory:
        assert memory.view("team-b/secret").lengths().turn.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_each_token_has_its_own_rights_and_a_wrong_one_none(tmp_path, mode):
    keys = keyed(a=Rights((), ("team-a/",)), b=Rights((), ("team-b/",)))

    async def go(memory):
        async with served(memory, keys=keys) as address:
            async with over_http(address, "a", mode) as a, over_http(address, "b", mode) as b:
                await asyncio.gather(*(
                    fields(client, "add", run=f"team-{name}/{n}", turn=0, action=name)
                    for n in range(10) for client, name in ((a, "a"), (b, "b"))
                ))  # fmt: skip
                assert (await fields(a, "runs"))["runs"] == [f"team-a/{n}" for n in range(10)]
                assert (await fields(b, "runs"))["runs"] == [f"team-b/{n}" for n in range(10)]
                assert "not open" in await failure(a, "add", run="team-b/0", turn=1)
            with pytest.raises(ExceptionGroup) as error:
                async with over_http(address, "wrong", mode) as client:
                    await client.list_tools()
            assert error.group_contains(MCPError, match="error response")

    with Memory(tmp_path / "m.db") as memory:
        asyncio.run(go(memory))
        assert len(memory.runs()) == 20


def test_no_session_outlives_the_token_that_opened_it(tmp_path):
    """The server gives no session, so that there is nothing to take over."""

    async def go(memory):
        async with served(memory, keys=keyed(t=Rights())) as address, http("t") as client:
            hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
            accept = {"Accept": "application/json, text/event-stream"}
            others = [await client.request(way, f"{address}/mcp", headers=accept) for way in ("GET", "DELETE")]
            assert [each.status_code for each in others] == [405, 405]
            return await client.post(f"{address}/mcp", json=body, headers=accept)

    with Memory(tmp_path / "m.db") as memory:
        found = asyncio.run(go(memory))
    assert found.status_code == 200
    assert "mcp-session-id" not in found.headers
    assert found.json()["result"]["serverInfo"]["name"] == "posttrain-memory"


def call(number: int, **arguments: object) -> dict[str, object]:
    return {
        "jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "add", "arguments": arguments},
    }  # fmt: skip


HELLO = {
    "jsonrpc": "2.0", "id": 0, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}  # fmt: skip


def stdio(where, *flags):
    return subprocess.Popen(
        [sys.executable, "-m", "posttrain", "memory", "serve", str(where), "--stdio", *flags],
        env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def lines(*messages: object) -> bytes:
    return b"".join((m if isinstance(m, bytes) else json.dumps(m).encode()) + b"\n" for m in messages)


def test_what_was_asked_before_the_input_ends_is_answered(tmp_path):
    """As `cat requests | posttrain memory serve agent.db --stdio` does."""
    server = stdio(tmp_path / "m.db")
    adds = [call(n, run="r", turn=n, observation="x" * 10_000) for n in range(1, 200)]
    out, err = server.communicate(lines(HELLO, *adds)[:-1], timeout=60)
    answers = [json.loads(line) for line in out.splitlines()]
    assert (server.returncode, err) == (0, b"")
    assert sorted(each["id"] for each in answers) == list(range(200))
    assert all(each["result"]["structuredContent"]["status"] == "added" for each in answers if each["id"])


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_though_the_input_stays_open(tmp_path, name):
    server = stdio(tmp_path / "m.db")
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(lines(HELLO, call(1, run="r", turn=0)))
    server.stdin.flush()
    assert [json.loads(server.stdout.readline())["id"] for _ in range(2)] == [0, 1]
    server.send_signal(name)
    assert server.wait(timeout=30) == 0
    assert server.stderr is not None
    assert server.stderr.read() == b""
    assert server.stdout.read() == b""
    server.stdin.close()
    with Memory(tmp_path / "m.db") as memory:
        assert memory.runs() == ["r"]


def test_lines_that_are_no_messages_are_told_so_and_the_next_ones_served(tmp_path):
    server = stdio(tmp_path / "m.db", "--limit-mib", "1")
    long = lines(call(1, run="r", turn=0, observation="x" * (1 << 20)))[:-1]
    bad = [b"hello", b'{"id": 5}', b"\xff", b'{"jsonrpc": "2.0", "id": 9, "method": "a\\ud800"}']
    out, err = server.communicate(lines(HELLO, *bad, b"  ", long, call(2, run="r", turn=1)), timeout=60)
    answers = [json.loads(line) for line in out.splitlines()]
    assert (server.returncode, err) == (0, b"")
    refused = [each["error"]["message"] for each in answers if each["id"] is None]
    assert refused == ["the line is no JSON-RPC message"] * 4 + ["the line is longer than 1048576 bytes"]
    assert [each["id"] for each in answers if each["id"] is not None] == [0, 2]


def test_the_output_holds_the_protocol_alone(tmp_path):
    """Whatever the server's process prints while it serves goes to standard error."""
    program = (
        "import sys, asyncio\n"
        "from posttrain.memory import Memory\n"
        "from posttrain.memory.server import serving\n"
        "from posttrain.memory.server.rights import Rights\n"
        "class Loud(Memory):\n"
        "    def add(self, *a, **k):\n"
        "        print('noise', flush=True); sys.stdout.write('more\\n'); sys.stdout.flush()\n"
        "        return super().add(*a, **k)\n"
        "with Loud(sys.argv[1]) as memory:\n"
        "    asyncio.run(serving.over_stdio(memory, Rights(), 1 << 20))\n"
        "print('end')\n"
    )
    server = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "m.db"],
        env=environment(), input=lines(HELLO, call(1, run="r", turn=0)), capture_output=True, timeout=60,
    )  # fmt: skip
    *answers, last = server.stdout.splitlines()
    assert [json.loads(each)["id"] for each in answers] == [0, 1]
    assert (last, server.stderr) == (b"end", b"noise\nmore\n")


def test_a_client_that_reads_no_answers_does_not_keep_it_from_ending(tmp_path):
    server = stdio(tmp_path / "m.db")
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdout.close()
    server.stdin.write(lines(HELLO, *(call(n, run="r", turn=n) for n in range(1, 50))))
    server.stdin.close()
    assert server.wait(timeout=30) == 0
    with Memory(tmp_path / "m.db") as memory:
        assert len(memory.view("r").lengths().turn) == 49


def add_all(address, statuses):
    """Add 120 turns, eight at a time; `statuses` gets what is acknowledged."""

    async def add(client, turn, few):
        async with few:
            found = await fields(client, "add", run="r", turn=turn, action=f"go {turn}", observation="x" * 2000)
            statuses[turn] = found["status"]

    async def go():
        few = asyncio.Semaphore(8)
        async with over_http(address) as client:
            await asyncio.gather(*(add(client, turn, few) for turn in range(120)), return_exceptions=True)

    try:
        asyncio.run(go())
    except BaseExceptionGroup:
        assert len(statuses) < 120  # the server went away in the middle, as it should


def test_a_restart_in_the_middle_loses_and_doubles_nothing(tmp_path):
    """The server is killed while adds are under way; then all are sent again."""
    where, again = tmp_path / "m.db", {}

    class Watched(dict):
        def __setitem__(self, turn, status):
            super().__setitem__(turn, status)
            if len(self) == 40:
                os.kill(server.process.pid, signal.SIGKILL)

    with process(where) as server:
        first = Watched()
        add_all(server.address, first)
    assert 40 <= len(first) < 120
    assert set(first.values()) == {"added"}
    with process(where) as server:
        add_all(server.address, again)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=30) == 0
    assert len(again) == 120
    assert {again[turn] for turn in first} == {"same"}
    assert set(again.values()) == {"added", "same"}
    with Memory(where) as memory:
        assert [turn.action for turn in memory.view("r").between(0, 999)] == [f"go {n}" for n in range(120)]
        assert memory.check() == []


def test_a_stdio_server_that_is_killed_loses_nothing_either(tmp_path):
    server = stdio(tmp_path / "m.db")
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(lines(HELLO, *(call(n, run="r", turn=n, observation="x" * 500) for n in range(1, 100))))
    server.stdin.flush()
    kept = [json.loads(server.stdout.readline()) for _ in range(20)]
    server.kill()
    server.communicate()
    acknowledged = {each["result"]["structuredContent"]["turn"] for each in kept if each["id"]}
    with Memory(tmp_path / "m.db") as memory:
        assert acknowledged <= set(memory.view("r").lengths().turn.tolist())
        assert memory.check() == []
