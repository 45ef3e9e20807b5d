"""States that JSON and Python literals tell: records with a name, dicts by their paths, lists of what is where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from posttrain.memory.extract.literal import Fields, Items, Node, Value
from posttrain.memory.extract.phrase import place_of, stated
from posttrain.memory.extract.prose import HERE
from posttrain.memory.extract.said import (
    AGENT,
    CARRIED,
    CONTENTS,
    LONG,
    PLACE,
    STATE,
    WORDY,
    Named,
    Said,
    name_of,
    value_of,
)
from posttrain.memory.extract.words import CARRY, DIRECTIONS, EXITS, HOLDS, NAMES, PLACES, STATUS

DEPTH = 24
"""Deeper literals are not followed."""

_WAYS = frozenset({"direction", "dir", "exit", "way"})
_TO = frozenset({"room", "to", "destination", "leads_to", "target", "place", "location"})


class Owner(NamedTuple):
    """Whose states are read."""

    entity: str
    """Empty at the top."""
    named: tuple[int, int]


TOP = Owner("", (0, 0))


def told(text: str, node: Node) -> Iterator[Said | Named]:
    """All states of a literal, and the things that it names."""
    yield from _node(text, node, TOP, 0)


def key_of(text: str) -> str:
    """A key as words: `current_room`, `Current Room` and `currentRoom` are looked up alike."""
    if text.islower() or text.isupper() or not text.isalnum():
        return text.strip().lower().replace(" ", "_").replace("-", "_")
    return "".join(f"_{c.lower()}" if c.isupper() and place else c.lower() for place, c in enumerate(text.strip()))


def _node(text: str, node: Node, owner: Owner, depth: int) -> Iterator[Said | Named]:
    if depth > DEPTH or isinstance(node, Value):
        return
    if isinstance(node, Fields):
        yield from _fields(text, node, owner, depth)
        return
    for place, each in enumerate(node.nodes):
        if isinstance(each, Fields):
            named = _name(each)
            if named is None and not _is_way(each):
                yield from _fields(text, each, _under(owner, str(place), (each.start, each.start + 1)), depth + 1)
            else:
                yield from _fields(text, each, owner, depth + 1)
        elif isinstance(each, Items):
            yield from _list(text, str(place), (each.start, each.end), each, owner, depth + 1)
        elif 1 < len(each.text) <= WORDY:
            yield Named(name_of(each.text), each.start, each.end)


def _under(owner: Owner, key: str, span: tuple[int, int]) -> Owner:
    return Owner(f"{owner.entity}.{key}" if owner.entity else key, span)


def _name(node: Fields) -> Value | None:
    """The value that names a record: that of its first key of `NAMES` that has one; a record has another key too."""
    best, found = len(NAMES), None
    for key, value in node.pairs:
        rank = NAMES.get(key_of(key.text), len(NAMES))
        if rank < best and isinstance(value, Value) and 0 < len(value.text) <= WORDY:
            best, found = rank, value
    return found if len(node.pairs) > 1 else None


def _is_way(node: Fields) -> bool:
    return any(key_of(key.text) in _WAYS for key, _ in node.pairs)


def _fields(text: str, node: Fields, owner: Owner, depth: int) -> Iterator[Said | Named]:
    if _is_way(node):
        yield from _way(text, node)
        return
    name = _name(node)
    if name:
        owner = Owner(name_of(name.text), (name.start, name.end))
        yield Named(owner.entity, name.start, name.end)
    for key, value in node.pairs:
        if value is not name:
            yield from _field(text, key, value, owner, depth, name is not None)


def _field(text: str, key: Value, value: Node, owner: Owner, depth: int, record: bool) -> Iterator[Said | Named]:
    word = key_of(key.text)
    span = (key.start, key.end)
    if isinstance(value, Value):
        yield from _scalar(text, key, word, value, owner)
    elif isinstance(value, Items):
        yield from _list(text, word, span, value, owner, depth + 1)
    elif word in EXITS and all(key_of(k.text) in DIRECTIONS for k, _ in value.pairs):
        for way, room in value.pairs:
            if isinstance(room, Value) and room.text:
                yield Said(HERE, key_of(way.text), name_of(room.text), room.start, room.end, (way.start, way.end))
            elif isinstance(room, Fields):
                yield from _way(text, Fields([(Value("direction", way.start, way.end), way), *room.pairs], 0, 0))
    elif word in STATUS | PLACES and value.pairs and all(isinstance(v, Value) for _, v in value.pairs):
        for inner, each in value.pairs:
            if isinstance(each, Value):
                place = word in PLACES
                said = name_of(each.text) if place else value_of(each.text)
                yield Said(
                    name_of(inner.text), PLACE if place else STATE, said, each.start, each.end, (inner.start, inner.end)
                )
    elif value.pairs and not record and _plural(word) and _alike(value):
        for inner, each in value.pairs:
            yield from _fields_of(text, each, Owner(name_of(inner.text), (inner.start, inner.end)), depth + 2)
    elif _name(value) and not owner.entity:
        yield from _fields(text, value, owner, depth + 1)
    else:
        yield from _fields_of(text, value, _under(owner, name_of(key.text), span), depth + 1)


def _fields_of(text: str, node: Node, owner: Owner, depth: int) -> Iterator[Said | Named]:
    """As `_fields`, of an owner that is known."""
    if depth > DEPTH or not isinstance(node, Fields):
        return
    yield Named(owner.entity, *owner.named)
    for key, value in node.pairs:
        yield from _field(text, key, value, owner, depth, True)


def _plural(word: str) -> bool:
    return word.endswith("s") or word in HOLDS


def _alike(node: Fields) -> bool:
    """Whether all values are dicts, so that the keys name things."""
    return all(isinstance(value, Fields) for _, value in node.pairs)


def _scalar(text: str, key: Value, word: str, value: Value, owner: Owner) -> Iterator[Said | Named]:
    span = (key.start, key.end)
    if not value.text.strip():
        return
    if word in PLACES and value.end - value.start <= WORDY:
        entity = owner.entity or AGENT
        place = place_of(name_of(value.text))
        yield Said(entity, PLACE, place, value.start, value.end, owner.named if owner.entity else span)
        return
    entity, named = (owner.entity, owner.named) if owner.entity else (name_of(key.text), span)
    attribute = name_of(key.text) if owner.entity else "value"
    yield Said(entity, attribute, value_of(value.text), value.start, value.end, named)
    if not owner.entity and word in NAMES and len(value.text) <= WORDY:
        yield Named(name_of(value.text), value.start, value.end)


def _list(text: str, word: str, span: tuple[int, int], node: Items, owner: Owner, depth: int) -> Iterator[Said | Named]:
    carried, holds = word in CARRY, word in HOLDS
    if not node.flat:
        if node.end - node.start <= LONG and all(isinstance(each, Items) and each.flat for each in node.nodes):
            for place, each in enumerate(node.nodes):
                inner = _under(owner, word, span)
                yield Said(inner.entity, str(place), value_of(text[each.start : each.end]), each.start, each.end, span)
            return
        place = CARRIED if carried else (owner.entity or HERE)
        for each in node.nodes:
            if (carried or holds) and isinstance(each, Fields) and (name := _name(each)) and not _placed(each):
                yield Said(name_of(name.text), PLACE, place, name.start, name.end, (name.start, name.end))
        yield from _node(text, node, _under(owner, word, span), depth)
        return
    if carried or holds:
        place = CARRIED if carried else (owner.entity or HERE)
        if place != HERE:
            entity, attribute = (AGENT, CARRIED) if carried else (place, CONTENTS)
            yield Said(entity, attribute, value_of(text[node.start : node.end]), node.start, node.end, span)
        for each in node.nodes:
            if isinstance(each, Value) and (it := stated(text, each.start, each.end)):
                yield Said(it.name, PLACE, place, it.start, it.end, (it.start, it.end))
                if it.state:
                    yield Said(it.name, STATE, value_of(text[slice(*it.state)]), *it.state, (it.start, it.end))
        return
    if node.nodes:
        entity, named = (owner.entity, owner.named) if owner.entity else (word, span)
        attribute = word if owner.entity else "value"
        yield Said(entity, attribute, value_of(text[node.start : node.end]), node.start, node.end, named)
        for each in node.nodes[:16]:
            if isinstance(each, Value) and 1 < len(each.text) <= WORDY and not each.text[0].isdigit():
                yield Named(name_of(each.text), each.start, each.end)


def _placed(node: Fields) -> bool:
    return any(key_of(key.text) in PLACES for key, _ in node.pairs)


def _way(text: str, node: Fields) -> Iterator[Said | Named]:
    """A way out of a room: direction, room, and the door in it with its state."""
    known = {key_of(key.text): value for key, value in node.pairs if isinstance(value, Value) and value.text.strip()}
    way = next((known[key] for key in known if key in _WAYS), None)
    if way is None:
        return
    direction = name_of(way.text)
    span = (way.start, way.end)
    if room := next((known[key] for key in known if key in _TO), None):
        yield Said(HERE, direction, name_of(room.text), room.start, room.end, span)
    if door := known.get("door") or known.get("through") or known.get("via"):
        named = (door.start, door.end)
        name = name_of(door.text)
        yield Said(HERE, f"{direction} door", name, *named, span)
        for key, value in known.items():
            if key not in _WAYS and key not in _TO and value is not door:
                attribute = STATE if key in STATUS or key == "door_state" else key
                yield Said(name, attribute, value_of(value.text), value.start, value.end, named)
