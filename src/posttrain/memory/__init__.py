"""Memory for agents: turns kept as they came, a causality graph, and evidence with proofs (AMA-Agent)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posttrain.memory.added import Added, MemoryFileError, Refused, RunChanged, UnknownRun
    from posttrain.memory.answer import Answer, Evidence, Finding
    from posttrain.memory.consult import Consulted
    from posttrain.memory.extract.model import ChatExtractor
    from posttrain.memory.memory import Memory
    from posttrain.memory.rows import Edge, Fact, Posting, Proof, Turn
    from posttrain.memory.view import View

_HOMES = {
    "added": ("Added", "MemoryFileError", "Refused", "RunChanged", "UnknownRun"),
    "answer": ("Answer", "Evidence", "Finding"),
    "consult": ("Consulted",),
    "extract.model": ("ChatExtractor",),
    "memory": ("Memory",),
    "rows": ("Edge", "Fact", "Posting", "Proof", "Turn"),
    "view": ("View",),
}

__all__ = [
    "Added",
    "Answer",
    "ChatExtractor",
    "Consulted",
    "Edge",
    "Evidence",
    "Fact",
    "Finding",
    "Memory",
    "MemoryFileError",
    "Posting",
    "Proof",
    "Refused",
    "RunChanged",
    "Turn",
    "UnknownRun",
    "View",
]


def __getattr__(name: str) -> Any:
    """Modules are read where a name is used first."""
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"posttrain.memory.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
