"""BabyAI: minigrid's rooms, doors, keys, balls and boxes, played by its own bot and at random; texts from the grid.

    logs = babyai.logs("8K", seed=0)

One boss level is played on and on: the bot is given one small mission after the other (put this next to that, open that
door), and a share of its actions is drawn at random, as in the paper. An observation says where the agent stands, what
came of its action, and the things and doors that it sees.

References:
    Chevalier-Boisvert et al. 2019, "BabyAI", arXiv:1810.08272.
"""

from __future__ import annotations

import io
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

from posttrain.bench.ama.log import Log, Printed, Shown, tokens_of
from posttrain.bench.ama.questions.asking import ask
from posttrain.bench.ama.questions.trace import Trace
from posttrain.bench.ama.reader import Read
from posttrain.bench.ama.worlds.event import AGENT, CARRIED, Event
from posttrain.bench.ama.worlds.forms import FORMS
from posttrain.extras import need
from posttrain.memory.rows import Turn

TASK = "Carry out one mission after the other in a maze of rooms: fetch things, put them next to others, open doors."
CHANCE = 0.2
"""Of a random action in place of the bot's."""
PATIENCE = 120
"""Steps after which a mission is given up."""
SEARCHES = 60
"""Of the bot for one step, after which it has lost its way."""
LOCKED = 4
"""Doors."""
SIDES = ("east", "south", "west", "north")
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
THINGS = ("key", "ball", "box")


def logs(length: str, seed: int) -> list[Log]:
    """One trajectory, with its questions.

    Args:
        length: Such as `8K`.
        seed: Of the level, the agent and the questions.
    """
    world, events = play(length, seed)
    rng = random.Random(f"questions about babyai {length} {seed}")
    strangers = [f"{color} {thing} 9" for color in COLORS for thing in THINGS]
    questions = ask(Trace(events, world.changes), rng, rng.sample(strangers, 4))
    name = f"babyai-prose-{length}-{seed}"
    truth = tuple(Printed(*shown, event.step) for event in events for shown in event.states)
    turns = tuple(Turn(name, event.step, *FORMS["prose"].write(event)) for event in events)
    return [Log(name, "babyai", "prose", length, TASK, turns, questions, truth)]


def reading(form: str) -> Read:
    """Reads the turns of a form back into events."""
    return FORMS[form].read


def play(length: str, seed: int) -> tuple[Maze, list[Event]]:
    """Play until the text is so long; gives the maze with its history, and all events."""
    rng = random.Random(f"babyai {length} {seed}")
    maze = Maze(rng)
    room, events = 4 * tokens_of(length), [maze.begin()]
    actions = _agent(maze, rng)
    while room > 0:
        events.append(maze.act(next(actions)))
        room -= sum(map(len, FORMS["prose"].write(events[-1])))
    return maze, events


class Maze:
    """A level, what its things are called, and how its states came to be.

    Args:
        rng: Draws the level's seed.
    """

    def __init__(self, rng: random.Random) -> None:
        need("minigrid")
        self.env = need("gymnasium").make("BabyAI-BossLevel-v0").unwrapped
        with redirect_stdout(io.StringIO()):  # the level's maker prints what it throws away
            self.env.reset(seed=rng.randrange(2**31))
        self.env.max_steps = 2**60
        self.actions = self.env.actions
        self.names: dict[int, str] = {}
        """By the object's identity."""
        self.things: dict[str, Any] = {}
        self.doors: dict[str, Any] = {}
        self._name_all()
        self.step = 0
        self.changes: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        self._lock(rng)
        self._note(-1)

    def _name_all(self) -> None:
        seen: Counter[str] = Counter()
        for x in range(self.env.width):
            for y in range(self.env.height):
                found = self.env.grid.get(x, y)
                if found is not None and found.type in (*THINGS, "door"):
                    kind = f"{found.color} {found.type}"
                    seen[kind] += 1
                    name = f"{kind} {seen[kind]}"
                    self.names[id(found)] = name
                    (self.doors if found.type == "door" else self.things)[name] = found
                    found.cur_pos = (x, y)

    def _lock(self, rng: random.Random) -> None:
        """Lock a few more doors, of which the agent can reach the key before it opens any locked one."""
        doors = list(self.doors.values())
        for door in rng.sample(doors, len(doors)):
            before = door.is_locked, door.is_open
            door.is_locked, door.is_open = True, False
            reached = self._reached()
            near = {thing.color for thing in self.things.values() if thing.type == "key" and thing.cur_pos in reached}
            locked = [each for each in doors if each.is_locked]
            if len(locked) > LOCKED or any(each.color not in near for each in locked):
                door.is_locked, door.is_open = before

    def _reached(self) -> set[tuple[int, int]]:
        """The cells, with what lies in them, that can be walked to without a key."""
        x, y = map(int, self.env.agent_pos)
        found = {(x, y)}
        edge = list(found)
        while edge:
            x, y = edge.pop()
            for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                there = self.env.grid.get(*cell)
                barred = there is not None and (there.type == "wall" or (there.type == "door" and there.is_locked))
                if cell not in found and not barred:
                    found.add(cell)
                    edge.append(cell)
        return found

    def room(self, position: Any) -> str:
        """The room of a cell; a door's belongs to the room to its left or above it."""
        size = self.env.room_size - 1
        across, down = (min(int(at) // size, most - 1) for at, most in
                        zip(position, (self.env.num_cols, self.env.num_rows), strict=True))  # fmt: skip
        return f"room {down * self.env.num_cols + across + 1}"

    def where(self, name: str) -> str:
        """The place of a thing."""
        thing = self.things[name]
        return CARRIED if self.env.carrying is thing else self.room(thing.cur_pos)

    def state(self, name: str) -> str:
        """Of a door."""
        door = self.doors[name]
        return "locked" if door.is_locked else "open" if door.is_open else "closed"

    def _note(self, step: int) -> None:
        now = {(name, "location"): self.where(name) for name in self.things}
        now |= {(name, "state"): self.state(name) for name in self.doors}
        now[AGENT, "location"] = self.room(self.env.agent_pos)
        for key, value in now.items():
            if not self.changes[key] or self.changes[key][-1][1] != value:
                self.changes[key].append((step, value))

    def begin(self) -> Event:
        """The first look."""
        return self._seen(Event(0, "look"), ())

    def act(self, action: Any) -> Event:
        """One step of the grid."""
        self.step += 1
        env = self.env
        before, position = env.carrying, self.room(env.agent_pos)
        front = env.grid.get(*env.front_pos)
        name = self.names.get(id(front), "") if front is not None else ""
        state = self.state(name) if name in self.doors else ""
        cell, held = tuple(env.agent_pos), self.names.get(id(before), "") if before else ""
        env.step(action)
        if env.carrying is before and before is not None:
            before.cur_pos = (-1, -1)
        here = self.room(env.agent_pos)
        self._note(self.step)
        event = Event(self.step, "try", tool=WORDS[str(action.name)], done=False, said="Nothing happens.")
        if action in (self.actions.left, self.actions.right):
            event = Event(self.step, "face", tool=str(action.name))
        elif action == self.actions.forward:
            moved = tuple(env.agent_pos) != cell
            verb, place = ("walk", "") if moved and here == position else ("go", here if moved else "")
            said = "" if moved else f"The {name or 'wall'} blocks the way."
            event = Event(self.step, verb, place=place, tool="forward", done=moved, said=said)
        elif action == self.actions.pickup and env.carrying is not before:
            event = Event(self.step, "take", name, position)
        elif action == self.actions.drop and before is not None and env.carrying is None:
            event = Event(self.step, "drop", held, self.where(held))
        elif action == self.actions.toggle and name in self.doors:
            event = self._toggled(name, state, held)
        return self._seen(event, self._own(event))

    def _toggled(self, door: str, before: str, held: str) -> Event:
        after = self.state(door)
        if after == before:
            tool = held or "nothing"
            return Event(self.step, "unlock", door, tool=tool, done=False, said=f"The {tool} does not fit the {door}.")
        if before == "locked":
            return Event(self.step, "unlock", door, tool=held)
        return Event(self.step, "open" if after == "open" else "close", door)

    def _own(self, event: Event) -> tuple[Shown, ...]:
        """The state that an action changed."""
        if not event.done or event.verb not in ("take", "drop", "unlock", "open", "close"):
            return ()
        if event.thing in self.doors:
            return (Shown(event.thing, "state", self.state(event.thing)),)
        return (Shown(event.thing, "location", self.where(event.thing)),)

    def _seen(self, event: Event, own: tuple[Shown, ...]) -> Event:
        """With where the agent stands and what it sees."""
        env = self.env
        x, y = map(int, env.agent_pos)
        pose = f"At ({x}, {y}), facing {SIDES[env.agent_dir]}."
        shown = [] if event.verb == "drop" else [Shown(AGENT, "location", self.room((x, y)))]
        told = {each.entity for each in own}
        for name, thing in (*self.things.items(), *self.doors.items()):
            if name not in told and env.carrying is not thing and env.agent_sees(*thing.cur_pos):
                attribute = "state" if name in self.doors else "location"
                shown.append(Shown(name, attribute, self.state(name) if name in self.doors else self.where(name)))
        said = f"{event.said} {pose}" if event.said else pose
        return event._replace(shown=(*own, *shown), said=said)


WORDS = {
    "left": "turn left", "right": "turn right", "forward": "go", "pickup": "pick up", "drop": "drop",
    "toggle": "toggle", "done": "end",
}  # fmt: skip
"""Actions that had no effect."""


def _agent(maze: Maze, rng: random.Random) -> Iterator[Any]:
    """Actions of a bot that follows one mission after the other, and of chance."""
    able = [maze.actions.left, maze.actions.right, maze.actions.forward, maze.actions.forward, maze.actions.pickup,
            maze.actions.drop, maze.actions.toggle]  # fmt: skip
    while True:
        _give_mission(maze, rng)
        plan, last = _bot(maze), rng.choice(able[:3])
        yield last
        for _ in range(PATIENCE):
            planned = plan(last)
            if planned is None or planned == maze.actions.done:
                break
            last = rng.choice(able) if rng.random() < CHANCE else planned
            if last == maze.actions.toggle and _box_ahead(maze):
                last = maze.actions.left  # a box that is opened is gone
            yield last


class _Lost(Exception):
    """The bot has no way."""


def _bot(maze: Maze) -> Callable[[Any], Any]:
    """From the last action to the bot's next; None where it has no way, or chance has undone what it relied on."""
    bots = need("minigrid.utils.baby_ai_bot")
    bot = bots.BabyAIBot(maze.env)
    search, searches = bot._shortest_path, 0

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal searches
        searches += 1
        if searches > SEARCHES:
            raise _Lost
        return search(*given, **named)

    def plan(last: Any) -> Any:
        nonlocal searches
        searches = 0
        try:
            return bot.replan(last)
        except (_Lost, AssertionError, bots.DisappearedBoxError, IndexError, AttributeError, TypeError):
            return None

    bot._shortest_path = counted
    return plan


def _box_ahead(maze: Maze) -> bool:
    front = maze.env.grid.get(*maze.env.front_pos)
    return front is not None and front.type == "box"


def _give_mission(maze: Maze, rng: random.Random) -> None:
    verifier = need("minigrid.envs.babyai.core.verifier")

    def described(name: str) -> Any:
        color, kind, _ = name.split()
        return verifier.ObjDesc(kind, color)

    things, doors = list(maze.things), list(maze.doors)
    often = things[: max(3, len(things) // 4)]
    if rng.random() < 0.35 and doors:
        mission = verifier.OpenInstr(described(rng.choice(doors)))
    else:
        first = rng.choice(often if rng.random() < 0.5 else things)
        second = rng.choice([name for name in things if name.split()[:2] != first.split()[:2]])
        mission = verifier.PutNextInstr(described(first), described(second))
    maze.env.instrs = mission
    mission.reset_verifier(maze.env)
