"""The rules: from facts of one request, and what its session has sent, to findings. Pure: logs can be judged again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from posttrain.guard.egress.facts import Facts
from posttrain.guard.egress.hosts import Hosts
from posttrain.guard.egress.policy import EgressPolicy, OnMatch
from posttrain.guard.egress.session import Account
from posttrain.guard.verdict import Action, Finding, Verdict


class Judge:
    """A policy, compiled."""

    def __init__(self, policy: EgressPolicy) -> None:
        self.policy = policy
        self.allow = Hosts(policy.destinations.allow)
        self.deny = Hosts(policy.destinations.deny, whole_zones=True)
        self.trusted = frozenset(policy.provenance.trusted)

    def known(self, facts: Facts) -> str | None:
        """The pattern of `destinations.allow` that names the host."""
        return self.allow.match(facts.host, facts.port, self.policy.destinations.ports) if facts.host else None

    def destination(self, facts: Facts) -> str:
        """Under which name the bits of a request are counted: the pattern that names its host, else `?` and its site.

        One owner has all hosts of a site, and could spell a message with their names.
        """
        return self.known(facts) or f"?{facts.site}"

    def budgeted(self, destination: str) -> bool:
        """Whether anything depends on how many bits a destination was sent."""
        rules = self.policy.session
        budget = rules.unknown_bits if destination.startswith("?") else rules.known_bits
        return rules.novelty != "off" and budget < math.inf

    def verdict(self, facts: Facts, account: Account, together: Account | None = None) -> Verdict:
        """What all rules say about a request.

        Args:
            facts: Of the request.
            account: What its session has sent before.
            together: What all sessions have sent before, for `session.across`.
        """
        destination = list(self._destination(facts))
        if facts.problem:
            return Verdict(tuple(destination), facts.hop)  # it leads nowhere, whatever the mode
        rest = [
            *self._redirect(facts),
            *self._limits(facts),
            *self._content(facts),
            *self._entropy(facts),
            *self._coverage(facts, account, "this session"),
            *(self._coverage(facts, together, "all sessions") if self.policy.session.across and together else ()),
            *self._novelty(facts, account),
            *self._provenance(facts),
        ]
        policy = self.policy
        if policy.mode == "open":
            return Verdict((*rest, *destination), facts.hop, "enforce" if _denies(rest) else "open")
        return Verdict((*destination, *rest), facts.hop, policy.mode)

    def _destination(self, facts: Facts) -> Iterator[Finding]:
        rules = self.policy.destinations
        if facts.problem:
            yield Finding("deny", "destinations", facts.problem)
            return
        if pattern := self.deny.match(facts.host, facts.port, tuple({facts.port, *rules.ports})):
            yield Finding("deny", "destinations.deny", f"{facts.host} is named by {pattern!r}.")
        known = self.known(facts) is not None
        if not known and self.allow.match(facts.host, facts.port, (facts.port,)) is None:
            because = f"{facts.host} is not in destinations.allow."
            yield from _when(rules.unknown, "destinations.unknown", because, {})
        if facts.scheme and facts.scheme not in rules.schemes:
            because = f"its scheme is {facts.scheme}, not {' or '.join(rules.schemes)}."
            yield Finding("deny", "destinations.schemes", because)
        if facts.sees == "all" and facts.method not in rules.methods:
            because = f"its method is {facts.method}, not one of {', '.join(rules.methods)}."
            yield Finding("deny", "destinations.methods", because)
        if not known and facts.port not in rules.ports:
            yield Finding("deny", "destinations.ports", f"port {facts.port} of {facts.host} is not allowed.")

    def _redirect(self, facts: Facts) -> Iterator[Finding]:
        rules, chain = self.policy.redirects, facts.chain
        if chain is None:
            return
        if facts.hop > rules.hops:
            yield Finding("deny", "redirects.hops", f"this is redirect {facts.hop}; at most {rules.hops} are followed.")
        if chain.cross_site:
            yield from _when(rules.cross_site, "redirects.cross_site", f"it leads to another site, {facts.site}.", {})
        if chain.downgrade:
            yield from _when(rules.downgrade, "redirects.downgrade", "it leads from https to http.", {})
        if chain.growth > rules.growth:
            yield Finding(
                "deny", "redirects.growth", f"it is {chain.growth} bytes longer; at most {rules.growth} are let.",
                {"growth": chain.growth},
            )  # fmt: skip

    def _limits(self, facts: Facts) -> Iterator[Finding]:
        for what, size in (("head", facts.head), ("body", facts.body)):
            if size > (most := getattr(self.policy.limits, what)):
                yield Finding("deny", f"limits.{what}", f"its {what} has {size} bytes; at most {most} are let.")

    def _content(self, facts: Facts) -> Iterator[Finding]:
        rules = self.policy.content
        for name, carried in facts.carried.items():
            if carried.share >= rules.share:
                yield from _when(
                    rules.secrets, "content.secrets", f"it carries {carried.share:.0%} of secret {name!r}.",
                    {"secret": name, "coverage": carried.share},
                )  # fmt: skip
        if facts.overflow:
            because = f"it has more than {rules.views} decoded forms, so it could not be searched whole."
            yield from _when(rules.overflow, "content.overflow", because, {})
        for pattern in facts.patterns:
            yield from _when(rules.on_pattern, "content.patterns", f"it matches {pattern!r}.", {"pattern": pattern})

    def _entropy(self, facts: Facts) -> Iterator[Finding]:
        rules = self.policy.entropy
        if rules.action == "off" or (not rules.known and self.known(facts) is not None):
            return
        for token in facts.tokens:
            if token.length >= rules.length and token.bits >= rules.bits and token.shape not in rules.benign:
                yield from _when(
                    rules.action, "entropy",
                    f"{token.where} holds {token.length} characters of {token.bits:.1f} bits each.",
                    {"where": token.where, "length": token.length, "bits": token.bits},
                )  # fmt: skip

    def _coverage(self, facts: Facts, account: Account, where: str) -> Iterator[Finding]:
        rules = self.policy.session
        for name, covered in account.with_pending(facts).items():
            if covered.share >= rules.share:
                yield from _when(
                    rules.coverage, "session.coverage",
                    f"with it {covered.share:.0%} of secret {name!r} would have left in {where}.",
                    {"secret": name, "coverage": covered.share, "requests": account.requests + 1},
                )  # fmt: skip

    def _novelty(self, facts: Facts, account: Account) -> Iterator[Finding]:
        rules, where = self.policy.session, self.destination(facts)
        unknown = where.startswith("?")
        spent = account.bits.get(where, 0.0) + facts.novelty
        everywhere = sum(bits for name, bits in account.bits.items() if name.startswith("?")) + facts.novelty
        sums = [(where.removeprefix("?"), spent, "unknown_bits" if unknown else "known_bits")]
        if unknown:
            sums.append(("all unknown sites", everywhere, "unknown_total"))
        for name, bits, key in sums:
            budget = getattr(rules, key)
            if bits > budget:
                yield from _when(
                    rules.novelty, "session.novelty",
                    f"with it {name} would have had {bits:.0f} bits in this session; session.{key} is {budget:g}.",
                    {"bits": bits, "budget": budget},
                )  # fmt: skip

    def _provenance(self, facts: Facts) -> Iterator[Finding]:
        rules = self.policy.provenance
        if facts.named is None or facts.problem or (not rules.known and self.known(facts) is not None):
            return
        if any(span.source in self.trusted for span in facts.named):
            return
        if facts.named:
            because = f"{facts.host} is named by untrusted text only."
        else:
            because = f"{facts.host} is named nowhere in the conversation."
        reads = facts.method in ("GET", "HEAD") and not facts.body
        rule, action = ("reads", rules.reads) if reads else ("untrusted", rules.untrusted)
        yield Finding("allow" if action == "off" else action, f"provenance.{rule}", because, {}, facts.named)


def _when(action: OnMatch | Action, rule: str, because: str, evidence: dict[str, Any]) -> Iterator[Finding]:
    """The finding, unless the rule is off or allows."""
    if action in ("deny", "ask"):
        yield Finding(action, rule, because, evidence)


def _denies(findings: list[Finding]) -> bool:
    return any(finding.action != "allow" for finding in findings)
