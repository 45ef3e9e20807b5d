"""Session accounting: what has left so far, of every secret and to every host, over requests and channels.

An account changes by records alone: the gateway writes a record to its log, then applies it; a restart applies the log
again. It holds bitmaps and numbers, no content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from posttrain.guard.egress.facts import Covered, Facts
from posttrain.guard.egress.novelty import Novelty

MEMORIES = 1_000
"""Pairs of session and destination whose requests are remembered; the least recently used is forgotten first."""
SITES = 10_000
"""Destinations of a session that are told apart; those beyond count as one unknown site."""


@dataclass
class Account:
    """One session."""

    covered: dict[str, Covered] = field(default_factory=dict)
    """Secret to what has left of it."""
    bits: dict[str, float] = field(default_factory=dict)
    """Destination, as `Judge.destination` has it, to the bits it was sent, as `novelty.py` counts them."""
    requests: int = 0
    used: float = 0.0
    """When it was last used, in seconds of the clock that the sessions have."""

    @property
    def told(self) -> tuple[float, float]:
        """Bits that an adaptive sender could have told, whatever code was agreed on: to allowed hosts, to others."""
        known = sum(bits for name, bits in self.bits.items() if not name.startswith("?"))
        return known, sum(self.bits.values()) - known

    def __str__(self) -> str:
        known, unknown = self.told
        secrets = [f"{covered.share:.0%} of secret {name!r}" for name, covered in self.covered.items()]
        return (
            f"{self.requests} request{'s' * (self.requests != 1)} let out; at most {known:.0f} bits to allowed hosts, "
            f"{unknown:.0f} to others; {', '.join(secrets) or 'no part of a secret'}"
        )

    def with_pending(self, facts: Facts) -> dict[str, Covered]:
        """What will have left of the secrets that a request carries, once it is sent. A new length is a new secret."""
        pairs = ((name, self.covered.get(name), now) for name, now in facts.carried.items())
        return {name: now | before if before and before.length == now.length else now for name, before, now in pairs}

    def add(self, facts: Facts, destination: str) -> None:
        """Count a request as sent."""
        self.covered |= self.with_pending(facts)
        where = destination if destination in self.bits or len(self.bits) < SITES else "?"
        self.bits[where] = self.bits.get(where, 0.0) + facts.novelty
        self.requests += 1


class Full(ValueError):
    """There is no room for another session."""


class Sessions:
    """All accounts; bounded, and nothing that counts is forgotten to make room.

    Args:
        limit: Most accounts.
        idle: Seconds after which an account that covers no secret may be forgotten.
        clock: Seconds.
    """

    def __init__(self, limit: int, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.idle = idle
        self.clock = clock
        self.accounts: dict[str, Account] = {}
        self.together = Account()
        """Secrets that left in all sessions."""
        self._memories: dict[tuple[str, str], Novelty] = {}

    def account(self, name: str, now: float | None = None) -> Account:
        """The account of a session.

        Args:
            name: Of the session.
            now: When it is used; None is now.

        Raises:
            Full: It is new, and as many as allowed are in use.
        """
        now = self.clock() if now is None else now
        found = self.accounts.pop(name, None)
        if found is None:
            self._make_room(now)
            found = Account()
        found.used = now
        self.accounts[name] = found  # the last place: least recently used come first
        return found

    def add(self, facts: Facts, destination: str, now: float | None = None) -> None:
        """Count a request as sent."""
        self.account(facts.session, now).add(facts, destination)
        self.together.covered |= self.together.with_pending(facts)

    def memory(self, session: str, destination: str) -> Novelty:
        """What a destination was sent in a session. Of those beyond `MEMORIES`, everything is new again."""
        found = self._memories.pop((session, destination), None) or Novelty()
        self._memories[session, destination] = found
        if len(self._memories) > MEMORIES:
            del self._memories[next(iter(self._memories))]
        return found

    def restore(self, sent: Iterable[dict[str, Any]], destination: Callable[[Facts], str]) -> None:
        """Count what a log says was sent, at its time, so that sessions may be forgotten as they could be then."""
        ago = time.time() - self.clock()
        for record in sent:
            if record.get("sent"):
                try:
                    facts, when = Facts.from_record(record["facts"]), record["time"] - ago
                except (ValueError, LookupError, TypeError, AttributeError) as error:
                    raise ValueError(f"A record of the log cannot be read ({error!r}); was the log edited?") from None
                self.add(facts, destination(facts), when)

    def _make_room(self, now: float) -> None:
        if len(self.accounts) < self.limit:
            return
        late = now - self.idle
        for name, account in self.accounts.items():
            if account.used > late:
                break
            if not account.covered:
                del self.accounts[name]
                return
        raise Full(f"{self.limit} sessions are in use; end some, or raise session.sessions.")
