"""When a run cannot tell: steps that it does not have, things that it never names, states that nobody saw in time."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import numpy as np

from posttrain.memory.extract.said import name_of
from posttrain.memory.retrieval.pick import having
from posttrain.memory.retrieval.question import Plan
from posttrain.memory.view import Lengths, View
from posttrain.text import terms

READ = 32
"""At most so many turns are read to see whether a name is in one of them."""
TOGETHER = 80
"""Characters within which an attribute and its thing stand where the attribute is told."""

SHORT = 30
"""Longer questions describe; only shorter ones name exactly what they are about."""

_DONE = (
    r"(?:picked up|put (?:down|away|into|in|on)|taken|took|dropped|opened|closed|shut|locked|unlocked|pulled|pushed"
    r"|turned|moved|labell?ed|lit|eaten|cooked|cleaned|heated|cooled|sliced|examined|used|worn)"
)
_NAME = r"(?P<thing>[^\W_][\w'./#-]*(?:\s+[^\W_][\w'./#-]*){0,3}?)"
_ABOUT = r"(?:location|place|position|label|notch|state|status|contents|content|colou?r|temperature)"
_THINGS = [
    re.compile(rf"\bthe\s+{_NAME}\s+(?:ha[ds]\s+been|was|were|is|being|first)\s+(?:(?:first|last)\s+)?{_DONE}\b", re.I),
    re.compile(rf"\b(?:was|were)\s+the\s+{_NAME}\s+(?:first\s+|last\s+)?{_DONE}\b", re.I),
    re.compile(rf"\b(?:where|in\s+(?:which|what)\s+(?:place|room|state))\s+(?:was|is|were|could)\s+the\s+{_NAME}"
               r"(?=\s+(?:right|after|at|before|until|when|be|once|by|as)\b|\s*[?,.:;]|\s*$)", re.I),
    re.compile(rf"\b{_DONE}\s+the\s+{_NAME}(?=\s+(?:at|with|for|in|from|after|before|first)\b|\s*[?,.:;]|\s*$)", re.I),
    re.compile(rf"\b{_ABOUT}\s+of\s+the\s+{_NAME}"
               r"(?=\s+(?:right|after|at|before|until|say|said|be|by|as)\b|\s*[?,.:;]|\s*$)", re.I),
    re.compile(rf"\b(?:was|is)\s+the\s+{_NAME}\s+(?:open|closed|locked)\b", re.I),
]  # fmt: skip
"""Where a question names exactly one thing of a world."""
_GENERAL = frozenset(
    terms(
        "agent step steps turn turns action actions observation observations key text label notch state states place"
        " room rooms inventory contents content location number time times first last next very thing things item items"
        " set inside hand hands log run trajectory history environment effect cause change changes value list name"
        " names earlier later previous whole it task game world end start beginning attributes attribute"
    )
)
"""Words of questions that name no thing of a run."""
_PLAIN = frozenset(
    terms(
        "state location place contents content history histories inside all one step turn moment time attributes"
        " changes evolution locations"
    )
)
"""What can be asked of anything."""
_ATTRIBUTE = re.compile(r"\b(\w+)\s+of\s+(?:the\s+)?$", re.I)


def absent(view: View, plan: Plan, lengths: Lengths) -> str:
    """One sentence that says why there can be no evidence; empty where there can."""
    turn, where = lengths.turn, plan.where
    if where.steps and not np.isin(where.steps, turn).any() and not _touches(turn, where.spans):
        beyond = f"the last one is {int(turn[-1])}" if max(where.steps) > turn[-1] else "it was left out"
        return f"There is no step {where.steps[0]} in what is known of this run; {beyond}."
    if len(plan.words.split()) > SHORT:
        return ""
    if not plan.names:
        for thing in _things(plan):
            if not _occurs(view, thing) and (near := _like(view, thing)) is not None:
                hint = f" Things of that kind: {', '.join(near[:3])}." if near else ""
                return f"Nothing in this run is called {thing!r}.{hint}"
    return _untold(view, plan) if plan.states and not plan.causes else ""


def _touches(turn: np.ndarray, spans: tuple[tuple[int, int], ...]) -> bool:
    return any(bool(((turn >= first) & (turn <= last)).any()) for first, last in spans)


def _things(plan: Plan) -> Iterator[str]:
    """What a question names as the one thing that it is about."""
    for pattern in _THINGS:
        for found in pattern.finditer(plan.words):
            name = name_of(found["thing"])
            words = terms(name)
            if words and not set(words) & _GENERAL:
                yield name


def _like(view: View, name: str) -> list[str] | None:
    """Things whose names end with the same word; None where that word occurs and is no thing's."""
    head = name.split()[-1]
    turn = np.unique(view.hits(terms(head)[:1]).turn)
    if not len(turn):
        return []
    ends = re.compile(rf"(?:([\w'-]+) )?([\w'-]+) {re.escape(head)}\b", re.I)
    names: set[str] = set()
    for each in view.turns(_few(turn)):
        for found in ends.finditer(f"{each.action}\n{each.observation}"[:20_000]):
            names |= {name_of(f"{found[2]} {head}"), name_of(f"{found[1]} {found[2]} {head}")}
    return sorted(view.named(sorted(names))) or None


def _few(turn: np.ndarray) -> list[int]:
    """Some of many turns, from the first to the last."""
    return turn[np.linspace(0, len(turn) - 1, min(READ, len(turn))).astype(int)].tolist()


def _occurs(view: View, name: str) -> bool:
    """Whether a turn has the words of a name one after the other."""
    whole = having(view, name)
    if len(set(terms(name))) < 2:
        return bool(len(whole))
    pattern = re.compile(r"\W+".join(map(re.escape, name.split())), re.I)
    return any(pattern.search(each.action) or pattern.search(each.observation) for each in view.turns(_few(whole)))


def _untold(view: View, plan: Plan) -> str:
    """Whether a state is asked for that no turn tells up to that time."""
    until = plan.where.latest
    when = "" if until is None else f" up to step {until}"
    about = [thing for thing in _things(plan) if thing in plan.names]
    if until is not None and about and not any(_seen(view, name, until) for name in about):
        return f"Nothing tells of {about[0]}{when}."
    for name in plan.names:
        at = re.search(rf"(?i)(?<!\w){re.escape(name)}(?!\w)", plan.words)
        asked = _asked(plan.words, at.start()) if at else None
        if asked and view.facts([name], latest=True) and not _together(view, asked, name, until):
            return f"No step{when} tells the {asked} of {name}."
    return ""


def _seen(view: View, name: str, until: int) -> bool:
    """Whether a turn up to then has all words of a name."""
    return not terms(name) or bool((having(view, name) <= until).any())


def _asked(words: str, at: int) -> str | None:
    """The attribute in `the label of the chest` or `at which notch was the dial`, for a name that begins at `at`."""
    found = _ATTRIBUTE.search(words[:at]) or re.search(
        r"\b(?:at|which)\s+which\s+(\w+)\s+(?:was|is|did)\s+the\s+$", words[:at], re.I
    )
    if not found or set(terms(found[1])) & _PLAIN:
        return None
    return found[1].casefold()


def _together(view: View, attribute: str, name: str, until: int | None) -> bool:
    """Whether a turn up to then has the attribute near the name; facts count, and so does the text."""
    asked = set(terms(attribute))
    facts = view.facts([name], attribute=lambda each: not asked.isdisjoint(terms(each)))
    if any(until is None or fact.turn <= until for fact in facts):
        return True
    whole = having(view, f"{attribute} {name}")
    whole = whole if until is None else whole[whole <= until]
    if len(whole) > READ:
        return True
    first, second = re.escape(attribute), re.escape(name)
    near = re.compile(rf"{first}[^.;|\n{{}}]{{0,{TOGETHER}}}{second}|{second}[^.;|\n{{}}]{{0,{TOGETHER}}}{first}", re.I)
    return any(near.search(each.observation) or near.search(each.action) for each in view.turns(whole.tolist()))


def nearest(view: View, name: str, most: int = 3) -> list[str]:
    """Entities of the run whose names look like one that it does not have."""
    known = view.entities()
    if len(known) > 20_000:
        return []
    return difflib.get_close_matches(name, sorted(known), most, 0.6)
