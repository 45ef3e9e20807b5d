"""Known moves are those that the game would make."""

import random

import pytest

pytest.importorskip("textworld")


@pytest.mark.parametrize("level", [6, 104])
def test_walks_are_the_same_step_by_step(tmp_path, level):
    from posttrain.bench.setups.known_moves import BOOK, KnownMoves
    from posttrain.tasks.worlds.textworld import TextWorld, coin_collector

    rows = coin_collector(level, seeds=range(2), cache=tmp_path)
    ours, theirs, chance = KnownMoves(), TextWorld(), random.Random(0)
    for _ in range(20):
        row = chance.choice(rows)
        assert ours.reset(row) == theirs.reset(row)
        for _ in range(25):
            assert ours.actions() == theirs.actions()
            action = chance.choice([*theirs.actions(), "look", "sing", "examine coin", "inventory"])
            step = theirs.step(action)
            assert ours.step(action) == step
            assert ours.state_key() == theirs.state_key()
            if step.done:
                break
    tried = len(BOOK)
    assert tried < 2 * (level % 100 + 4) * 40
    with pytest.raises(RuntimeError, match="over"):
        finished(ours, rows[0]).step("look")


def finished(world, row):
    from posttrain.tasks.worlds.textworld import walkthrough

    world.reset(row)
    for command in walkthrough(row["game"]):
        step = world.step(command)
    assert step.done
    assert step.won
    return world
