"""What came of one method on one log."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One question, and what came of it. Texts of the log are never in it."""

    id: str
    kind: str
    template: str
    answerable: bool
    needle: tuple[tuple[int, ...], ...]
    named: tuple[int, ...]
    turns: tuple[int, ...]
    """Found, the best first."""
    k: int
    """How many it might find; 0 for a method that finds nothing and only fills a reader's context."""
    within: tuple[int, ...]
    """Found within the budget of tokens."""
    seconds: float
    """Of the search."""
    rules: dict[str, float] = field(default_factory=dict)
    """By setting, how right the rule reader's answer is."""
    model: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By setting: the model's `answer`, the judge's `right` (None is unscored) and the token `f1`."""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Asked:
        """Back from JSON."""
        needle = tuple(tuple(piece) for piece in record["needle"])
        lists = {name: tuple(record[name]) for name in ("named", "turns", "within")}
        return cls(**{**record, "needle": needle, **lists})


@dataclass(frozen=True)
class Row:
    """One method on one log."""

    log: str
    method: str
    world: str
    form: str
    length: str
    tokens: int
    """Of the log, estimated."""
    size: int
    """Turns."""
    build: float = 0.0
    """Seconds."""
    asked: tuple[Asked, ...] = ()
    printed: int = 0
    """States that the log prints; counted for our own store only."""
    kept: int = 0
    """Of these, those that the store gives back."""
    error: str = ""
    """Why it broke; then nothing of it counts."""

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.method} / {self.log}"

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"key": self.key, **asdict(self)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Row:
        """Back from JSON."""
        fields = {name: value for name, value in record.items() if name != "key"}
        return cls(**{**fields, "asked": tuple(map(Asked.from_record, record["asked"]))})
