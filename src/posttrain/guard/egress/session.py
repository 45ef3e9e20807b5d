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

    def __str__(self) -> str:
        """What an adaptive sender could have told by now, whatever code was agreed on."""
        known = sum(bits for name, bits in self.bits.items() if not name.startswith("?"))
        unknown = sum(self.bits.values()) - known
        secrets = [f"{covered.share:.0%} of {name}" for name, covered in self.covered.items()]
        found = ", ".join(secrets) if secrets else "nothing"
        return (
            f"{self.requests} requests; at most {known:.0f} bits to allowed hosts, {unknown:.0f} to others; "
            f"of secrets {found}"
        )

    def with_pending(self, facts: Facts) -> dict[str, Covered]:
        """What will have left of the secrets that a request carries, once it is sent."""
        return {name: now | self.covered[name] if name in self.covered else now for name, now in facts.carried.items()}

    def add(self, facts: Facts, destination: str) -> None:
        """Count a request as sent."""
        self.covered |= self.with_pending(facts)
        self.bits[destination] = self.bits.get(destination, 0.0) + facts.novelty
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

    def account(self, name: str) -> Account:
        """The account of a session.

        Raises:
            Full: It is new, and as many as allowed are in use.
        """
        found = self.accounts.pop(name, None)
        if found is None:
            self._make_room()
            found = Account()
        found.used = self.clock()
        self.accounts[name] = found  # the last place: least recently used come first
        return found

    def add(self, facts: Facts, destination: str) -> None:
        """Count a request as sent."""
        self.account(facts.session).add(facts, destination)
        self.together.covered |= self.together.with_pending(facts)

    def memory(self, session: str, destination: str) -> Novelty:
        """What a destination was sent in a session. Of those beyond `MEMORIES`, everything is new again."""
        found = self._memories.pop((session, destination), None) or Novelty()
        self._memories[session, destination] = found
        if len(self._memories) > MEMORIES:
            del self._memories[next(iter(self._memories))]
        return found

    def restore(self, sent: Iterable[dict[str, Any]], destination: Callable[[Facts], str]) -> None:
        """Count what a log says was sent."""
        for record in sent:
            if record.get("sent"):
                facts = Facts.from_record(record["facts"])
                self.add(facts, destination(facts))

    def _make_room(self) -> None:
        if len(self.accounts) < self.limit:
            return
        late = self.clock() - self.idle
        for name, account in self.accounts.items():
            if account.used > late:
                break
            if not account.covered:
                del self.accounts[name]
                return
        raise Full(f"{self.limit} sessions are in use; end some, or raise session.sessions.")
