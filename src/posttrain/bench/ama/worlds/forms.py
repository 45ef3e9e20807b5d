"""Three surface forms of the same events: prose, JSON and tables; each can be printed, and read back whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from posttrain.bench.ama.log import Shown
from posttrain.bench.ama.worlds.event import AGENT, COMMANDS, Event, Exit


class Form(NamedTuple):
    """How events are printed and read."""

    write: Callable[[Event], tuple[str, str]]
    """To action and observation."""
    read: Callable[[int, str, str], Event | None]
    """From a step, its action and its observation; None where they are no event."""


# ---- prose

SENTENCES = {
    "state": "The {0} is {2}.",
    "location": "The {0} is in the {2}.",
    "label": "The label of the {0} says {2}.",
    "notch": "The {0} is at notch {2}.",
    "moves": "The {0} moves the {2}.",
}
DID = {
    "go": "You go {tool} to the {place}.",
    "take": "You take the {thing} from the {place}.",
    "put": "You put the {thing} into the {place}.",
    "drop": "You drop the {thing}.",
    "open": "You open the {thing}.",
    "close": "You close the {thing}.",
    "unlock": "You unlock the {thing} with the {tool}.",
    "lock": "You lock the {thing} with the {tool}.",
    "pull": "You pull the {thing}.",
    "turn": "You turn the {thing} {tool} by one notch.",
    "write": "You write {tool} on the {thing}.",
    "walk": "You go {tool}.",
    "try": "You {tool}.",
}
_SHOWN = [
    ("notch", re.compile(r"The (.+) is at notch (\d+)\.")),
    ("label", re.compile(r"The label of the (.+) says (.+)\.")),
    ("location", re.compile(r"The (.+) is in the (.+)\.")),
    ("state", re.compile(r"The (.+) is (open|closed|locked)\.")),
    ("moves", re.compile(r"The (.+) moves the (.+)\.")),
]
_LISTING = re.compile(r"In the (.+?): (.*)\.")
_ENTRY = re.compile(r"(.+?)(?: \((\w+)\))?$")
_EXIT = re.compile(r"(\w+) to (.+?)(?: through (.+) \((\w+)\))?$")
_COMMANDS = [
    (verb, re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(form)) + "$"))
    for verb, form in sorted(COMMANDS.items(), key=lambda each: -len(each[1]))
]


def _prose(event: Event) -> tuple[str, str]:
    parts = [DID[event.verb].format(**event._asdict())] if event.done and event.verb in DID else []
    if event.verb == "think":
        parts.append("OK.")
    elif event.said:
        parts.append(event.said)
    for each in _singles(event):
        parts.append("You are in the " + each.value + "." if each.entity == AGENT else _sentence(each))
    if event.listed:
        names = [name + f" ({state})" * bool(state) for name, state in _inside(event)]
        parts.append(f"In the {event.listed}: {', '.join(names) or 'nothing'}.")
    if event.exits:
        ways = [f"{w.direction} to {w.room}" + f" through {w.door} ({w.state})" * bool(w.door) for w in event.exits]
        parts.append(f"Exits: {'; '.join(ways)}.")
    return event.command, " ".join(parts)


def _sentence(shown: Shown) -> str:
    return SENTENCES[shown.attribute].format(*shown)


def _read_prose(step: int, action: str, observation: str) -> Event | None:
    event = command(step, action)
    if event is None:
        return None
    done, said, shown, listed, exits = event.verb not in DID, [], [], "", ()
    listing: list[Shown] = []
    for sentence in re.findall(r"[^.]+\.", observation):
        text = sentence.strip()
        if text.startswith("You are in the "):
            shown.append(Shown(AGENT, "location", text[15:-1]))
        elif text.startswith("Exits: "):
            exits = tuple(Exit(*(part or "" for part in _found(_EXIT, way))) for way in text[7:-1].split("; "))
        elif found := _LISTING.fullmatch(text):
            listed, entries = found.groups()
            names = [] if entries == "nothing" else [_found(_ENTRY, entry) for entry in entries.split(", ")]
            listing = _listing(listed, ((name, state or "") for name, state in names))
        elif each := _fact(text):
            shown.append(each)
        elif text.startswith("You ") and text.split()[1] == event.verb:
            done = True
            if event.verb == "go":
                place = text.partition(" to the ")[2][:-1]
                event = event._replace(verb="go" if place else "walk", place=place)
        elif text != "OK.":
            said.append(text)
    return _finish(event, done, shown, listed, listing, exits, " ".join(said))


def _found(pattern: re.Pattern[str], text: str) -> tuple[Any, ...]:
    found = pattern.match(text)
    return found.groups() if found else (text,)


def _fact(text: str) -> Shown | None:
    for attribute, pattern in _SHOWN:
        if found := pattern.fullmatch(text):
            return Shown(found[1], attribute, found[2])
    return None


def command(step: int, action: str) -> Event | None:
    """The action of a command in plain words."""
    for verb, pattern in _COMMANDS:
        if found := pattern.match(action):
            return Event(step, verb)._replace(**found.groupdict())
    return None


# ---- JSON

ARGUMENTS = {
    "go": {"tool": "direction"},
    "take": {"thing": "item", "place": "from"},
    "put": {"thing": "item", "place": "into"},
    "drop": {"thing": "item"},
    "unlock": {"thing": "target", "tool": "key"},
    "lock": {"thing": "target", "tool": "key"},
    "turn": {"thing": "target", "tool": "direction"},
    "write": {"tool": "text", "thing": "target"},
    "think": {"said": "text"},
}
"""Names of an action's parts, where they are not `target`."""


def _json(event: Event) -> tuple[str, str]:
    names = ARGUMENTS.get(event.verb, {"thing": "target"} if event.thing else {})
    action = {"tool": event.verb, **{name: getattr(event, part) for part, name in names.items()}}
    out: dict[str, Any] = {"result": "ok" if event.done else "failed"}
    if event.said and event.verb != "think":
        out["message"] = event.said
    for each in _singles(event):
        if each.entity == AGENT:
            out["room"] = each.value
        else:
            out.setdefault("states", []).append({"name": each.entity, each.attribute: each.value})
    if event.listed:
        out["listing_of"] = event.listed
        things = ((name, state) for name, state in _inside(event))
        out["things"] = [
            {"name": name, "location": event.listed} | ({"state": state} if state else {}) for name, state in things
        ]
    if event.exits:
        ways = [way._asdict() for way in event.exits]
        out["exits"] = [{name: value for name, value in way.items() if value} for way in ways]
    return json.dumps(action), json.dumps(out)


def _read_json(step: int, action: str, observation: str) -> Event | None:
    try:
        asked, out = json.loads(action), json.loads(observation)
    except ValueError:
        return None
    verb = asked["tool"]
    names = ARGUMENTS.get(verb, {"thing": "target"})
    event = Event(step, verb, **{part: asked[name] for part, name in names.items() if name in asked})
    shown = [Shown(AGENT, "location", out["room"])] if "room" in out else []
    for state in out.get("states", ()):
        attribute = next(name for name in state if name != "name")
        shown.append(Shown(state["name"], attribute, state[attribute]))
    listed = out.get("listing_of", "")
    listing = _listing(listed, ((each["name"], each.get("state", "")) for each in out.get("things", ())))
    exits = tuple(Exit(**way) for way in out.get("exits", ()))
    done = out["result"] == "ok"
    if verb == "go" and done:
        event = event._replace(place=out["room"])
    return _finish(event, done, shown, listed, listing, exits, out.get("message", ""))


# ---- tables


def _table(event: Event) -> tuple[str, str]:
    lines = [f"result: {'ok' if event.done else 'failed'}"]
    if event.said and event.verb != "think":
        lines.append(f"message: {event.said}")
    singles = _singles(event)
    for each in singles:
        if each.entity == AGENT:
            lines.append(f"room: {each.value}")
    for attribute in dict.fromkeys(each.attribute for each in singles if each.entity != AGENT):
        rows = [(each.entity, each.value) for each in singles if each.attribute == attribute and each.entity != AGENT]
        lines += ["", *_rows(("name", attribute), rows)]
    if event.listed:
        rows = [(name, event.listed, state) for name, state in _inside(event)]
        lines += ["", f"listing of: {event.listed}", *_rows(("name", "location", "state"), rows)]
    if event.exits:
        lines += ["", *_rows(("exit", "to", "door", "door state"), [tuple(way) for way in event.exits])]
    return event.command, "\n".join(lines)


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _read_table(step: int, action: str, observation: str) -> Event | None:
    event = command(step, action)
    if event is None:
        return None
    shown, exits, listing, listed, said, done = [], [], [], "", "", True
    head: list[str] = []
    for line in observation.splitlines():
        name, _, value = line.partition(": ")
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            head = []
            if name == "result":
                done = value == "ok"
            elif name == "message":
                said = value
            elif name == "room":
                shown.append(Shown(AGENT, "location", value))
            elif name == "listing of":
                listed = value
        elif not head:
            head = cells
        elif cells[0] == "---":
            continue
        elif head[0] == "exit":
            exits.append(Exit(*cells))
        elif len(head) == 3:
            listing += _listing(listed, [(cells[0], cells[2])])
        else:
            shown.append(Shown(cells[0], head[1], cells[1]))
    if event.verb == "go" and done:
        event = event._replace(place=shown[0].value)
    return _finish(event, done, shown, listed, listing, tuple(exits), said)


# ---- all


def _singles(event: Event) -> list[Shown]:
    """What is shown one by one, apart from a listing."""
    inside = set(_listing(event.listed, _inside(event)))
    return [each for each in event.shown if each not in inside or event.listed == ""]


def _inside(event: Event) -> list[tuple[str, str]]:
    """The names of a listing, each with its state."""
    if not event.listed:
        return []
    names = [e.entity for e in event.shown if (e.attribute, e.value) == ("location", event.listed)]
    states = {each.entity: each.value for each in event.shown if each.attribute == "state"}
    return [(name, states.get(name, "")) for name in names if name != AGENT]


def _listing(place: str, names: Iterable[tuple[str, str]]) -> list[Shown]:
    shown = []
    for name, state in names:
        shown.append(Shown(name, "location", place))
        if state:
            shown.append(Shown(name, "state", state))
    return shown


def _finish(
    event: Event, done: bool, shown: list[Shown], listed: str, listing: list[Shown], exits: tuple[Exit, ...], said: str
) -> Event:
    """An event with all that was read of it; the room of a dropped item is where the item is."""
    place = shown[0].value if event.verb == "drop" and shown else event.place
    said = event.said if event.verb == "think" else said
    return event._replace(
        done=done, shown=(*shown, *listing), listed=listed, exits=exits, said=said, place=place
    )  # fmt: skip


FORMS = {"prose": Form(_prose, _read_prose), "json": Form(_json, _read_json), "table": Form(_table, _read_table)}
"""By name."""
