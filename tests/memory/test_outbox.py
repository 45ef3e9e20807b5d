"""What models do later is done once, kept, and put back whenever the index is made again."""

import asyncio

import numpy as np
import pytest

from posttrain.embedding import HashedNGrams
from posttrain.memory import Edge, Fact, Memory, Posting, Proof, Turn

TURNS = [Turn("run", n, f"go {n}", f"line {n}") for n in range(6)]


class Reader:
    """Says of each turn what its action was, and counts how often it is asked."""

    def __init__(self, name: str = "scripted") -> None:
        self.name, self.asked = name, list[tuple[int, int | None]]()
        self.broken = set[int]()

    async def __call__(self, turn: Turn, before: Turn | None) -> list[Fact | Posting | Edge]:
        await asyncio.sleep(0)
        self.asked.append((turn.turn, before.turn if before else None))
        if turn.turn in self.broken:
            raise RuntimeError("the model is away")
        proof, by = Proof(turn.turn, "action", 0, 2), f"llm:{self.name}"
        return [
            Fact("agent", "went", turn.action, turn.turn, turn.turn, proof, by),
            Posting("agent", turn.turn, "mention", proof, by),
            Edge("ASSOC", turn.turn, turn.turn, "agent", "road", proof, by),
        ]


def went(memory: Memory, **options: int) -> list[str]:
    return [fact.value for fact in memory.view("run", **options).facts() if fact.attribute == "went"]


def test_a_models_rows_are_found_once_the_work_is_done():
    reader = Reader()
    with Memory(":memory:", extractor=reader) as memory:
        memory.add_many(TURNS)
        assert went(memory) == []
        assert memory.work().done == 6
        assert went(memory) == [turn.action for turn in TURNS]
        assert went(memory, as_of=2) == [turn.action for turn in TURNS[:3]]
        assert {fact.by for fact in memory.view("run").facts() if fact.attribute == "went"} == {"llm:scripted"}
        assert memory.view("run").named(["agent"])["agent"] >= 6
        assert reader.asked == [(n, n - 1 if n else None) for n in range(6)]
        assert memory.check() == []


def test_a_model_is_never_asked_twice(tmp_path):
    reader = Reader()
    with Memory(tmp_path / "agent.db", extractor=reader) as memory:
        memory.add_many(TURNS)
        memory.work()
        before = memory.view("run").facts()
        memory.rebuild()
        memory.add_many(TURNS)
        assert memory.work().done == 0
        assert memory.view("run").facts() == before
        memory.export(tmp_path / "all.jsonl")
    with Memory(":memory:", extractor=reader) as copy:
        copy.import_from(tmp_path / "all.jsonl")
        assert copy.work().done == 0
        assert copy.view("run").facts() == before
    assert len(reader.asked) == 6


def test_work_goes_on_where_it_stopped(tmp_path):
    first, second = Reader(), Reader()
    with Memory(tmp_path / "agent.db", extractor=first) as memory:
        memory.add_many(TURNS)
        assert memory.work(limit=2).done == 2
    with Memory(tmp_path / "agent.db", extractor=second) as memory:
        assert memory.work().done == 4
        assert went(memory) == [turn.action for turn in TURNS]
    assert [turn for turn, _ in first.asked + second.asked] == list(range(6))


def test_what_fails_is_told_and_tried_again():
    reader = Reader()
    reader.broken = {1, 4}
    with Memory(":memory:", extractor=reader) as memory:
        memory.add_many(TURNS)
        found = memory.work()
        assert (found.done, found.failed) == (4, 2)
        assert found.errors == tuple(f"llm:scripted, turn {n} of 'run': the model is away" for n in (1, 4))
        reader.broken = set()
        assert memory.work() == type(found)(2, 0)
        assert went(memory) == [turn.action for turn in TURNS]


def test_rows_that_are_not_the_models_own_are_refused():
    class Liar(Reader):
        async def __call__(self, turn, before):
            row = (await super().__call__(turn, before))[0]
            wrong = {
                0: row._replace(by="rules"),
                1: row._replace(turn=0),
                2: row._replace(proof=Proof(2, "action", 0, 99)),
            }
            return [wrong.get(turn.turn, row)]

    with Memory(":memory:", extractor=Liar()) as memory:
        memory.add_many(TURNS[:4])
        found = memory.work()
        assert (found.done, found.failed) == (1, 3)
        assert went(memory) == ["go 3"]


def test_a_late_turn_has_the_one_after_it_asked_again():
    reader = Reader()
    with Memory(":memory:", extractor=reader) as memory:
        memory.add_many([TURNS[0], TURNS[2]])
        memory.work()
        memory.add("run", 1, action=TURNS[1].action, observation=TURNS[1].observation)
        memory.work()
        assert reader.asked == [(0, None), (2, 0), (1, 0), (2, 1)]
        assert went(memory) == ["go 0", "go 1", "go 2"]
        assert memory.check() == []


def test_another_content_is_asked_about_again_and_an_erased_one_leaves_nothing():
    reader = Reader()
    with Memory(":memory:", extractor=reader) as memory:
        memory.add_many(TURNS)
        memory.work()
        memory.add("run", 5, action="swim", supersede=True)
        assert went(memory) == ["go 0", "go 1", "go 2", "go 3", "go 4"]
        memory.work()
        assert went(memory)[-1] == "swim"
        memory.erase("run", [2])
        memory.work()
        assert went(memory) == ["go 0", "go 1", "go 3", "go 4", "swim"]
        assert reader.asked[6:] == [(5, 4), (3, 1)]


def test_work_in_an_event_loop():
    async def both() -> int:
        with Memory(":memory:", extractor=Reader()) as memory:
            memory.add_many(TURNS)
            return (await memory.work_async()).done

    assert asyncio.run(both()) == 6


class Counted:
    """Hashed words under a name of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.texts = name, 0

    def __call__(self, texts):
        self.texts += len(texts)
        return HashedNGrams(8)(texts)


def test_slow_vectors_are_work_and_each_is_made_once(tmp_path):
    embedder = Counted("counted")
    with Memory(tmp_path / "agent.db", embedder=embedder) as memory:
        memory.add_many(TURNS)
        assert not len(memory.view("run").vectors("counted")[0])
        assert memory.work(limit=4).done == 4
        assert memory.work().done == 2
        memory.rebuild()
        assert memory.work().done == 0
        turns, matrix = memory.view("run", 3).vectors("counted")
        assert turns.tolist() == [0, 1, 2, 3]
        assert np.array_equal(matrix, HashedNGrams(8)([f"{t.action}\n{t.observation}" for t in TURNS[:4]]))
        assert embedder.texts == 6


def test_spaces_are_never_mixed(tmp_path):
    with Memory(tmp_path / "agent.db", embedder="lexical") as memory:
        memory.add_many(TURNS)
        assert memory.view("run").vectors("lexical-512")[1].shape == (6, 512)
    with Memory(tmp_path / "agent.db", embedder=Counted("other")) as memory:
        memory.add("run", 6, action="go 6")
        assert not len(memory.view("run").vectors("other")[0])
        assert memory.work().done == 7
        assert memory.view("run").vectors("other")[1].shape == (7, 8)
        assert memory.view("run").vectors("lexical-512")[1].shape == (6, 512)
    with Memory(tmp_path / "agent.db", embedder="lexical") as memory:
        assert memory.work().done == 1
        assert memory.view("run").vectors("lexical-512")[1].shape == (7, 512)


def test_without_an_embedder_there_are_no_vectors():
    with Memory(":memory:") as memory:
        memory.add_many(TURNS)
        assert memory.view("run").vectors("lexical-512")[1].shape == (0, 0)


@pytest.mark.parametrize("embedder", ["semantic", lambda texts: texts, 3])
def test_an_embedder_without_a_name_is_refused(embedder):
    with pytest.raises(ValueError, match="has a `name`"):
        Memory(":memory:", embedder=embedder)


@pytest.mark.parametrize("made", [np.zeros(3), np.zeros((2, 4)), np.full((6, 4), np.nan)])
def test_vectors_that_are_none_are_refused(made):
    class Odd:
        name = "odd"

        def __call__(self, texts):
            return made

    with Memory(":memory:", embedder=Odd()) as memory:
        memory.add_many(TURNS)
        found = memory.work(at_once=6)
        assert (found.done, found.failed) == (0, 6)
        assert "row of finite numbers" in found.errors[0]
