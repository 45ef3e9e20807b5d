"""A guard's verdict: what was decided, by which rule, and on what evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from posttrain.trajectory import Span

Action: TypeAlias = Literal["allow", "ask", "deny"]

SEVERITY: dict[str, int] = {"allow": 0, "ask": 1, "deny": 2}


@dataclass(frozen=True)
class Finding:
    """What one rule has to say."""

    action: Action
    """`allow` only notes something."""
    rule: str
    """The key of the policy that decided, such as `destinations.allow`."""
    because: str
    """One sentence with the evidence, without any secret."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """Numbers and names behind the sentence, as JSON."""
    spans: tuple[Span, ...] = ()
    """Where in the conversation it came from."""


@dataclass(frozen=True)
class Verdict:
    """The findings of all rules about one request, and what follows from them."""

    findings: tuple[Finding, ...] = ()
    hop: int = 0
    """0 is the request itself, n its n-th redirect."""
    mode: str = "enforce"
    """`report` and `open` note what `enforce` would have done, and let it pass."""

    @property
    def worst(self) -> Finding | None:
        """The finding that decides; None where no rule objects."""
        return max(self.findings, key=lambda f: SEVERITY[f.action], default=None)

    @property
    def judged(self) -> Action:
        """What the rules say, whatever the mode."""
        return "allow" if self.worst is None else self.worst.action

    @property
    def action(self) -> Action:
        """What happens."""
        return "allow" if self.mode in ("report", "open") else self.judged

    @property
    def rule(self) -> str:
        """The rule that decided; empty where none objects."""
        return "" if self.worst is None or self.judged == "allow" else self.worst.rule

    def __str__(self) -> str:
        if self.judged == "allow":
            return "allowed"
        done = "" if self.action == self.judged else f" (let pass: the mode is {self.mode})"
        hop = f", redirect {self.hop}" if self.hop else ""
        finding = self.worst
        assert finding is not None
        spans = f" Named in {', '.join(map(str, finding.spans))}." if finding.spans else ""
        return f"{self.judged} by {finding.rule}{hop}{done}: {finding.because}{spans}"
