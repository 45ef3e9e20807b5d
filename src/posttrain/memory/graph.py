"""The causality graph: states and their versions, who wrote them, who read them (Zhao et al. 2026, arXiv:2602.22769).

A state is an attribute of an entity. An observation tells states; a version begins where the value differs from the
latest one.

    WRITE(t -> v)        the action of t changed the state: it names the entity, or the state is the agent's own
    READ(v -> t)         the action of t names the entity, or needs its state; v is the latest version before t
    CAUSES(t1 -> t2)     v was written by t1 and is read by t2
    ASSOC(e1 - e2)       an entity and the place it is found in
    NEXT(t1 -> t2)       turns that follow each other

An action needs, beside what it names: the place where the agent is; the container of the thing it is done to; what
the observation says it was done with, or the only key at hand where it unlocks; the door in the way it goes.

Differs from the paper: rules take the place of its model, every row has the characters it was read from, and a
version that was only seen has no writer. An extractor of the store's outbox may add what a model sees; its rows are
marked, and the rules do not go by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from posttrain.memory.extract import observed
from posttrain.memory.extract.act import failed, worked
from posttrain.memory.extract.action import Did, did
from posttrain.memory.extract.said import (
    AGENT,
    CARRIED,
    NAMES,
    PLACE,
    STATE,
    STATES,
    Heard,
    Named,
    Said,
    name_of,
    readable,
)
from posttrain.memory.extract.words import DIRECTIONS, EFFECTS
from posttrain.memory.rows import RULES, Edge, Fact, Field, Posting, Proof, Role, Turn

__all__ = ["AGENT", "CARRIED", "PLACE", "STATE", "USE", "Found", "Known", "name_of", "read"]

ATTRIBUTES = 4
"""At most so many states of an entity are read by an action that names it: those that were written, then the newest."""
READS = 24
"""At most so many states are read by one action."""
PAIRS = 8
"""At most so many ASSOC edges are made from one turn."""
KEYS = frozenset({"key", "keycard", "passkey", "card", "lockpick", "password", "code", "badge", "token"})
"""The last words of the names of things that locks are opened with."""
USE = "use"
"""The attribute of what was pulled, pressed or turned: its last use."""
MOVERS = frozenset({"moves", "controls", "opens", "unlocks", "powers", "activates", "operates"})
"""Attributes whose value is another entity that changes when this one is used."""
WORDS = 6
"""Names of more words are known in an action only by its form."""
SEARCHED = 2000
"""So many first characters of an action are searched for known names."""

_WORD = re.compile(r"[^\s\[\](){}<>,;:!?\"'`=|]+")


class Found(NamedTuple):
    """What a turn adds to the graph."""

    facts: tuple[Fact, ...] = ()
    postings: tuple[Posting, ...] = ()
    edges: tuple[Edge, ...] = ()


class Known:
    """The states of a run after some turn: the latest version of each attribute of each entity, and all names."""

    def __init__(self) -> None:
        self.latest: dict[str, dict[str, Fact]] = {}
        self.names: set[str] = set()
        self.heads: dict[str, int] = {}
        """First words of names, each with the number of words of the longest such name."""
        self.carried: set[str] = set()
        """Entities whose latest location is the inventory."""
        self.movers: dict[str, set[tuple[str, str]]] = {}
        """Entities to those that change them when they are used, each with the attribute that says so."""

    @classmethod
    def of(cls, facts: Iterable[Fact], names: Iterable[str] = ()) -> Known:
        """As having read all turns: from the latest versions and the names of all entities, as a store has them."""
        known = cls()
        for fact in sorted(facts, key=lambda fact: fact.turn):
            if fact.by == RULES:
                known._keep(fact)
        known._call(names)
        return known

    def take(self, found: Found) -> None:
        """Go on to the state after a turn."""
        for fact in found.facts:
            self._keep(fact)
        self._call(posting.entity for posting in found.postings)

    def value(self, entity: str, attribute: str) -> str | None:
        """The latest value of a state, if there is one."""
        fact = self.latest.get(entity, {}).get(attribute)
        return fact.value if fact else None

    def foremost(self, entity: str) -> list[Fact]:
        """The versions of an entity that an action which names it reads."""
        facts = self.latest.get(entity, {}).values()
        return sorted(facts, key=lambda fact: (fact.writer is None, -fact.turn, fact.attribute))[:ATTRIBUTES]

    def moved(self, entity: str, latest: Fact | None) -> int | None:
        """The last use of what changes an entity, since its latest version."""
        uses = [self.latest[name].get(USE) for name, _ in self.movers.get(entity, ())]
        turns = [use.turn for use in uses if use and latest and use.turn > latest.turn]
        return max(turns, default=None)

    def _call(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                self.names.add(name)
                words = _WORD.findall(name)[:WORDS]
                if words and len(words) > self.heads.get(words[0], 0):
                    self.heads[words[0]] = len(words)

    def _keep(self, fact: Fact) -> None:
        before = self.latest.setdefault(fact.entity, {}).get(fact.attribute)
        self.latest[fact.entity][fact.attribute] = fact
        self._call([fact.entity])
        if fact.attribute == PLACE:
            if fact.value == CARRIED:
                self.carried.add(fact.entity)
            else:
                self.carried.discard(fact.entity)
        elif fact.attribute in MOVERS:
            if before:
                self.movers[name_of(before.value)].discard((fact.entity, fact.attribute))
            self.movers.setdefault(name_of(fact.value), set()).add((fact.entity, fact.attribute))


def read(turn: Turn, before: Turn | None, known: Known) -> Found:
    """What a turn adds to the graph. `known` is left as it is."""
    done = did(turn.action)
    here = known.value(AGENT, PLACE)
    seen = frozenset(before.observation.split("\n")) if before else frozenset()
    heard = observed(turn.observation, seen, here)
    names = _named(turn, done, known)
    facts = _facts(turn, done, heard, {name.entity for name in names}, known)
    edges = (
        [Edge("NEXT", before.turn, turn.turn, "", "", Proof(turn.turn, "action", 0, len(turn.action)))]
        if before
        else []
    )
    edges += [
        Edge("WRITE", fact.writer, fact.turn, fact.entity, fact.attribute, fact.proof)
        for fact in facts
        if fact.writer is not None
    ]
    edges += _reads(turn, done, heard, names, known)
    edges += _pairs(facts)
    return Found(tuple(facts), tuple(_postings(turn, names, heard, facts, known)), tuple(edges))


def _named(turn: Turn, done: Did, known: Known) -> list[Named]:
    """All that the action names: what its form shows, and names that are known from earlier turns."""
    found = {each.entity: each for each in done.names}
    words = list(_WORD.finditer(turn.action, 0, SEARCHED))
    for place, word in enumerate(words):
        longest = known.heads.get(word[0].casefold(), 0)
        for last in range(min(place + longest, len(words)) - 1, place - 1, -1):
            start, end = word.start(), words[last].end()
            name = name_of(turn.action[start:end])
            if name in known.names and name not in found and not (last == place and len(name) < 3):
                found[name] = Named(name, start, end)
                break
    return list(found.values())


# ---- versions


def _facts(turn: Turn, done: Did, heard: Heard, named: set[str], known: Known) -> list[Fact]:
    """The versions that begin with a turn; one at most of each attribute."""
    act = Doing(done.act.kind, named, name_of(turn.action[:SEARCHED]), failed(turn.observation))
    told: dict[tuple[str, str], tuple[Field, Said]] = {}
    for said in () if act.failed else _effects(turn, done, heard, known):
        told[said.entity, said.attribute] = ("action", said)
    for said in heard.states:
        told.pop((said.entity, said.attribute), None)
        told[said.entity, said.attribute] = ("observation", said)
    facts = []
    for (entity, attribute), (field, said) in told.items():
        latest = known.latest.get(entity, {}).get(attribute)
        if latest is not None and latest.value == said.value:
            continue
        writer = turn.turn if act.wrote(said, latest) else known.moved(entity, latest)
        facts.append(
            Fact(entity, attribute, said.value, turn.turn, writer, Proof(turn.turn, field, said.start, said.end))
        )
    return facts[:STATES]


def _effects(turn: Turn, done: Did, heard: Heard, known: Known) -> list[Said]:
    """What the action changes by its own words, of one whose observation does not say that it failed."""
    act, observation = done.act, turn.observation
    found = [said._replace(done=True) for said in done.writes]
    if act.kind == "use":
        phrase = " ".join(readable(turn.action[:SEARCHED]).split())[:60]
        found += [
            Said(each.name, USE, f"{phrase} (step {turn.turn})", each.start, each.end, (each.start, each.end), True)
            for each in act.things[:1]
        ]
    moved = {(said.entity, said.attribute) for said in heard.states}
    if act.kind == "go" and act.things and (AGENT, PLACE) not in moved and act.things[0].name not in DIRECTIONS:
        it = act.things[0]
        if re.search(rf"(?<!\w){re.escape(it.name)}(?!\w)", name_of(observation[:SEARCHED])):
            found.append(Said(AGENT, PLACE, it.name, it.start, it.end, (it.start, it.end), True))
    if act.things and act.kind not in ("go", "look", "use") and worked(act, observation):
        for it, attribute, value in act.effects(known.value(AGENT, PLACE)):
            found.append(Said(it.name, attribute, value, it.start, it.end, (it.start, it.end), True))
    return found


class Doing(NamedTuple):
    """An action, for telling what it wrote."""

    kind: str
    named: set[str]
    """The entities that it names."""
    words: str
    """It, as names are written."""
    failed: bool
    """Whether the observation says that it did not work."""

    def wrote(self, said: Said, latest: Fact | None) -> bool:
        """Whether the action changed a state that differs now from its latest version, or was not known."""
        if said.done:
            return True
        if self.kind == "look":
            return False
        if said.entity == AGENT:
            return latest is not None or (self.kind == "go" and said.attribute == PLACE)
        effect = EFFECTS.get(self.kind)
        as_meant = said.attribute == STATE and said.value.casefold() == effect
        if self.kind == "go" or (self.failed and not as_meant):
            return False
        if said.attribute == PLACE and latest is not None and CARRIED in (said.value, latest.value):
            return True
        if said.entity not in self.named:
            return False
        if latest is not None:
            return True
        return (
            (said.attribute == PLACE and self.kind in ("take", "put", "drop"))
            or as_meant
            or (len(said.value) > 1 and said.value.casefold() != said.entity and name_of(said.value) in self.words)
        )


# ---- edges


def _reads(turn: Turn, done: Did, heard: Heard, names: Sequence[Named], known: Known) -> list[Edge]:
    """READ and CAUSES edges of the latest versions that the action uses."""
    used: dict[tuple[str, str], tuple[Fact, Proof]] = {}
    for each in names:
        proof = Proof(turn.turn, "action", each.start, each.end)
        for fact in known.foremost(each.entity):
            used.setdefault((fact.entity, fact.attribute), (fact, proof))
    whole = Proof(turn.turn, "action", 0, len(turn.action))
    for fact, proof in _needs(turn, done, heard, known):
        used.setdefault((fact.entity, fact.attribute), (fact, proof or whole))
    edges = []
    for fact, proof in list(used.values())[:READS]:
        edges.append(Edge("READ", fact.turn, turn.turn, fact.entity, fact.attribute, proof))
        if fact.writer is not None:
            edges.append(Edge("CAUSES", fact.writer, turn.turn, fact.entity, fact.attribute, proof))
    return edges


def _needs(turn: Turn, done: Did, heard: Heard, known: Known) -> Iterator[tuple[Fact, Proof | None]]:
    """States that an action needs though it does not name them, with the characters that show it, if any do."""
    act = done.act
    for each in heard.used:
        for fact in known.foremost(each.entity):
            yield fact, Proof(turn.turn, "observation", each.start, each.end)
    for it in act.things:
        place = known.value(it.name, PLACE)
        if place and (fact := known.latest.get(place, {}).get(STATE)):
            yield fact, Proof(turn.turn, "action", it.start, it.end)
    here = known.value(AGENT, PLACE)
    if act.kind == "go" and act.things and here:
        door = known.value(here, f"{act.things[0].name} door")
        if door and (fact := known.latest.get(door, {}).get(STATE)):
            yield fact, Proof(turn.turn, "action", act.things[0].start, act.things[0].end)
    if act.kind == "unlock" and act.tool is None and not heard.used:
        keys = [name for name in known.carried if name.rpartition(" ")[2] in KEYS]
        if len(keys) == 1:
            yield known.latest[keys[0]][PLACE], None
    if here and act.kind not in ("", "look") and (act.things or act.kind == "go"):
        yield known.latest[AGENT][PLACE], None


def _pairs(facts: Iterable[Fact]) -> list[Edge]:
    """Things with the places they are in."""
    placed = [fact for fact in facts if fact.attribute == PLACE and fact.value != CARRIED and fact.entity != AGENT]
    return [Edge("ASSOC", fact.turn, fact.turn, fact.entity, fact.value, fact.proof) for fact in placed[:PAIRS]]


# ---- postings


def _postings(turn: Turn, names: Sequence[Named], heard: Heard, facts: Sequence[Fact], known: Known) -> list[Posting]:
    """Each entity of a turn once, in its foremost role."""
    found: dict[str, Posting] = {}
    written = {fact.entity for fact in facts if fact.writer == turn.turn}
    for each in names:
        role: Role = "write" if each.entity in written else "read"
        found[each.entity] = Posting(each.entity, turn.turn, role, Proof(turn.turn, "action", each.start, each.end))
    where = {each.entity: each for each in reversed(heard.names)}
    for said in heard.states:
        where.setdefault(said.entity, Named(said.entity, *said.named))
    for fact in facts:
        if fact.entity not in found:
            each = where.get(fact.entity)
            proof = Proof(turn.turn, "observation", each.start, each.end) if each else fact.proof
            found[fact.entity] = Posting(
                fact.entity, turn.turn, "write" if fact.entity in written else "mention", proof
            )
    rest = [each for each in dict.fromkeys(name.entity for name in heard.names) if each not in found]
    rest.sort(key=lambda entity: entity not in known.names)
    for entity in rest[:NAMES]:
        each = where[entity]
        found[entity] = Posting(entity, turn.turn, "mention", Proof(turn.turn, "observation", each.start, each.end))
    return list(found.values())
