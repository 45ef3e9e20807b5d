"""What the log repeats of what a sender chose: nothing long, nothing unprintable, and no secret in any form."""

import asyncio
import base64
import json
import re

import pytest
from places import SECRET, Places, gateway, policy

from posttrain.guard.audit import records
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.policy import Content, Session
from posttrain.guard.egress.resolver import StaticResolver
from posttrain.trajectory import Passage


def get(url, **more):
    return Request("GET", url, **more)


def admitted(folder, *requests, passages=None, rules=None):
    """A gateway that has judged and logged some requests; nothing is sent."""

    async def story():
        async with gateway(Places(), rules, log=folder / "log.jsonl") as way:
            for request in requests:
                await way.admit(request, passages)
        return way

    return asyncio.run(story())


SAME = policy(unknown="allow", session=Session(unknown_bits=1e9, unknown_total=1e9))


@pytest.mark.parametrize("code", [str, str.lower, lambda s: base64.b64encode(s.encode()).decode(), lambda s: s[::-1]])
@pytest.mark.parametrize(
    "request_",
    [
        lambda s: Request(s, "http://api.test/"),
        lambda s: get("http://api.test/", session=s),
        lambda s: get("http://api.test/", call=s),
        lambda s: get(f"http://{s.encode().hex()}.com/"),
        lambda s: get(f"http://api.test/?{s}=a1b2c3d4e5f6g7h8"),
        lambda s: get("http://api.test/", headers=((s, "a1b2c3d4e5f6g7h8"),)),
    ],
    ids=["method", "session", "call", "site", "query", "header"],
)
def test_no_field_of_the_log_holds_a_secret(request_, code, tmp_path):
    part = SECRET[:11]

    admitted(tmp_path, request_(code(part)), rules=SAME)
    text = (tmp_path / "log.jsonl").read_text()
    assert not {code(part), code(part).lower(), part.encode().hex()} & set(re.split(r"[^A-Za-z0-9]+", text))


def test_no_field_of_the_log_is_long_or_unprintable(tmp_path):
    long = "x\n\x1b[2J" * 10_000
    spans = [Passage.whole(f"{'http://api.test/ ' * 10_000}", f"preview:{long}"), Passage.whole("api.test", "user")]

    requests = get("http://api.test/", session=long, call=long), Request("X" * 10_000, "http://api.test/")
    admitted(tmp_path, *requests, passages=spans)
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        assert len(line) < 5_000
        assert all(text.isprintable() for text in strings(json.loads(line)))


def strings(value):
    """All texts in a JSON value."""
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inside for text in strings(one)]


def test_what_fails_after_it_was_admitted_is_hidden_too(tmp_path):
    name = f"{SECRET[:11].encode().hex()}.api.test"

    async def story():
        resolver = StaticResolver({})
        async with gateway(Places(), policy(("*.api.test",)), log=tmp_path / "log.jsonl", resolver=resolver) as way:
            await way.request(get(f"http://{name}/"))

    asyncio.run(story())
    assert [line["facts"]["host"] for line in records(tmp_path / "log.jsonl") if "facts" in line] == ["*.api.test"] * 2


def test_a_restart_finds_the_pattern_of_a_host_that_was_hidden(tmp_path):
    rules = policy(("*.api.test",), content=Content(secrets="off"))
    for _ in range(2):
        way = admitted(tmp_path, get(f"http://{SECRET[:8].lower()}.api.test/"), rules=rules)
    assert set(way.sessions.account("default").bits) == {"*.api.test"}
