"""Rules over facts: each alone, the worst of all, and what the modes do with it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.guard.egress.facts import Chain, Covered, Facts, Token
from posttrain.guard.egress.judge import Judge
from posttrain.guard.egress.policy import (
    Content,
    Destinations,
    EgressPolicy,
    Entropy,
    Provenance,
    Redirects,
    Session,
)
from posttrain.guard.egress.session import Account
from posttrain.guard.verdict import SEVERITY
from posttrain.trajectory import Span

KNOWN = Facts("s", "https", "api.example.com", 443, site="example.com", method="GET")
UNKNOWN = replace(KNOWN, host="other.test", site="other.test")
ALLOW = Destinations(allow=("api.example.com",))
OPEN = replace(ALLOW, unknown="allow")


def judged(facts, policy=None, account=None, **parts):
    policy = policy or EgressPolicy(destinations=parts.pop("destinations", OPEN), **parts)
    return Judge(policy).verdict(facts, account or Account())


def test_nothing_to_object():
    verdict = judged(KNOWN, destinations=ALLOW)
    assert verdict.action == "allow"
    assert str(verdict) == "allowed"


@pytest.mark.parametrize(
    ("facts", "parts", "rule", "action"),
    [
        (UNKNOWN, {"destinations": ALLOW}, "destinations.unknown", "deny"),
        (UNKNOWN, {"destinations": replace(ALLOW, unknown="ask")}, "destinations.unknown", "ask"),
        (KNOWN, {"destinations": replace(ALLOW, deny=("*.example.com",))}, "destinations.deny", "deny"),
        (replace(KNOWN, scheme="http", port=80), {"destinations": ALLOW}, "destinations.schemes", "deny"),
        (replace(UNKNOWN, port=8080), {}, "destinations.ports", "deny"),
        (replace(KNOWN, port=8443), {"destinations": ALLOW}, "destinations.ports", "deny"),
        (replace(KNOWN, method="TRACE"), {}, "destinations.methods", "deny"),
        (Facts("s", "", "", 0, problem="It has no host."), {}, "destinations", "deny"),
        (replace(KNOWN, hop=6, chain=Chain(False, False, 0)), {}, "redirects.hops", "deny"),
        (replace(KNOWN, hop=1, chain=Chain(False, True, 0)), {}, "redirects.downgrade", "deny"),
        (replace(KNOWN, hop=1, chain=Chain(False, False, 257)), {}, "redirects.growth", "deny"),
        (replace(KNOWN, hop=1, chain=Chain(True, False, 0)), {"redirects": Redirects(cross_site="ask")},
         "redirects.cross_site", "ask"),
        (replace(KNOWN, carried={"k": Covered(10, 0b11111)}), {"session": Session(coverage="off")},
         "content.secrets", "deny"),
        (replace(KNOWN, overflow=True), {}, "content.overflow", "deny"),
        (replace(KNOWN, patterns=("AKIA",)), {}, "content.patterns", "deny"),
        (replace(KNOWN, body=1_000_001), {}, "limits.body", "deny"),
        (replace(UNKNOWN, tokens=(Token("path", 16, 3.5),)), {"entropy": Entropy("deny")}, "entropy", "deny"),
        (replace(KNOWN, tokens=(Token("path", 16, 3.5),)), {"entropy": Entropy("deny", known=True)}, "entropy", "deny"),
        (replace(UNKNOWN, novelty=129.0), {}, "session.novelty", "deny"),
        (replace(UNKNOWN, method="POST", named=()), {"provenance": Provenance("deny")}, "provenance.untrusted", "deny"),
        (replace(UNKNOWN, named=()), {"provenance": Provenance(reads="ask")}, "provenance.reads", "ask"),
    ],
)  # fmt: skip
def test_each_rule_decides_alone(facts, parts, rule, action):
    verdict = judged(facts, **parts)
    assert (verdict.rule, verdict.action) == (rule, action)
    assert verdict.worst is not None
    assert verdict.worst.because[-1] == "."


@pytest.mark.parametrize(
    ("facts", "parts"),
    [
        (replace(KNOWN, hop=5, chain=Chain(True, False, 256)), {}),
        (replace(KNOWN, carried={"k": Covered(10, 0b1111)}), {}),
        (replace(UNKNOWN, tokens=(Token("path", 15, 4.0), Token("path", 20, 3.4))), {"entropy": Entropy("deny")}),
        (replace(UNKNOWN, tokens=(Token("path", 40, 3.9, "git-hash"),)), {"entropy": Entropy("deny")}),
        (replace(KNOWN, tokens=(Token("path", 40, 3.9),)), {"entropy": Entropy("deny")}),
        (replace(UNKNOWN, novelty=128.0), {}),
        (replace(KNOWN, novelty=1e9), {}),
        (replace(KNOWN, method="POST", named=()), {"provenance": Provenance("deny")}),
        (replace(UNKNOWN, method="POST", named=None), {"provenance": Provenance("deny")}),
        (replace(UNKNOWN, method="POST", named=(Span("tool:x", 1, "content", 0, 1), Span("user", 0, "content", 0, 1))),
         {"provenance": Provenance("deny")}),
    ],
)  # fmt: skip
def test_just_inside_the_bounds(facts, parts):
    assert judged(facts, **parts).action == "allow"


def test_a_read_of_a_host_from_untrusted_text_is_noted():
    span = Span("preview:http://a.test", 1, "title", 3, 9)
    verdict = judged(replace(UNKNOWN, named=(span,)))
    assert verdict.action == "allow"
    assert [(f.action, f.rule, f.spans) for f in verdict.findings] == [("allow", "provenance.reads", (span,))]


def test_a_verdict_says_where_it_was_named():
    span = Span("preview:http://a.test", 1, "title", 3, 9)
    verdict = judged(replace(UNKNOWN, method="POST", named=(span,)), provenance=Provenance("deny"))
    assert str(span) in str(verdict)


def test_the_pending_request_counts_and_so_do_all_channels():
    account = Account()
    first, second = (replace(KNOWN, carried={"k": Covered(10, bits)}) for bits in (0b111, 0b11000))
    other = replace(second, host="other.test")
    account.add(first, "api.example.com")
    verdict = judged(other, account=account)
    assert verdict.rule == "session.coverage"
    assert "50% of secret 'k'" in str(verdict)
    assert judged(first, account=account).action == "allow"


def test_budgets_are_of_a_site_and_of_all_unknown_ones():
    judge = Judge(EgressPolicy(destinations=OPEN, session=Session(unknown_total=140.0)))
    account = Account()

    def after(novelty, host, site):
        return judge.verdict(replace(UNKNOWN, novelty=novelty, host=host, site=site), account)

    sent = replace(UNKNOWN, novelty=100.0)
    account.add(sent, judge.destination(sent))
    assert after(29.0, "other.test", "other.test").rule == "session.novelty"
    assert after(29.0, "a.other.test", "other.test").rule == "session.novelty"
    assert after(40.0, "third.test", "third.test").action == "allow"
    total = after(41.0, "third.test", "third.test")
    assert total.rule == "session.novelty"
    assert "all unknown sites" in str(total)
    assert judge.verdict(replace(KNOWN, novelty=1000.0), account).action == "allow"


def test_sessions_can_be_counted_together():
    half = replace(KNOWN, carried={"k": Covered(10, 0b111)})
    together = Account()
    together.add(half, "api.example.com")
    rest = replace(half, session="new", carried={"k": Covered(10, 0b11000)})
    for across, action in ((False, "allow"), (True, "deny")):
        judge = Judge(EgressPolicy(destinations=ALLOW, session=Session(across=across)))
        assert judge.verdict(rest, Account(), together).action == action


@pytest.mark.parametrize("facts", [UNKNOWN, replace(KNOWN, carried={"k": Covered(10, 0b11111)})])
def test_report_judges_and_lets_pass(facts):
    policy = EgressPolicy(mode="report", destinations=ALLOW)
    verdict = judged(facts, policy)
    assert verdict.judged == "deny"
    assert verdict.action == "allow"
    assert "let pass: the mode is report" in str(verdict)


def test_open_reports_destinations_and_holds_secrets():
    policy = EgressPolicy(mode="open", destinations=ALLOW)
    passed = judged(UNKNOWN, policy)
    assert (passed.judged, passed.action) == ("deny", "allow")
    held = judged(replace(UNKNOWN, carried={"k": Covered(10, 0b11111)}), policy)
    assert (held.rule, held.action) == ("content.secrets", "deny")


facts = st.builds(
    Facts,
    session=st.just("s"),
    scheme=st.sampled_from(("http", "https")),
    host=st.sampled_from(("api.example.com", "other.test")),
    port=st.sampled_from((80, 443)),
    method=st.sampled_from(("GET", "POST", "TRACE")),
    hop=st.integers(0, 7),
    body=st.sampled_from((0, 10, 2_000_000)),
    carried=st.dictionaries(st.sampled_from("ab"), st.integers(0, 1023).map(lambda b: Covered(10, b)), max_size=2),
    overflow=st.booleans(),
    novelty=st.floats(0, 300),
    named=st.sampled_from((None, (), (Span("user", 0, "content", 0, 4),), (Span("tool:x", 0, "content", 0, 4),))),
    chain=st.sampled_from((None, Chain(True, True, 300), Chain(False, False, 0))),
)


@given(facts, st.booleans())
def test_the_verdict_is_its_worst_finding_and_a_stricter_policy_never_lets_more_pass(found, asks):
    lax = EgressPolicy(destinations=replace(OPEN, schemes=("http", "https"), ports=(80, 443)))
    strict = EgressPolicy(
        destinations=replace(ALLOW, unknown="ask" if asks else "deny"),
        content=Content(share=0.3),
        provenance=Provenance("deny", "deny"),
        redirects=Redirects(cross_site="deny", hops=3),
    )
    one, two = judged(found, lax), judged(found, strict)
    assert SEVERITY[one.judged] == max((SEVERITY[f.action] for f in one.findings), default=0)
    assert SEVERITY[two.judged] >= SEVERITY[one.judged]


@pytest.mark.parametrize("mode", ["report", "open"])
def test_what_leads_nowhere_is_denied_in_every_mode(mode):
    assert judged(Facts("s", "", "", 0, problem="It has no host."), mode=mode).action == "deny"
