"""Kills and crowds: acknowledged turns that are lost, and indexes that do not agree with the turns. Both must be 0.

`python -m benchmarks.memory_faults` writes results/memory-faults.json.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROUNDS, EACH = 100, 500


def measure() -> dict[str, Any]:
    """Of all kinds."""
    return {"kill_9": kills(ROUNDS), "crowd": crowd(EACH)}


def kills(rounds: int) -> dict[str, Any]:
    """A process adds turns one by one and says so after each; it is killed at a random point, again and again."""
    from posttrain.memory import Memory

    draw, acknowledged, lost, damaged = random.Random(0), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.db"
        for number in range(rounds):
            if number % 20 == 0:
                path = Path(folder) / f"{number}.db"
                acknowledged = 0
            child = _child(path, "run", acknowledged, 10**6)
            assert child.stdout is not None
            seen = [child.stdout.readline()]
            until = time.monotonic() + draw.random() / 2
            while time.monotonic() < until:
                seen.append(child.stdout.readline())
            child.kill()
            seen += [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
            child.wait()
            child.stdout.close()
            with Memory(path) as memory:
                there = memory.view("run").between(0, 10**7)
                whole = [turn for turn in there if turn == _turn("run", turn.turn)]
                lost += max(0, acknowledged + len(seen) - len(whole))
                damaged += bool(memory.check()) or [turn.turn for turn in whole] != list(range(len(there)))
            acknowledged = len(there)
    return {"rounds": rounds, "lost": lost, "databases_that_do_not_agree": damaged}


def crowd(each: int) -> dict[str, Any]:
    """Four processes add to two runs, two readers look whether turns only ever become more, and checkpoints run."""
    import apsw

    from posttrain.memory import Memory, RunChanged

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.db"
        Memory(path).close()
        start = time.perf_counter()
        children = [_child(path, f"run {n % 2}", (n // 2) * each, each) for n in range(4)]
        stop, wrong, looks = threading.Event(), list[str](), list[int]()

        def look() -> None:
            with Memory(path) as memory:
                seen: dict[str, int] = {}
                while not stop.is_set():
                    for run in memory.runs():
                        view = memory.view(run)
                        try:
                            count, hits = len(view.lengths().turn), len(view.hits(["door"]).turn)
                        except RunChanged:  # a late turn came in between
                            continue
                        looks.append(count)
                        if count < seen.get(run, 0) or hits != count:
                            wrong.append(f"{run}: {count}")
                        seen[run] = count
                    time.sleep(0.01)

        readers = [threading.Thread(target=look) for _ in range(2)]
        for reader in readers:
            reader.start()
        keeper = apsw.Connection(str(path))
        keeper.set_busy_timeout(10_000)
        while any(child.poll() is None for child in children):
            keeper.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        stop.set()
        for reader in readers:
            reader.join()
        keeper.close()
        said = sum(len(child.stdout.read().splitlines()) for child in children if child.stdout)
        failed = sum(child.returncode != 0 for child in children)
        with Memory(path) as memory:
            there = [turn for run in memory.runs() for turn in memory.view(run).between(0, 10**7)]
            problems = memory.check()
    return {
        "processes": 4,
        "adds": 4 * each,
        "acknowledged": said,
        "lost": said - sum(turn == _turn(turn.run, turn.turn) for turn in there),
        "processes_that_failed": failed,
        "looks": len(looks),
        "looks_that_went_back": len(wrong),
        "problems": len(problems),
        "seconds": round(seconds, 1),
    }


def _turn(run: str, turn: int) -> Any:
    from posttrain.memory import Turn

    return Turn(run, turn, f"open door {turn % 7} of {run}", f"The door {turn % 7} is open.\nLine {turn}. " * 8)


def _child(path: Path, run: str, first: int, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.memory_faults", str(path), run, str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _add(path: str, run: str, first: int, count: int) -> None:
    from posttrain.memory import Memory

    with Memory(path) as memory:
        for number in range(first, first + count):
            turn = _turn(run, number)
            memory.add(run, number, action=turn.action, observation=turn.observation)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def main() -> None:
    """Measure and write."""
    from posttrain.bench.record import provenance
    from posttrain.files import write_json

    write_json(Path("results/memory-faults.json"), {**provenance(), **measure()})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _add(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
