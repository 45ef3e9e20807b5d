"""TextWorld: games that a walkthrough wins, as TextWorld's own environment plays them."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import random
import shutil
from pathlib import Path

import pytest

from posttrain.tasks.worlds.textworld import TextWorld, coin_collector, cooking, treasure_hunter, twc, walkthrough

DATA = Path(os.environ.get("POSTTRAIN_DATA", "../shared/data")) / "twc_games"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no directory at {DATA}; set POSTTRAIN_DATA")

pytestmark = pytest.mark.filterwarnings("ignore:Game .* is not fully supported")
textworld = pytest.importorskip("textworld", reason="textworld is not installed: pip install 'posttrain[textworld]'")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("games")


@pytest.fixture(scope="module")
def games(cache):
    """A game of each kind."""
    skills = {"open": True, "cook": True, "cut": True, "drop": True}
    return {
        "coin": coin_collector(3, [1], cache=cache)[0],
        "treasure": treasure_hunter(12, [1], cache=cache)[0],
        "cooking": cooking([1], recipe=2, take=2, go=6, cache=cache, **skills)[0],
    }


@pytest.fixture
def world():
    world = TextWorld()
    yield world
    world.close()


@pytest.mark.parametrize("kind", ["coin", "treasure", "cooking"])
def test_the_walkthrough_is_admissible_and_wins_and_the_rewards_sum_to_the_score(games, world, kind):
    row = games[kind]
    first = world.reset(row)
    assert first.startswith("-= ")
    assert row["prompt"] not in first
    rewards = []
    commands = walkthrough(row["game"])
    for number, command in enumerate(commands, start=1):
        assert command in world.actions()
        step = world.step(command)
        rewards.append(step.reward)
        assert step.done == step.won == (number == len(commands))
        assert step.observation == world.state_key()
    assert sum(rewards) == row["max_score"]
    assert world.actions() == []
    with pytest.raises(RuntimeError, match=r"The game is over or has not begun; reset"):
        world.step("look")


@pytest.mark.parametrize("kind", ["coin", "treasure", "cooking"])
def test_it_is_the_game_that_textworld_plays(games, world, kind):
    """Random commands, some of them wrong, and worlds that ask for the actions now and then only."""
    infos = textworld.EnvInfos(admissible_commands=True)
    theirs = textworld.start(games[kind]["game"], infos)
    state, draw = theirs.reset(), random.Random(0)
    world.reset(games[kind])
    score = 0
    for _ in range(40):
        choices = [*state.admissible_commands, "go up", "take it", "again", "dance"]
        command = draw.choice(choices)
        state, their_score, done = theirs.step(command)
        step = world.step(command)
        score += step.reward
        assert (score, step.done) == (their_score, done)
        said = state.feedback.rpartition("\n>")[0].partition("*** The End ***")[0]
        assert step.observation.replace("*** The End ***", "").split() == said.split()
        if done:
            break
        if draw.random() < 0.5:
            assert world.actions() == state.admissible_commands
    theirs.close()


def test_several_commands_in_one_are_followed(games, world):
    way = walkthrough(games["coin"]["game"])
    world.reset(games["coin"])
    expected = [world.step(command).observation for command in way[:2]]
    actions = world.actions()
    world.reset(games["coin"])
    assert world.step(". ".join(way[:2])).observation.split() == " ".join(expected).split()
    assert world.actions() == actions


def test_a_state_is_told_by_its_observation_alone(games, world):
    """No count of moves, so that the same look is the same key."""
    world.reset(games["coin"])
    first = world.step("look").observation
    second = world.step("look").observation
    assert first == second
    assert "[" not in first
    assert "<" not in first


def test_reset_is_repeatable_also_between_other_games(games, world):
    def played(row):
        return [world.reset(row), *(world.step(command) for command in walkthrough(row["game"])[:3])]

    once = [played(row) for row in games.values()]
    assert [played(row) for row in games.values()] == once


def test_worlds_side_by_side_do_not_disturb_each_other(games):
    def played(row):
        world = TextWorld()
        world.reset(row)
        out = [(world.actions(), world.step(command)) for command in walkthrough(row["game"])]
        world.close()
        return out

    rows = list(games.values()) * 2
    with concurrent.futures.ThreadPoolExecutor(len(rows)) as threads:
        assert list(threads.map(played, rows)) == [played(row) for row in rows]


def test_a_wrong_object_loses(cache, world):
    """The treasure that the objective does not name."""
    row = treasure_hunter(1, [3], cache=cache)[0]
    world.reset(row)
    right, draw = walkthrough(row["game"])[-1], random.Random(1)
    for _ in range(400):
        wrong = [a for a in world.actions() if a.startswith("take") and a != right and a.split()[1] not in right]
        moves = [action for action in world.actions() if action.startswith("go")]
        step = world.step(draw.choice(wrong or moves))
        if step.done:
            break
    assert step == (step.observation, 0.0, True, False)
    assert step.observation.endswith("*** You lost! ***")


def test_agents_cannot_reach_the_interpreter(games, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world.reset(games["coin"])
    for command in ("save", "look. save", "QUIT", "restart", "tw-print max_score", "restrict commands"):
        step = world.step(command)
        assert not step.done
        assert step.observation == "That's not a verb I recognise."
    for command in ("", "é" * 300, "go\nnorth", "x" * 500):
        assert world.step(command).observation
    assert list(tmp_path.iterdir()) == []


def _same_games(folder):
    return treasure_hunter(1, [1, 2], cache=folder)


@pytest.mark.parametrize("seed", range(3))
def test_the_interpreter_survives_whatever_a_model_writes(games, world, seed):
    """A backslash, a bar or a control character would be a command of the interpreter, which can end the process."""
    coin = random.Random(seed)
    world.reset(games["coin"])
    for _ in range(200):
        written = "".join(chr(coin.randint(1, 0x2FF)) for _ in range(coin.randint(0, 40)))
        assert world.step(coin.choice(("", "\\", "|", "look ")) + written).observation


def test_two_processes_may_compile_the_same_games(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(_same_games, [tmp_path] * 2, chunksize=1)
    assert first == second == _same_games(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert all(Path(row["game"]).is_file() for row in first)


class TestRows:
    def test_same_seed_same_game_and_ids_are_unique(self, cache, monkeypatch):
        first = treasure_hunter(1, [3, 4], cache=cache)
        assert treasure_hunter(1, [3, 4], cache=cache) == first
        monkeypatch.setenv("POSTTRAIN_CACHE", str(cache / "elsewhere"))
        again = treasure_hunter(1, [3])[0]
        assert Path(again["game"]).is_relative_to(cache / "elsewhere/games")
        assert Path(again["game"]).read_bytes() == Path(first[0]["game"]).read_bytes()
        assert first[0]["id"] == "treasure_hunter-level1-seed3"
        assert len({row["id"] for row in first}) == len({row["game"] for row in first}) == 2

    def test_the_objective_tells_the_way_on_request_only(self, cache, games):
        told = coin_collector(3, [1], directions=True, cache=cache)[0]
        assert walkthrough(told["game"]) == walkthrough(games["coin"]["game"])
        way = [command.removeprefix("go ") for command in walkthrough(told["game"])[:-1]]
        assert all(direction in told["prompt"] for direction in way)
        assert not any(direction in games["coin"]["prompt"] for direction in way)
        assert told["id"] != games["coin"]["id"]

    @needs_data
    @pytest.mark.parametrize(("level", "points"), [("easy", 1), ("hard", 6)])
    def test_twc(self, cache, world, tmp_path, level, points):
        """An expert that knows where things belong puts them away."""
        folder = tmp_path / level / "train"
        folder.mkdir(parents=True)
        shutil.copy(sorted((DATA / level / "train").iterdir())[0], folder)
        (row,) = twc(tmp_path, level, cache=cache)
        belongs = textworld.Game.load(row["game"].replace(".z8", ".json")).metadata["goal_locations"]
        world.reset(row)
        score, step = 0.0, None
        while step is None or not step.done:
            step = world.step(_tidy(world.actions(), belongs))
            score += step.reward
        assert step.won
        assert score == row["max_score"] == points

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: coin_collector(0, [1]), r"level is 0; expected 1 to 300"),
            (lambda: coin_collector(200, [1]), "more than 100 rooms"),
            (lambda: treasure_hunter(31, [1]), r"level is 31; expected 1 to 30\."),
            (lambda: cooking([1], take=2), r"take is 2; expected 1 <= recipe <= 5 and 0 <= take <= recipe"),
            (lambda: cooking([1], go=2), r"go is 2 and split is 'train'; expected 1, 6, 9 or 12"),
            (lambda: twc("nowhere"), r"no game at nowhere/easy/train/\*\.json; give the `games/twc` of TWC"),
            (lambda: TextWorld().reset({}), r"The task's game is None; expected a \.z8 file"),
            (lambda: TextWorld().reset({"game": "x.json"}), r"The task's game is 'x\.json'; expected"),
        ],
    )
    def test_what_cannot_be_made(self, cache, make, said, monkeypatch):
        monkeypatch.setenv("POSTTRAIN_CACHE", str(cache))
        with pytest.raises(ValueError, match=said):
            make()


def _tidy(actions, left):
    """Put what is held where it belongs, else take what is out of place, else open or go somewhere."""
    for thing, places in left.items():
        for place in places:
            for action in (f"put {thing} on {place}", f"insert {thing} into {place}"):
                if action in actions:
                    return action
    for thing, places in left.items():
        for action in actions:
            taken_here = any(action.endswith(f"from {place}") for place in places)
            if (action == f"take {thing}" or action.startswith(f"take {thing} from")) and not taken_here:
                return action
    opening = [action for action in actions if action.startswith("open")]
    return (opening or [action for action in actions if action.startswith("go")])[0]
