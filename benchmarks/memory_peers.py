"""The memory beside mem0 (infer=False), Chroma and LanceDB: durable adds, queries of a run, disk and opening.

All are given the same turns, of the rooms of `posttrain bench ama`, and the same 384-dimensional vectors, made
beforehand; each runs in a process of its own, one after the other. Queries are filtered to a run. The others find
nearest vectors; ours is asked in words, with its planner and its graph, and for nearest vectors in a row of its own.
mem0 goes to 10,000 turns and Chroma to 100,000. At 1,000,000 there are 1,000 runs of 1,000 turns and one of 20,000.

How durable an add is differs: ours survives the end of the process (SQLite, synchronous=NORMAL); whether the others
reach the disk with each add is their affair.

    POSTTRAIN_PEERS=/path/to/python python -m benchmarks.memory_peers [--tiny] [OUT.json]

`POSTTRAIN_PEERS` is a Python in which `pip install mem0ai chromadb lancedb` was run; without it they are left out.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from posttrain.bench.ama.worlds import rooms
from posttrain.bench.record import provenance
from posttrain.files import write_json

RUN, LONG = 1000, 20_000
"""Turns of a run, and of the long one."""
PEERS = {"mem0": 10_000, "Chroma": 100_000, "LanceDB": 1_020_000}
"""As far as each is measured."""
OURS = ("ours", "ours, nearest vectors")
KINDS = 20
"""Different runs; the others repeat their turns under other names."""


class Size(NamedTuple):
    """How much is measured."""

    sizes: tuple[int, ...] = (10_000, 100_000, 1_020_000)
    single: int = 500
    """Turns that are added one by one, at the end."""
    queries: int = 300


FULL, TINY = Size(), Size((10_000,), 200, 60)


def measure(size: Size = FULL) -> dict[str, Any]:
    """All figures; a peer that cannot be run is left out with a line."""
    python, missing = os.environ.get("POSTTRAIN_PEERS", ""), {}
    if not python:
        missing = {name: f"{name} left out: POSTTRAIN_PEERS names no Python that has it" for name in PEERS}
    busy, found = os.getloadavg()[0], {}
    with tempfile.TemporaryDirectory(prefix="posttrain-peers-") as name:
        folder = Path(name)
        raw = _write(folder, size)
        for turns in size.sizes:
            for store in (*OURS, *PEERS):
                if store in missing or turns > PEERS.get(store, turns):
                    continue
                print(f"{store}, {turns:,} turns", file=sys.stderr)
                one = _run(store, folder, turns, size.single, sys.executable if store in OURS else python)
                if isinstance(one, str):
                    missing[store] = one
                else:
                    found.setdefault(store, {})[str(turns)] = one | {"disk_over_text": one["bytes_per_turn"] / raw}
                shutil.rmtree(folder / "stores", ignore_errors=True)
    for line in missing.values():
        print(line, file=sys.stderr)
    return {
        "stores": found,
        "left_out": missing,
        "text_bytes_per_turn": raw,
        "load_average_before": round(busy, 2),
        "setting": f"runs of {RUN:,} turns, at 1,020,000 one of {LONG:,} more; vectors of 384 dimensions, made "
        f"beforehand; the last {size.single} adds one by one; {size.queries} queries, each filtered to a run, ten "
        f"results; {os.cpu_count()} cores",
    }


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Titles, figures and what they may be at most."""
    shown = []
    for turns, one in found["stores"].get("ours", {}).items():
        shown += [
            (f"memory, add at {int(turns):,} turns, p50 ms", one["add_ms_p50"], 0.5),
            (f"memory, add at {int(turns):,} turns, p95 ms", one["add_ms_p95"], 3.0),
            (f"memory, query of a run at {int(turns):,} turns, p95 ms", one["query_ms_p95"], 50.0),
        ]
    return shown


def _write(folder: Path, size: Size) -> float:
    """The data that all are given; returns the bytes of a turn's text."""
    most, total = max(size.sizes), 0
    kinds = [_turns(seed, RUN) for seed in range(KINDS)]
    rng, normal = random.Random("memory peers"), np.random.default_rng(0)
    with (folder / "texts.jsonl").open("w") as file:
        for turn in itertools.islice(_all(kinds, most), most):
            total += len(turn["text"].encode())
            file.write(json.dumps(turn) + "\n")
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (most, 384))
    for at in range(0, most, 10_000):
        vectors[at : at + 10_000] = _unit(normal.standard_normal((min(10_000, most - at), 384)))
    vectors.flush()
    runs = sorted({f"run-{at // RUN}" for at in range(0, min(most, 1_000_000), RUN)})
    chosen = rng.sample(runs, min(len(runs), size.queries // 3))
    asked = [_question(run, rng) for run in (chosen * 3)[: size.queries]]
    if most > 1_000_000:
        asked += [_question("long-run", rng) for _ in range(20)]
    small = [_question(f"run-{rng.randrange(10)}", rng) for _ in range(size.queries // 3)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (*small, *asked)))
    np.save(folder / "asked.npy", _unit(normal.standard_normal((len(small) + len(asked), 384))).astype(np.float32))
    return total / most


def _turns(seed: int, n: int) -> list[tuple[str, str]]:
    """Actions and observations of a run."""
    log = rooms.logs(f"{max(8, n // 20)}K", seed, ["prose"])[0]
    while len(log.turns) < n:
        log = rooms.logs(f"{2 * log.tokens // 1024}K", seed, ["prose"])[0]
    return [(turn.action, turn.observation) for turn in log.turns[:n]]


def _all(kinds: Sequence[list[tuple[str, str]]], most: int) -> Iterator[dict[str, Any]]:
    """Runs of `RUN` turns; after a million turns the long one. The turns that are added last belong to the last run."""
    for number in range(min(most, 1_000_000) // RUN):
        yield from _named(f"run-{number}", kinds[number % len(kinds)])
    if most > 1_000_000:
        yield from _named("long-run", _turns(99, LONG))


def _named(run: str, turns: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    for number, (action, observation) in enumerate(turns):
        text = f"{action}\n{observation}"
        yield {"run": run, "turn": number, "action": action, "observation": observation, "text": text}


def _question(run: str, rng: random.Random) -> dict[str, str]:
    step, form = rng.randrange(RUN), rng.choice(QUESTIONS)
    return {
        "run": run,
        "text": form.format(step=step, item=rng.choice(THINGS)),
    }


THINGS = ("brass key", "old lamp", "blue cup", "drawer 1")
QUESTIONS = (
    "What did the agent do at step {step}?",
    "Where was the {item} right after step {step}?",
    "Which earlier step made opening the {item} at step {step} possible?",
    "How many times was the {item} picked up?",
    "Which rooms did the agent enter before it found the {item}?",
)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _run(store: str, folder: Path, turns: int, single: int, python: str) -> dict[str, Any] | str:
    """One store: filled and asked, then opened again, each in a process of its own; a sentence where it failed."""
    found: dict[str, Any] = {}
    for again in ([], ["reopen"]):
        out = folder / "out.json"
        out.unlink(missing_ok=True)
        script = Path(__file__).with_name("memory_peer.py")
        ended = subprocess.run(
            [python, str(script), store, str(folder), str(turns), str(single), str(out), *again],
            capture_output=True, text=True, cwd=folder,
        )  # fmt: skip
        if ended.returncode or not out.is_file():
            said = ended.stderr.partition("Exception ignored")[0].strip().splitlines()
            return f"{store} left out at {turns:,} turns: {said[-1] if said else f'exit code {ended.returncode}'}"
        found |= json.loads(out.read_text())
    files = [file for file in (folder / "stores").rglob("*") if file.is_file()]
    return found | {"bytes_per_turn": sum(file.stat().st_size for file in files) / turns}


def table(found: dict[str, Any]) -> Table:
    """What was found, to read."""
    keys = {"add p50 ms": "add_ms_p50", "p95": "add_ms_p95", "query p50 ms": "query_ms_p50", " p95": "query_ms_p95",
            "first of a run p95": "first_query_ms_p95", "bytes/turn": "bytes_per_turn", "open ms": "open_ms",
            "open and ask": "open_and_query_ms", "load s": "load_s", "MiB": "memory_mib"}  # fmt: skip
    out = Table("store", "turns", *keys, title="memories, side by side")
    for store, by_size in found["stores"].items():
        for turns, one in by_size.items():
            out.add_row(store, f"{int(turns):,}", *(f"{one[key]:,.2f}" if key in one else "-" for key in keys.values()))
    return out


def main(arguments: Sequence[str]) -> None:
    """Measure this alone."""
    found = measure(TINY if "--tiny" in arguments else FULL)
    out = next((name for name in arguments if not name.startswith("-")), "results/bench-memory.json")
    write_json(Path(out), {**provenance(), **found})
    console = Console(width=160)
    console.print(table(found))
    for title, value, bound in rows(found):
        console.print(f"{title}: {value:.3f}" + ("" if value <= bound else f"  above {bound:g}"), highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
