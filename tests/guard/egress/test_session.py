"""Accounts: what has left, bounded, and the same after a restart."""

import time
from dataclasses import replace
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.guard.egress.facts import Chain, Covered, Facts, Token
from posttrain.guard.egress.session import Full, Sessions
from posttrain.trajectory import Span

WHERE = attrgetter("host")
BASE = Facts("s", "https", "a.test", 443, site="a.test")
sent = st.lists(
    st.builds(
        Facts,
        session=st.sampled_from("xyz"),
        scheme=st.just("https"),
        host=st.sampled_from(("a.test", "b.test")),
        port=st.just(443),
        novelty=st.floats(0, 50),
        carried=st.dictionaries(st.sampled_from("kl"), st.integers(1, 255).map(lambda b: Covered(8, b)), max_size=2),
    ),
    max_size=12,
)


def counted(many):
    sessions = Sessions(10, 60)
    for facts in many:
        sessions.add(facts, facts.host)
    return sessions


@given(sent)
def test_an_account_is_the_union_and_the_sum_of_what_was_sent(many):
    sessions = counted(many)
    for name, account in sessions.accounts.items():
        mine = [facts for facts in many if facts.session == name]
        assert account.requests == len(mine)
        for secret, covered in account.covered.items():
            union = set()
            for facts in mine:
                bits = facts.carried.get(secret, Covered(8, 0)).bits
                union |= {i for i in range(8) if bits >> i & 1}
            assert covered.share == len(union) / 8
        for host, bits in account.bits.items():
            assert bits == pytest.approx(sum(f.novelty for f in mine if f.host == host))


@given(sent)
def test_a_restart_counts_on(many):
    first, again = counted(many), Sessions(10, 60)
    again.restore(
        [{"time": time.time(), "sent": True, "facts": facts.as_record()} for facts in many]
        + [{"sent": False}, {"looked": {}}],
        WHERE,
    )
    assert {n: (a.covered, a.bits, a.requests) for n, a in first.accounts.items()} == {
        n: (a.covered, a.bits, a.requests) for n, a in again.accounts.items()
    }


def test_facts_come_back_from_a_record():
    facts = replace(
        BASE, method="POST", hop=2, call="c1", body=7, carried={"k": Covered(20, 0b1011)}, overflow=True,
        patterns=("p",), tokens=(Token("path", 20, 3.9, "uuid"),), novelty=3.5,
        named=(Span("user", 0, "content", 1, 5),), chain=Chain(True, False, 12),
    )  # fmt: skip
    assert Facts.from_record(facts.as_record()) == facts
    for named in (None, ()):
        assert Facts.from_record(replace(BASE, named=named).as_record()).named == named


def test_labels_that_carry_a_secret_are_not_written():
    facts = replace(BASE, host="abcdefgh.a.test", hidden=True)
    assert "abcdefgh" not in str(facts.as_record())


def test_there_is_room_only_for_so_many_and_what_counts_is_kept():
    now = [0.0]
    sessions = Sessions(2, 60, clock=lambda: now[0])
    sessions.add(replace(BASE, session="leaks", carried={"k": Covered(8, 1)}), "a.test")
    sessions.account("idle")
    with pytest.raises(Full, match="2 sessions are in use"):
        sessions.account("new")
    now[0] = 61.0
    sessions.account("new")
    assert set(sessions.accounts) == {"leaks", "new"}
    now[0] = 600.0
    sessions.account("newer")
    with pytest.raises(Full):
        sessions.account("newest")
    assert "leaks" in sessions.accounts


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_new(monkeypatch):
    from posttrain.guard.egress import session as module
    from posttrain.guard.egress.parts import Part

    monkeypatch.setattr(module, "MEMORIES", 3)
    sessions, sent = Sessions(10, 60), [Part("path", "abc")]
    fresh = sessions.memory("s", "?0.test").cost(sent)
    sessions.memory("s", "?0.test").add(sent)
    assert sessions.memory("s", "?0.test").cost(sent) < fresh
    for i in range(1, 4):
        sessions.memory("s", f"?{i}.test")
    assert len(sessions._memories) == 3
    assert sessions.memory("s", "?0.test").cost(sent) == fresh


def record(session, when, **more):
    return {"time": when, "sent": True, "facts": replace(BASE, session=session, **more).as_record()}


def test_a_restart_forgets_what_could_be_forgotten():
    """More sessions than there is room for, but never at one time."""
    sessions = Sessions(2, 60)
    sessions.restore([record(f"s{i}", time.time() - 1000 + 100 * i) for i in range(10)], WHERE)
    assert list(sessions.accounts) == ["s8", "s9"]


@pytest.mark.parametrize(
    "broken", [{"sent": True}, record("s", 0) | {"facts": 5}, *(
        record("s", 0) | {"facts": {"session": "s", "carried": {"k": given}}}
        for given in ([0, "1"], [4, "-1"], [4, "10"], [4, "x"], 5)
    )]
)  # fmt: skip
def test_an_edited_log_is_said_to_be_one(broken):
    with pytest.raises(ValueError, match="was the log edited"):
        Sessions(2, 60).restore([broken], WHERE)


def test_another_length_is_another_secret():
    sessions = counted([replace(BASE, carried={"k": Covered(8, 0b1111)})])
    pending = sessions.account("s").with_pending(replace(BASE, carried={"k": Covered(20, 1)}))
    assert pending == {"k": Covered(20, 1)}


def test_destinations_beyond_a_number_count_as_one_unknown_site(monkeypatch):
    monkeypatch.setattr("posttrain.guard.egress.session.SITES", 3)
    sessions = Sessions(10, 60)
    for i in range(10):
        sessions.add(replace(BASE, novelty=1.0), f"?{i}.test")
    assert sessions.account("s").bits == {"?0.test": 1.0, "?1.test": 1.0, "?2.test": 1.0, "?": 7.0}
