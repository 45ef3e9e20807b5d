"""Recorded traffic under other policies: the same verdicts under the same one, and honest gaps."""

import asyncio

import pytest
from places import SECRET, gateway, places, policy

from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.policy import Content, Destinations, Provenance, SecretSource, Session
from posttrain.guard.egress.replay import replay

URLS = (
    "http://api.test/a", "http://other.test/b", f"http://api.test/c?d={SECRET[:11]}", f"http://api.test/c?d={SECRET[11:]}",
    "http://api.test:8080/", "ftp://api.test/",
)  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"

    async def record():
        async with places() as found, gateway(found, policy(content=Content(secrets="off")), log=path) as way:
            return [(await way.request(Request("GET", url))).allowed for url in URLS]

    assert asyncio.run(record()) == [True, False, True, False, False, False]
    return path


def test_the_same_policy_says_the_same(log):
    found = replay(log, policy(content=Content(secrets="off")))
    assert [line.sends for line in found.lines] == [line.sent for line in found.lines]
    assert found.unknown == ()
    assert not found.stopped
    assert not found.released


def test_a_stricter_policy_stops_and_a_laxer_one_releases(log):
    strict = replay(log, policy(content=Content(secrets="off"), session=Session(share=0.2)))
    assert [line.facts.host for line in strict.stopped] == ["api.test"]
    assert strict.rules["session.coverage"] == 2
    lax = replay(log, policy(unknown="allow", session=Session(coverage="off"), content=Content(secrets="off")))
    assert [line.facts.host for line in lax.released] == ["other.test", "api.test"]


def test_an_account_holds_what_this_policy_would_have_let_out(log):
    """The second half counts less where the first would not have left."""
    found = replay(log, policy(("other.test",), content=Content(secrets="off"), session=Session(share=0.6)))
    assert found.rules["session.coverage"] == 0


def test_bits_that_were_not_counted_closely_are_said(log):
    """api.test had no budget then; as an unknown host it has one now."""
    rough = "session.novelty: 3 of 6 requests went to hosts without a budget"
    assert any(rough in sentence for sentence in replay(log, policy((), unknown="allow")).unknown)
    assert not any("session.novelty" in sentence for sentence in replay(log, policy()).unknown)


def test_what_the_log_does_not_hold_is_said(log):
    asked = policy(
        secrets=(SecretSource("new", env="NEW"),),
        content=Content(patterns=("AKIA",), depth=3),
        provenance=Provenance(reads="deny"),
    )
    found = replay(log, asked)
    for part in (
        "searched for new",
        "searched for 'AKIA'",
        "to depth 2, not 3",
        "6 of 6 requests came",
    ):
        assert any(part in sentence for sentence in found.unknown), part


def test_what_could_have_been_told_is_printed(log):
    found = replay(log, policy(content=Content(secrets="off")))
    (account,) = found.accounts.values()
    assert account.requests == 2
    assert str(account).startswith("2 requests let out; at most ")
    assert str(account).endswith("0 to others; 46% of secret 'key'")


def test_what_failed_after_it_was_admitted_is_one_request(tmp_path):
    """The name is allowed, the address that it leads to is not."""
    outside = policy(destinations=Destinations(("api.test",), schemes=("http",), ports=(80,)))

    async def record():
        async with places() as found, gateway(found, outside, log=tmp_path / "log.jsonl") as way:
            return (await way.request(Request("GET", URLS[0]))).allowed

    assert not asyncio.run(record())
    found = replay(tmp_path / "log.jsonl", outside)
    assert [(line.sent, line.sends) for line in found.lines] == [(True, True)]
    assert any("1 of 1 requests failed them once admitted" in sentence for sentence in found.unknown)


def test_there_must_be_a_log(tmp_path):
    with pytest.raises(ValueError, match="There is no log at"):
        replay(tmp_path / "none.jsonl", policy())
