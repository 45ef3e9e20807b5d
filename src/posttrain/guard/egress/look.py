"""From a request to the facts that rules judge. The only place that sees contents."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from posttrain.guard.egress.decode import views
from posttrain.guard.egress.entropy import tokens
from posttrain.guard.egress.facts import OWN_HEADERS, Chain, Facts, Request, Sees
from posttrain.guard.egress.hosts import Hosts, Refused, Target, is_top_level, site, target
from posttrain.guard.egress.novelty import Novelty
from posttrain.guard.egress.parts import Part, content, parts, segments
from posttrain.guard.egress.policy import EgressPolicy
from posttrain.guard.egress.secrets import Secrets
from posttrain.trajectory import Passage, Span


class Looked(NamedTuple):
    """A request, looked at."""

    facts: Facts
    target: Target | None
    """Where it goes; None where the URL was refused."""
    parts: tuple[Part, ...]
    """What the sender chose, for the novelty of later requests."""


class Hop(NamedTuple):
    """The place of a request in a chain of redirects."""

    number: int
    first: Target
    before: Target


class Look:
    """Looks at requests for one policy.

    Args:
        policy: Whose patterns and bounds apply.
        secrets: To look for.
    """

    def __init__(self, policy: EgressPolicy, secrets: Secrets) -> None:
        self.policy = policy
        self.secrets = secrets
        self.allow = Hosts(policy.destinations.allow)
        self.homes = {source.id: Hosts(source.hosts) for source in policy.secrets if source.hosts}
        self.patterns = {pattern: re.compile(pattern) for pattern in policy.content.patterns}
        site("localhost")  # reads the public suffix list, which the first request would wait for

    def scope(self) -> dict[str, Any]:
        """What requests are searched for, for the log; names and numbers only."""
        rules = self.policy.content
        return {"secrets": list(self.secrets.lengths), "patterns": list(rules.patterns), "depth": rules.depth}

    def at(
        self,
        request: Request,
        passages: Sequence[Passage] | None,
        novelty: Callable[[Facts], Novelty | None],
        hop: Hop | None = None,
        sees: Sees = "all",
    ) -> Looked:
        """The facts of one hop.

        Args:
            request: The request, or the redirect as a request.
            passages: The conversation; None where it is not known.
            novelty: What the destination of a request was sent before; None if it has no budget, so that its bits need
                not be counted closely.
            hop: The chain so far; None for the request itself.
            sees: `host` for a tunnel, of which the name is all there is.
        """
        common: dict[str, Any] = {
            "session": request.session,
            "method": request.method,
            "call": request.call,
            "sees": sees,
        }
        number = hop.number if hop else 0
        try:
            goal = target(request.url)
        except Refused as refused:
            facts = Facts(scheme="", host="", port=0, hop=number, problem=str(refused), **common)
            return Looked(facts, None, ())
        headers = [(name, value) for name, value in request.headers if name.lower() not in OWN_HEADERS]
        head = len(request.url) + sum(len(name) + len(value) for name, value in headers)
        common |= {"head": head, "body": len(request.body)}
        place = Facts(scheme=goal.scheme, host=goal.host, port=goal.port, site=site(goal.host), hop=number, **common)
        if head > self.policy.limits.head or len(request.body) > self.policy.limits.body:
            bits = 8.0 * (head + len(request.body))
            facts = replace(place, overflow=True, novelty=bits, coarse=True, chain=_chain(goal, hop))
            return Looked(facts, goal, ())
        pieces = tuple(parts(goal, headers, request.body))
        known = self.allow.match(goal.host, goal.port, self.policy.destinations.ports) is not None
        searched = content(goal, headers, request.body, whole=not known)
        seen = views(searched, self.policy.content.depth, self.policy.content.views)
        texts = [view.data for view in seen.views]
        found = self.secrets.carried(texts)
        home = tuple(name for name in found if self._is_home(name, goal))
        memory = novelty(place)
        facts = replace(
            place,
            carried={name: covered for name, covered in found.items() if name not in home},
            home=home,
            hidden=bool(found) and goal.host != place.site,
            overflow=seen.overflow,
            patterns=tuple(name for name, one in self.patterns.items() if any(_found(one, text) for text in texts)),
            tokens=tokens(pieces),
            novelty=8.0 * len(searched) if memory is None else memory.cost(pieces, links(place.site, passages or ())),
            coarse=memory is None,
            named=None if passages is None else named(goal.host, passages),
            chain=_chain(goal, hop),
        )
        return Looked(facts, goal, pieces)

    def _is_home(self, secret: str, goal: Target) -> bool:
        """Whether a secret is for a host."""
        hosts = self.homes.get(secret)
        return hosts is not None and hosts.match(goal.host, goal.port, self.policy.destinations.ports) is not None


def named(host: str, passages: Sequence[Passage]) -> tuple[Span, ...]:
    """Where a conversation names a host: as a whole name, not as a part of another. The first places of each source."""
    found: dict[str, list[Span]] = {}
    for passage in passages:
        places = found.setdefault(passage.span.source, [])
        alone = (
            span
            for span in passage.find(host)
            if _stands_alone(passage.text, span.start - passage.span.start, span.end - passage.span.start)
        )
        places += islice(alone, PLACES - len(places))
    return tuple(span for places in found.values() for span in places)


PLACES = 4
"""Of a host in the texts of one source; a page can hold any number."""


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a name ends there. A missing space after a full stop, `a.com.Then`, makes no other name."""
    if _NAME.match(text[start - 1 : start]):
        return False
    rest = _REST.match(text, end)
    assert rest is not None
    return not rest[0] or (rest[0].startswith(".") and not is_top_level(rest[0].rpartition(".")[2]))


_NAME = re.compile(r"[\w.\-]")
_REST = re.compile(r"[\w\-]*(?:\.[\w\-]+)*")


def _found(pattern: re.Pattern[str], text: bytes) -> bool:
    return pattern.search(text.decode("utf-8", "replace")) is not None


def links(place: str, passages: Sequence[Passage]) -> frozenset[str]:
    """Pieces of the URLs in a conversation that lead to a site: to follow such a link tells its owner little.

    Other texts may be private, and so may links to other places: that of a reset mail, say.
    """
    given = (passage.text for passage in passages if passage.span.source not in ("system", "assistant"))
    found = (url for text in given for url in _URL.finditer(text))
    return frozenset().union(*(segments(url[0]) for url in found if _leads(url[1].lower(), place)))


def _leads(authority: str, place: str) -> bool:
    """Whether what stands before a URL's path is a host of a site, or the address itself."""
    host = authority.rpartition("@")[2].rstrip(".,;:!)")
    name, _, port = host.rpartition(":")
    host = name if port.isdigit() else host
    return f".{host}".endswith(f".{place}") or host == f"[{place}]"


_URL = re.compile(r"(?:https?://|(?=www\.))([^\s\"'<>/?#\\]+)[^\s\"'<>]*", re.IGNORECASE)


def _chain(goal: Target, hop: Hop | None) -> Chain | None:
    if hop is None:
        return None
    return Chain(
        cross_site=site(goal.host) != site(hop.before.host),
        downgrade=hop.before.scheme == "https" and goal.scheme == "http",
        growth=max(0, len(goal.path) - len(hop.first.path)),
    )
