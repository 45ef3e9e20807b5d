"""Whatever fails: a turn is there whole or not at all, and an acknowledged one is there."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import pytest
from adder import made, put
from faulty import Layer

from posttrain.files import WriteError
from posttrain.memory import Memory, MemoryFileError, RunChanged
from posttrain.memory.store.sqlite import SQLite

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def small(monkeypatch):
    """Segments of 4 turns, of which 2 become one, so that few turns make all kinds of writes."""
    monkeypatch.setattr("posttrain.memory.store.upkeep.FOLD", 4)
    monkeypatch.setattr("posttrain.memory.store.upkeep.JOIN", 2)


def process(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, str(HERE / "adder.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)


def assert_whole(memory: Memory, run: str) -> list[int]:
    """All turns of a run are as they were added, and so is the index; gives their numbers."""
    turns = memory.view(run).between(0, 10**6)
    assert turns == [made(run, turn.turn) for turn in turns]
    assert memory.check() == []
    return [turn.turn for turn in turns]


def test_kill_9_loses_no_acknowledged_turn(tmp_path):
    draw, path, acknowledged = random.Random(0), tmp_path / "agent.db", 0
    for _ in range(6):
        child = process(path, "run", acknowledged, 100_000, "process")
        assert child.stdout is not None
        seen = [int(child.stdout.readline())]
        until = time.monotonic() + draw.random() / 2
        while time.monotonic() < until:
            seen.append(int(child.stdout.readline()))
        child.kill()
        seen += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
        child.wait()
        child.stdout.close()
        with Memory(path) as memory:
            there = assert_whole(memory, "run")
        assert there == list(range(len(there)))
        assert len(there) >= len(seen) + acknowledged
        acknowledged = len(there)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_failing_any_write_leaves_a_turn_whole_or_absent(tmp_path, small, durability):
    """Every write of the adds of turns 2 to 8 in its turn, with folding, joining and a checkpoint among them."""
    nth, done = 0, False
    while not done:
        nth += 1
        folder = tmp_path / str(nth)
        folder.mkdir()
        layer = Layer(folder)
        engine = SQLite(folder / "agent.db", durability, vfs=layer.name)
        memory = Memory(engine)
        engine._writer.wal_autocheckpoint(12)
        memory.add_many([made("run", n) for n in range(2)])
        layer.writes, layer.fails_at, kept = 0, nth, 2
        try:
            for turn in range(2, 9):
                put(memory, "run", turn)
                kept += 1
        except WriteError:
            pass
        done = layer.writes < nth
        layer.fails_at = 0
        with Memory(folder / "agent.db") as other:
            there = assert_whole(other, "run")
            assert there in (list(range(kept)), list(range(kept + 1)))
        put(memory, "run", 9)
        assert assert_whole(memory, "run") == [*there, 9]
        memory.close()
        layer.unregister()
    assert nth > 30


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_power_cut_loses_the_last_turns_or_none_with_durability_power(tmp_path, small, durability):
    lost = 0
    for seed in range(25):
        folder = tmp_path / str(seed)
        folder.mkdir()
        layer = Layer(folder)
        engine = SQLite(folder / "agent.db", durability, vfs=layer.name)
        memory = Memory(engine)
        engine._writer.wal_autocheckpoint(20)
        count = random.Random(seed).randint(1, 24)
        for turn in range(count):
            put(memory, "run", turn)
        disk = tmp_path / f"{seed} after"
        disk.mkdir()
        for path in folder.iterdir():
            (disk / path.name).write_bytes(path.read_bytes())
        layer.folder = disk
        layer.cut_power(seed)
        with Memory(disk / "agent.db") as found:
            there = assert_whole(found, "run") if found.runs() else []
        assert there == list(range(len(there)))
        lost += count - len(there)
        memory.close()
        layer.unregister()
    assert lost == 0 if durability == "power" else lost > 0  # or else the layer would lose nothing at all


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError])
def test_a_full_disk_is_told_and_the_next_add_works_once_there_is_room(tmp_path, error):
    layer = Layer(tmp_path)
    memory = Memory(SQLite(tmp_path / "agent.db", vfs=layer.name))
    put(memory, "run", 0)
    layer.error, layer.writes, layer.fails_at = error, 0, 2
    with pytest.raises(WriteError, match=r"agent\.db could not be written.*free some space"):
        put(memory, "run", 1)
    assert memory.view("run").lengths().turn.tolist() == [0]
    layer.fails_at = 0
    put(memory, "run", 1)
    assert assert_whole(memory, "run") == [0, 1]
    memory.close()
    layer.unregister()


def test_a_disk_that_takes_no_more_bytes(tmp_path):
    """In a process whose files may not grow beyond 300,000 bytes."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from posttrain.memory import Memory\n"
        "from adder import put\n"
        "memory, turn = Memory(sys.argv[1]), 0\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        "    while True: put(memory, 'run', turn); turn += 1\n"
        "except OSError as error: print(type(error).__name__, turn)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "agent.db")], cwd=HERE, env=ENVIRONMENT, capture_output=True,
        text=True,         check=True, timeout=60,
    )  # fmt: skip
    name, count = done.stdout.split()
    assert name == "WriteError"
    with Memory(tmp_path / "agent.db") as memory:
        assert assert_whole(memory, "run") == list(range(int(count)))


def test_a_read_that_fails_is_not_told_as_a_write(tmp_path):
    layer = Layer(tmp_path)
    memory = Memory(SQLite(tmp_path / "agent.db", vfs=layer.name))
    memory.add_many([made("run", n) for n in range(100)])
    memory.engine.scrub()
    layer.reads_fail = True
    with pytest.raises(MemoryFileError, match=r"agent\.db could not be read.*look at the disk") as found:
        memory.view("run").hits(["door"])
    assert "kept" not in str(found.value)
    layer.reads_fail = False
    assert assert_whole(memory, "run") == list(range(100))
    memory.close()
    layer.unregister()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_deleted_or_replaced_takes_no_turn_and_gives_none(tmp_path, replaced):
    path, old = tmp_path / "agent.db", tmp_path / "old.db"
    with Memory(path) as memory:
        put(memory, "run", 0)
        path.rename(old)
        if replaced:
            path.write_bytes(b"")
        for call in (lambda: put(memory, "run", 1), memory.runs):
            with pytest.raises(MemoryFileError, match=r"agent\.db was deleted, moved or replaced.*Put it back"):
                call()
        assert path.exists() == replaced
        old.rename(path)
        put(memory, "run", 1)
        assert assert_whole(memory, "run") == [0, 1]


def test_a_file_is_still_there_after_the_process_went_to_another_folder(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with Memory("agent.db") as memory:
        put(memory, "run", 0)
        monkeypatch.chdir(tmp_path / "other")
        put(memory, "run", 1)
        assert assert_whole(memory, "run") == [0, 1]


def test_an_index_that_others_make_stale_again_and_again_is_told(tmp_path):
    with Memory(tmp_path / "agent.db") as memory, Memory(tmp_path / "agent.db") as other:
        late = iter(range(999, -1, -1))
        put(memory, "run", 1000)
        put(other, "run", next(late))
        refresh = memory._lookups.refresh

        def refreshed(run: str) -> None:
            refresh(run)
            put(other, "run", next(late))

        memory._lookups.refresh = refreshed
        with pytest.raises(MemoryFileError, match=r"run 'run' .* stale again 20 times.*ask again later"):
            memory.view("run")
        memory._lookups.refresh = refresh
        assert memory.view("run").lengths().turn[-1] == 1000


def test_processes_write_and_read_at_once_and_nothing_is_lost(tmp_path):
    path, each, runs = tmp_path / "agent.db", 60, ("a", "b", "both", "both")
    Memory(path).close()
    children = [process(path, run, each * (place == 3), each, "process") for place, run in enumerate(runs)]
    stop, problems = threading.Event(), list[str]()

    def look() -> None:
        with Memory(path) as memory:
            seen = dict.fromkeys(runs, 0)
            while not stop.is_set():
                for run in memory.runs():
                    found = memory.view(run)
                    try:
                        count, hits = len(found.lengths().turn), len(found.hits(["door"]).turn)
                    except RunChanged:
                        continue
                    if count < seen[run] or hits != count:
                        problems.append(f"{run}: {seen[run]} turns, then {count} with {hits} hits")
                    seen[run] = count

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    keeper = apsw.Connection(str(path))
    while any(child.poll() is None for child in children):
        keeper.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        time.sleep(0.01)
    keeper.close()
    stop.set()
    for reader in readers:
        reader.join()
    for child in children:
        assert child.stdout is not None
        assert len(child.stdout.read().splitlines()) == each
        child.stdout.close()
        assert child.returncode == 0
    assert problems == []
    with Memory(path) as memory:
        for run, count in (("a", each), ("b", each), ("both", 2 * each)):
            memory.view(run).lengths()
            assert assert_whole(memory, run) == list(range(count))


def test_threads_share_one_memory(tmp_path):
    with Memory(tmp_path / "agent.db") as memory:

        def add(run: str) -> None:
            for turn in range(40):
                put(memory, run, turn)
                memory.view(run).hits(["door"])

        threads = [threading.Thread(target=add, args=(run,)) for run in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [assert_whole(memory, run) for run in ("a", "b", "c")] == [list(range(40))] * 3


def test_a_writer_that_does_not_let_go_is_told(tmp_path):
    path = tmp_path / "agent.db"
    with Memory(SQLite(path, patience=0.05)) as memory:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match=r"held by another process.*nothing was written"):
            memory.add("run", 0)
        other.execute("ROLLBACK")
        other.close()
        assert memory.add("run", 0).status == "added"


def test_the_same_bytes_are_kept_under_any_hash_seed(tmp_path):
    """Of turns of several forms, added one by one in one process and in a batch in another."""
    code = """
import sys, hashlib
from posttrain.memory import Memory, Turn
texts = ["The chest is open. You see a key and a lamp.", '{"door": {"state": "open"}}', "| a | b |\\n| 1 | 2 |"]
texts += ["Taken.", "ERROR app.py:17 failed", "<b id=x>ok</b>"]
acts = ["take key", "open door", "go north"]
turns = [Turn("run", n, acts[n % 3], texts[n % 6] + str(n // 6)) for n in range(150)]
memory = Memory(":memory:")
for batch in [turns] if sys.argv[1] == "batch" else [[turn] for turn in turns]:
    memory.add_many(batch)
with memory.engine.read() as tx:
    found = [tx.execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("fresh", "segment", "part")]
print(hashlib.sha256(repr(found).encode()).hexdigest(), sum(map(len, found)))
"""
    said = {_said(code, how, seed) for how, seed in (("one", "1"), ("batch", "2"))}
    assert len(said) == 1


def _said(code: str, how: str, seed: str) -> str:
    environment = {**ENVIRONMENT, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", code, how]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
