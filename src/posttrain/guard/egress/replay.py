"""Recorded traffic, judged again by another policy. A rule that needs what the log does not hold says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.guard.audit import records
from posttrain.guard.egress.facts import Facts
from posttrain.guard.egress.judge import Judge
from posttrain.guard.egress.policy import EgressPolicy
from posttrain.guard.egress.session import Account, Full, Sessions
from posttrain.guard.verdict import Finding, Verdict

LATER = ("destinations.networks", "destinations.sni")
"""Rules on what came up once a request was admitted: its address, its TLS handshake. They have lines of their own."""


@dataclass(frozen=True)
class Line:
    """One recorded request, and what the other policy says about it."""

    facts: Facts
    sent: bool
    """Whether it was sent then."""
    verdict: Verdict

    @property
    def sends(self) -> bool:
        """Whether it would be sent now."""
        return self.verdict.action == "allow"


@dataclass(frozen=True)
class Replayed:
    """A log under another policy."""

    lines: tuple[Line, ...]
    unknown: tuple[str, ...]
    """One sentence for each rule that could not be judged whole."""
    rules: Counter[str] = field(default_factory=Counter)
    """Rules that would deny, and how often."""
    accounts: Mapping[str, Account] = field(default_factory=dict)
    """Session to what it would have sent."""

    @property
    def stopped(self) -> list[Line]:
        """Sent then, not now."""
        return [line for line in self.lines if line.sent and not line.sends]

    @property
    def released(self) -> list[Line]:
        """Not sent then, sent now."""
        return [line for line in self.lines if line.sends and not line.sent]


def replay(log: Path, policy: EgressPolicy) -> Replayed:
    """Judge every request of a log by `policy`, in order.

    A session's account holds what this policy would have let out so far. Requests that the agent would have made
    differently, had it been answered differently, are judged as they were made.
    """
    if not log.is_file():
        raise ValueError(f"There is no log at {log}; `replay` takes one that `serve` or `run` wrote.")
    judge = Judge(policy)
    sessions = Sessions(policy.session.sessions, policy.session.idle, clock=lambda: 0.0)
    lines = tuple(_line(record, judge, sessions) for record in records(log) if _is_request(record))
    rules = Counter(line.verdict.rule for line in lines if not line.sends)
    return Replayed(lines, tuple(_unknown(lines, judge, log)), rules, sessions.accounts)


def _is_request(record: dict[str, Any]) -> bool:
    return "facts" in record and record.get("rule") not in LATER


def _line(record: dict[str, Any], judge: Judge, sessions: Sessions) -> Line:
    """One record, judged; if it would be sent, it counts for its session."""
    facts = Facts.from_record(record["facts"])
    try:
        account = sessions.account(facts.session)
    except Full as full:
        return Line(facts, record["sent"], Verdict((Finding("deny", "session.sessions", str(full)),)))
    verdict = judge.verdict(facts, account, sessions.together)
    if verdict.action == "allow":
        sessions.add(facts, judge.destination(facts))
    return Line(facts, record["sent"], verdict)


def _unknown(lines: tuple[Line, ...], judge: Judge, log: Path) -> Iterator[str]:
    """What the policy asks and the log cannot tell."""
    policy = judge.policy
    looked = [record["looked"] for record in records(log) if "looked" in record]
    if new := _missing([source.id for source in policy.secrets], looked, "secrets"):
        yield f"content.secrets, session.coverage: not all of the log was searched for {', '.join(new)}."
    if new := _missing(policy.content.patterns, looked, "patterns"):
        yield f"content.patterns: not all of the log was searched for {', '.join(map(repr, new))}."
    depth = min((scope["depth"] for scope in looked), default=0)
    if policy.content.depth > depth:
        yield f"content.depth: the log was searched to depth {depth}, not {policy.content.depth}."
    if n := sum(line.facts.coarse and judge.budgeted(judge.destination(line.facts)) for line in lines):
        yield f"session.novelty: {n} of {len(lines)} requests went to hosts without a budget, and count 8 bits a byte."
    if n := sum(bool(line.facts.home) for line in lines):
        yield f"secrets: {n} of {len(lines)} requests carried one to a host it is for; how much of it is not known."
    rules = {policy.provenance.untrusted, policy.provenance.reads}
    if rules != {"off"} and (n := sum(line.facts.named is None for line in lines)):
        yield f"provenance: {n} of {len(lines)} requests came without their conversation."
    if n := sum(line.facts.sees == "host" for line in lines):
        yield f"content, entropy, redirects: {n} of {len(lines)} requests were tunnels; only their host is known."
    if n := sum(record.get("rule") in LATER for record in records(log)):
        yield f"{', '.join(LATER)}: {n} of {len(lines)} requests failed them once admitted; this is not judged again."


def _missing(wanted: Sequence[str], looked: Sequence[dict[str, Any]], what: str) -> list[str]:
    """What some part of a log was not searched for."""
    return [one for one in wanted if not looked or any(one not in scope[what] for scope in looked)]
