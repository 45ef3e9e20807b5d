"""What it costs to keep a turn: time of a durable add, bytes per raw byte, time to open; and to ask one long run.

The turns are those of the AMA-Bench sample (POSTTRAIN_DATA, by default ../shared/data); where it is not at hand nothing
is measured. Every part runs in a process of its own, in a folder of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE = Path(os.environ.get("POSTTRAIN_DATA", "../shared/data")) / "ama_bench_sample" / "episodes.jsonl"
QUESTIONS = (
    "What did the agent do at step 12?",
    "Which earlier step made opening the chest possible?",
    "How many times was the key taken?",
    "What was the state of the door after step 40?",
)


def measure() -> dict[str, Any]:
    """Milliseconds, bytes and ratios."""
    if not SAMPLE.is_file():
        return {"skipped": f"no file at {SAMPLE}; set POSTTRAIN_DATA"}
    found = {f"add_{durability}": _in_a_process("add", durability) for durability in ("process", "power")}
    found["add_process"] |= {"p50_at_most": 0.5, "p95_at_most": 3.0, "bytes_per_raw_byte_at_most": 4.0}
    return {**found, "of_which_reading": _in_a_process("read"), "long_run": _in_a_process("long", "20000")}


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most."""
    if "skipped" in found:
        return []
    add = found["add_process"]
    return [
        ("memory: a durable add, p50, ms", add["p50_ms"], add["p50_at_most"]),
        ("memory: a durable add, p95, ms", add["p95_ms"], add["p95_at_most"]),
        ("memory: bytes on disk / bytes of the turns", add["bytes_per_raw_byte"], add["bytes_per_raw_byte_at_most"]),
    ]


def _in_a_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory_add", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _log() -> list[tuple[str, int, str, str]]:
    """Run, number, action and observation of each turn."""
    episodes = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    return [
        (episode["episode_id"], turn["turn_idx"], turn["action"] or "", turn["observation"] or "")
        for episode in episodes
        for turn in episode["trajectory"]
    ]


def _read() -> dict[str, Any]:
    """What of an add goes into words, states and edges, without any database."""
    from posttrain.memory.graph import Known
    from posttrain.memory.index import entry
    from posttrain.memory.rows import Turn

    seconds, known, before = [], Known(), None
    for run, turn, action, observation in _log():
        if before is not None and before.run != run:
            known, before = Known(), None
        given = Turn(run, turn, action, observation)
        start = time.perf_counter()
        entry(given, before, known)
        seconds.append(time.perf_counter() - start)
        before = given
    return _quantiles(seconds)


def _add(durability: str) -> dict[str, Any]:
    """One add after the other, each acknowledged."""
    from posttrain.memory import Memory

    log = _log()
    raw = sum(
        len(text.encode("utf-8", "surrogatepass")) for *_, action, observation in log for text in (action, observation)
    )
    with tempfile.TemporaryDirectory() as folder:
        path, seconds = Path(folder) / "agent.db", []
        with Memory(path, durability=durability) as memory:  # pyright: ignore[reportArgumentType]
            for run, turn, action, observation in log:
                start = time.perf_counter()
                memory.add(run, turn, action=action, observation=observation)
                seconds.append(time.perf_counter() - start)
        opened = []
        for _ in range(5):
            start = time.perf_counter()
            with Memory(path) as memory:
                memory.view(log[0][0]).lengths()
                opened.append(time.perf_counter() - start)
        return {
            **_quantiles(seconds),
            "bytes_per_raw_byte": round(path.stat().st_size / raw, 3),
            "open_ms": round(1000 * float(np.median(opened)), 2),
            "turns": len(log),
            "mean_bytes": round(raw / len(log)),
        }


def _long(count: int) -> dict[str, Any]:
    """One run of so many turns: adds in batches, then questions."""
    from posttrain.memory import Memory, Turn

    log = _log()
    turns = (Turn("long", n, action, text) for n, (*_, action, text) in zip(range(count), itertools.cycle(log)))
    with tempfile.TemporaryDirectory() as folder, Memory(Path(folder) / "agent.db") as memory:
        start = time.perf_counter()
        for batch in _batches(turns, 500):
            memory.add_many(batch)
        rate = count / (time.perf_counter() - start)
        memory.close()
        with Memory(Path(folder) / "agent.db") as memory:
            cold = _timed(lambda: memory.add("long", count, action="look"))
            seconds = []
            for _ in range(5):
                for question in QUESTIONS:
                    seconds.append(_timed(lambda question=question: memory.ask("long", question)))
        return {
            "turns": count,
            "turns_per_second_in_batches": round(rate),
            "first_add_after_opening_ms": round(1000 * cold, 1),
            "ask": _quantiles(seconds),
            "questions": len(seconds),
        }


def _batches(turns: Iterator[Any], size: int) -> Iterator[Sequence[Any]]:
    while batch := list(itertools.islice(turns, size)):
        yield batch


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    ms = 1000 * np.asarray(seconds)
    found = {"p50_ms": np.percentile(ms, 50), "p95_ms": np.percentile(ms, 95), "mean_ms": ms.mean(), "max_ms": ms.max()}
    return {name: round(float(value), 3) for name, value in found.items()}


if __name__ == "__main__":
    kind, *rest = sys.argv[1:] or ["all"]
    parts = {"all": measure, "add": lambda: _add(rest[0]), "read": _read, "long": lambda: _long(int(rest[0]))}
    print(json.dumps(parts[kind]()))
