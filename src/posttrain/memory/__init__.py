"""Memory for agents: turns kept as they came, a causality graph, and evidence with proofs (AMA-Agent)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posttrain.lazy import exports

if TYPE_CHECKING:
    from posttrain.memory.added import Added, MemoryFileError, Refused, RunChanged, UnknownRun
    from posttrain.memory.answer import Answer, Evidence, Finding
    from posttrain.memory.consult import Consulted
    from posttrain.memory.extract.model import ChatExtractor
    from posttrain.memory.memory import Memory
    from posttrain.memory.rows import Edge, Fact, Posting, Proof, Turn
    from posttrain.memory.view import View

__getattr__ = exports(
    __name__,
    {
        "added": ("Added", "MemoryFileError", "Refused", "RunChanged", "UnknownRun"),
        "answer": ("Answer", "Evidence", "Finding"),
        "consult": ("Consulted",),
        "extract.model": ("ChatExtractor",),
        "memory": ("Memory",),
        "rows": ("Edge", "Fact", "Posting", "Proof", "Turn"),
        "view": ("View",),
    },
)

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
