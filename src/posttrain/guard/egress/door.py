"""What the proxy and the judge socket share: requests go to the gateway's judge, and redirects are found again.

Who sits behind a proxy follows redirects alone, so a hop comes as a request of its own. It is recognised by its URL:
the one that an answer in the same session pointed to.
"""

from __future__ import annotations

import sys

from posttrain.files import WriteError
from posttrain.guard.egress.facts import Request, Sees
from posttrain.guard.egress.gateway import Gateway, joined
from posttrain.guard.egress.hosts import Refused, Target, target
from posttrain.guard.egress.look import Hop
from posttrain.guard.verdict import Finding, Verdict

REMEMBERED = 500
"""Redirects that are waited for; the oldest is forgotten first."""


class Chains:
    """Redirects that were answered and not yet followed, and the places of the requests that were."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, Target], Hop] = {}
        self._sent: dict[tuple[str, Target], Hop] = {}

    def hop(self, session: str, url: str) -> Hop | None:
        """The place of a request in a chain; None if no answer pointed there, or it is no URL."""
        try:
            return self._waiting.get((session, target(url)))
        except Refused:
            return None

    def sent(self, session: str, goal: Target) -> None:
        """A request left."""
        if hop := self._waiting.pop((session, goal), None):
            _keep(self._sent, (session, goal), hop)
        else:
            self._sent.pop((session, goal), None)

    def answered(self, session: str, goal: Target, location: str) -> None:
        """A request was answered by a redirect; what is no URL cannot be followed and is left out."""
        try:
            there = target(joined(f"{goal.scheme}://{goal.authority}{goal.path}", location))
        except Refused:
            return
        hop = self._sent.get((session, goal))
        _keep(self._waiting, (session, there), Hop(hop.number + 1 if hop else 1, hop.first if hop else goal, goal))


class Door:
    """Judges requests that come from outside of this process.

    Args:
        gateway: Judges and logs.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.chains = Chains()
        self._said = ""

    async def admit(self, request: Request, sees: Sees = "all") -> tuple[Verdict, Target | None]:
        """Judge and log one request; gives where it goes, None if it may not leave.

        Raises:
            WriteError: The log could not be written; nothing may be sent. The reason is printed once, until it changes.
        """
        hop = self.chains.hop(request.session, request.url) if sees == "all" else None
        try:
            verdict, goal = await self.gateway.admit(request, None, hop, sees=sees)
        except OSError as error:
            raise self._unlogged(error) from error
        self._said = ""
        if goal is not None and sees == "all":
            self.chains.sent(request.session, goal)
        return verdict, goal

    def refuse(self, request: Request, goal: Target, sees: Sees, finding: Finding, mode: str = "enforce") -> Verdict:
        """Log what came up after a request was admitted.

        Raises:
            WriteError: See `admit`.
        """
        try:
            return self.gateway.refuse(request, goal, finding, sees=sees, mode=mode)
        except OSError as error:
            raise self._unlogged(error) from error

    def _unlogged(self, error: OSError) -> WriteError:
        if str(error) != self._said:
            self._said = str(error)
            print(f"posttrain: {error}", file=sys.stderr, flush=True)
        return WriteError(str(error))


def _keep(places: dict[tuple[str, Target], Hop], key: tuple[str, Target], hop: Hop) -> None:
    """Remember, and forget the oldest."""
    places.pop(key, None)
    places[key] = hop
    if len(places) > REMEMBERED:
        del places[next(iter(places))]
