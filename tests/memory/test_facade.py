"""What a user sees of a memory: statuses, refusals, keys, closing, erasing, exporting."""

import json
import sqlite3
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.memory import Memory, MemoryFileError, Refused, RunChanged, Turn, UnknownRun
from posttrain.memory.store.sqlite import SQLite

CHARACTERS = st.characters(codec=None, categories=None)


@pytest.fixture
def memory(tmp_path):
    with Memory(tmp_path / "agent.db") as found:
        yield found


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_turn_is_found_as_it_came(memory):
    assert memory.add("run", 3, action="open door", observation="It opens.").status == "added"
    assert memory.view("run").turns([3]) == [Turn("run", 3, "open door", "It opens.")]
    assert memory.runs() == ["run"]


@settings(deadline=None)
@given(text=st.text(CHARACTERS), run=st.text(CHARACTERS), key=st.text(CHARACTERS))
def test_any_text_comes_back_as_it_was(text, run, key):
    with Memory(":memory:") as memory:
        memory.add(run, 0, action=text, observation=text[::-1], key=key)
        assert memory.view(run).between(0, 9) == [Turn(run, 0, text, text[::-1])]
        assert memory.add(run, 0, action=text, observation=text[::-1], key=key).status == "same"
        assert memory.check() == []


def test_an_observation_of_5_mb_with_binary_in_it(memory):
    text = "".join(chr(code) for code in range(256)) * 20_000 + "\ud800 needle"
    memory.add("run", 0, observation=text)
    assert memory.view("run").turns([0])[0].observation == text
    assert memory.view("run").hits(["needl"]).turn.tolist() == [0]


def test_the_same_turn_again_changes_nothing(memory):
    memory.add("run", 0, action="a", observation="b")
    assert memory.add("run", 0, action="a", observation="b").status == "same"
    assert len(memory.view("run").lengths().turn) == 1


def test_another_content_is_refused_and_nothing_is_overwritten(memory):
    memory.add("run", 0, action="a")
    with pytest.raises(Refused, match=r"another content.*supersede=True"):
        memory.add("run", 0, action="b")
    found = memory.add_many([Turn("run", 0, "b", ""), Turn("run", 1, "c", "")])
    assert [each.status for each in found] == ["conflict", "added"]
    assert [each.kept for each in found] == [False, True]
    assert "supersede=True" in found[0].because
    assert memory.view("run").turns([0, 1]) == [Turn("run", 0, "a", ""), Turn("run", 1, "c", "")]


def test_a_key_that_was_given_makes_a_retry_the_same_and_all_else_a_conflict(memory):
    memory.add("run", 0, action="a", observation="at 12:00", key="k")
    assert memory.add("run", 0, action="a", observation="at 12:00", key="k").status == "same"
    with pytest.raises(Refused, match=r"'k' was given for turn 0 .* another content, which was kept"):
        memory.add("run", 0, action="a", observation="at 12:01", key="k")
    assert memory.view("run").turns([0])[0].observation == "at 12:00"
    with pytest.raises(Refused, match="turn 0"):
        memory.add("run", 1, action="b", key="k")
    assert memory.add("other", 1, action="b", key="k").status == "added"


def test_a_retry_that_comes_after_its_content_was_superseded_changes_nothing(memory):
    memory.add("run", 0, action="a", key="k")
    memory.add("run", 0, action="b", key="l", supersede=True)
    memory.add("run", 0, action="c", supersede=True)
    assert memory.add("run", 0, action="a", key="k").status == "same"
    assert memory.add("run", 0, action="b", key="l", supersede=True).status == "same"
    assert memory.view("run").turns([0])[0].action == "c"


def test_keys_come_one_for_each_turn(memory):
    with pytest.raises(ValueError, match=r"1 keys .* 2 turns"):
        memory.add_many([Turn("run", 0, "", ""), Turn("run", 1, "", "")], ["k"])


def test_a_closed_run_takes_no_turn_but_the_same_again(memory):
    memory.add("run", 0, action="a")
    memory.close_run("run")
    assert memory.add("run", 0, action="a").status == "same"
    with pytest.raises(Refused, match="closed"):
        memory.add("run", 1, action="b")
    assert memory.add_many([Turn("run", 1, "b", "")])[0].status == "closed"
    assert memory.view("run").lengths().turn.tolist() == [0]


def test_a_superseded_content_is_kept_beside(memory, tmp_path):
    for text in ("first", "second", "third"):
        memory.add("run", 0, action=text, supersede=True)
    assert memory.view("run").turns([0])[0].action == "third"
    assert not len(memory.view("run").hits(["first"]).turn)
    memory.export(tmp_path / "all.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["action"] for line in lines if "version" in line] == ["first", "second"]


@pytest.mark.parametrize("turn", [-1, 2**31, True, 1.0, "1"])
def test_a_number_that_is_none_of_a_turn(memory, turn):
    with pytest.raises(ValueError, match="whole number"):
        memory.add("run", turn)


def test_bytes_are_no_text(memory):
    with pytest.raises(TypeError, match="observation=b'x' must be a text"):
        memory.add("run", 0, observation=b"x")


def test_a_run_that_is_not_there(memory):
    for call in (lambda: memory.view("run"), lambda: memory.close_run("run"), lambda: memory.rebuild("run")):
        with pytest.raises(UnknownRun, match="no run 'run'"):
            call()
    assert memory.runs() == []


def test_a_thousand_pairs_of_look_alike_names_stay_two_thousand_entities(memory):
    """Each turn holds one name and its twin: file_1.py and file_10.py, id 17 and id 170, locked and not locked."""
    forms = ("file_{}.py", "id {}", "door {} locked", "Raum {}", "user{}@host")
    pairs = [(form.format(n), form.format(n * 10)) for n in range(1001, 1201) for form in forms]
    turns = [
        Turn("run", n, "list", json.dumps({a: {"state": "on"}, b: {"state": "off"}})) for n, (a, b) in enumerate(pairs)
    ]
    memory.add_many(turns)
    facts = memory.view("run").facts()
    values = {fact.entity: fact.value for fact in facts if fact.attribute == "state"}
    for first, second in pairs:
        assert (values[first.casefold()], values[second.casefold()]) == ("on", "off")


# Files that are no memory


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MemoryFileError, match="its folder is not there"):
        Memory(tmp_path / "none" / "agent.db")


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "agent.db").write_text("just some text, long enough to be read as a header of a database " * 20)
    with pytest.raises(MemoryFileError, match="no SQLite database"):
        Memory(tmp_path / "agent.db")


@pytest.mark.parametrize("name", ["", "a\0b.db"])
def test_a_name_that_no_file_can_have(name):
    with pytest.raises(MemoryFileError, match="no name of a file"):
        Memory(name)


def test_a_text_that_is_too_large_is_told_and_leaves_nothing(memory):
    memory.add("run", 0, action="a")
    memory.engine._writer.limit(apsw.SQLITE_LIMIT_LENGTH, 100_000)  # in place of a text of 1 GB
    with pytest.raises(ValueError, match=r"larger than SQLite takes.*nothing was written"):
        memory.add("run", 1, action="x" * 200_000)
    assert memory.view("run").lengths().turn.tolist() == [0]
    assert memory.add("run", 1, action="b").status == "added"
    assert memory.check() == []


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(MemoryFileError, match="cannot be opened"):
        Memory(tmp_path)


def test_a_database_of_something_else(tmp_path):
    with sqlite3.connect(tmp_path / "agent.db") as other:
        other.execute("CREATE TABLE t (a)")
    with pytest.raises(MemoryFileError, match="no memory of posttrain"):
        Memory(tmp_path / "agent.db")


def test_a_database_from_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "agent.db"
    Memory(path).close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(MemoryFileError, match=r"newer posttrain.*version 99"):
        Memory(path)
    assert path.read_bytes() == before


def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.45.1")
    with pytest.raises(MemoryFileError, match=r"3\.45\.1 can lose turns.*3\.51\.3"):
        Memory(tmp_path / "agent.db")


def test_a_closed_memory_says_so(memory):
    memory.close()
    for call in (lambda: memory.add("run", 0), memory.runs):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_an_unknown_durability(tmp_path):
    with pytest.raises(ValueError, match="durability='disk'"):
        Memory(tmp_path / "agent.db", durability="disk")  # pyright: ignore[reportArgumentType]


# Erasing

SECRET = "Xq7Zk2Wm9Tr4"


@pytest.mark.parametrize("where", ["action", "observation", "superseded", "name of the run", "key"])
@pytest.mark.parametrize("others", [0, 150])
def test_erased_text_is_in_no_file(tmp_path, where, others):
    """Neither as it was, nor in lower case as words and entities are kept."""
    with Memory(tmp_path / "agent.db") as memory:
        run = SECRET if where == "name of the run" else "run"
        memory.add_many([Turn(run, n, f"go {n}", "You see a door.") for n in range(others)])
        text = json.dumps({f"token {SECRET}": {"state": f"is {SECRET}"}})
        action = text if where == "action" else "nothing"
        observation = text if where in ("observation", "superseded") else "nothing"
        memory.add(run, others, action=action, observation=observation, key=SECRET if where == "key" else None)
        if where == "superseded":
            memory.add(run, others, action="something", supersede=True)
        memory.add_many([Turn(run, n, f"take {n}", "You see a door.") for n in range(others + 1, 2 * others + 2)])
        assert SECRET.encode() in files(tmp_path)
        assert memory.erase(run, None if where == "name of the run" else [others])
        found = files(tmp_path)
        assert SECRET.encode() not in found
        assert SECRET.lower().encode() not in found
        assert memory.check() == []
    assert SECRET.encode() not in files(tmp_path)


def test_erasing_a_run_leaves_the_others(memory):
    memory.add_many([Turn(run, n, "open door", "") for run in ("a", "b") for n in range(70)])
    assert memory.erase("a") == 70
    assert memory.runs() == ["b"]
    assert len(memory.view("b").lengths().turn) == 70
    assert memory.erase("a") == 0
    assert memory.add("a", 0, action="new").status == "added"
    assert memory.check() == []


def test_an_open_reader_keeps_the_log_and_the_sentence_says_so(tmp_path):
    with Memory(SQLite(tmp_path / "agent.db", patience=0.1)) as memory:
        memory.add("run", 0, action=SECRET)
        reader = apsw.Connection(str(tmp_path / "agent.db"))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM turn").fetchall()
        with pytest.raises(MemoryFileError, match=r"still reads an older state.*scrub"):
            memory.erase("run", [0])
        assert not len(memory.view("run").lengths().turn)
        reader.close()
        memory.scrub()
        assert SECRET.encode() not in files(tmp_path)


@pytest.mark.parametrize("turns", [None, [1]])
@pytest.mark.parametrize("count", [3, 150])
def test_another_process_that_had_read_what_is_erased_does_not_answer_with_it(tmp_path, turns, count):
    """Its index of the run is in its working memory, and so is the state to add the next turn with."""
    with Memory(tmp_path / "agent.db") as memory, Memory(tmp_path / "agent.db") as other:
        told = json.dumps({"vault": {"code": SECRET}})
        memory.add_many([Turn("run", n, "look", told if n == 1 else "nothing") for n in range(count)])
        other.add("run", count, action="look", observation="nothing")
        view = other.view("run")
        assert [fact.value for fact in view.facts(["vault"])] == [SECRET]
        memory.erase("run", turns)
        with pytest.raises((RunChanged, UnknownRun)):
            view.facts(["vault"])
        other.add("run", count + 1, action="look", observation=json.dumps({"vault": {"state": "shut"}}))
        found = other.view("run")
        assert not len(found.hits([SECRET.lower()]).turn)
        assert SECRET not in repr((found.facts(), found.between(0, 999)))
        assert memory.check() == []


def test_the_working_memory_of_who_erases_keeps_nothing(memory):
    memory.add("run", 0, action=SECRET)
    memory.ask("run", SECRET)
    memory.erase("run")
    assert not memory._states._known
    assert not memory._lookups._known


# Exporting


def test_what_was_exported_is_imported_once_however_often(memory, tmp_path):
    memory.add_many([Turn(run, n, f"open {n}", "\ud83d\ude00\x00") for run in ("a", "b\udc80") for n in range(3)])
    memory.add("a", 1, action="other", supersede=True, key="k")
    memory.close_run("a")
    assert memory.export(tmp_path / "all.jsonl") == 6
    with Memory(tmp_path / "copy.db") as copy:
        assert {each.status for each in copy.import_from(tmp_path / "all.jsonl")} == {"added"}
        assert {each.status for each in copy.import_from(tmp_path / "all.jsonl")} == {"same"}
        copy.export(tmp_path / "again.jsonl")
        assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "all.jsonl").read_bytes()
        with pytest.raises(Refused, match="closed"):
            copy.add("a", 9)


def test_one_run_is_exported_alone(memory, tmp_path):
    memory.add_many([Turn("a", 0, "", ""), Turn("b", 0, "", "")])
    assert memory.export(tmp_path / "a.jsonl", "a") == 1
    with pytest.raises(UnknownRun):
        memory.export(tmp_path / "c.jsonl", "c")
    assert not (tmp_path / "c.jsonl").exists()


def test_a_file_that_is_cut_off_is_told_wherever_it_is_cut(memory, tmp_path):
    memory.add_many([Turn("run", n, f"open {n}", "") for n in range(4)])
    memory.export(tmp_path / "all.jsonl")
    whole = (tmp_path / "all.jsonl").read_bytes()
    for cut in range(1, len(whole) - 1, 7):
        (tmp_path / "cut.jsonl").write_bytes(whole[:cut])
        with Memory(":memory:") as copy:
            with pytest.raises(ValueError, match=r"cut off|no export"):
                copy.import_from(tmp_path / "cut.jsonl")
            copy.import_from(tmp_path / "all.jsonl")
            assert copy.view("run").between(0, 9) == memory.view("run").between(0, 9)


def test_an_import_that_disagrees_says_where_and_keeps_what_is_there(memory, tmp_path):
    memory.add("run", 0, action="a")
    memory.export(tmp_path / "all.jsonl")
    with Memory(":memory:") as copy:
        copy.add("run", 0, action="b")
        with pytest.raises(Refused, match=r"all\.jsonl, line 2: Turn 0"):
            copy.import_from(tmp_path / "all.jsonl")
        assert copy.view("run").turns([0])[0].action == "b"


def test_a_file_of_something_else_is_not_imported(memory, tmp_path):
    (tmp_path / "other.jsonl").write_text('{"episode": 1}\n')
    with pytest.raises(ValueError, match="no export of a memory"):
        memory.import_from(tmp_path / "other.jsonl")


@settings(deadline=None)
@given(order=st.permutations(range(10)), late=st.lists(st.sampled_from(range(10)), max_size=3, unique=True))
def test_a_check_takes_no_late_turn_for_damage(order, late):
    """Wherever they come: before the segments, in the middle of one, in several, or after them."""
    with pytest.MonkeyPatch.context() as patch, Memory(":memory:") as memory:
        patch.setattr("posttrain.memory.store.upkeep.FOLD", 3)
        patch.setattr("posttrain.memory.store.upkeep.JOIN", 2)
        for turn in (turn for turn in order if turn not in late):
            memory.add("run", turn, action=f"open door {turn}")
        memory.view("run")
        for turn in late:
            memory.add("run", turn, action=f"open door {turn}")
            assert memory.check() == []
        memory.view("run")
        assert memory.check() == []


def test_a_check_tells_damage_before_a_late_turn(memory):
    memory.add_many([Turn("run", n, "open door", f"It opens {n}.") for n in range(200) if n != 130])
    memory.add("run", 130, action="open door")
    assert memory.check() == []
    with memory.engine.write() as tx:
        tx.execute("UPDATE part SET rows = x'00' WHERE name = CAST('wdoor' AS BLOB)")
    assert [said.partition(": ")[2] for said in memory.check()] == [
        "turns 0 to 63 are not indexed as they are",
        "turns 64 to 127 are not indexed as they are",
    ]


def test_a_check_tells_what_is_damaged(memory):
    memory.add_many([Turn("run", n, "open door", f"It opens {n}.") for n in range(70)])
    assert memory.check() == []
    for damage in (
        "DELETE FROM fresh WHERE id & 65535 = 66",
        "UPDATE part SET rows = x'00' WHERE name = CAST('wdoor' AS BLOB)",
    ):
        with memory.engine.write() as tx:
            tx.execute(damage)
        assert len(memory.check()) == 1
        memory.rebuild()
        assert memory.check() == []
