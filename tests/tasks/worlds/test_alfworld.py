"""ALFWorld: the games that textworld's own environment plays, in the same words."""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.tasks.worlds._alfworld_game import names_of
from posttrain.tasks.worlds.alfworld import AlfWorld, rows

DATA = Path(os.environ.get("POSTTRAIN_DATA", "../shared/data")) / "alfworld_games"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no directory at {DATA}; set POSTTRAIN_DATA")

pytest.importorskip("fast_downward", reason="textworld[pddl] is not installed: pip install 'posttrain[alfworld]'")
textworld = pytest.importorskip("textworld")


@pytest.fixture(scope="module")
def games():
    return rows(DATA)


@pytest.fixture
def world():
    world = AlfWorld()
    yield world
    world.close()


def theirs(row, **infos):
    """textworld's environment, with our names for things."""
    env = textworld.start(row["game"], textworld.EnvInfos(admissible_commands=True, **infos))
    names = names_of(env._pddl_state.name2type)
    for info in env._entity_infos.values():
        info.name = names[info.id]
    return env


def played(world, row, seed, steps=30):
    """Everything that a random agent sees."""
    draw, out = random.Random(seed), [world.reset(row)]
    for _ in range(steps):
        out.append((world.actions(), world.step(draw.choice(world.actions()))))
        if out[-1][1].done:
            break
    return out


@needs_data
def test_rows(games):
    assert len(games) >= 8
    assert len({row["id"] for row in games}) == len(games)
    first = games[0]
    assert first["prompt"].startswith("Your task is to: put")
    assert first["id"].endswith("/".join(Path(first["game"]).parts[-3:-1]))
    assert {row["kind"] for row in games} >= {"pick_and_place_simple", "pick_heat_then_place_in_recep"}


@needs_data
def test_a_plan_is_admissible_and_wins(games, world):
    row = next(row for row in games if row["kind"] == "pick_heat_then_place_in_recep")
    plan = theirs(row, extras=["walkthrough"]).reset()["extra.walkthrough"]
    first = world.reset(row)
    assert first.startswith("You are in the middle of a room.")
    assert row["prompt"] not in first
    for number, command in enumerate(plan, start=1):
        assert command in world.actions()
        step = world.step(command)
        assert step.done == step.won == (number == len(plan))
        assert step.reward == float(step.done)
        assert step.observation == world.state_key()
    assert world.actions() == []
    with pytest.raises(RuntimeError, match=r"The game is over or has not begun; reset"):
        world.step("look")


@needs_data
def test_it_is_the_game_that_textworld_plays(games, world):
    """Word for word, also where a command is none."""
    row, draw = games[3], random.Random(0)
    env = theirs(row)
    state = env.reset()
    assert world.reset(row) in state.feedback
    for _ in range(30):
        assert world.actions() == state.admissible_commands
        command = draw.choice([*state.admissible_commands, "dance"])
        state, reward, done = env.step(command)
        assert world.step(command)[:3] == (state.feedback, reward, done)


@needs_data
def test_reset_is_repeatable_also_between_other_games_and_after_closing(games, world):
    once = [played(world, row, 1, steps=8) for row in games[:2]]
    assert [played(world, row, 1, steps=8) for row in games[:2]] == once
    world.close()
    world.close()
    assert played(world, games[0], 1, steps=8) == once[0]


@needs_data
def test_worlds_side_by_side_do_not_disturb_each_other(games):
    """Two in one game and two in another, in four threads."""
    worlds = [AlfWorld() for _ in range(4)]
    alone = [played(worlds[0], games[seat // 2], seat) for seat in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda seat: played(worlds[seat], games[seat // 2], seat), range(4)))
    for world in worlds:
        world.close()
    assert together == alone


@needs_data
def test_a_program_ends_well_whether_or_not_its_worlds_were_closed(games):
    """Unloading one of several copies of Fast Downward's library crashes Python at its end."""
    program = (
        "import sys; from posttrain.tasks.worlds.alfworld import AlfWorld\n"
        "worlds = [AlfWorld() for _ in range(3)]\n"
        "for world in worlds: world.reset({'game': sys.argv[1]}); world.step('look')\n"
        "worlds[0].close(); worlds[1].close(); print('end', sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", program, games[0]["game"]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"end {[games[0]['game']]}\n"), done.stderr


def test_things_are_called_by_kind_and_number():
    """Numbers go by the order of the names; what has no place keeps its name."""
    found = names_of(
        [
            "sink_bar__plus_01_bar_sinkbasin",
            "cabinet_bar__plus_02",
            "cabinet_bar__plus_01",
            "apple",
            "sink_bar__plus_01",
        ]
    )
    assert found == {
        "apple": "apple",
        "cabinet_bar__plus_01": "cabinet 1",
        "cabinet_bar__plus_02": "cabinet 2",
        "sink_bar__plus_01": "sink 1",
        "sink_bar__plus_01_bar_sinkbasin": "sinkbasin 1",
    }


class TestBadInput:
    def test_a_folder_without_games(self, tmp_path):
        with pytest.raises(ValueError, match=r"There is no solvable game\.tw-pddl below .*; give a folder"):
            rows(tmp_path)

    def test_unsolvable_games_are_left_out(self, tmp_path):
        data = {"pddl_domain": "", "pddl_problem": "", "grammar": "Your task is to: clap.", "solvable": False}
        for name, solvable in (("one", True), ("two", False)):
            file = tmp_path / f"clap-{name}" / "trial" / "game.tw-pddl"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(data | {"solvable": solvable}))
        (row,) = rows(tmp_path)
        assert (row["id"], row["prompt"], row["kind"]) == ("clap-one/trial", "Your task is to: clap.", "clap")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "is not a game of ALFWorld"),
            ("[]", "is not a game of ALFWorld"),
            ('{"grammar": ""}', "states no task"),
        ],
    )
    def test_a_file_of_another_kind(self, tmp_path, world, text, said):
        file = tmp_path / "game.tw-pddl"
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"game\.tw-pddl {said}"):
            world.reset({"game": str(file)})

    @pytest.mark.parametrize("row", [{}, {"game": "gone.tw-pddl"}])
    def test_a_row_without_a_game(self, world, row):
        with pytest.raises(ValueError, match=r"The task's game is .*; expected a game\.tw-pddl file, as in `rows`"):
            world.reset(row)
