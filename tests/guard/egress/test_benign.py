"""Ordinary traffic full of hashes, identifiers and signed URLs, with many secrets registered: nothing is blocked."""

import asyncio

from benign import benign, registered

from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.hosts import target
from posttrain.guard.egress.policy import Destinations, EgressPolicy, Provenance


def test_5000_requests_of_one_session_pass_and_cover_far_less_than_half_of_any_secret():
    """By chance a run occurs somewhere; what a key has in common with others, such as a token's header, always does."""
    values, requests = registered(100), list(benign(5000))
    hosts = tuple({target(request.url).host for request in requests})
    policy = EgressPolicy(destinations=Destinations(hosts), provenance=Provenance("deny"))

    async def judged():
        async with Gateway(policy, secrets=values) as gateway:
            verdicts = [(await gateway.admit(request))[0] for request in requests]
            return [str(verdict) for verdict in verdicts if verdict.judged != "allow"], gateway.sessions.account(
                "default"
            )

    found, account = asyncio.run(judged())
    assert found == []
    assert account.requests == 5000
    assert max(covered.share for covered in account.covered.values()) < 0.45
    header = (1 << 38) - 1  # of a JSON web token, which is no secret
    by_chance = {
        name: (covered.bits & ~(header if values[name].startswith("eyJ") else 0)).bit_count() / covered.length
        for name, covered in account.covered.items()
    }
    assert max(by_chance.values()) < 0.35
    assert sum(map(bool, by_chance.values())) < 10
