"""What an action does: its verb, what it is done to, where, with what, and what it names."""

from __future__ import annotations

import re
from typing import NamedTuple

from posttrain.memory.extract.phrase import Thing, thing
from posttrain.memory.extract.said import CARRIED, PLACE, STATE
from posttrain.memory.extract.words import BACK, CONDITION, DIRECTIONS, EFFECTS, PHRASES, TREATMENTS, VERBS

GROUND = "ground"
"""Where a dropped thing is if it is not known where the agent is."""

_START = re.compile(
    r"[\s>$*\-]*(?:(?:action|command|act|i|agent|player)\b\s*:?\s*(?:will\s+|then\s+)?)?", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)*")
_TURNS = re.compile(
    r"(?<!\s)\s+(from|into|onto|inside|in|on|to|at|with|using|under|out of|off of|off|toward|towards|through"
    r"|by means of)\s+",
    re.IGNORECASE,
)
_AND = re.compile(r",\s*(?:and\s+)?|(?<!\s)\s+and\s+", re.IGNORECASE)
_LEADING = re.compile(
    r"\s*(?:to|at|in|into|inside|on|onto|up|through|back to|back|over to|toward|towards|down)\s+", re.IGNORECASE
)
_WITH = frozenset({"with", "using", "by means of"})

_FAILED = re.compile(
    r"\b(?:nothing happens|you (?:can't|cannot|can not|could not|couldn't|don't|do not|need|must|have to|try|fail"
    r"|are unable|aren't|already|should)|that's not|not (?:found|possible|allowed|permitted|understood)|no such|isn't"
    r"|is already|can't|cannot|unable|fail(?:s|ed|ure)?\b|error|exception|traceback|invalid|denied|refused"
    r"|unknown command|only understood|won't|doesn't|does not)|^[^.!?\n]*\bis locked\."
    r"|[\"'](?:success|ok)[\"']:\s*(?:false|False)",
    re.IGNORECASE,
)
_WORKED = re.compile(
    r"^\W*(?:(?:ok|okay|done|success|succeeded|successful|taken|dropped|opened|closed|unlocked|locked|placed|moved"
    r"|got it|it (?:opens|closes|unlocks|locks|works|worked))\b)|[\"'](?:success|ok|done)[\"']:\s*(?:true|True)"
    r"|[\"'](?:status|result|outcome)[\"']:\s*[\"'](?:ok|success|done|succeeded)[\"']"
    r"|(?:^|\n|\|)\s*(?:status|result|outcome|done|success|ok|worked)\s*[:|=]\s*(?:ok|success|done|succeeded|true|yes)\b",
    re.IGNORECASE,
)
_RESPONSE = 400
"""So many first characters of an observation are searched for words of success and failure."""


class Act(NamedTuple):
    """What an action, or a sentence about one, says that is done."""

    kind: str = ""
    """Of its verb, such as `take`; empty if the verb is none of the vocabulary."""
    things: tuple[Thing, ...] = ()
    """What it is done to."""
    place: Thing | None = None
    """Where from or where to."""
    tool: Thing | None = None
    """With what."""
    leaving: bool = False
    """Whether `place` is where the things come from."""

    @property
    def named(self) -> tuple[Thing, ...]:
        """All that it names."""
        return (*self.things, *(each for each in (self.place, self.tool) if each))

    def effects(self, here: str | None) -> list[tuple[Thing, str, str]]:
        """The states that it sets where it works: entity, attribute and value. `here` is where the agent is."""
        if self.kind == "take":
            return [(each, PLACE, CARRIED) for each in self.things]
        if self.kind == "drop" or (self.kind == "put" and self.place and self.place.name in ("floor", "ground")):
            return [(each, PLACE, here or GROUND) for each in self.things]
        if self.kind == "put" and self.place and not self.leaving:
            return [(each, PLACE, self.place.name) for each in self.things]
        if self.kind in EFFECTS:
            return [(each, STATE, EFFECTS[self.kind]) for each in self.things]
        if self.kind in TREATMENTS:
            return [(each, CONDITION, TREATMENTS[self.kind]) for each in self.things]
        return []


def english(text: str, start: int, end: int) -> Act | None:
    """A command or the predicate of a sentence, such as `put the lamp on desk 1`; None if its verb is not known."""
    at = _START.match(text, start, end).end()  # type: ignore[union-attr]
    word = _WORD.match(text, at, end)
    if not word or word.group().lower() not in VERBS:
        return None
    verb, at = word.group().lower(), word.end()
    kind = VERBS[verb]
    after = _WORD.match(text, at + 1, end) if text[at : at + 1] == " " else None
    if after and (verb, after.group().lower()) in PHRASES:
        kind, at = PHRASES[verb, after.group().lower()], after.end()
    elif after is None and at < end and text[at] not in " \t.!":
        return None
    if kind == "go" or kind == "look":
        lead = _LEADING.match(text, at, end)
        target = thing(text, lead.end() if lead else at, _first_cut(text, lead.end() if lead else at, end))
        return Act(kind, (target,) if target else ())
    return _parts(kind, text, at, end)


def _first_cut(text: str, at: int, end: int) -> int:
    cut = _TURNS.search(text, at, end)
    return cut.start() if cut else end


def _parts(kind: str, text: str, at: int, end: int) -> Act:
    """The verb's objects, cut at prepositions."""
    stretches, word = [], ""
    for cut in _TURNS.finditer(text, at, end):
        stretches.append((word, at, cut.start()))
        word, at = cut.group(1).lower(), cut.end()
    stretches.append((word, at, end))
    objects: tuple[Thing, ...] = ()
    place = tool = None
    leaving = False
    for word, first, last in stretches:
        if not word:
            objects = _several(text, first, last)
        elif word in _WITH:
            tool = tool or thing(text, first, last)
        elif place is None:
            place = thing(text, first, last)
            leaving = word in ("from", "out of", "off of", "off")
    if kind == "put" and not place and len(objects) == 1 and objects[0].name in DIRECTIONS:
        return Act("go", objects)
    if kind == "put" and place and not objects:
        return Act("go", (place,))
    if kind in ("on", "off") and not objects and place:
        return Act(kind, (place,), None, tool)
    last = objects[-1] if objects else None
    trailing = last.name.rpartition(" ")[2] if last else ""
    if last and kind == "use" and trailing in ("on", "off"):
        kept = thing(text, last.start, last.end - len(trailing))
        return Act(trailing, (*objects[:-1], kept) if kept else objects[:-1], place, tool)
    return Act(kind, objects, place, tool, leaving)


def _several(text: str, start: int, end: int) -> tuple[Thing, ...]:
    """The objects of a verb."""
    found, at = [], start
    for cut in _AND.finditer(text, start, end):
        found.append(thing(text, at, cut.start()))
        at = cut.end()
    found.append(thing(text, at, end))
    return tuple(each for each in found if each)


def failed(observation: str) -> bool:
    """Whether an observation says that the action did not work."""
    return bool(_FAILED.search(observation, 0, _RESPONSE))


def worked(act: Act, observation: str) -> bool:
    """Whether an observation says that the action worked, without saying what it did."""
    if _WORKED.search(observation, 0, _RESPONSE):
        return True
    if failed(observation) or act.kind not in BACK:
        return False
    told = re.search(r"\byou (?:have |now |just )*", observation[:_RESPONSE], re.IGNORECASE)
    return bool(told and BACK[act.kind].match(observation, told.end()))
