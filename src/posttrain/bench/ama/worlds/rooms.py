"""Rooms: a synthetic world of our own, of any length, with causes that lie far back and states that hide.

    logs = rooms.logs("32K", seed=0)        # the same events as prose, as JSON and as tables

An agent follows goals (unlock, carry, lock again, work a lever and pass its gate, label, turn a dial), chosen so that
none falls behind its quota; on the way it looks around, tries wrong keys and thinks aloud, so that the last mention of
a thing is seldom what explains it. The same seed gives the same log in every process.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from posttrain.bench.ama.log import Log, Printed, tokens_of
from posttrain.bench.ama.questions.asking import ask
from posttrain.bench.ama.questions.trace import Trace
from posttrain.bench.ama.reader import Read
from posttrain.bench.ama.worlds.event import CARRIED, Event
from posttrain.bench.ama.worlds.forms import FORMS
from posttrain.bench.ama.worlds.house import HANDS, TOP, House, Way, build, strangers
from posttrain.memory.rows import Turn

TASK = "Keep the house: carry things where they belong, unlock what is locked, and keep labels and dials in order."
QUOTAS = {"unlock": 5, "gate": 4, "carry": 4, "dial": 4, "label": 3, "relock": 2, "shut": 2, "wander": 2}
"""How often each goal is followed, in proportion."""
ASIDE = 0.18
"""Chance before each step of something that the goal does not need."""


class Act(NamedTuple):
    """What the agent is about to do."""

    verb: str
    thing: str = ""
    place: str = ""
    tool: str = ""
    said: str = ""


Acts = Iterator[Act]


def logs(length: str, seed: int, forms: Sequence[str] = tuple(FORMS)) -> list[Log]:
    """One trajectory, with its questions, in each of some forms.

    Args:
        length: Of the prose, such as `8K`; the other forms print the same events.
        seed: Of the house, the agent and the questions.
        forms: Names in `FORMS`.
    """
    house, events = play(length, seed)
    rng = random.Random(f"questions about rooms {length} {seed}")
    questions = ask(Trace(events, house.changes), rng, rng.sample(strangers(house), 4))
    truth = tuple(Printed(*shown, event.step) for event in events for shown in event.states)
    return [
        Log(name, "rooms", form, length, TASK, _turns(name, form, events), questions, truth)
        for form in forms
        for name in [f"rooms-{form}-{length}-{seed}"]
    ]


def _turns(run: str, form: str, events: Sequence[Event]) -> tuple[Turn, ...]:
    return tuple(Turn(run, event.step, *FORMS[form].write(event)) for event in events)


def level_of(length: str) -> int:
    """The size of the house for a length: one more for every doubling of 8K, up to 10."""
    return min(max(0, (tokens_of(length) // 8192).bit_length() - 1), 10)


def play(length: str, seed: int) -> tuple[House, list[Event]]:
    """Play until the prose is so long; gives the house as it is then, with its history, and all events."""
    rng = random.Random(f"rooms {length} {seed}")
    house = build(rng, level_of(length))
    room = 4 * tokens_of(length)
    events = [house.act("look")]
    agent = Agent(house, rng)
    while room > 0:
        act = agent.next()
        events.append(house.act(*act))
        room -= sum(map(len, FORMS["prose"].write(events[-1])))
    return house, events


class Agent:
    """Goes for one goal after the other."""

    def __init__(self, house: House, rng: random.Random) -> None:
        self.house, self.rng = house, rng
        self.goal: Acts = iter(())
        self.often = rng.sample(house.items, 3)
        """Items that are carried about more than others."""
        self.followed: Counter[str] = Counter()

    def next(self) -> Act:
        """The next action."""
        if self.rng.random() < ASIDE:
            return self._aside()
        while True:
            act = next(self.goal, None)
            if act is not None:
                return act
            name = min(QUOTAS, key=lambda goal: (self.followed[goal] / QUOTAS[goal], self.rng.random()))
            self.followed[name] += 1
            self.goal = getattr(self, f"_{name}")()

    # ---- goals

    def _unlock(self) -> Acts:
        house = self.house
        locked = [name for name in house.keys if house.states[name] == "locked"]
        if not locked:
            yield from self._relock()
            return
        target = self.rng.choice(locked)
        key = house.keys[target]
        yield from self._fetch(key)
        yield from self._to(self._beside(target))
        yield Act("unlock", target, tool=key)
        yield Act("open", target)
        inside = house.inside(target)
        if inside and self.rng.random() < 0.7:
            yield from self._free()
            yield Act("take", self.rng.choice(inside), target)
        if self.rng.random() < 0.4:
            yield Act("close", target)
            yield Act("lock", target, tool=key)
        if self.rng.random() < 0.5:
            yield Act("drop", key)

    def _relock(self) -> Acts:
        house = self.house
        able = [name for name in house.keys if house.states[name] != "locked"]
        if not able:
            return
        target = self.rng.choice(able)
        yield from self._fetch(house.keys[target])
        yield from self._to(self._beside(target))
        if house.states[target] == "open":
            yield Act("close", target)
        yield Act("lock", target, tool=house.keys[target])

    def _gate(self) -> Acts:
        house = self.house
        if not house.moves:
            return
        lever = self.rng.choice(list(house.moves))
        gate = house.moves[lever]
        yield from self._to(house.at[lever])
        if self.rng.random() < 0.4:
            yield Act("examine", lever)
        yield Act("pull", lever)
        room, direction = self.rng.choice(
            [(room, to) for room, ways in house.ways.items() for to, way in ways.items() if way.door == gate]
        )
        yield from self._to(room)
        yield Act("go", tool=direction)

    def _carry(self) -> Acts:
        house = self.house
        item = self.rng.choice(self.often if self.rng.random() < 0.5 else house.items)
        yield from self._fetch(item)
        is_key = item in house.keys.values()
        places = [c for c in house.containers if not (is_key and c in house.keys) and house.states[c] != "locked"]
        if self.rng.random() < 0.35 or not places:
            yield from self._to(self.rng.choice(list(house.ways)))
            yield Act("drop", item)
            return
        place = self.rng.choice(places)
        yield from self._to(house.at[place])
        if house.states[place] == "closed":
            yield Act("open", place)
        yield Act("put", item, place)
        if self.rng.random() < 0.4:
            yield Act("close", place)

    def _dial(self) -> Acts:
        dial = self.rng.choice(list(self.house.notches))
        yield from self._to(self.house.at[dial])
        if self.rng.random() < 0.5:
            yield Act("examine", dial)
        for _ in range(self.rng.randint(1, 3)):
            notch = self.house.notches[dial]
            up = notch < 1 or (notch < TOP and self.rng.random() < 0.5)
            yield Act("turn", dial, tool="up" if up else "down")

    def _label(self) -> Acts:
        name = self.rng.choice(self.house.containers)
        yield from self._to(self.house.at[name])
        if self.rng.random() < 0.3:
            yield Act("examine", name)
        yield Act("write", name, tool=f"{self.rng.choice('KLMNPRST')}-{self.rng.randint(100, 999)}")

    def _shut(self) -> Acts:
        able = [name for name in self.house.containers if self.house.states[name] == "open"]
        if able:
            name = self.rng.choice(able)
            yield from self._to(self.house.at[name])
            yield Act("close", name)

    def _wander(self) -> Acts:
        yield from self._to(self.rng.choice(list(self.house.ways)))
        yield Act("look")

    # ---- parts of goals

    def _beside(self, name: str) -> str:
        """A room from where it can be touched."""
        house = self.house
        if name in house.at:
            return house.at[name]
        rooms = [room for room, ways in house.ways.items() if any(way.door == name for way in ways.values())]
        return self.rng.choice(rooms)

    def _fetch(self, item: str) -> Acts:
        """Carry an item."""
        house = self.house
        if house.at[item] == CARRIED:
            return
        yield from self._free()
        place = house.at[item]
        if place in house.states:
            if house.states[place] == "locked":
                key = house.keys[place]
                yield from self._fetch(key)
                yield from self._to(house.at[place])
                yield Act("unlock", place, tool=key)
                yield from self._free(key)
            yield from self._to(house.at[place])
            if house.states[place] == "closed":
                yield Act("open", place)
        else:
            yield from self._to(place)
        yield Act("take", item, place)

    def _free(self, keep: str = "") -> Acts:
        """Have a hand free."""
        carried = [name for name in self.house.inside(CARRIED) if name != keep]
        if len(self.house.inside(CARRIED)) >= HANDS:
            yield Act("drop", self.rng.choice(carried))

    def _to(self, room: str) -> Acts:
        """Walk to a room; plain doors on the way are opened."""
        while self.house.room != room:
            direction = self._direction(room)
            way = self.house.ways[self.house.room][direction]
            if way.door and self.house.states[way.door] == "closed":
                yield Act("open", way.door)
            yield Act("go", tool=direction)

    def _direction(self, room: str) -> str:
        """The first step of a shortest way that the agent can walk now."""
        house = self.house
        first: dict[str, str] = {house.room: ""}
        queue = deque([house.room])
        while queue:
            here = queue.popleft()
            for direction, way in house.ways[here].items():
                if way.room not in first and self._passable(way):
                    first[way.room] = first[here] or direction
                    queue.append(way.room)
        return first[room]

    def _passable(self, way: Way) -> bool:
        states, gates = self.house.states, self.house.moves.values()
        return not way.door or states[way.door] == "open" or (states[way.door] == "closed" and way.door not in gates)

    # ---- what the goal does not need

    def _aside(self) -> Act:
        house, rng = self.house, self.rng
        near = [name for name in house.at if house.reachable(name)]
        carried = house.inside(CARRIED)
        locks = [name for name in house.keys if house.reachable(name) and house.states[name] == "locked"]
        wrong = [(lock, key) for lock in locks for key in carried if key in house.keys.values()]
        wrong = [(lock, key) for lock, key in wrong if house.keys[lock] != key]
        kind = rng.choice(("look", "inventory", "think", "think", "examine", "examine", "try", "try"))
        if kind == "try" and wrong:
            lock, key = rng.choice(wrong)
            return Act("unlock", lock, tool=key)
        if kind == "try" and locks:
            return Act("open", rng.choice(locks))
        if kind in ("examine", "try") and near:
            return Act("examine", rng.choice(near))
        if kind == "think":
            first, second = rng.choice(house.items), rng.choice(house.containers)
            return Act("think", said=rng.choice(THOUGHTS).format(first=first, second=second))
        return Act("inventory" if kind == "inventory" else "look")


THOUGHTS = (
    "the {first} may belong into the {second}",
    "was the {second} locked, and where did I leave the {first}?",
    "I should not forget the {first}",
    "first the {second}, then the {first}",
)


def reading(form: str) -> Read:
    """Reads the turns of a form back into events."""
    return FORMS[form].read
