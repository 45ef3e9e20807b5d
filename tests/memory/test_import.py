"""An export that was changed on its way is imported, or refused by a sentence that names the file and the line."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain.memory import Memory, Refused, Turn
from posttrain.memory.rows import Edge, Fact, Posting, Proof
from posttrain.memory.store.outputs import asked
from posttrain.memory.store.tables import Output, Tables

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([-1, 2**31, 10**30, 1.5, "x", "\ud800", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["base64", "a"]), inner, max_size=1),
    max_leaves=3,
)
MODEL = "llm:some"


def rows(turn: int) -> list[list]:
    """One of each kind, as a model gives them."""
    proof = Proof(turn, "action", 0, 4)
    facts = [Fact("box", "state", "open", turn, None, proof, MODEL)]
    postings = [Posting("box", turn, "write", proof, MODEL)]
    return [facts, postings, [Edge("READ", 0, turn, "box", "state", proof, MODEL)]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> list[dict]:
    """The lines of an export that has all kinds of them."""
    path = tmp_path_factory.mktemp("exported") / "all.jsonl"
    with Memory(":memory:") as memory:
        turns = [Turn("run", n, "open box", f"The box {n} is open. \ud800") for n in range(3)]
        memory.add_many(turns, ["k", None, "l"])
        memory.add("run", 1, action="shut box", supersede=True)
        with memory._writing() as work:
            now = work.tables.turns(work.known("run").run, "run")
            said = json.dumps(rows(2)).encode()
            work.put_output("run", Output(2, MODEL, asked(now[2], now[1]), said))
        memory.close_run("run")
        memory.add("other", 0, action="go")
        memory.export(path)
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusal(path, lines) -> str:
    """The sentence that comes of importing lines; empty if they are imported."""
    try:
        imported(path, lines)
    except ValueError as error:
        return str(error)
    return ""


def imported(path, lines) -> None:
    """Import lines, bytes or values of JSON. Whatever comes of it, what is there then is a memory."""
    coded = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    path.write_bytes(b"".join(each + b"\n" for each in coded))
    with Memory(":memory:") as memory:
        try:
            memory.import_from(path)
        finally:
            for run in memory.runs():
                memory.view(run).facts()
            assert memory.check() == []
            with memory.engine.read() as tx:
                for table in ("superseded", "output"):
                    assert not tx.execute(f"SELECT 1 FROM {table} WHERE id NOT IN (SELECT id FROM turn)")


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_is_taken_or_told(tmp_path, exported, data):
    place = data.draw(st.integers(0, len(exported) - 1))
    name = data.draw(st.sampled_from(sorted(exported[place])))
    changed = {**exported[place], name: data.draw(ANY)}
    if data.draw(st.booleans()):
        del changed[name]
    said = refusal(tmp_path / "all.jsonl", [*exported[:place], changed, *exported[place + 1 :]])
    assert not said or ("all.jsonl" in said and "line" in said)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_of_a_model_are_rows_or_told(tmp_path, exported, data):
    place = next(n for n, line in enumerate(exported) if "model" in line)
    changed = rows(2)
    table = data.draw(st.integers(0, 2))
    row = list(changed[table][0])
    column = data.draw(st.integers(0, len(row) - 1))
    if data.draw(st.booleans()):
        row[column] = data.draw(ANY)
    else:
        del row[column]
    changed[table] = [row]
    line = {**exported[place], "rows": json.dumps(changed)}
    said = refusal(tmp_path / "all.jsonl", [*exported[:place], line, *exported[place + 1 :]])
    assert not said or f"line {place + 1}: its rows are no rows of turn 2" in said


def test_the_whole_export_is_imported(tmp_path, exported):
    assert not refusal(tmp_path / "all.jsonl", exported)


@pytest.mark.parametrize(
    "bad", [b"[]", b"3", b"{", b"null", b"\xff", b"", b"[" * 100_000, b"{}", b'{"posttrain_memory": 1}']
)
def test_a_line_that_is_none(tmp_path, exported, bad):
    with pytest.raises(ValueError, match=r"all\.jsonl is (cut off or )?damaged at line 3.* up to 0 were imported"):
        imported(tmp_path / "all.jsonl", [*exported[:2], bad, *exported[3:]])


@pytest.mark.parametrize("place", range(1, 9))
def test_a_line_that_is_missing_or_twice(tmp_path, exported, place):
    for lines in ([*exported[:place], *exported[place + 1 :]], [*exported[:place], *exported[place - 1 :]]):
        with pytest.raises(ValueError, match=r"all\.jsonl is damaged at line|is cut off"):
            imported(tmp_path / "all.jsonl", lines)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"observation": {"base64": "!!"}}, "its 'observation' is no text in base64"),
        ({"observation": {"base64": "/w=="}}, "its 'observation' is no text in base64"),
        ({"turn": "1"}, "its 'turn' must be a whole number from 0"),
        ({"keys": None}, "its 'keys' must be a list of texts"),
        ({"run": None}, "its 'run' must be a text, and is None"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(tmp_path, exported, change, said):
    with pytest.raises(ValueError, match=rf"all\.jsonl is damaged at line 2: {said}"):
        imported(tmp_path / "all.jsonl", [exported[0], {**exported[1], **change}, *exported[2:]])


@pytest.mark.parametrize("turn", [-1, 7])
@pytest.mark.parametrize("kind", ["version", "model"])
def test_what_belongs_to_a_turn_that_is_not_there(tmp_path, exported, turn, kind):
    place = next(n for n, line in enumerate(exported) if kind in line)
    line = {**exported[place], "turn": turn}
    with pytest.raises(ValueError, match=rf"line {place + 1}: (turn 7 of run 'run'.*did not come|its 'turn' must be)"):
        imported(tmp_path / "all.jsonl", [*exported[:place], line, *exported[place + 1 :]])


def test_contents_that_others_took_the_place_of_there_and_here_are_all_kept(tmp_path):
    def superseded(memory: Memory) -> set[bytes]:
        with memory.engine.read() as tx:
            tables = Tables(tx)
            run = tables.run("run")
            assert run
            return {action for _, _, action, _ in tables.superseded(run)}

    with Memory(":memory:") as here, Memory(":memory:") as there:
        for memory, texts in ((here, "abz"), (there, "cbdz")):
            for text in texts:
                memory.add("run", 0, action=text, supersede=True)
        there.export(tmp_path / "there.jsonl")
        for _ in range(2):
            here.import_from(tmp_path / "there.jsonl")
            assert superseded(here) == {b"a", b"b", b"c", b"d"}
        assert here.add("run", 0, action="y", supersede=True).status == "superseded"
        assert superseded(here) == {b"a", b"b", b"c", b"d", b"z"}


def test_a_closed_run_whose_turns_were_all_erased_is_imported(tmp_path):
    with Memory(":memory:") as memory, Memory(":memory:") as copy:
        memory.add("run", 0)
        memory.close_run("run")
        memory.erase("run", [0])
        memory.export(tmp_path / "all.jsonl")
        copy.import_from(tmp_path / "all.jsonl")
        with pytest.raises(Refused, match="closed"):
            copy.add("run", 0)
