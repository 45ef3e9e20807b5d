"""A house: rooms, doors, containers, items, labels, levers that move gates elsewhere, and dials that hide their notch.

Its laws and its printing are apart: `House.act` gives what happens, as an `Event`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from posttrain.bench.ama.log import Shown
from posttrain.bench.ama.worlds.event import AGENT, CARRIED, Event, Exit

ROOMS = (
    "kitchen", "hall", "cellar", "attic", "library", "garden", "studio", "pantry", "workshop", "tower", "chapel",
    "stable", "gallery", "laundry", "nursery", "office", "balcony", "bathroom", "greenhouse", "armoury", "dining room",
    "guest room", "wine cellar", "machine room", "music room", "winter garden",
)  # fmt: skip
METALS = ("brass", "silver", "copper", "iron", "golden", "tin", "bronze", "steel", "pewter", "nickel", "zinc", "chrome",
          "cobalt", "lead", "platinum", "titanium", "tungsten", "mercury")  # fmt: skip
NOUNS = ("lamp", "coin", "rope", "cup", "book", "bell", "vial", "gear", "map", "ring", "candle", "brush")
LOOKS = ("old", "blue", "wooden", "glass", "small", "heavy", "painted", "cracked")
LOCKABLE = ("oak chest", "steel safe", "tall cabinet", "pine chest", "wall safe", "glass cabinet", "iron trunk",
            "leather trunk", "sea chest", "gun cabinet", "jewel box", "tool box")  # fmt: skip
PLAIN = ("drawer", "crate", "basket")
DOORS = ("oak door", "iron door", "glass door", "cellar door", "green door", "narrow door", "back door", "steel door",
         "white door", "low door", "double door", "side door", "heavy door", "black door")  # fmt: skip
GATES = ("rusty gate", "stone gate", "bronze gate", "wooden gate", "spiked gate", "tall gate", "grey gate", "twin gate",
         "barred gate", "round gate")  # fmt: skip
LEVERS = ("red lever", "blue lever", "yellow lever", "white lever", "black lever", "green lever", "brown lever",
          "pink lever", "orange lever", "purple lever")  # fmt: skip
DIALS = ("boiler", "radio", "furnace", "pump", "organ", "clock")
HANDS = 4
"""Items that the agent can carry."""
TOP = 9
"""The highest notch of a dial."""


class Way(NamedTuple):
    """From a room to the next."""

    room: str
    door: str


@dataclass
class House:
    """The state of everything, and how it came to be."""

    ways: dict[str, dict[str, Way]]
    at: dict[str, str]
    """Where each item, container and fixture is."""
    states: dict[str, str]
    """`open`, `closed` or `locked`, of containers and doors."""
    keys: dict[str, str]
    """The key of what has a lock."""
    moves: dict[str, str]
    """Lever to gate."""
    notches: dict[str, int]
    labels: dict[str, str]
    """Of containers."""
    items: tuple[str, ...]
    room: str
    """Of the agent."""
    step: int = 0
    """The next."""
    changes: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    """By entity and attribute the steps at which it got a value, the first being -1."""

    def __post_init__(self) -> None:
        for name, place in self.at.items():
            self._note(name, "location", place, -1)
        for name, state in self.states.items():
            self._note(name, "state", state, -1)
        for name, label in self.labels.items():
            self._note(name, "label", label, -1)
        for name, notch in self.notches.items():
            self._note(name, "notch", str(notch), -1)
        for lever, gate in self.moves.items():
            self._note(lever, "moves", gate, -1)
        self._note(AGENT, "location", self.room, -1)

    def _note(self, entity: str, attribute: str, value: str, step: int | None = None) -> None:
        self.changes[entity, attribute].append((self.step if step is None else step, value))

    @property
    def containers(self) -> tuple[str, ...]:
        """Those with lids."""
        return tuple(self.labels)

    def inside(self, place: str) -> list[str]:
        """What is in a room, a container or the inventory, in a fixed order."""
        return [name for name, where in self.at.items() if where == place]

    def reachable(self, name: str) -> bool:
        """Whether the agent can touch it where it stands."""
        if name in self.states and name not in self.labels:
            return any(way.door == name for way in self.ways[self.room].values())
        place = self.at[name]
        return place in (self.room, CARRIED) or (self.at.get(place) == self.room and self.states.get(place) == "open")

    def act(self, verb: str, thing: str = "", place: str = "", tool: str = "", said: str = "") -> Event:
        """Do something that the agent can try here; gives what happens."""
        event = getattr(self, f"_{verb}")(Event(self.step, verb, thing, place, tool, said=said))
        self.step += 1
        return event

    def _look(self, event: Event) -> Event:
        things = [Shown(AGENT, "location", self.room), *self._listing(self.room)]
        exits = tuple(
            Exit(direction, way.room, way.door, self.states.get(way.door, ""))
            for direction, way in self.ways[self.room].items()
        )
        return event._replace(shown=tuple(things), listed=self.room, exits=exits)

    def _listing(self, place: str) -> list[Shown]:
        shown = []
        for name in self.inside(place):
            shown.append(Shown(name, "location", place))
            if name in self.states:
                shown.append(Shown(name, "state", self.states[name]))
        return shown

    def _inventory(self, event: Event) -> Event:
        return event._replace(shown=tuple(self._listing(CARRIED)), listed=CARRIED)

    def _go(self, event: Event) -> Event:
        way = self.ways[self.room][event.tool]
        if way.door and self.states[way.door] != "open":
            return event._replace(done=False, shown=(Shown(way.door, "state", self.states[way.door]),))
        self.room = way.room
        self._note(AGENT, "location", self.room)
        return self._look(event._replace(place=way.room))

    def _take(self, event: Event) -> Event:
        if len(self.inside(CARRIED)) >= HANDS:
            return event._replace(done=False, said="You cannot carry more.")
        return self._moved(event, CARRIED)

    def _put(self, event: Event) -> Event:
        return self._moved(event, event.place)

    def _drop(self, event: Event) -> Event:
        return self._moved(event._replace(place=self.room), self.room)

    def _moved(self, event: Event, place: str) -> Event:
        self.at[event.thing] = place
        self._note(event.thing, "location", place)
        return event._replace(shown=(Shown(event.thing, "location", place),))

    def _open(self, event: Event) -> Event:
        return self._set(event, "open") if self.states[event.thing] == "closed" else self._failed(event)

    def _close(self, event: Event) -> Event:
        return self._set(event, "closed") if self.states[event.thing] == "open" else self._failed(event)

    def _unlock(self, event: Event) -> Event:
        return self._turned(event, "locked", "closed")

    def _lock(self, event: Event) -> Event:
        return self._turned(event, "closed", "locked")

    def _turned(self, event: Event, before: str, after: str) -> Event:
        if self.keys.get(event.thing) != event.tool:
            return event._replace(done=False, said=f"The {event.tool} does not fit the {event.thing}.")
        return self._set(event, after) if self.states[event.thing] == before else self._failed(event)

    def _failed(self, event: Event) -> Event:
        return event._replace(done=False, shown=(Shown(event.thing, "state", self.states[event.thing]),))

    def _set(self, event: Event, state: str) -> Event:
        self.states[event.thing] = state
        self._note(event.thing, "state", state)
        shown = (Shown(event.thing, "state", state),)
        if state == "open" and event.thing in self.labels:
            return event._replace(shown=(*shown, *self._listing(event.thing)), listed=event.thing)
        return event._replace(shown=shown)

    def _pull(self, event: Event) -> Event:
        gate = self.moves[event.thing]
        self.states[gate] = "closed" if self.states[gate] == "open" else "open"
        self._note(gate, "state", self.states[gate])
        return event._replace(said="Something heavy moves far away.")

    def _turn(self, event: Event) -> Event:
        notch = self.notches[event.thing] + (1 if event.tool == "up" else -1)
        if not 0 <= notch <= TOP:
            return event._replace(done=False, said=f"The {event.thing} does not turn any further.")
        self.notches[event.thing] = notch
        self._note(event.thing, "notch", str(notch))
        return event

    def _write(self, event: Event) -> Event:
        self.labels[event.thing] = event.tool
        self._note(event.thing, "label", event.tool)
        return event._replace(shown=(Shown(event.thing, "label", event.tool),))

    def _examine(self, event: Event) -> Event:
        name = event.thing
        if name in self.notches:
            return event._replace(shown=(Shown(name, "notch", str(self.notches[name])),))
        if name in self.moves:
            return event._replace(shown=(Shown(name, "moves", self.moves[name]),))
        if name not in self.labels:
            return event._replace(shown=(Shown(name, "location", self.at[name]),))
        shown = [Shown(name, "state", self.states[name]), Shown(name, "label", self.labels[name])]
        if self.states[name] != "open":
            return event._replace(shown=tuple(shown))
        return event._replace(shown=(*shown, *self._listing(name)), listed=name)

    def _think(self, event: Event) -> Event:
        return event


def strangers(house: House) -> list[str]:
    """Names of things that could be in a house, and are not in this one."""
    names = [f"{look} {noun}" for noun in NOUNS for look in LOOKS]
    return [name for name in (*names, *LOCKABLE) if name not in house.at]


def build(rng: random.Random, level: int) -> House:
    """A house of a size: 0 has six rooms, every level two more."""
    rooms: list[str] = rng.sample(ROOMS, min(6 + 2 * level, len(ROOMS)))
    ways, doors, gates = _map(rng, rooms)
    lockable = rng.sample(LOCKABLE, min(3 + level, len(LOCKABLE)))
    plain = [f"{PLAIN[number % 3]} {number // 3 + 1}" for number in range(3 + level)]
    locked = [*lockable, *(door for door, kind in doors.items() if kind == "keyed")]
    keys = {name: f"{metal} key" for name, metal in zip(locked, rng.sample(METALS, len(METALS)), strict=False)}
    names = [f"{look} {noun}" for noun in NOUNS for look in LOOKS]
    things = rng.sample(names, 8 + 3 * level)
    levers: dict[str, str] = dict(zip(rng.sample(LEVERS, len(gates)), gates, strict=True))
    dials = rng.sample(DIALS, min(2 + level // 2, len(DIALS)))
    at: dict[str, str] = {}
    for name in (*lockable, *plain, *levers, *dials):
        at[name] = rng.choice(rooms)
    for key in keys.values():
        at[key] = rng.choice((*rooms, *plain))
    for name in things:
        at[name] = rng.choice((*rooms, *plain, *lockable, *lockable))
    states = {name: "locked" if name in keys else "closed" for name in (*lockable, *plain)}
    states |= {name: "locked" if name in keys else "closed" for name in doors}
    states |= dict.fromkeys(gates, "closed")
    return House(
        ways=ways, at=at, states=states, keys=keys, moves=levers,
        notches={name: rng.randint(2, TOP - 2) for name in dials},
        labels=dict.fromkeys((*lockable, *plain), "blank"), items=(*keys.values(), *things), room=rooms[0],
    )  # fmt: skip


def _map(rng: random.Random, rooms: list[str]) -> tuple[dict[str, dict[str, Way]], dict[str, str], list[str]]:
    """Rooms on a grid: a tree of ways, some with doors, and short cuts behind locked doors or gates."""
    wide = max(2, round(len(rooms) ** 0.5))
    pairs = []
    for number, room in enumerate(rooms):
        if number % wide < wide - 1 and number + 1 < len(rooms):
            pairs.append((room, "east", "west", rooms[number + 1]))
        if number + wide < len(rooms):
            pairs.append((room, "south", "north", rooms[number + wide]))
    rng.shuffle(pairs)
    group = {room: room for room in rooms}
    ways: dict[str, dict[str, Way]] = {room: {} for room in rooms}
    door_names, gate_names = iter(rng.sample(DOORS, len(DOORS))), iter(rng.sample(GATES, len(GATES)))
    doors: dict[str, str] = {}
    gates: list[str] = []
    extras = []
    for pair in pairs:
        here, there = group[pair[0]], group[pair[3]]
        if here == there:
            extras.append(pair)
            continue
        group = {room: here if of == there else of for room, of in group.items()}
        door = next(door_names, "") if rng.random() < 0.35 and len(doors) < 6 else ""
        if door:
            doors[door] = "plain"
        _connect(ways, pair, door)
    for number, pair in enumerate(extras[: len(DOORS) - 6]):
        if number % 2:
            gates.append(next(gate_names))
            _connect(ways, pair, gates[-1])
        else:
            door = next(door_names)
            doors[door] = "keyed"
            _connect(ways, pair, door)
    return ways, doors, gates


def _connect(ways: dict[str, dict[str, Way]], pair: tuple[str, str, str, str], door: str) -> None:
    here, there, back, room = pair
    ways[here][there] = Way(room, door)
    ways[room][back] = Way(here, door)
