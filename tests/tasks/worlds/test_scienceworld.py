"""ScienceWorld: recorded episodes replay, and worlds that share a Java process do not notice each other."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from posttrain.tasks.worlds import _scienceworld_java as processes
from posttrain.tasks.worlds.crowd import Crowd, Failure, Seen
from posttrain.tasks.worlds.scienceworld import ScienceWorld, rows, task_names, variations

FILE = Path(os.environ.get("POSTTRAIN_DATA", "../shared/data")) / "scienceworld_gold/trajectories.jsonl"
needs_data = pytest.mark.skipif(not FILE.is_file(), reason=f"no file at {FILE}; set POSTTRAIN_DATA")

pytest.importorskip("scienceworld", reason="scienceworld is not installed: pip install 'posttrain[scienceworld]'")
needs_java = pytest.mark.skipif(not shutil.which("java"), reason="no java: apt install default-jre-headless")

RANDOM = "mendelian-genetics-unknown-plant"
"""Its bees fly at random."""


@pytest.fixture(scope="module")
def recorded():
    """The first recorded variation of every task."""
    episodes = [json.loads(line) for line in FILE.read_text().splitlines()]
    return [episode for episode in episodes if episode["variation"] == 0]


@pytest.fixture(scope="module")
def world():
    """One for all tests, so that Java starts once."""
    world = ScienceWorld()
    yield world
    world.close()


def words(text):
    """Objects of one name are recorded in an order that was chance."""
    return sorted(re.findall(r"\w+", text))


def played(world, episode, steps=None):
    return [world.reset(episode), *(world.step(step["action"]) for step in episode["steps"][:steps])]


@needs_java
@needs_data
def test_recorded_episodes_replay(world, recorded):
    short = [episode for episode in recorded if len(episode["steps"]) < 30]
    assert len(short) >= 5
    for episode in short:
        first, *steps = played(world, episode)
        assert words(first) == words(episode["initial_observation"])
        for step, line in zip(steps, episode["steps"], strict=True):
            assert words(step.observation) == words(line["observation"])
            assert step.reward == line["reward"]
        assert steps[-1].won
        assert not any(step.done for step in steps[:-1])
        before = episode["steps"][0]["score"] - episode["steps"][0]["reward"]
        assert before + sum(step.reward for step in steps) == episode["steps"][-1]["score"] == 100
        assert world.actions() == []
        with pytest.raises(RuntimeError, match=r"The task is over or has not begun; reset"):
            world.step("look around")


@needs_java
@needs_data
def test_an_episode_is_repeatable_whoever_asks_for_actions_meanwhile(world, recorded):
    """Even the bees are where they were."""
    (episode,) = [episode for episode in recorded if episode["task"] == RANDOM]
    once = played(world, episode, steps=60)
    again = [world.reset(episode)]
    for number, line in enumerate(episode["steps"][:60]):
        if number % 20 == 0:
            actions = world.actions()
            assert actions == sorted(set(actions))
            assert "look around" in actions
        again.append(world.step(line["action"]))
    assert again == once
    assert any(not isinstance(step, str) and "bee" in step.observation for step in once)


@needs_java
@needs_data
def test_worlds_of_one_process_do_not_disturb_each_other(world, recorded):
    """Different tasks and simplifications, taking turns in every possible order of three threads."""
    mix = next(episode for episode in recorded if episode["task"] == "chemistry-mix-paint-secondary-color")
    bees = next(episode for episode in recorded if episode["task"] == RANDOM)
    episodes = [mix, bees | {"simplification": ""}, bees]
    alone = [played(world, episode, steps=25) for episode in episodes]
    assert alone[1] != alone[2]
    worlds = [ScienceWorld() for _ in episodes]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda seat: played(worlds[seat], episodes[seat], steps=25), range(3)))
    assert len({id(world._java) for world in worlds}) == 1
    for other in worlds:
        other.close()
    assert together == alone


@needs_java
def test_a_wrong_focus_ends_the_task_at_minus_100(world):
    world.reset({"task": "boil", "variation": 0})
    step = world.step("focus on air")
    assert (step.reward, step.done, step.won) == (-100.0, True, False)


@needs_java
def test_odd_actions_are_answered(world):
    world.reset({"task": "boil", "variation": 0})
    for action in ("", "dance", "a\nb", "naïve ☃", "x" * 5000):
        assert world.step(action) == ("No known action matches that input.", 0.0, False, False)
    assert world.state_key() == "No known action matches that input."
    assert world.actions()


@needs_java
def test_all_tasks_have_disjoint_splits(world):
    names = task_names()
    assert len(set(names)) == 30
    for name in names:
        splits = variations(name)
        together = [number for split in splits.values() for number in split]
        assert len(together) == len(set(together)), name
        assert all(splits.values()), name
        assert len(splits["train"]) >= len(splits["test"]) >= 4


@needs_java
def test_rows(world):
    found = rows(["boil", "find-plant"], split="test", simplification="easy", limit=2)
    assert [row["id"] for row in found] == [
        f"{task}-{variation}-easy" for task in ("boil", "find-plant") for variation in variations(task)["test"][:2]
    ]
    assert "boil" in found[0]["prompt"]
    assert "find a(n) plant" in found[2]["prompt"]
    assert world.reset(found[0]).startswith("This room is called")
    assert len(rows("boil")) == len(variations("boil")["train"])


@needs_java
def test_the_last_world_ends_java_and_a_dead_one_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = ScienceWorld(java=7), ScienceWorld(java=7)
    row = {"task": "boil", "variation": 0}
    first = one.reset(row)
    process = one._java._process
    process.kill()
    process.wait()
    with pytest.raises(RuntimeError, match=r"Java process has ended; close this world and make another"):
        one.step("look around")
    one.close()
    assert two.reset(row) == one.reset(row) == first
    assert one._java is two._java
    process = one._java._process
    one.close()
    assert process.poll() is None
    two.close()
    two.close()
    assert process.returncode is not None
    assert 7 not in processes._running
    assert list(tmp_path.iterdir()) == []


class TestBadInput:
    def test_without_java(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        with pytest.raises(FileNotFoundError, match=r"needs Java, and there is no `java`: apt install default-jre"):
            ScienceWorld()

    @needs_java
    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({}, r"task=None, variation=None and simplification=''; expected a name, a whole number"),
            ({"task": "cook", "variation": 0}, r"no task 'cook' in ScienceWorld; the tasks are boil, melt"),
            ({"task": "boil", "variation": 30}, r"boil has no variation 30; expected 0 to 29"),
            ({"task": "boil", "variation": 0, "simplification": "easy,hard"}, r"no simplification 'hard'; the"),
        ],
    )
    def test_a_row_that_cannot_begin(self, world, row, said):
        with pytest.raises(ValueError, match=said):
            world.reset(row)
        with pytest.raises(RuntimeError, match="reset the world to a task"):
            world.step("look around")

    @needs_java
    def test_rows_that_do_not_exist(self, world):
        with pytest.raises(ValueError, match=r"split is 'eval'; expected 'train', 'dev' or 'test'"):
            rows("boil", split="eval")
        with pytest.raises(ValueError, match=r"no task 'cook'"):
            rows(["boil", "cook"])
        with pytest.raises(ValueError, match=r"no simplification 'hard'; the simplifications are easy, "):
            rows("boil", simplification="hard")


PATIENT = 300.0
"""Seconds in which a busy machine, too, starts Java."""


@needs_java
def test_a_process_that_hangs_costs_its_episodes_and_no_later_ones():
    """Stopped by a signal, Java answers nobody; the late world is closed, and so ends it."""
    tasks = rows("boil", limit=2)
    with Crowd(lambda: ScienceWorld(java=7), deadline=PATIENT, threads=2) as crowd:
        assert all(isinstance(seen, Seen) for seen in crowd.reset(tasks))
        crowd.deadline = 1.0
        os.kill(crowd._held[0].world._java._process.pid, signal.SIGSTOP)
        assert all(isinstance(answer, Failure) for answer in crowd.step({0: "look around", 1: "look around"}).values())
        crowd.deadline = PATIENT
        assert all(isinstance(seen, Seen) for seen in crowd.reset(tasks))
        assert all(isinstance(seen, Seen) for seen in crowd.step({0: "look around", 1: "look around"}).values())
