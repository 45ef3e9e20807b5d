"""The only way out: every request, and every redirect of it, is judged, logged, and only then sent."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias
from urllib.parse import urljoin

from posttrain.guard.audit import AuditLog, records
from posttrain.guard.egress.facts import Facts, Request, Sees
from posttrain.guard.egress.hosts import Refused, Target, site, target
from posttrain.guard.egress.judge import Judge
from posttrain.guard.egress.look import Hop, Look, Looked
from posttrain.guard.egress.novelty import Novelty
from posttrain.guard.egress.policy import EgressPolicy
from posttrain.guard.egress.redact import Redactor
from posttrain.guard.egress.resolver import Resolver, SystemResolver, resolve
from posttrain.guard.egress.secrets import Secrets, read
from posttrain.guard.egress.session import Full, Sessions
from posttrain.guard.egress.transport import Connect, Response, Transport
from posttrain.guard.policy import fingerprint
from posttrain.guard.verdict import Finding, Verdict
from posttrain.trajectory import Passage, ToolCall

Ask: TypeAlias = Callable[[Verdict, Request], Awaitable[bool]]
"""Asks a person whether a request may leave."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request."""

    verdicts: tuple[Verdict, ...]
    """One for each hop that was judged."""
    response: Response | None
    """Of the last hop that was sent; None where the request itself was not."""

    @property
    def allowed(self) -> bool:
        """Whether every hop was let through."""
        return self.verdicts[-1].action == "allow"

    def __str__(self) -> str:
        return str(self.verdicts[-1])


class Gateway:
    """Judges, logs and sends requests.

    Args:
        policy: The rules.
        log: Of every request, written before it is sent; None keeps none, and a restart forgets all sessions.
        secrets: Name to value, in place of those that the policy reads.
        resolver: Of names that may be sent to; None is the system's.
        ask: For verdicts that ask; None denies them.
        connect: See `transport.Connect`.
        verify: Certificates.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        log: AuditLog | Path | None = None,
        secrets: Mapping[str, str] | None = None,
        resolver: Resolver | None = None,
        ask: Ask | None = None,
        connect: Connect | None = None,
        verify: Any = True,
    ) -> None:
        self.policy = policy
        self.judge = Judge(policy)
        self.look = Look(policy, Secrets(read(policy.secrets) if secrets is None else secrets))
        self.redactor = Redactor(self.look.secrets, policy.content.depth, policy.content.views)
        self.sessions = Sessions(policy.session.sessions, policy.session.idle)
        self.log = AuditLog(log) if isinstance(log, Path) else log
        self.resolver = SystemResolver() if resolver is None else resolver
        self.ask = ask
        self.name = fingerprint(policy)
        self.transport = Transport(policy.limits, connect, verify)
        self.denied: Counter[str] = Counter()
        """Rule to how often it denied."""
        if self.log is not None:
            self.sessions.restore(records(self.log.path), self.judge.destination)
            self.log.append({"time": _now(), "policy": self.name, "looked": self.look.scope()})

    async def request(self, call: ToolCall | Request, passages: Sequence[Passage] | None = None) -> Outcome:
        """Send a request, and follow its redirects, as far as the rules let it.

        Args:
            call: A tool's call with `url` and, if it has them, `method`, `headers` and `body`; or a request.
            passages: The conversation so far, for provenance; None where it is not known.

        Raises:
            WriteError: The log could not be written. Nothing was sent.
            TransportError: The request was allowed and did not get through.
        """
        request = call if isinstance(call, Request) else request_of(call)
        verdicts: list[Verdict] = []
        response, hop = None, None
        while True:
            verdict, goal, answer = await self.send(request, passages, hop)
            verdicts.append(verdict)
            response = answer or response
            location = answer.redirect if answer else None
            if answer is None or goal is None or location is None:
                return Outcome(tuple(verdicts), response)
            if any(finding.rule == "redirects.hops" for finding in verdict.findings):
                return Outcome(tuple(verdicts), response)  # let pass by `report`, which must not follow a loop for ever
            hop = Hop((hop.number if hop else 0) + 1, hop.first if hop else goal, goal)
            request = redirected(request, answer, location)

    async def send(
        self, request: Request, passages: Sequence[Passage] | None = None, hop: Hop | None = None
    ) -> tuple[Verdict, Target | None, Response | None]:
        """Send one hop, if it may leave; redirects are given back, not followed."""
        verdict, goal = await self.admit(request, passages, hop)
        if goal is None:
            return verdict, None, None
        try:
            addresses = await self.addresses(goal)
        except Refused as refused:
            finding = Finding("deny", "destinations.networks", str(refused))
            return self.refuse(request, goal, finding, hop=verdict.hop), None, None
        return verdict, goal, await self.transport.send(request, goal, addresses)

    async def admit(
        self, request: Request, passages: Sequence[Passage] | None = None, hop: Hop | None = None, **how: Any
    ) -> tuple[Verdict, Target | None]:
        """Judge one hop and, if it may leave, write that it does; gives where to send it, or None."""
        # Under the name that the log can hold, so that a restart counts on.
        request = replace(request, session=self.redactor.text(request.session))
        try:
            looked, verdict = await self._decided(request, passages, hop, how)
        except Full as full:
            facts = Facts(request.session, "", "", 0, method=request.method)
            return self._write(facts, Verdict((Finding("deny", "session.sessions", str(full)),))), None
        self._write(looked.facts, verdict)
        if verdict.action != "allow":
            return verdict, None
        where = self.judge.destination(looked.facts)
        self.sessions.add(looked.facts, where)
        if self.judge.budgeted(where):
            self.sessions.memory(request.session, where).add(looked.parts)
        return verdict, looked.target

    async def addresses(self, goal: Target) -> list[str]:
        """The addresses that a host may be connected to.

        Raises:
            Refused: It has none, or one that is not public.
        """
        return await resolve(self.resolver, goal.host, self.policy.destinations.networks, self.policy.limits.seconds)

    async def _decided(
        self, request: Request, passages: Sequence[Passage] | None, hop: Hop | None, how: dict[str, Any]
    ) -> tuple[Looked, Verdict]:
        """What is said about a hop. A person who is asked is asked again if more asks once they have answered.

        Raises:
            Full: There is no room for its session.
        """
        agreed: set[tuple[str, str]] = set()
        while True:
            # Others may have sent while a person was thinking.
            account = self.sessions.account(request.session)
            looked = self._look(request, passages, hop, how)
            verdict = self.judge.verdict(looked.facts, account, self.sessions.together)
            if verdict.action != "ask":
                return looked, verdict
            new = [one for one in verdict.findings if one.action == "ask" and (one.rule, one.because) not in agreed]
            if not new:
                return looked, _answered(verdict, approved=True)
            if self.ask is None or not await self.ask(replace(verdict, findings=tuple(new)), request):
                return looked, _answered(verdict, approved=False)
            agreed |= {(one.rule, one.because) for one in new}

    def _look(
        self,
        request: Request,
        passages: Sequence[Passage] | None,
        hop: Hop | None,
        how: dict[str, Any],
    ) -> Looked:
        def novelty(facts: Facts) -> Novelty | None:
            where = self.judge.destination(facts)
            return self.sessions.memory(facts.session, where) if self.judge.budgeted(where) else None

        return self.look.at(request, passages, novelty, hop, **how)

    def _write(self, facts: Facts, verdict: Verdict) -> Verdict:
        """Log a verdict, before anything is done about it."""
        if verdict.action != "allow":
            self.denied[verdict.rule] += 1
        if self.log is not None:
            worst = verdict.worst
            self.log.append(
                {
                    "time": _now(),
                    "policy": self.name,
                    "sent": verdict.action == "allow",
                    "judged": verdict.judged,
                    **({"rule": worst.rule, "because": self.redactor.sentence(worst.because)} if worst else {}),
                    "facts": self.redactor.record(facts, self.judge.known(facts), self.policy.destinations.methods),
                }
            )
        return verdict

    def refuse(
        self,
        request: Request,
        goal: Target,
        finding: Finding,
        *,
        sees: Sees = "all",
        hop: int = 0,
        mode: str = "enforce",
    ) -> Verdict:
        """Log what came up after a request was admitted, such as an address that is not public."""
        hidden = self.redactor.hides(goal.host)
        where = (goal.scheme, goal.host, goal.port, site(goal.host))
        session = self.redactor.text(request.session)
        facts = Facts(session, *where, request.method, hop, request.call, sees=sees, hidden=hidden)
        return self._write(facts, Verdict((finding,), hop, mode))

    async def aclose(self) -> None:
        """Close connections and the log."""
        await self.transport.aclose()
        if self.log is not None:
            self.log.close()

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _now() -> float:
    return round(time.time(), 3)


def request_of(call: ToolCall, session: str = "default") -> Request:
    """A tool's call as a request; `body` may be text or JSON."""
    arguments = call.arguments
    url, method, body = arguments.get("url"), arguments.get("method", "GET"), arguments.get("body") or ""
    headers = arguments.get("headers") or {}
    if not isinstance(url, str) or not isinstance(method, str) or not isinstance(headers, Mapping):
        raise ValueError(f"{call.name} needs a url, and method and headers as text and an object, if it has them.")
    text = body if isinstance(body, str) else json.dumps(body)
    lines = tuple((str(name), str(value)) for name, value in headers.items())
    return Request(method.upper(), url, lines, text.encode("utf-8", "surrogatepass"), session, call.id)


def redirected(request: Request, response: Response, location: str) -> Request:
    """The request that a redirect asks for, as browsers make it."""
    url = joined(response.url, location)
    gets = response.status == 303 or (response.status in (301, 302) and request.method == "POST")
    method, body = ("GET", b"") if gets and request.method != "HEAD" else (request.method, request.body)
    try:
        same = target(url)[:3] == target(response.url)[:3]
    except Refused:
        same = False
    private = () if same else ("authorization", "cookie")
    headers = tuple((name, value) for name, value in request.headers if name.lower() not in private)
    return replace(request, method=method, url=url, body=body, headers=headers)


def joined(base: str, location: str) -> str:
    """A redirect's target. What `urljoin` would quietly drop or take for a slash is left for the parser to refuse."""
    return location if _SLY.search(location) else urljoin(base, location)


_SLY = re.compile(r"[\x00-\x20\x7f\\]|^[A-Za-z][A-Za-z0-9+.-]*:(?!//)")


def _answered(verdict: Verdict, approved: bool) -> Verdict:
    """A verdict once a person was asked: what asked is let pass or denied, what denies stays."""
    if not approved:
        findings = [replace(f, action="deny") if f.action == "ask" else f for f in verdict.findings]
    else:
        findings = [f for f in verdict.findings if f.action != "ask"]
    return replace(verdict, findings=tuple(findings))
