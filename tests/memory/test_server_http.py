"""The JSON API, and the door before it: tokens, origins, lengths, rights; and calls that are slow."""

import asyncio
import threading

import httpx2
import pytest
from served import LOG, http, keyed, served

from posttrain.memory import Memory, Turn
from posttrain.memory.added import Added, MemoryFileError
from posttrain.memory.server.app import Door
from posttrain.memory.server.rights import Rights

ODD = 'NUL \x00, 😀, \u202eright to left\u202c, é, \u2028, \\, ", Step 12: Action: open'


@pytest.fixture
def memory(tmp_path):
    with Memory(tmp_path / "agent.db") as found:
        found.add_many([Turn(run, n, *texts) for run in ("team-a/1", "team-b/secret") for n, texts in enumerate(LOG)])
        yield found


def ask(memory, *requests, token="", headers=None, **door):
    """Send requests, each a method, a path and options of httpx, one after the other; gives the answers."""

    async def go():
        async with served(memory, **door) as address, http(token, **headers or {}) as client:
            return [await client.request(method, address + path, **rest) for method, path, rest in requests]

    return asyncio.run(go())


def post(tool, **arguments):
    return "POST", f"/v1/{tool}", {"json": arguments}


def test_every_call(memory):
    added, same, asked, why, timeline, scan, runs, health = ask(
        memory,
        post("add", run="new", turn=0, action="go", observation=ODD, key="k"),
        post("add", run="new", turn=0, action="go", observation=ODD, key="k"),
        post("ask", run="team-a/1", question="Which earlier step made opening the vault possible?", explain=True),
        post("why", run="team-a/1", turn=3),
        post("timeline", run="team-a/1", entity="vault", attribute="state"),
        post("scan", run="new", query={"where": [{"contains": "step 12"}]}),
        ("GET", "/v1/runs", {}),
        ("GET", "/healthz", {}),
    )
    assert added.json() == {"run": "new", "turn": 0, "status": "added"}
    assert same.json()["status"] == "same"
    assert 2 in [each["turn"] for each in asked.json()["evidence"]]
    assert asked.json()["explained"]["plan"]["kind"] == "cause"
    assert 2 in [each["turn"] for each in why.json()["evidence"]]
    assert [each["value"]["value"] for each in timeline.json()["findings"]] == ["locked", "unlocked", "open"]
    (evidence,) = scan.json()["evidence"]
    assert [span["text"] for span in evidence["spans"]] == ["go", ODD]
    assert runs.json() == {"runs": ["new", "team-a/1", "team-b/secret"]}
    assert health.json() == {"ok": True}


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("add", {"turn": 0}, "The argument run is missing."),
        ("add", {"run": "r"}, "The argument turn is missing."),
        ("add", {"run": "", "turn": 0}, "run: String should have at least 1 character."),
        ("add", {"run": "r" * 1001, "turn": 0}, "run: String should have at most 1000 characters."),
        ("add", {"run": "r", "turn": "0"}, "turn: Input should be a valid integer."),
        ("add", {"run": "r", "turn": 1.5}, "turn: Input should be a valid integer (given: 1.5)."),
        ("add", {"run": "r", "turn": True}, "turn: Input should be a valid integer (given: True)."),
        ("add", {"run": "r", "turn": -1}, "turn: Input should be greater than or equal to 0 (given: -1)."),
        ("add", {"run": "r", "turn": 2**31}, f"turn={2**31} must be a whole number from 0 to {2**31 - 1}."),
        ("add", {"run": "r", "turn": 10**400}, "turn: "),
        ("add", {"run": "r", "turn": 0, "observation": ["x"]}, "observation: Input should be a valid string."),
        ("add", {"run": "r", "turn": 0, "sudo": 1}, "There is no argument 'sudo'."),
        ("ask", {"run": "team-a/1", "question": "x", "turns": 0}, "turns: Input should be greater than or equal to 1"),
        ("ask", {"run": "team-a/1", "question": ""}, "question: String should have at least 1 character."),
        ("why", {"run": "team-a/1", "turn": 0, "hops": 11}, "hops: Input should be less than or equal to 10"),
        ("scan", {"run": "team-a/1", "query": {"drop": "table"}}, "The query has the key 'drop'"),
        ("scan", {"run": "team-a/1", "query": '{"verb": '}, "The query is no JSON"),
        ("timeline", {"run": "team-a/1", "entity": 3}, "entity: Input should be a valid string (given: 3)."),
        ("ask", ["run"], "The arguments must be one JSON object"),
    ],
)
def test_arguments_that_are_none(memory, tool, arguments, words):
    (found,) = ask(memory, ("POST", f"/v1/{tool}", {"json": arguments}))
    assert found.status_code == 400
    assert found.json()["error"].startswith(words)
    assert "\n" not in found.json()["error"]
    assert len(found.json()["error"]) < 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"run": "\\ud800", "turn": 0}', b"[" * 100_000, b"null"])
def test_bodies_that_are_no_json_object(memory, body):
    (found,) = ask(memory, ("POST", "/v1/add", {"content": body, "headers": {"content-type": "application/json"}}))
    assert found.status_code == 400
    assert found.json()["error"].startswith("The arguments must be one JSON object")


def test_other_statuses(memory):
    plain = {"content": b"{}", "headers": {"content-type": "text/plain"}}
    unknown, conflict, form, nowhere, wrong_way = ask(
        memory,
        post("ask", run="none", question="x"),
        post("add", run="team-a/1", turn=0, action="something else"),
        ("POST", "/v1/add", plain),
        post("erase", run="team-a/1"),
        ("GET", "/v1/add", {}),
    )
    assert (unknown.status_code, unknown.json()["error"].split(";")[0]) == (
        404,
        "There is no run 'none' in this memory",
    )
    assert conflict.status_code == 409
    assert "another content" in conflict.json()["error"]
    assert form.status_code == 415
    assert (nowhere.status_code, wrong_way.status_code) == (404, 405)
    assert memory.view("team-a/1").turns([0])[0].action == LOG[0][0]


def test_a_token_is_needed_where_there_are_tokens(memory):
    keys = keyed(right=Rights())
    every = [post("add", run="x", turn=0), ("GET", "/v1/runs", {}), ("POST", "/mcp", {"json": {}})]
    wrong = [{}] + [{"Authorization": f"Bearer {token}"} for token in ("wrong", "righ", "rightt", "RIGHT")]
    wrong += [{"Authorization": line} for line in ("right", "Basic right", "Bearer", "Bearer  right", "Bearer right x")]
    wrong.append([("Authorization", "Bearer wrong"), ("Authorization", "Bearer right")])
    asked = [(method, path, {**more, "headers": headers}) for headers in wrong for method, path, more in every]
    found = ask(memory, *asked, ("GET", "/healthz", {}), *(asked[1:2]), keys=keys)
    assert [each.status_code for each in found] == [401] * len(asked) + [200, 401]
    assert {each.headers["www-authenticate"] for each in found[:-2]} == {"Bearer"}
    assert memory.runs() == ["team-a/1", "team-b/secret"]
    assert [each.status_code for each in ask(memory, *every[:2], token="right", keys=keys)] == [200, 200]


def test_web_pages_are_refused_but_for_those_that_are_named(memory):
    def statuses(name, values, **door):
        every = [("GET", "/v1/runs"), ("GET", "/healthz"), ("POST", "/mcp")]
        asked = [(method, path, {"headers": {name: value}}) for value in values for method, path in every]
        return {each.status_code for each in ask(memory, *asked, **door)}

    ours = "http://localhost:6274"
    others = ["http://evil.test", "null", "http://127.0.0.1:80", f"{ours}0", "https://localhost:6274", ""]
    assert statuses("Origin", others, origins=(ours,)) == {403}
    assert statuses("Origin", [*others, ours]) == {403}
    assert 403 not in statuses("Origin", [ours], origins=(ours,))
    strange = ["evil.test", "evil.test:8900", "127.0.0.1.evil.test", "localhost.evil.test", "[::2]:1", "", "[::1"]
    assert statuses("Host", strange) == {403}
    assert 403 not in statuses("Host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "127.8.8.8", "[::1]:5"])


def test_a_token_proves_more_than_a_host_name(memory):
    found = ask(memory, ("GET", "/v1/runs", {}), token="t", headers={"Host": "memory.example"}, keys=keyed(t=Rights()))
    assert found[0].status_code == 200


def test_a_body_that_is_too_long(memory):
    fits, longer = ({"run": "big", "turn": n, "observation": "x" * size} for n, size in ((0, 4000), (1, 6000)))

    async def pieces():
        for _ in range(60):
            yield b"x" * 100

    found = ask(
        memory,
        post("add", **fits),
        post("add", **longer),
        ("POST", "/mcp", {"json": longer}),
        ("POST", "/v1/add", {"content": pieces(), "headers": {"content-type": "application/json"}}),
        limit=5000,
    )
    assert [each.status_code for each in found] == [200, 413, 413, 413]
    assert memory.view("big").lengths().turn.tolist() == [0]


def test_five_megabytes_that_json_makes_thirty(memory):
    observation = "\x00\x1f" * 2_500_000
    added, scanned = ask(
        memory,
        post("add", run="big", turn=0, observation=observation),
        post("scan", run="big", query={"from": 0}, tokens=200),
    )
    assert added.json()["status"] == "added"
    assert memory.view("big").turns([0])[0].observation == observation
    assert len(scanned.content) < 10_000


LIMITED = {"runs": ("shop",), "prefixes": ("team-a/",)}


def test_a_limited_token_sees_names_and_counts_no_other_run(memory):
    """Whatever is asked about another run, the answer is that about a run that is not there."""
    memory.add("shop", 0, action="buy")
    memory.add("shop-2", 0, action="SECRET-WORD")
    calls = [
        ("ask", {"question": "vault SECRET-WORD"}),
        ("timeline", {"entity": "vault"}),
        ("why", {"turn": 3}),
        ("scan", {"query": "SECRET-WORD"}),
        ("add", {"turn": 0, "action": "something else"}),
        ("add", {"turn": 9}),
    ]
    keys = keyed(t=Rights(**LIMITED))
    for tool, arguments in calls:
        there, other, missing = ask(
            memory,
            *(post(tool, run=run, **arguments) for run in ("team-b/secret", "shop-2", "team-b/nosuch")),
            token="t",
            keys=keys,
        )
        assert there.status_code == other.status_code == missing.status_code == 403
        assert there.text.replace("team-b/secret", "X") == missing.text.replace("team-b/nosuch", "X")
        assert other.text.replace("shop-2", "X") == missing.text.replace("team-b/nosuch", "X")
    runs, inside, absent, empty = ask(
        memory,
        ("GET", "/v1/runs", {}),
        post("ask", run="team-a/1", question="Where is the vault?", explain=True),
        post("ask", run="team-a/none", question="x"),
        post("scan", run="team-a/1", query="buy"),
        token="t",
        keys=keys,
    )
    assert runs.json() == {"runs": ["shop", "team-a/1"]}
    assert absent.status_code == 404
    assert empty.json()["findings"][0]["value"] == 0
    for found in (inside, absent, empty):
        assert not any(word in found.text for word in ("team-b", "shop-2", "SECRET"))
    assert memory.runs() == ["shop", "shop-2", "team-a/1", "team-b/secret"]
    assert memory.view("team-b/secret").lengths().turn.tolist() == [0, 1, 2, 3]


def test_another_run_changes_no_answer(tmp_path):
    """Scores, counts and words of a run are the same whether or not there are others."""
    answers = []
    for others in (0, 3):
        with Memory(tmp_path / f"{others}.db") as memory:
            memory.add_many([Turn(f"other-{k}", n, *texts) for k in range(others) for n, texts in enumerate(LOG * 5)])
            memory.add_many([Turn("mine", n, *texts) for n, texts in enumerate(LOG)])
            found = ask(
                memory,
                post("ask", run="mine", question="Where is the vault?", explain=True),
                post("timeline", run="mine", entity="vault"),
                post("scan", run="mine", query={"by": "verb"}),
            )
            answers.append([each.json() for each in found])
    assert answers[0] == answers[1]


def test_a_client_that_may_only_read(memory):
    keys = keyed(t=Rights(write=False))
    refused, read = ask(memory, post("add", run="x", turn=0), ("GET", "/v1/runs", {}), token="t", keys=keys)
    assert refused.status_code == 403
    assert "may only read" in refused.json()["error"]
    assert read.json() == {"runs": ["team-a/1", "team-b/secret"]}


def test_beyond_this_machine_a_token_is_needed():
    with pytest.raises(ValueError, match="set a token"):
        Door(host="0.0.0.0")
    assert Door(host="0.0.0.0", keys=keyed(t=Rights()))
    with pytest.raises(ValueError, match="is no origin"):
        Door(origins=("localhost:6274",))


class Slow:
    """A memory whose adds wait until they may go on."""

    def __init__(self):
        self.begun, self.go, self.kept = threading.Semaphore(0), threading.Event(), []

    def add(self, run, turn, **_):
        self.begun.release()
        assert self.go.wait(60)
        self.kept.append(turn)
        return Added(run, turn, "added")

    def runs(self):
        return []


def test_a_slow_write_does_not_hold_up_the_loop():
    memory = Slow()

    async def go():
        async with served(memory) as address, http() as client:
            adding = asyncio.create_task(client.post(f"{address}/v1/add", json={"run": "r", "turn": 1}))
            await asyncio.to_thread(memory.begun.acquire)
            answers = [(await client.get(f"{address}{path}")).status_code for path in ("/healthz", "/v1/runs")]
            assert not adding.done()
            memory.go.set()
            return answers, (await adding).json()["status"]

    assert asyncio.run(go()) == ([200, 200], "added")


def test_a_stop_finishes_what_was_begun():
    memory = Slow()

    async def go():
        async with http() as client:
            async with served(memory) as address:
                adding = asyncio.create_task(client.post(f"{address}/v1/add", json={"run": "r", "turn": 1}))
                await asyncio.to_thread(memory.begun.acquire)
                asyncio.get_running_loop().call_later(0.2, memory.go.set)
            return (await adding).json()["status"]

    assert asyncio.run(go()) == "added"


def test_a_client_that_leaves_does_not_undo_what_was_begun():
    memory = Slow()

    async def go():
        async with served(memory) as address, http() as client:
            adding = asyncio.create_task(client.post(f"{address}/v1/add", json={"run": "r", "turn": 1}))
            await asyncio.to_thread(memory.begun.acquire)
            adding.cancel()
            await asyncio.wait([adding])
            memory.go.set()

    asyncio.run(go())
    assert memory.kept == [1]


class Broken:
    """A memory that fails."""

    def __init__(self, error):
        self.error = error

    def runs(self):
        raise self.error


def test_a_database_that_is_away_is_said(caplog):
    (found,) = ask(Broken(MemoryFileError("The server is away;\ntry again.")), ("GET", "/v1/runs", {}))
    assert (found.status_code, found.json()) == (503, {"error": "The server is away; try again."})
    assert not caplog.records


def test_what_nobody_expected_is_logged_and_not_told(caplog):
    (found,) = ask(Broken(KeyError("team-b/secret")), ("GET", "/v1/runs", {}))
    assert (found.status_code, found.json()) == (500, {"error": "The server failed at this call; its log says where."})
    assert "team-b/secret" in caplog.text


def test_the_json_is_read_as_utf_8(memory):
    (found,) = ask(memory, post("add", run="ключ\u202e😀", turn=0))
    assert found.json()["run"] == "ключ\u202e😀"
    assert httpx2.Response(200, content=found.content).json() == found.json()
