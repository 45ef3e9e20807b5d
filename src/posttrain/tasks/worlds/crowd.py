"""Many worlds side by side: every call has a deadline, and a world that fails costs its own episode only.

    crowd = Crowd(Corridor)
    seen = crowd.reset(rows)                 # one `Seen` or `Failure` per row
    seen = crowd.step({0: "turn left", 3: "go forward"})

Worlds are kept from one episode to the next. One that raised, was late or showed nothing is thrown away, and a new
one takes its seat at the next reset.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from posttrain.tasks.worlds.world import Step, World


class Seen(NamedTuple):
    """Where an episode stands."""

    observation: str
    """What the agent sees."""
    state: str
    """The world's state key."""
    actions: list[str]
    """The admissible actions; empty once the episode is over, or where the world does not list them."""
    reward: float
    """Of the last action; 0 after a reset."""
    done: bool
    """Whether the episode is over."""
    won: bool
    """Whether the task is solved."""


class Failure(NamedTuple):
    """Why an episode is dropped."""

    kind: Literal["raised", "late", "empty", "long"]
    """The world raised, missed the deadline, gave an empty observation before the end, or one too long to begin."""
    what: str
    """One sentence."""


Call = Callable[[], "Seen | Failure"]


class Crowd:
    """Worlds of one kind, as many as there are episodes at a time.

    Args:
        make: Makes one world.
        deadline: After so many seconds without an answer from any world, the calls in progress are given up. So each
            has had at least that long; one among many slow ones has longer.
        threads: Worlds stepped at a time. Pure Python worlds gain nothing from more than one.
        listed: Whether to ask for the admissible actions after every step.
    """

    def __init__(
        self, make: Callable[[], World], *, deadline: float = 60.0, threads: int = 4, listed: bool = True
    ) -> None:
        if not 0 < deadline <= threading.TIMEOUT_MAX:
            raise ValueError(f"deadline={deadline} must be above 0 seconds and finite.")
        if threads < 1:
            raise ValueError(f"threads={threads} must be at least 1.")
        self.make, self.deadline, self.threads, self.listed = make, deadline, threads, listed
        self._held: dict[int, _Held] = {}
        self._idle: list[_Worker] = []

    def reset(self, tasks: Sequence[Mapping[str, Any]]) -> list[Seen | Failure]:
        """Begin one episode per task, on seats 0, 1, 2, ..."""
        found = self._run({seat: self._resetting(seat, task) for seat, task in enumerate(tasks)})
        return [found[seat] for seat in range(len(tasks))]

    def step(self, moves: Mapping[int, str]) -> dict[int, Seen | Failure]:
        """Act on some seats."""
        return self._run({seat: self._stepping(seat, action) for seat, action in moves.items()})

    def close(self) -> None:
        """Close all worlds, also where one fails at it."""
        while self._idle:
            self._idle.pop().stop()
        with contextlib.ExitStack() as stack:
            while self._held:
                if (world := self._held.popitem()[1].world) is not None:
                    stack.callback(world.close)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resetting(self, seat: int, task: Mapping[str, Any]) -> Call:
        held = self._held.setdefault(seat, _Held())

        def call() -> Seen | Failure:
            world = held.made(self.make)
            return _seen(world, Step(world.reset(task), 0.0, False), listed=self.listed)

        return call

    def _stepping(self, seat: int, action: str) -> Call:
        world = self._held[seat].world if seat in self._held else None
        if world is None:
            raise ValueError(f"Seat {seat} has no world, as it was not reset or its episode failed; reset it first.")
        return lambda: _seen(world, world.step(action), listed=self.listed)

    def _run(self, calls: dict[int, Call]) -> dict[int, Seen | Failure]:
        """Every call's result; a worker that is late is left behind, and the calls after it go to another one."""
        answers: queue.SimpleQueue[tuple[int, Seen | Failure]] = queue.SimpleQueue()
        found: dict[int, Seen | Failure] = {}
        seats, number = list(calls), min(self.threads, len(calls))
        shares = {self._worker(): seats[i::number] for i in range(number)}
        for worker, share in shares.items():
            worker.inbox.put(([(seat, calls[seat]) for seat in share], answers))
        while len(found) < len(calls):
            try:
                seat, answer = answers.get(timeout=self.deadline)
            except queue.Empty:
                shares = self._left_behind(shares, calls, answers, found)
            else:
                found[seat] = answer
        self._idle += list(shares)
        self._give_up([seat for seat, answer in found.items() if isinstance(answer, Failure)])
        return found

    def _give_up(self, seats: Sequence[int]) -> None:
        """Close failed worlds, and wait for it, but not for long."""
        closing = [threading.Thread(target=self._held.pop(seat).give_up, daemon=True) for seat in seats]
        for thread in closing:
            thread.start()
        until = time.monotonic() + 1.0
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))

    def _left_behind(
        self, shares: dict[_Worker, list[int]], calls: dict[int, Call], answers: Any, found: dict[int, Any]
    ) -> dict[_Worker, list[int]]:
        """Give up the calls in progress, none of which ended within the deadline; hand on those that wait."""
        after: dict[_Worker, list[int]] = {}
        for worker, share in shares.items():
            if all(seat in found for seat in share):
                after[worker] = share
                continue
            worker.stop()
            while not answers.empty():  # what came at the last moment
                seat, answer = answers.get()
                found[seat] = answer
            unanswered = [seat for seat in share if seat not in found]
            if not unanswered:
                continue
            late, *waiting = unanswered
            found[late] = Failure("late", f"no answer within {self.deadline:g} seconds")
            if waiting:
                fresh = self._worker()
                after[fresh] = waiting
                fresh.inbox.put(([(seat, calls[seat]) for seat in waiting], answers))
        return after

    def _worker(self) -> _Worker:
        return self._idle.pop() if self._idle else _Worker()


class _Held:
    """The world of a seat. A late call keeps the one it began with, apart from the seat's next world."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.given_up = False

    def made(self, make: Callable[[], World]) -> World:
        """The world, a new one if there is none yet."""
        if self.world is None:
            self.world = make()
            if self.given_up:
                self.give_up()
        return self.world

    def give_up(self) -> None:
        """Close a failed world, which may fail at that too; one that is still being made is closed afterwards."""
        self.given_up = True
        if self.world is not None:
            with contextlib.suppress(Exception):
                self.world.close()


class _Worker:
    """A thread that does batches of calls in order; it does not keep the program from ending."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.stopped, self.lock = False, threading.Lock()
        threading.Thread(target=self._work, daemon=True).start()

    def stop(self) -> None:
        """End after the call in progress, and answer no more."""
        with self.lock:
            self.stopped = True
        self.inbox.put(None)

    def _work(self) -> None:
        while (batch := self.inbox.get()) is not None:
            calls, answers = batch
            for seat, call in calls:
                answer = _outcome(call)
                with self.lock:
                    if self.stopped:
                        return
                    answers.put((seat, answer))


def _outcome(call: Call) -> Seen | Failure:
    """What a call gives; a world is foreign code, and whatever it raises ends its own episode and no other."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001
        return Failure("raised", f"{type(error).__name__}: {error}")


def _seen(world: World, step: Step, *, listed: bool) -> Seen | Failure:
    """A step with the state and, where they are wanted, the actions that follow it."""
    if step.done:
        return Seen(step.observation, "", [], step.reward, True, step.won)
    if not step.observation.strip():
        return Failure("empty", "an empty observation before the end of the episode")
    actions = world.actions() if listed else []
    return Seen(step.observation, world.state_key(), actions, step.reward, False, step.won)
