"""Our memory over its SQLite store, whole or with one part of the planner taken out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from posttrain.memory.answer import Answer
from posttrain.memory.memory import Memory
from posttrain.memory.rows import Fact, Turn


class Ours:
    """`posttrain.memory`.

    Args:
        without: Parts of the planner that are left out, such as `address`.
    """

    def __init__(self, *without: str) -> None:
        self.without = without
        self.folder = tempfile.TemporaryDirectory(prefix="posttrain-ama-")
        self.memory: Memory | None = None
        self.run, self.logs = "", 0

    def build(self, turns: Sequence[Turn]) -> None:
        """A new database with the log."""
        self._shut()
        self.logs += 1
        self.memory = Memory(Path(self.folder.name) / f"{self.logs}.db")
        self.memory.add_many(turns)
        self.run = turns[0].run

    def ask(self, question: str, k: int, tokens: int | None = None) -> Answer:
        """The memory's answer."""
        from posttrain.memory.retrieval.ask import ask

        view = self._open().view(self.run)
        return ask(view, question, turns=k, tokens=tokens, without=self.without)

    def retrieve(self, question: str, k: int, tokens: int | None = None) -> list[int]:
        """The turns of its evidence, the best first."""
        found = self.ask(question, k, tokens).evidence
        return [each.turn for each in sorted(found, key=lambda each: (-each.score, each.turn))]

    def stored(self, wanted: Sequence[int]) -> list[Turn]:
        """The turns as the database has them."""
        return self._open().view(self.run).turns(wanted)

    def facts(self) -> list[Fact]:
        """All versions of all states that it has."""
        return self._open().view(self.run).facts()

    def _open(self) -> Memory:
        if self.memory is None:
            raise RuntimeError("There is no log yet; call build first.")
        return self.memory

    def _shut(self) -> None:
        if self.memory is not None:
            self.memory.close()
            for file in Path(self.folder.name).glob(f"{self.logs}.db*"):
                file.unlink()
        self.memory = None

    def close(self) -> None:
        """Delete the databases."""
        self._shut()
        self.folder.cleanup()
