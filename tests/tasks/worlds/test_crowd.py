"""Many worlds side by side: one that fails, in whatever way, costs its own episode and no other."""

import math
import subprocess
import sys
import threading
import time

import pytest

from posttrain.tasks.worlds import crowd as crowds
from posttrain.tasks.worlds.crowd import Crowd, Failure, Seen
from posttrain.tasks.worlds.world import Step

DEADLINE = 0.2  # where a world hangs


class Counting:
    """Says how many steps it has taken of which task; it does whatever else the action says."""

    made = 0

    def __init__(self):
        type(self).made += 1
        self.number, self.resets, self.closed, self.heard = type(self).made, 0, 0, []

    def reset(self, task):
        self.task, self.resets, self.steps = task["name"], self.resets + 1, 0
        self.obey(task.get("reset", ""))
        return self.seen(task.get("reset", ""))

    def step(self, action):
        self.steps += 1
        self.heard.append(action)
        self.obey(action)
        done = action.startswith("end")
        return Step(self.seen(action), self.steps / 4, done, won=action == "end well")

    def actions(self):
        if self.steps and self.heard[-1] == "raise in actions":
            raise KeyError("exits")
        return ["walk", f"stop {self.task}"]

    def state_key(self):
        return f"state {self.steps}"

    def close(self):
        self.closed += 1

    def seen(self, said):
        return "" if "nothing" in said else f"{self.task}, step {self.steps}"

    def obey(self, said):
        if said == "raise":
            raise RuntimeError("the floor gave way")
        if said == "hang":
            self.hang()

    def hang(self):
        raise NotImplementedError


@pytest.fixture
def worlds():
    """A crowd of worlds; all that it made, those that hung and went on, and the event for which they wait."""
    made, late, released = [], [], threading.Event()

    class World(Counting):
        def __init__(self):
            super().__init__()
            made.append(self)

        def hang(self):
            released.wait()
            late.append(self)

    def crowd(**options):
        return Crowd(World, **options)

    crowd.made, crowd.late, crowd.released = made, late, released
    yield crowd
    released.set()


def tasks(*names, **more):
    return [{"name": name} | more.get(name, {}) for name in names]


def eventually(condition):
    """Wait for what another thread does; a test's own time limit is far above it."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_an_episode_from_its_reset_to_its_end(worlds):
    with worlds() as crowd:
        assert crowd.reset(tasks("a")) == [Seen("a, step 0", "state 0", ["walk", "stop a"], 0.0, False, False)]
        assert crowd.step({0: "walk"}) == {0: Seen("a, step 1", "state 1", ["walk", "stop a"], 0.25, False, False)}
        assert crowd.step({0: "end well"}) == {0: Seen("a, step 2", "", [], 0.5, True, True)}


def test_only_the_named_seats_move(worlds):
    with worlds() as crowd:
        crowd.reset(tasks("a", "b", "c"))
        found = crowd.step({2: "walk", 0: "end badly"})
        assert {seat: seen.observation for seat, seen in found.items()} == {0: "a, step 1", 2: "c, step 1"}
        assert (found[0].done, found[0].won) == (True, False)
        assert crowd.step({1: "walk"})[1].observation == "b, step 1"
        assert crowd.step({}) == {}


@pytest.mark.parametrize("where", ["make", "reset", "step", "actions"])
def test_a_world_that_raises_costs_its_own_episode(worlds, where):
    crowd = worlds()
    make, calls = crowd.make, []

    def failing():
        calls.append(len(calls))
        if where == "make" and len(calls) == 2:
            raise OSError("no such game")
        return make()

    crowd.make, crowd.threads = failing, 1  # one thread makes the worlds in order
    names = tasks("a", "b", "c", b={"reset": "raise" if where == "reset" else ""})
    found = dict(enumerate(crowd.reset(names)))
    if where in ("step", "actions"):
        assert not any(isinstance(seen, Failure) for seen in found.values())
        found = crowd.step({0: "walk", 1: "raise" if where == "step" else "raise in actions", 2: "walk"})
    told = {
        "make": "OSError: no such game",
        "reset": "RuntimeError: the floor gave way",
        "step": "RuntimeError: the floor gave way",
        "actions": "KeyError: 'exits'",
    }
    assert found[1] == Failure("raised", told[where])
    assert isinstance(found[0], Seen)
    assert isinstance(found[2], Seen)


@pytest.mark.parametrize("how", ["raise", "hang", "say nothing"])
def test_the_world_of_a_failed_episode_is_closed_and_never_used_again(worlds, how):
    crowd = worlds(deadline=DEADLINE if how == "hang" else 60)
    crowd.reset(tasks("a", "b"))
    assert isinstance(crowd.step({0: "walk", 1: how})[1], Failure)
    (failed,) = [world for world in worlds.made if how in world.heard]
    eventually(lambda: failed.closed == 1)
    again = crowd.reset(tasks("c", "d"))
    assert [seen.observation for seen in again] == ["c, step 0", "d, step 0"]
    assert (len(worlds.made), failed.resets) == (3, 1)


def test_without_a_failure_worlds_are_used_again(worlds):
    crowd = worlds()
    for n in (3, 2, 3):
        found = crowd.reset(tasks(*"abc"[:n]))
        assert [seen.observation for seen in found] == ["a, step 0", "b, step 0", "c, step 0"][:n]
        crowd.step(dict.fromkeys(range(n), "walk"))
    assert len(worlds.made) == 3
    assert sorted(world.resets for world in worlds.made) == [2, 3, 3]


def test_showing_nothing_is_a_failure_before_the_end_alone(worlds):
    crowd = worlds()
    begun = crowd.reset(tasks("a", "b", "c", c={"reset": "nothing"}))
    assert begun[2] == Failure("empty", "an empty observation before the end of the episode")
    found = crowd.step({0: "say nothing", 1: "end with nothing"})
    assert found[0] == begun[2]
    assert found[1] == Seen("", "", [], 0.25, True, False)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_others_of_a_hanging_worlds_thread_get_their_step(worlds, threads):
    crowd = worlds(threads=threads, deadline=DEADLINE)
    crowd.reset(tasks(*"abcde"))
    found = crowd.step({seat: "hang" if seat in (1, 3) else "walk" for seat in range(5)})
    for seat, name in enumerate("abcde"):
        if seat in (1, 3):
            assert found[seat] == Failure("late", "no answer within 0.2 seconds")
        else:
            assert found[seat].observation == f"{name}, step 1"
    assert all(len(world.heard) == 1 for world in worlds.made)


def test_a_late_answer_is_never_delivered(worlds):
    crowd = worlds(threads=1, deadline=DEADLINE)
    crowd.reset(tasks("a", "b"))
    assert crowd.step({0: "hang", 1: "walk"})[0].kind == "late"
    assert [seen.observation for seen in crowd.reset(tasks("c", "d"))] == ["c, step 0", "d, step 0"]
    worlds.released.set()
    eventually(lambda: worlds.late)
    found = crowd.step({0: "walk", 1: "walk"})
    assert [found[seat].observation for seat in (0, 1)] == ["c, step 1", "d, step 1"]


def test_a_world_that_is_made_too_late_takes_nobodys_seat(worlds):
    crowd = worlds(threads=1, deadline=DEADLINE)
    make, made_late = crowd.make, []

    def slow():
        crowd.make = make
        worlds.released.wait()
        made_late.append(make())
        return made_late[0]

    crowd.make = slow
    assert crowd.reset(tasks("a"))[0].kind == "late"
    assert crowd.reset(tasks("b"))[0].observation == "b, step 0"
    worlds.released.set()
    eventually(lambda: made_late and made_late[0].closed)
    assert crowd.step({0: "walk"})[0].observation == "b, step 1"
    assert crowd.reset(tasks("c"))[0].observation == "c, step 0"
    assert made_late[0].heard == []


def test_an_answer_at_the_last_moment_counts_and_nobody_moves_twice(worlds, monkeypatch):
    """The world answers just after the deadline was found to be over, and its thread goes on to the next world."""
    crowd = worlds(threads=1, deadline=DEADLINE)
    crowd.reset(tasks("a", "b"))
    stop = crowds._Worker.stop

    def stop_a_moment_later(worker):
        worlds.released.set()
        eventually(lambda: all(world.heard for world in worlds.made))
        time.sleep(0.05)
        stop(worker)

    monkeypatch.setattr(crowds._Worker, "stop", stop_a_moment_later)
    found = crowd.step({0: "hang", 1: "walk"})
    assert [found[seat].observation for seat in (0, 1)] == ["a, step 1", "b, step 1"]
    time.sleep(0.05)  # in which another thread would move once more
    assert sorted(world.heard for world in worlds.made) == [["hang"], ["walk"]]


HANGING = """
import threading
from posttrain.tasks.worlds.crowd import Crowd

class Hanging:
    def reset(self, task):
        threading.Event().wait()

with Crowd(Hanging, deadline=0.05) as crowd:
    print(crowd.reset([{}, {}])[1].kind)
"""


def test_a_program_with_a_hanging_world_still_ends():
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "late\n"


def played(threads):
    """Every observation of 7 worlds over 3 generations, with a failing and an ending one."""
    told = []
    with Crowd(Counting, threads=threads) as crowd:
        for generation in range(3):
            told.append(crowd.reset(tasks(*(f"{generation}{name}" for name in "abcdefg"))))
            for turn in range(4):
                live = [seat for seat in range(7) if turn < 2 or seat not in (2, 4)]
                last = {2: "raise", 4: "end well"} if turn == 1 else {}
                told.append(crowd.step({seat: last.get(seat, "walk") for seat in live}))
    return told


def test_the_number_of_threads_changes_no_result():
    one = played(1)
    assert played(3) == one
    assert played(16) == one


@pytest.mark.parametrize("failing", [False, True])
def test_closing_closes_every_world_also_if_one_fails_at_it(worlds, failing):
    crowd = worlds()
    crowd.reset(tasks("a", "b", "c"))
    if failing:

        def close():
            raise OSError("stuck")

        worlds.made[1].close = close
        with pytest.raises(OSError, match="stuck"):
            crowd.close()
    else:
        crowd.close()
    assert [world.closed for world in worlds.made] == [1, 0 if failing else 1, 1]
    crowd.close()  # nothing is left
    assert sum(world.closed for world in worlds.made) == (2 if failing else 3)


def test_a_closed_crowd_can_begin_anew(worlds):
    crowd = worlds()
    crowd.reset(tasks("a"))
    crowd.close()
    assert crowd.reset(tasks("b"))[0].observation == "b, step 0"
    assert [(world.resets, world.closed) for world in worlds.made] == [(1, 1), (1, 0)]
    crowd.close()


def test_no_episodes_at_all(worlds):
    assert worlds().reset([]) == []
    assert worlds.made == []


@pytest.mark.parametrize("deadline", [0, -1.0, math.nan, math.inf])
def test_a_deadline_is_a_time_to_come(deadline):
    with pytest.raises(ValueError, match=f"deadline={deadline} must be above 0 seconds and finite"):
        Crowd(Counting, deadline=deadline)


def test_at_least_one_thread():
    with pytest.raises(ValueError, match="threads=0 must be at least 1"):
        Crowd(Counting, threads=0)


def test_a_seat_without_an_episode_cannot_move(worlds):
    crowd = worlds()
    with pytest.raises(ValueError, match="Seat 0 has no world"):
        crowd.step({0: "walk"})
    crowd.reset(tasks("a"))
    crowd.step({0: "raise"})
    with pytest.raises(ValueError, match="its episode failed; reset it first"):
        crowd.step({0: "walk"})
