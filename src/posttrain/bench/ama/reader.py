"""The rule reader: from a question's template and retrieved turns alone to an answer, without a model.

It reads the turns' text back into events and sees neither a store nor a simulator. With the right evidence it is always
right, so that what it gets wrong end to end is retrieval's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from posttrain.bench.ama.log import Question, Value
from posttrain.bench.ama.questions.causal import passed
from posttrain.bench.ama.worlds.event import AGENT, CARRIED, Event
from posttrain.memory.rows import Turn

Read = Callable[[int, str, str], Event | None]
"""From a step, its action and its observation to an event; None where they are none."""


class Events:
    """What was read from the retrieved turns, in order."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.by_step = {event.step: event for event in events}
        self.all = [self.by_step[step] for step in sorted(self.by_step)]

    def done(self, verb: str, thing: str) -> list[Event]:
        """Those that did something to a thing, and it worked."""
        return [event for event in self.all if event.done and (event.verb, event.thing) == (verb, thing)]

    def last(self, verb: str, thing: str, before: int) -> Event | None:
        """The last of them before a step."""
        found = [event for event in self.done(verb, thing) if event.step < before]
        return found[-1] if found else None

    def value(self, entity: str, attribute: str, until: int) -> tuple[str, int] | None:
        """A state as it was printed last, up to a step, and the step that printed it."""
        for event in reversed(self.all):
            if event.step <= until:
                for shown in event.truth:
                    if (shown.entity, shown.attribute) == (entity, attribute):
                        return shown.value, event.step
        return None

    def within(self, question: Question) -> list[Event]:
        """Those in the question's window."""
        first, last = question.slots["first"], question.slots["last"]
        return [event for event in self.all if first <= event.step <= last]


def answer(question: Question, turns: Sequence[Turn], read: Read) -> Value | None:
    """The answer, or None where the turns do not tell.

    Args:
        question: Its template and its slots are read, nothing else.
        turns: What was retrieved.
        read: Of the world and the form that the turns are printed in.
    """
    found = (read(turn.turn, turn.action, turn.observation) for turn in turns)
    return RULES[question.template](question, Events(event for event in found if event is not None))


def _action(question: Question, events: Events) -> Value | None:
    event = events.by_step.get(question.slots["step"])
    return event.command if event else None


def _window(question: Question, events: Events) -> Value | None:
    steps = range(question.slots["first"], question.slots["last"] + 1)
    found = [events.by_step[step].command for step in steps if step in events.by_step]
    return tuple(found) if len(found) == len(steps) else None


def _first(question: Question, events: Events) -> Value | None:
    found = events.done(question.slots["verb"], question.slots["thing"])
    return found[0].step if found else None


def _after(question: Question, events: Events) -> Value | None:
    found = events.done(question.slots["verb"], question.slots["thing"])
    following = events.by_step.get(found[0].step + 1) if found else None
    return following.command if following else None


def _key(question: Question, events: Events) -> Value | None:
    event = events.by_step.get(question.slots["step"])
    taken = events.last("take", event.tool, event.step) if event else None
    return taken.step if taken else None


def _first_key(question: Question, events: Events) -> Value | None:
    found = events.done("unlock", question.slots["thing"])
    taken = events.last("take", found[0].tool, found[0].step) if found else None
    return taken.step if taken else None


def _cause(verb: str) -> Callable[[Question, Events], Value | None]:
    def rule(question: Question, events: Events) -> Value | None:
        found = events.last(verb, question.slots["thing"], question.slots["step"])
        return found.step if found else None

    return rule


def _gate(question: Question, events: Events) -> Value | None:
    event = events.by_step.get(question.slots["step"])
    door = passed(event) if event else ""
    shown = (each for event in events.all for each in event.truth)
    for lever in dict.fromkeys(each.entity for each in shown if each.attribute == "moves"):
        moved = events.value(lever, "moves", events.all[-1].step)
        pulled = events.last("pull", lever, question.slots["step"])
        if door and pulled and moved and moved[0] == door:
            return pulled.step
    return None


def _origin(question: Question, events: Events) -> Value | None:
    taken = events.last("take", question.slots["thing"], question.slots["step"])
    return taken.place if taken else None


def _effect(question: Question, events: Events) -> Value | None:
    thing, step = question.slots["thing"], question.slots["step"]
    for event in events.all:
        if event.step > step and event.done and event.verb in ("unlock", "lock") and event.tool == thing:
            return event.step
    return None


def _lever(question: Question, events: Events) -> Value | None:
    found = events.value(question.slots["thing"], "moves", events.all[-1].step) if events.all else None
    return found[0] if found else None


def _state(attribute: str) -> Callable[[Question, Events], Value | None]:
    def rule(question: Question, events: Events) -> Value | None:
        found = events.value(question.slots.get("thing", AGENT), attribute, question.slots["step"])
        return found[0] if found else None

    return rule


def _notch(question: Question, events: Events) -> Value | None:
    dial, step = question.slots["thing"], question.slots["step"]
    read = events.value(dial, "notch", step)
    if read is None:
        return None
    turned = [event.tool for event in events.done("turn", dial) if read[1] < event.step <= step]
    return str(int(read[0]) + turned.count("up") - turned.count("down"))


def _contents(question: Question, events: Events) -> Value | None:
    place, step = question.slots.get("thing", CARRIED), question.slots["step"]
    known = [event for event in events.all if event.step <= step]
    listings = [event for event in known if event.listed == place]
    if not listings:
        return None
    inside = {s.entity for s in listings[-1].shown if (s.attribute, s.value) == ("location", place)}
    for event in known:
        if event.step > listings[-1].step and event.done and event.verb in ("take", "put", "drop"):
            comes = (event.verb == "take") == (place == CARRIED)
            if place == CARRIED or event.place == place:
                inside = inside | {event.thing} if comes else inside - {event.thing}
    return tuple(sorted(inside))


def _moves(question: Question, events: Events) -> Value | None:
    thing = question.slots["thing"]
    inside = events.within(question)
    return _some(e.step for e in inside if e.done and e.verb in ("take", "put", "drop") and e.thing == thing)


def _failed(question: Question, events: Events) -> Value | None:
    return _some(event.step for event in events.within(question) if not event.done)


def _count(question: Question, events: Events) -> Value | None:
    asked = question.slots["verb"], question.slots["thing"]
    return sum(e.done and (e.verb, e.thing) == asked for e in events.within(question)) or None


def _visits(question: Question, events: Events) -> Value | None:
    room = question.slots["thing"]
    return sum(e.done and e.verb == "go" and e.place == room for e in events.within(question)) or None


def _rooms(question: Question, events: Events) -> Value | None:
    return _some({e.place for e in events.within(question) if e.done and e.verb == "go" and e.place})


def _taken(question: Question, events: Events) -> Value | None:
    return _some({e.thing for e in events.within(question) if e.done and e.verb == "take"})


def _some(found: Iterable[Any]) -> Value | None:
    """Sorted; None where there is nothing."""
    listed: Any = tuple(sorted(found))
    return listed or None


RULES: Mapping[str, Callable[[Question, Events], Value | None]] = {
    "action": _action,
    "window": _window,
    "first": _first,
    "after": _after,
    "key": _key,
    "first key": _first_key,
    "unlocked": _cause("unlock"),
    "opened": _cause("open"),
    "gate": _gate,
    "origin": _origin,
    "effect": _effect,
    "lever": _lever,
    "location": _state("location"),
    "agent": _state("location"),
    "state": _state("state"),
    "label": _state("label"),
    "notch": _notch,
    "contents": _contents,
    "inventory": _contents,
    "moves": _moves,
    "count": _count,
    "rooms": _rooms,
    "taken": _taken,
    "failed": _failed,
    "visits": _visits,
}
"""Template to the rule that answers it."""


def score(question: Question, given: Value | None) -> float:
    """1 for the right answer; of sets the harmonic mean of precision and recall; 0 for none.

    A question that the log does not answer is answered rightly by None alone.
    """
    if given is None or question.answer is None:
        return float(given is question.answer)
    if not question.unordered:
        return float(given == question.answer)
    asked, told = (set(each) if isinstance(each, tuple) else {each} for each in (question.answer, given))
    if not asked or not told:
        return float(asked == told)
    return 2 * len(asked & told) / (len(asked) + len(told))
