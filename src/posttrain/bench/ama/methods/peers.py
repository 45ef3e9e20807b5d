"""What else is installed: a small encoder, and mem0 without its model calls."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.bench.ama.methods.baselines import Characters, Scored, text_of
from posttrain.extras import need
from posttrain.memory.embedders import minilm
from posttrain.memory.rows import Turn


class MiniLM(Scored):
    """Cosine of all-MiniLM-L6-v2's vectors, from the weights that its package brings."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = minilm()

    def build(self, turns: Sequence[Turn]) -> None:
        """One vector a turn; the encoder reads its first 256 tokens."""
        super().build(turns)
        self.matrix = self.embed([text_of(turn) for turn in self.turns.values()])

    def scores(self, question: str) -> np.ndarray:
        """Cosines."""
        return self.matrix @ self.embed([question])[0]


class Mem0(Scored):
    """mem0 with `infer=False`, so that it calls no model, over vectors of hashed characters; Qdrant on local disk.

    One memory for each turn, with the turn's number in its metadata.
    """

    def __init__(self) -> None:
        super().__init__()
        os.environ["MEM0_TELEMETRY"] = "False"
        os.environ.setdefault("OPENAI_API_KEY", "none")
        self.embed = Characters().vector
        self.folder = tempfile.TemporaryDirectory(prefix="posttrain-mem0-", ignore_cleanup_errors=True)
        self.memory: Any = None
        self.logs = 0

    def build(self, turns: Sequence[Turn]) -> None:
        """A new collection with the log."""
        super().build(turns)
        self.close_memory()
        self.logs += 1
        self.memory = open_mem0(Path(self.folder.name) / str(self.logs), lambda text: self.embed(text).tolist(), 4096)
        for turn in self.turns.values():
            self.memory.add(text_of(turn), user_id="run", metadata={"turn": turn.turn}, infer=False)

    def retrieve(self, question: str, k: int, tokens: int | None = None) -> list[int]:
        """What its search gives."""
        found = self.memory.search(question, filters={"user_id": "run"}, top_k=k, threshold=0.0)["results"]
        ranked = dict.fromkeys(int(each["metadata"]["turn"]) for each in found)
        return self.fitting(list(ranked), k, tokens)

    def stored(self, wanted: Sequence[int]) -> list[Turn]:
        """The memories of the turns; what was an action and what an observation is no longer told apart."""
        asked = set(wanted)
        found = self.memory.get_all(filters={"user_id": "run"}, top_k=len(self.turns))["results"]
        texts = {int(each["metadata"]["turn"]): str(each["memory"]).partition("\n") for each in found}
        return [Turn("run", number, texts[number][0], texts[number][2]) for number in sorted(asked & texts.keys())]

    def close_memory(self) -> None:
        """Give the collection back."""
        if self.memory is not None:
            self.memory.vector_store.client.close()
        self.memory = None

    def close(self) -> None:
        """Delete the collections."""
        self.close_memory()
        self.folder.cleanup()


def open_mem0(folder: Path, embed: Any, dimensions: int) -> Any:
    """A `mem0.Memory` in a folder, that embeds by a function of our own and calls nobody."""
    logging.getLogger("mem0").setLevel(logging.ERROR)
    vectors = {"embedding_model_dims": dimensions, "collection_name": "turns"}
    store = {"provider": "qdrant", "config": {"path": str(folder / "qdrant"), "on_disk": True, **vectors}}
    embedder = {"provider": "openai", "config": {"embedding_dims": dimensions}}
    memory = need("mem0").Memory.from_config(
        {"vector_store": store, "embedder": embedder, "history_db_path": str(folder / "history.db")}
    )
    memory.embedding_model = _Embedder(embed)
    return memory


class _Embedder:
    """What mem0 asks for vectors."""

    def __init__(self, embed: Any) -> None:
        self._embed = embed

    def embed(self, text: str, memory_action: str | None = None) -> Any:
        """Of a text."""
        return self._embed(text)

    def embed_batch(self, texts: Sequence[str], memory_action: str | None = None) -> list[Any]:
        """Of several."""
        return [self._embed(text) for text in texts]
