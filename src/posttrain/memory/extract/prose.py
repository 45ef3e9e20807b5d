"""States that sentences tell: where things are, what they are like, what the agent carries and did, the ways out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from posttrain.memory.extract.act import english
from posttrain.memory.extract.phrase import Thing, nothing, place_of, stated, thing, things
from posttrain.memory.extract.said import AGENT, CARRIED, CONTENTS, PLACE, STATE, Said, value_of
from posttrain.memory.extract.words import DIRECTIONS, STATES, vocabulary

HERE = "\x00here"
"""Stands for the place of the agent, which only the dispatcher knows."""
IT = "\x00it"
"""Stands for what the sentence before is about."""

SENTENCE = re.compile(r"[^\s.!?](?:[^.!?]|[.!?](?![\s\"')]|$))*+")
_EVERY = r"(?:an?|the|your|some|one)\s+"
_IN = r"(?:in|on|inside|under|underneath|at|within|upon|behind|beneath|near|atop|next to|on top of|inside of)"
_HOLD = re.compile(
    rf"{_IN}\s+(?P<it>it|them)?(?:{_EVERY})?(?P<place>[^,:;()]{{1,60}}?)?"
    r"(?:\s*[,:]\s*|\s+)(?:you\s+(?:can\s+)?(?:also\s+)?(?:see|make out|find|notice|spot)|there\s+(?:is|are)"
    r"|lies?|sits?|rests?|:)?"
    r"(?<=[:edtsy])\s*:?\s+",
    re.IGNORECASE,
)
_YOU = re.compile(
    r"you(?:\s+(?:are|have)|'re|'ve)?(?:\s+(?:now|also|still|just|then|currently|carefully|successfully|quickly))*\s+",
    re.IGNORECASE,
)
_AT = re.compile(
    r"(?:(?:standing|located|back)\s+)?(?:in|at|inside|on)\s+"
    r"|(?:find yourself|entered|enter|arrived?|walked|shown up)\s+(?:(?:at|in|into|to|on)\s+)?",
    re.IGNORECASE,
)
_CARRY = re.compile(r"(?:carrying|carry|holding|hold|have in your (?:hands?|bag|inventory))\s*:?\s+", re.IGNORECASE)
_SEE = re.compile(r"(?:can\s+)?(?:also\s+)?(?:see|notice|spot|make out|find)\s*:?\s+", re.IGNORECASE)
_FACE = re.compile(r"(?:face|facing)\s+", re.IGNORECASE)
_HANDS = re.compile(
    r"(?:you are|you're) empty[ -]handed|your (?:inventory|bag|hands?|backpack) (?:is|are) empty", re.IGNORECASE
)
_THERE = re.compile(r"there\s+(?:is|are|'s|was|were)\s+(?:also\s+)?", re.IGNORECASE)
_WAY = re.compile(
    r"(?:an?\s+|the\s+)?(?P<door>[^,;:]{1,60}?)\s+(?:leading|leads?|to the)\s+(?P<way>[a-z]+)"
    r"(?:\s+to\s+(?P<room>[^,;:]{1,60}))?$",
    re.IGNORECASE,
)
_PLACED = re.compile(rf"\s+{_IN}\s+(?={_EVERY}|[a-z]+(?: [a-z]+)* \d)", re.IGNORECASE)
_COPULA = re.compile(
    r"\s+(?P<verb>is|are|was|contains?|holds?|says|reads|shows|displays|moves|controls|opens|unlocks|fits|leads|needs|requires"
    r"|powers|activates|operates|weighs|costs|has been|looks|feels|smells|equals|becomes|became|remains)\s+"
    r"(?:now\s+|currently\s+|still\s+|also\s+|set to\s+|to\s+)*",
    re.IGNORECASE,
)
_OF = re.compile(r"(?:the\s+)?(?P<attribute>[a-z][\w -]{0,30}?)\s+of\s+(?P<entity>.+)", re.IGNORECASE)
_OWN = re.compile(r"(?P<entity>.+?)(?:'s|s')\s+(?P<attribute>[a-z][\w -]{0,30})$", re.IGNORECASE)
_WHERE = re.compile(rf"{_IN}\s+", re.IGNORECASE)
_NOTCH = re.compile(r"at\s+(?P<attribute>[a-z]+)\s+(?P<value>[-+]?\d[\w.%]*)$", re.IGNORECASE)
_REVEAL = re.compile(r",?\s+(?:revealing|and find|and see|finding|and reveal)\s+", re.IGNORECASE)
_ONLY = vocabulary("is are was remains becomes became")
_TELLS = vocabulary("says reads shows displays equals weighs costs")
_EXITS = re.compile(
    r"(?:(?:the\s+)?(?:obvious|visible|available)\s+)?(?:exits?|doors|paths|ways(?:\s+out)?)(?:\s+(?:are|lead))?\s*:\s*",
    re.IGNORECASE,
)


def told(text: str, start: int, end: int) -> Iterator[Said]:
    """The states of all sentences from `start` to `end`."""
    for found in SENTENCE.finditer(text, start, end):
        yield from sentence(text, found.start(), found.end())


def sentence(text: str, start: int, end: int) -> Iterator[Said]:
    """The states of one sentence, without its full stop."""
    if end - start > 2000:
        return
    first = text[start : start + 12].lower()
    if first.startswith(("you ", "you'")):
        yield from _you(text, start, end)
    elif ways := _EXITS.match(text, start, end) if ":" in text[start:end] else None:
        yield from exits(text, ways.end(), end)
    elif first.startswith("your ") and _HANDS.match(text, start, end):
        yield _said(text, AGENT, CARRIED, end - 5, end, (start, start + 4))
    elif first.startswith("there"):
        yield from _there(text, start, end)
    elif hold := _HOLD.match(text, start, end) if first[0] in "iouwbanu" else None:
        yield from _held(text, hold, end)
    else:
        yield from _like(text, start, end)


def located(text: str, start: int, end: int, place: str, named: tuple[int, int]) -> Iterator[Said]:
    """A list of things that are in a place, with their states; also the list itself."""
    carried = place == CARRIED
    entity, attribute = (AGENT, CARRIED) if carried else (place, CONTENTS)
    if place != HERE:
        first, last = _trimmed(text, start, end)
        if first < last:
            yield Said(entity, attribute, value_of(text[first:last]), first, last, named)
    if nothing(text, start, end):
        return
    for each in things(text, start, end):
        yield from _at(text, each, place)


def _at(text: str, each: Thing, place: str) -> Iterator[Said]:
    span = (each.start, each.end)
    yield Said(each.name, PLACE, place, *span, span)
    if each.state:
        first, last = _trimmed(text, *each.state)
        if first < last:
            yield Said(each.name, STATE, value_of(text[first:last]), first, last, span)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in " \t":
        start += 1
    while end > start and text[end - 1] in " \t.,;:!?":
        end -= 1
    return start, end


def _said(text: str, entity: str, attribute: str, start: int, end: int, named: tuple[int, int]) -> Said:
    return Said(entity, attribute, value_of(text[start:end]), start, end, named)


def _you(text: str, start: int, end: int) -> Iterator[Said]:
    at = _YOU.match(text, start, end)
    if not at:
        return
    span = (start, start + 3)
    if _HANDS.match(text, start, end):
        yield _said(text, AGENT, CARRIED, *_trimmed(text, at.end(), end), span)
    elif carry := _CARRY.match(text, at.end(), end):
        yield from located(text, carry.end(), end, CARRIED, span)
    elif face := _FACE.match(text, at.end(), end):
        if it := thing(text, face.end(), _stop(text, face.end(), end)):
            yield Said(AGENT, "facing", it.name, it.start, it.end, span)
    elif see := _SEE.match(text, at.end(), end):
        yield from _seen(text, see.end(), end)
    elif room := _AT.match(text, at.end(), end):
        it = thing(text, room.end(), _stop(text, room.end(), end))
        if it and not it.name.startswith(("middle", "center", "centre", "front", "trouble", "danger", "need")):
            yield Said(AGENT, PLACE, it.name, it.start, it.end, span)
    else:
        yield from _did(text, at.end(), end)


def _stop(text: str, start: int, end: int) -> int:
    for mark in (",", ";", ":", " with ", " and ", " facing ", " which "):
        found = text.find(mark, start, end)
        end = found if found > start else end
    return end


def _did(text: str, start: int, end: int) -> Iterator[Said]:
    """What the agent just did, with what it revealed."""
    reveal = _REVEAL.search(text, start, end)
    act = english(text, start, reveal.start() if reveal else end)
    if act is None or not act.things:
        return
    for each, attribute, value in act.effects(HERE):
        span = (each.start, each.end)
        where = (act.place.start, act.place.end) if act.place and value == act.place.name else span
        yield Said(each.name, attribute, value, *where, span, True)
    if tool := act.tool:
        yield Said(tool.name, "", "", tool.start, tool.end, (tool.start, tool.end), True)
    if reveal:
        last = act.things[-1]
        yield from located(text, reveal.end(), end, last.name, (last.start, last.end))


def _seen(text: str, start: int, end: int) -> Iterator[Said]:
    """A list of what is seen, in a place or here."""
    placed = max(_PLACED.finditer(text, start, end), key=re.Match.start, default=None)
    it = thing(text, placed.end(), end) if placed else None
    if placed and it and it.name not in ("floor", "ground", "room", "corner"):
        yield from located(text, start, placed.start(), place_of(it.name), (it.start, it.end))
    else:
        yield from located(text, start, placed.start() if placed else end, HERE, (start, start))


def _there(text: str, start: int, end: int) -> Iterator[Said]:
    at = _THERE.match(text, start, end)
    if not at or text[at.end() : at.end() + 8].lower().startswith(("nothing", "no ", "not ")):
        return
    if way := _WAY.match(text, at.end(), end):
        yield from _through(text, way)
    else:
        yield from _seen(text, at.end(), end)


def _through(text: str, way: re.Match[str]) -> Iterator[Said]:
    """A door or an exit in a direction."""
    door, direction = stated(text, *way.span("door")), way["way"].lower()
    if direction not in DIRECTIONS or door is None:
        return
    if way["room"] and (room := thing(text, *way.span("room"))):
        yield Said(HERE, direction, room.name, room.start, room.end, way.span("way"))
    if door.name in ("exit", "way", "passage", "path", "unguarded exit", "unblocked exit", "entranceway"):
        return
    span = (door.start, door.end)
    yield Said(HERE, f"{direction} door", door.name, *span, way.span("way"))
    if door.state:
        yield _said(text, door.name, STATE, *_trimmed(text, *door.state), span)


def _held(text: str, hold: re.Match[str], end: int) -> Iterator[Said]:
    """`On the desk 1, you see a book`, `In it, you see a coin`, `In the hall: a lamp`."""
    if hold["it"]:
        yield from located(text, hold.end(), end, IT, hold.span("it"))
        return
    it = thing(text, *hold.span("place")) if hold["place"] else None
    if it:
        yield from located(text, hold.end(), end, place_of(it.name), (it.start, it.end))


def exits(text: str, start: int, end: int) -> Iterator[Said]:
    """A list such as `north to hall through oak door (closed); east`."""
    at = start
    cuts = [m.span() for m in re.finditer(r"\s*[;,]\s*(?:and\s+)?", text[start:end])]
    for first, last in [*cuts, (end - start, end - start)]:
        yield from _exit(text, at, start + first)
        at = start + last


_EXIT = re.compile(
    r"\s*(?:an?\s+|the\s+)?(?P<way>[a-z]+)\s*(?:[:\-=>→(]+|to|leads to|leading to)\s*(?:the\s+)?(?P<room>[^()]+?)\)?"
    r"(?:\s+(?:through|via|by)\s+(?P<door>.+))?\s*$",
    re.IGNORECASE,
)


def _exit(text: str, start: int, end: int) -> Iterator[Said]:
    way = _EXIT.match(text, start, end)
    if not way or way["way"].lower() not in DIRECTIONS:
        return
    room = thing(text, *way.span("room"))
    if room:
        yield Said(HERE, way["way"].lower(), room.name, room.start, room.end, way.span("way"))
    door = stated(text, *way.span("door")) if way["door"] else None
    if door:
        span = (door.start, door.end)
        yield Said(HERE, f"{way['way'].lower()} door", door.name, *span, way.span("way"))
        if door.state:
            yield _said(text, door.name, STATE, *_trimmed(text, *door.state), span)


def _like(text: str, start: int, end: int) -> Iterator[Said]:
    """`The chest is open`, `the label of the box says K-1`, `the dial is at notch 3`, `the jar contains a coin`."""
    copula = _COPULA.search(text, start, min(end, start + 120))
    if not copula or copula.end() >= end:
        return
    verb = copula["verb"].lower()
    subject = text[start : copula.start()]
    pronoun = subject.strip().lower() == "it"
    attribute = ""
    first, last = start, copula.start()
    if (own := _OF.fullmatch(text, first, last) or _OWN.fullmatch(text, first, last)) and not pronoun:
        attribute = own["attribute"].lower()
        first, last = own.span("entity")
    it = Thing(IT, first, last) if pronoun else thing(text, first, last)
    if it is None or it.name.count(" ") > 5:
        return
    span = (it.start, it.end)
    head, tail = _trimmed(text, copula.end(), end)
    rest = text[head:tail]
    if attribute:
        if rest and len(rest) <= 200:
            yield _said(text, it.name, attribute, *_unquoted(text, head, tail), span)
    elif verb in ("contain", "contains", "hold", "holds"):
        yield from located(text, head, tail, it.name, span)
    elif verb in _TELLS:
        if len(rest) <= 200:
            yield _said(text, it.name, verb, *_unquoted(text, head, tail), span)
    elif verb in _ONLY or verb == "has been":
        yield from _complement(text, it, head, tail)
    elif verb not in ("looks", "feels", "smells") and (what := thing(text, head, tail)) and what.name.count(" ") < 5:
        yield Said(it.name, verb, what.name, what.start, what.end, span)


def _unquoted(text: str, start: int, end: int) -> tuple[int, int]:
    if end - start > 2 and text[start] in "\"'“`" and text[end - 1] in "\"'”`":
        return start + 1, end - 1
    return start, end


def _complement(text: str, it: Thing, start: int, end: int) -> Iterator[Said]:
    span = (it.start, it.end)
    if notch := _NOTCH.match(text, start, end):
        yield _said(text, it.name, notch["attribute"].lower(), *notch.span("value"), span)
    elif where := _WHERE.match(text, start, end):
        place = thing(text, where.end(), end)
        if place and place.name.count(" ") < 6:
            yield Said(it.name, PLACE, place_of(place.name), place.start, place.end, span)
    else:
        comma = text.find(",", start, end)
        end = comma if comma > start else end
        words = text[start:end].lower().split()
        if 0 < len(words) <= 4 and (words[words[0] in ("not", "no") and len(words) > 1] in STATES or _number(words[0])):
            yield Said(it.name, STATE, value_of(text[start:end]).casefold(), start, end, span)
        elif 0 < len(words) <= 3 and words[0] not in ("a", "an", "the", "your", "to"):
            yield Said(it.name, "is", value_of(text[start:end]), start, end, span)


def _number(word: str) -> bool:
    return word[:1].isdigit() or (word[:1] in "+-" and word[1:2].isdigit())
