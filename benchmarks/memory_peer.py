"""One store's part of `memory_peers.py`, in a process and a Python of its own; it needs numpy and the store alone.

    python memory_peer.py NAME FOLDER SIZE SINGLE OUT.json [reopen]

FOLDER holds `texts.jsonl`, `vectors.npy`, `queries.jsonl` and `asked.npy`. Turns are loaded in bulk but for the last
SINGLE, which are added one by one; queries are filtered to a run. With `reopen` it opens what another process has left.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

K = 10
BULK = 2000


class Data:
    """What every store is given."""

    def __init__(self, folder: Path, size: int) -> None:
        self.turns = [json.loads(line) for line in itertools.islice((folder / "texts.jsonl").open(), size)]
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self.queries = [json.loads(line) for line in (folder / "queries.jsonl").open()]
        self.asked = np.load(folder / "asked.npy")


class Chroma:
    """A collection with run and turn as metadata."""

    def __init__(self, folder: Path) -> None:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        self.client = chromadb.PersistentClient(str(folder), settings)
        self.rows = self.client.get_or_create_collection("turns", embedding_function=None)

    def add(self, turns: list[dict[str, Any]], vectors: np.ndarray) -> None:
        self.rows.add(
            ids=[f"{t['run']}/{t['turn']}" for t in turns],
            documents=[t["text"] for t in turns],
            embeddings=np.asarray(vectors),
            metadatas=[{"run": t["run"], "turn": t["turn"]} for t in turns],
        )

    def query(self, run: str, text: str, vector: np.ndarray) -> int:
        found = self.rows.query(query_embeddings=[vector], n_results=K, where={"run": run})
        return len((found["ids"] or [[]])[0])

    def finish(self) -> None:
        """There is nothing to do after a load."""


class Lance:
    """A table with an index of runs; `optimize` after the load, as its makers advise."""

    def __init__(self, folder: Path) -> None:
        import lancedb
        import pyarrow as pa

        self.pa, self.db = pa, lancedb.connect(str(folder))
        self.schema = pa.schema([("run", pa.string()), ("turn", pa.int64()), ("text", pa.string()),
                                 ("vector", pa.list_(pa.float32(), 384))])  # fmt: skip
        self.rows = self.db.create_table("turns", schema=self.schema, exist_ok=True)

    def add(self, turns: list[dict[str, Any]], vectors: np.ndarray) -> None:
        columns = {name: [t[name] for t in turns] for name in ("run", "turn", "text")}
        flat = self.pa.array(np.asarray(vectors, np.float32).ravel())
        columns["vector"] = self.pa.FixedSizeListArray.from_arrays(flat, 384)
        self.rows.add(self.pa.table(columns, schema=self.schema))

    def query(self, run: str, text: str, vector: np.ndarray) -> int:
        return len(self.rows.search(vector).where(f"run = '{run}'", prefilter=True).limit(K).to_list())

    def finish(self) -> None:
        self.rows.create_scalar_index("run")
        self.rows.optimize()


class Mem0:
    """mem0 with `infer=False` over Qdrant on local disk; vectors come from a table in place of its embedder."""

    def __init__(self, folder: Path) -> None:
        os.environ.update(MEM0_TELEMETRY="False", OPENAI_API_KEY="none", MEM0_DIR=str(folder / "home"))
        import logging

        from mem0 import Memory

        logging.getLogger("mem0").setLevel(logging.ERROR)
        store = {"path": str(folder / "qdrant"), "on_disk": True, "embedding_model_dims": 384,
                 "collection_name": "turns"}  # fmt: skip
        self.memory = Memory.from_config({
            "vector_store": {"provider": "qdrant", "config": store},
            "embedder": {"provider": "openai", "config": {"embedding_dims": 384}},
            "history_db_path": str(folder / "history.db"),
        })  # fmt: skip
        self.memory.embedding_model = self
        self.vector: list[float] = []

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self.vector

    def embed_batch(self, texts: list[str], memory_action: str | None = None) -> list[list[float]]:
        return [self.vector for _ in texts]

    def add(self, turns: list[dict[str, Any]], vectors: np.ndarray) -> None:
        for turn, vector in zip(turns, vectors, strict=True):
            self.vector = vector.tolist()
            found = self.memory.add(turn["text"], user_id=turn["run"], metadata={"turn": turn["turn"]}, infer=False)
            if len(found["results"]) != 1:
                raise RuntimeError(f"mem0 acknowledged {found} for one turn.")

    def query(self, run: str, text: str, vector: np.ndarray) -> int:
        self.vector = vector.tolist()
        return len(self.memory.search(text, filters={"user_id": run}, top_k=K, threshold=0.0)["results"])

    def finish(self) -> None:
        """There is nothing to do after a load."""


class Ours:
    """`posttrain.memory`: `ask`, with its planner, its words, its graph and the vectors.

    Args:
        folder: Of the database.
        knn: Ask for the nearest vectors in place of `ask`, which is what the others do.
    """

    def __init__(self, folder: Path, knn: bool = False) -> None:
        from posttrain.memory import Memory

        self.knn = knn
        self.coming: Any = None
        folder.mkdir(parents=True, exist_ok=True)
        self.memory = Memory(folder / "memory.db", embedder=self)

    name, quick = "given", True

    def __call__(self, texts: Any) -> np.ndarray:
        found, self.coming = self.coming[: len(texts)], self.coming[len(texts) :]
        return np.asarray(found)

    def add(self, turns: list[dict[str, Any]], vectors: np.ndarray) -> None:
        from posttrain.memory import Turn

        self.coming = vectors
        if len(turns) == 1:
            turn = turns[0]
            self.memory.add(turn["run"], turn["turn"], action=turn["action"], observation=turn["observation"])
        else:
            self.memory.add_many(Turn(t["run"], t["turn"], t["action"], t["observation"]) for t in turns)

    def query(self, run: str, text: str, vector: np.ndarray) -> int:
        if not self.knn:
            self.coming = vector[None]
            return len(self.memory.ask(run, text, turns=K).evidence)
        turns, vectors = self.memory.view(run).vectors("given")
        best = np.argsort(-(vectors @ vector), kind="stable")[:K]
        return len(self.memory.view(run).turns(turns[best].tolist()))

    def finish(self) -> None:
        """There is nothing to do after a load."""


STORES: dict[str, Any] = {
    "ours": Ours, "ours, nearest vectors": lambda folder: Ours(folder, knn=True), "Chroma": Chroma, "LanceDB": Lance,
    "mem0": Mem0,
}  # fmt: skip


def measure(name: str, folder: Path, size: int, single: int) -> dict[str, Any]:
    """Load, add one by one, ask."""
    data, store_folder = Data(folder, size), folder / "stores" / f"{name}-{size}"
    store = STORES[name](store_folder)
    loaded, begun = size - single, time.perf_counter()
    step = 1 if name == "mem0" else BULK
    for at in range(0, loaded, step):
        last = min(at + step, loaded)
        store.add(data.turns[at:last], data.vectors[at:last])
    load = time.perf_counter() - begun
    adds = []
    for at in range(loaded, size):
        begun = time.perf_counter()
        store.add(data.turns[at : at + 1], data.vectors[at : at + 1])
        adds.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    store.finish()
    finished = time.perf_counter() - begun
    found = {"load_s": load, "finish_s": finished, **_times("add", adds), **_ask(store, data, size)}
    return {**found, "memory_mib": _resident(), "version": _version(name)}


def _ask(store: Any, data: Data, size: int) -> dict[str, Any]:
    """Queries of runs that are there, each after the others; the first of a run apart from those after it."""
    there = {turn["run"] for turn in data.turns[:size]}
    first, later, empty, seen = [], [], 0, set()
    for query, vector in zip(data.queries, data.asked, strict=True):
        if query["run"] not in there:
            continue
        begun = time.perf_counter()
        n = store.query(query["run"], query["text"], vector)
        (later if query["run"] in seen else first).append(time.perf_counter() - begun)
        seen.add(query["run"])
        empty += n == 0
    return {**_times("first_query", first), **_times("query", [*first, *later]), "queries": len(first) + len(later),
            "empty": empty}  # fmt: skip


def reopen(name: str, folder: Path, size: int) -> dict[str, Any]:
    """Opening in a process that has done nothing else; the library is read before the clock starts."""
    data = Data(folder, size)
    for module in {"Chroma": ("chromadb",), "LanceDB": ("lancedb", "pyarrow"), "mem0": ("mem0",)}.get(
        name, ("posttrain.memory.memory", "posttrain.memory.retrieval.ask")
    ):
        __import__(module)
    begun = time.perf_counter()
    store = STORES[name](folder / "stores" / f"{name}-{size}")
    opened = time.perf_counter() - begun
    query = data.queries[0]
    store.query(query["run"], query["text"], data.asked[0])
    return {"open_ms": 1e3 * opened, "open_and_query_ms": 1e3 * (time.perf_counter() - begun)}


def _times(name: str, seconds: list[float]) -> dict[str, Any]:
    if not seconds:
        return {}
    return {f"{name}_ms_p{q}": 1e3 * float(np.percentile(seconds, q)) for q in (50, 95)} | {f"{name}_n": len(seconds)}


def _version(name: str) -> str:
    """Of the store's package; ours is the checkout's."""
    package = {"Chroma": "chromadb", "LanceDB": "lancedb", "mem0": "mem0ai"}.get(name)
    return importlib.metadata.version(package) if package else "this commit"


def _resident() -> float:
    """Of this process."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), float("nan"))


def main(arguments: list[str]) -> None:
    """Measure, or open again; JSON to a file."""
    name, folder, size, single, out, *again = arguments
    found = reopen(name, Path(folder), int(size)) if again else measure(name, Path(folder), int(size), int(single))
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
