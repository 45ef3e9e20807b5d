"""The cost of requests: by hand, as the length of a code, and what a sender pays who hides something."""

import math
import random
import string
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.egress.benign import HEADERS, Traffic
from posttrain.guard.egress import novelty as module
from posttrain.guard.egress.hosts import Target, target
from posttrain.guard.egress.novelty import USUAL, Novelty
from posttrain.guard.egress.parts import Part, parts, segments


def request(url: str, headers=HEADERS, body: bytes = b"") -> list[Part]:
    return parts(target(url), headers, body)


def page(path: str) -> list[Part]:
    return parts(Target("https", "example.com", 443, path), (), b"")


def sent(*paths: str) -> Novelty:
    novelty = Novelty()
    for path in paths:
        novelty.add(page(path))
    return novelty


def text(size: int) -> float:
    """Bits of a text of so many bytes that is nowhere else."""
    return 8 * size + 2 * math.log2(1 + size) + 1


# -- by hand ------------------------------------------------------------------------------------------------------


def test_what_is_new_costs_its_bytes():
    """`/abc` has two steps, `abc` and the end, both new: 0 + 0 + 3 + text each."""
    assert Novelty().cost(page("/abc")) == pytest.approx(3 + text(3) + 3 + text(0))


def test_what_stands_in_the_conversation_costs_its_place_there():
    known = frozenset(("abc", "x", "y", "z", "1", "2", "3"))
    assert Novelty().cost(page("/abc"), known) == pytest.approx(2 * math.log2(1 + 7) + 3 + 3 + text(0))


def test_a_step_that_was_sent_costs_the_choice_among_those():
    """After `/abc` and `/xyz` there are 2 requests, 2 beginnings, and 3 steps: `abc`, `xyz` and the end."""
    novelty = sent("/abc", "/xyz")
    assert novelty.cost(page("/abc")) == pytest.approx(math.log2(1 + 2))
    parts_of_it = (math.log2(3 / 1), math.log2(2) + math.log2(1 + 3), math.log2(2 / 1))
    assert novelty.cost(page("/abc/xyz")) == pytest.approx(math.log2(1 + 2) + sum(parts_of_it))


def test_a_changed_value_costs_itself_and_where_it_is():
    """`/a?n=1` again with n=2: path, name and end are as expected, 1 bit each, and n was followed once."""
    novelty = sent("/a?n=1")
    wanted = math.log2(1 + 1) + 3 * math.log2(2) + (math.log2(2) + math.log2(1 + 4) + 3 + text(1))
    assert novelty.cost(page("/a?n=2")) == pytest.approx(wanted)


def test_a_name_without_and_with_an_empty_value_differ():
    assert sent("/?a").cost(page("/?a=")) > math.log2(2)


def test_a_client_that_repeats_itself_pays_for_the_choice_alone():
    traffic, novelty = Traffic(0), Novelty()
    requests = [traffic.commit() for _ in range(7)]
    for one in requests:
        novelty.add(request(one.url, one.headers))
    for one in requests:
        novelty.add(request(one.url, one.headers))
        assert novelty.cost(request(one.url, one.headers)) == pytest.approx(math.log2(1 + 7))


# -- as the length of a code --------------------------------------------------------------------------------------

PATHS = ["/" + "/".join(path) for n in (1, 2, 3) for path in product(("", "a", "b", "c"), repeat=n)]
URLS = [path + query for path in PATHS for query in ("", "?", "?a", "?a=", "?a=b", "?b=a", "?a=a&a=b")]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(URLS), max_size=12), st.frozensets(st.sampled_from("abcdef"), max_size=5))
def test_the_costs_of_all_next_requests_make_a_code(history, known):
    """Kraft: sum 2^-cost <= 1, here over the requests that are likeliest, as all they are made of is known."""
    novelty = sent(*history)
    assert sum(2 ** -novelty.cost(page(url), known) for url in URLS) <= 1 + 1e-9


def test_names_with_and_without_values_make_a_code():
    """After long use all 40 pages are known and each of three names has been sent in both ways."""
    ways = [
        "&".join(name + mark for name, mark in zip("abc", marks, strict=True)) for marks in product(("", "="), repeat=3)
    ]
    pages = [[f"/{i}?{way}" for way in ways] for i in range(40)]
    novelty = sent(*(urls[i % 8] for i, urls in enumerate(pages)))
    assert sum(2 ** -novelty.cost(page(url)) for urls in pages for url in urls) <= 1 + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"a a", b"b a", b"a b a", b""]), max_size=8))
def test_bodies_make_a_code(history):
    novelty = Novelty()
    for body in history:
        novelty.add(request("https://example.com/", (), body))
    bodies = [" ".join(words).encode() for n in range(5) for words in product("ab", repeat=n)]
    assert sum(2 ** -novelty.cost(request("https://example.com/", (), body)) for body in bodies) <= 1 + 1e-9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(URLS), max_size=8), st.sampled_from(URLS))
def test_a_request_that_was_sent_never_costs_more_than_one_that_was_not(history, url):
    before, after = sent(*history), sent(*history, url)
    assert after.cost(page(url)) <= before.cost(page(url)) + 1e-9
    assert after.cost(page(url)) == pytest.approx(math.log2(1 + len({*history, url})))


# -- what a sender pays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["https://c.test/{i}/{c}", "https://c.test/?i={i}&c={c}", "https://{c}.c.test/{i}"])
def test_single_characters_cost_at_least_what_they_tell(where):
    """20 characters of a secret, one a request, and their numbers."""
    secret = "".join(random.Random(3).choices(string.ascii_lowercase + string.digits, k=20))
    novelty, bits = Novelty(), 0.0
    for i, c in enumerate(secret):
        found = request(where.format(i=i, c=c))
        bits += novelty.cost(found)
        novelty.add(found)
    assert bits >= len(secret) * math.log2(36)


def test_links_that_an_attacker_prepared_cost_the_choice_among_them():
    """A page links to /a ... /z: a link tells log2(26) bits, and costs more than that, but less than as a new text."""
    known = segments(" ".join(f"https://c.test/{letter}" for letter in string.ascii_lowercase))
    novelty, costs = Novelty(), []
    for letter in "secrets":
        found = request(f"https://c.test/{letter}", ())
        costs.append((novelty.cost(found, known), novelty.cost(found)))
        novelty.add(found)
    assert sum(cost for cost, _ in costs) > len({*"secrets"}) * math.log2(26)
    assert costs[0][0] < costs[0][1]


def test_the_order_of_headers_is_a_choice_too():
    novelty = Novelty()
    novelty.add(request("https://example.com/"))
    assert novelty.cost(request("https://example.com/", HEADERS[::-1])) > math.log2(math.factorial(len(HEADERS)))


def test_ordinary_paging_is_cheap():
    novelty, costs = Novelty(), []
    for number in range(1, 60):
        found = request(f"https://example.com/items?page={number}&sort=new")
        costs.append(novelty.cost(found))
        novelty.add(found)
    assert costs[0] > 5 * max(costs[20:])
    assert max(costs[20:]) < 60


# -- memory -------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_what_no_longer_fits_stays_new(monkeypatch):
    """The first request makes 3 pairs, every other 2 more; the 9th leads to 19, and a 10th might not fit in 20."""
    monkeypatch.setattr(module, "MOST", 20)
    novelty = Novelty()
    for i in range(100):
        novelty.add(page(f"/{i}/x"))
    assert novelty.cost(page("/0/x")) == pytest.approx(math.log2(1 + 9))
    assert novelty.cost(page("/99/x")) > text(2)
    assert len(novelty._steps) <= 20
    assert sum(map(len, novelty._followers.values())) <= 20


def test_no_text_is_kept():
    novelty = Novelty()
    novelty.add(request("https://example.com/a-private-path?name=private", HEADERS, b"a private body"))
    assert "private" not in repr(vars(novelty))


@pytest.mark.parametrize("body", [b"\xff\x00\xfe" * 500, b"a " * 10**6, "\u00e9".encode() * 1000])
def test_any_body_has_a_cost(body):
    found, novelty = request("https://example.com/", (), body), Novelty()
    assert 100 < novelty.cost(found) <= Novelty().cost(request("https://example.com/", (), b"x" * 3 * len(body)))
    novelty.add(found)
    assert novelty.cost(found) == 1.0


def test_what_libraries_send_by_themselves_is_cheap_and_a_made_up_value_is_not():
    usual = [("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate"), ("User-Agent", "python-httpx2/2.16.2")]
    goal = Target("http", "a.test", 80, "/")
    cost = Novelty().cost(parts(goal, usual, b""))
    bare = Novelty().cost(parts(goal, [], b""))
    assert cost - bare < 90
    made_up = [*usual[:2], ("User-Agent", "python-httpx2/2.16.2 q7Rt2mZk9XbL")]
    assert Novelty().cost(parts(goal, made_up, b"")) > cost + 100
    named = [*usual[:2], ("X-User-Agent", "python-httpx2/2.16.2")]
    assert Novelty().cost(parts(goal, named, b"")) > cost + 100


@pytest.mark.parametrize("name", sorted(USUAL))
def test_no_more_values_are_usual_than_their_bits_can_name(name):
    """The number of texts that the pattern takes, counted from its parts."""
    sizes = {"accept": 5, "accept-encoding": 6, "accept-language": 6, "content-type": 3 * (1 + 2 * 2)}
    agent = 10 * 2 * (10**3 + 10**2 + 10) * (10**2 + 10) * (1 + 10**2 + 10)
    assert sizes.get(name, agent) <= 2 ** USUAL[name][1]


def test_how_a_usual_name_is_written_is_a_choice_too():
    goal = Target("http", "a.test", 80, "/")
    usual, odd = (
        Novelty().cost(parts(goal, [(name, "identity")], b"")) for name in ("Accept-Encoding", "aCCepT-eNcODinG")
    )
    assert odd - usual > len("accept-encoding")
