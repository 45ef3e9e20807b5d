"""How something stood at a time: the latest version up to then, and what was done since; all versions for a history."""

from __future__ import annotations

import bisect
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping

from posttrain.memory.answer import Finding
from posttrain.memory.extract.said import AGENT, CARRIED, CONTENTS, PLACE, STATE
from posttrain.memory.retrieval.deed import MOVES, deed, that
from posttrain.memory.retrieval.pick import Picked, Window, acting, naming
from posttrain.memory.retrieval.question import Plan
from posttrain.memory.rows import Fact
from posttrain.memory.view import View
from posttrain.text import terms

LATEST, WRITER, VERSION, SINCE = 6.0, 1.0, 3.0, 4.0
"""Weights of the version that held, of the turn that made it, of other versions, and of what was done since, the
latest of it more."""

LOOKS = ("open", *terms("look examine inspect search check"))
"""Kinds of actions that show what is in something."""

SHOWN = 4000
"""Characters of an observation in which it is looked for."""
MOST = 200
"""At most so many steps since a list are picked, the latest of them."""
SHUT = ("closed", "locked", "shut")
"""States in which nothing is seen of what is inside."""

_PLACE = re.compile(r"\b(where|location|place|room|found)\b", re.I)
_CONDITION = re.compile(r"\b(open|opened|closed|locked|unlocked|state|status|on or off)\b", re.I)
_CONTENT = re.compile(r"\b(what was in|contain|contents|inside|things did|objects were placed)\b", re.I)
_CARRIED = re.compile(r"\b(inventory|carr(?:y|ied|ying)|holding|have with|hold)\b", re.I)
_SELF = re.compile(r"\b(agent|you|player)\b", re.I)


def state(view: View, plan: Plan, until: int) -> Picked:
    """The evidence of states at `until`."""
    found = Picked()
    words = plan.words
    if not plan.names and _CARRIED.search(words):
        _holding(view, AGENT, CARRIED, None, until, plan.history, found)
    elif not plan.names and _SELF.search(words) and _PLACE.search(words):
        _versions(view.facts([AGENT], attribute=PLACE.__eq__), until, plan.history, found)
    for name in plan.names:
        if _CONTENT.search(words) and not _CARRIED.search(words):
            _holding(view, name, CONTENTS, name, until, plan.history, found)
        facts = view.facts([name], attribute=_wanted(words)) or view.facts([name])
        since = _versions(facts, until, plan.history, found)
        wanted = {fact.attribute for fact in facts}
        if since is not None and not wanted & {PLACE, STATE}:
            _since(view, name, Window(since + 1, until), wanted, found)
    return found


def _since(view: View, name: str, window: Window, wanted: set[str], found: Picked) -> None:
    """Pick what was done to a thing after a state of it was told, back to where it was told again unchanged."""
    told = {term for attribute in wanted for term in terms(attribute)}
    for age, turn in enumerate(itertools.islice(naming(view, name, window, newest=True), MOST)):
        what = deed(turn.action)
        if what and what.kind not in MOVES:
            again = what.kind in LOOKS and not told.isdisjoint(terms(turn.observation[:SHOWN]))
            found.add(turn.turn, LATEST if again else SINCE + 2.0 / (1 + age))
            if again:
                return


def _wanted(words: str) -> Callable[[str], bool]:
    """Whether a question speaks of an attribute."""
    asked = set(terms(words))
    implied = {name for name, speaks in ((PLACE, _PLACE), (STATE, _CONDITION)) if speaks.search(words)}
    return lambda each: each in implied or not asked.isdisjoint(terms(each))


def _versions(facts: list[Fact], until: int, history: bool, found: Picked) -> int | None:
    """Pick the versions of each attribute; returns the turn of the latest."""
    by_name: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.turn <= until:
            by_name[fact.entity, fact.attribute].append(fact)
    since = None
    for (entity, attribute), versions in by_name.items():
        held = versions[-1]
        since = held.turn if since is None else max(since, held.turn)
        found.add(held.turn, LATEST, held.proof)
        if held.writer is not None and held.writer != held.turn:
            found.add(held.writer, WRITER)
        if history:
            for age, fact in enumerate(reversed(versions[:-1])):
                found.add(fact.turn, VERSION - min(age, 40) / 40, fact.proof)
        text = f"The {attribute} of {entity} is {held.value} since step {held.turn}."
        found.findings.append(Finding("value", text, held.value, (held.proof,)))
    return since


def _holding(
    view: View, entity: str, attribute: str, place: str | None, until: int, history: bool, found: Picked
) -> None:
    """What is in a place or carried: the latest list of it, and what was taken and put since."""
    told = view.facts([entity], attribute=lambda each: each in (attribute, STATE))
    facts = [fact for fact in told if fact.turn <= until]
    lists = [fact for fact in facts if fact.attribute == attribute]
    shut = {fact.turn: fact.value in SHUT for fact in facts if fact.attribute == STATE}
    since = max([fact.turn for fact in lists[-1:]] + _looks(view, place, until, shut), default=-1)
    if since >= 0:
        found.add(since, LATEST)
    if lists:
        found.add(lists[-1].turn, VERSION, lists[-1].proof)
        text = f"What {entity} has was last listed at step {lists[-1].turn}: {lists[-1].value}."
        found.findings.append(Finding("value", text, lists[-1].value, (lists[-1].proof,)))
    window = Window(0 if history else since + 1, until)
    turns = naming(view, place, window, newest=True) if place else acting(view, MOVES, window, newest=True)
    for turn in itertools.islice(that(turns, MOVES), MOST):
        found.add(turn.turn, SINCE)


def _looks(view: View, place: str | None, until: int, shut: Mapping[int, bool]) -> list[int]:
    """The last step that opened a place or looked into it while it was open, or that looked at what is carried."""
    window = Window(0, until)
    if not place:
        turns = (turn for turn in naming(view, CARRIED, window, newest=True) if len(terms(turn.action)) <= 3)
        return [turn.turn for turn in itertools.islice(turns, 1)]
    changes = sorted(shut)
    for turn in that(naming(view, place, window, newest=True), LOOKS, place):
        at = bisect.bisect_right(changes, turn.turn)
        if not (at and shut[changes[at - 1]]):
            return [turn.turn]
    return []
