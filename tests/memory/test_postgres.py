"""What is special about a server: it goes away and comes back, it is shared, and it has a password."""

import contextlib
import threading
import traceback

import pytest
from adder import made, put
from postgres_server import Server, needs_postgres, server

from posttrain.memory import Memory, MemoryFileError, RunChanged, Turn
from posttrain.memory.store.postgres import Postgres

pytestmark = needs_postgres


def test_the_server_goes_away_and_comes_back():
    own = Server()
    try:
        with Memory(own.address) as memory:
            put(memory, "run", 0)
            own.stop()
            with pytest.raises(
                MemoryFileError, match=r"went away.*add the turn again|cannot be reached.*nothing was written"
            ):
                put(memory, "run", 1)
            with pytest.raises(MemoryFileError, match="cannot be reached"):
                memory.view("run")
            own.start()
            assert put(memory, "run", 1) == "added"
            assert memory.view("run").turns([0, 1]) == [made("run", n) for n in (0, 1)]
            assert memory.check() == []
    finally:
        own.remove()


def _add_and_lose(memory: Memory, own: Server) -> None:
    with memory._writing() as work:
        work.add(made("run", 1))
        own.stop()


def test_the_server_goes_away_in_the_middle_of_an_add():
    own = Server()
    try:
        with Memory(own.address) as memory:
            put(memory, "run", 0)
            with pytest.raises(MemoryFileError, match="went away"):
                _add_and_lose(memory, own)
            own.start()
            assert memory.view("run").lengths().turn.tolist() == [0]
            assert memory.check() == []
            put(memory, "run", 1)
            assert memory.check() == []
    finally:
        own.remove()


def _read_and_lose(memory: Memory, own: Server) -> None:
    with memory.engine.read() as tx:
        own.stop()
        tx.execute("SELECT 1")


def test_the_server_goes_away_in_the_middle_of_a_question():
    own = Server()
    try:
        with Memory(own.address) as memory:
            put(memory, "run", 0)
            with pytest.raises(MemoryFileError, match=r"went away.*ask again once it is back") as found:
                _read_and_lose(memory, own)
            assert "add" not in str(found.value)
    finally:
        own.remove()


def test_writers_of_one_run_and_of_new_runs_do_not_lose_anything():
    with Memory(Postgres(server().address, "shared")) as memory:

        def add(part: int) -> None:
            with Memory(Postgres(server().address, "shared")) as own:
                for turn in range(part, 60, 3):
                    own.add_many([made(run, turn) for run in ("one", "two")])
                    with contextlib.suppress(RunChanged):  # a late turn came in between
                        own.view("one").hits(["door"])

        threads = [threading.Thread(target=add, args=(part,)) for part in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for run in ("one", "two"):
            assert memory.view(run).between(0, 99) == [made(run, n) for n in range(60)]
        assert memory.check() == []


def test_a_run_that_somebody_holds_is_told():
    with Memory(Postgres(server().address, "held", patience=0.1)) as first:
        first.add_many([Turn("run", 0, "", ""), Turn("other", 0, "", "")])
        with Memory(Postgres(server().address, "held", patience=0.1)) as second, first._writing() as work:
            work.known("run")
            assert second.add("other", 1).status == "added"
            with pytest.raises(MemoryFileError, match=r"held by another one.*nothing was written"):
                second.add("run", 1)


def test_a_newer_version_and_a_schema_of_something_else(monkeypatch):
    Memory(Postgres(server().address, "newer")).close()
    engine = Postgres(server().address, "newer")
    with engine.write() as tx:
        tx.execute("UPDATE about SET version = 99")
        tx.execute("CREATE SCHEMA foreign_one")
        tx.execute("CREATE TABLE foreign_one.t (a INT)")
    engine.close()
    with pytest.raises(MemoryFileError, match=r"newer posttrain.*version 99"):
        Postgres(server().address, "newer")
    with pytest.raises(MemoryFileError, match="'foreign_one' that is no memory"):
        Postgres(server().address, "foreign_one")


def test_no_sentence_tells_the_password():
    with pytest.raises(MemoryFileError) as found:
        Memory("postgresql://me:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(found.value)
    assert "127.0.0.1/none" in str(found.value)


@pytest.mark.parametrize(
    "address",
    [
        "me:hunter2@[::1/db",
        "me:hun%zz2@127.0.0.1:1/db",
        "me:hun ter2@127.0.0.1:1/db",
        "me:hun@ter2@127.0.0.1:1/db",
        "me:hun/ter2@127.0.0.1:1/db",
        "me:hun?ter2@127.0.0.1:1/db",
        "me:hun@t/er2@127.0.0.1:1/db",
        "127.0.0.1:1?password=hun@ter2",
        "me:hunter2@127.0.0.1:1/db?colour=red",
        "me:hunter2@127.0.0.1:1/d\0b",
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql://", "postgres://"])
def test_an_address_that_cannot_be_read_or_is_read_otherwise_than_meant_is_not_shown(scheme, address):
    with pytest.raises(MemoryFileError, match=r"address .* cannot be read.*%40 for @") as found:
        Memory(scheme + address)
    said = "".join(traceback.format_exception(found.value))
    assert "ter2" not in said.replace(address, "")
    assert not any(part in str(found.value) for part in ("hun", "er2"))


@pytest.mark.parametrize("address", ["me:hunter%402@127.0.0.1:1/none", "me@127.0.0.1:1/none?password=hunt@er2"])
def test_a_password_with_an_at_may_be_written(address):
    with pytest.raises(MemoryFileError, match=r"^postgresql://127\.0\.0\.1/none cannot be reached") as found:
        Memory("postgresql://" + address)
    assert "hunt" not in str(found.value)


def test_erased_text_is_in_no_table():
    with Memory(Postgres(server().address, "erased")) as memory:
        memory.add_many([Turn("run", n, f"say Xq7Zk2Wm9{n}Tr4", "") for n in range(3)])
        memory.erase("run", [1])
        with memory.engine.read() as tx:
            for table, column in (("turn", "action"), ("fresh", "words"), ("fresh", "graph")):
                ((count,),) = tx.execute(
                    f"SELECT count(*) FROM {table} WHERE position(?::bytea IN {column}) > 0", (b"Wm91",)
                )
                assert count == 0
        assert set(memory.engine.sizes()) >= {"turn", "part"}
