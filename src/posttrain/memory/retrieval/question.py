"""From a question to a plan: which steps, up to when, which things, and what kind of answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from posttrain.memory.extract.said import AGENT, CARRIED, name_of
from posttrain.memory.extract.words import DIRECTIONS, VERBS, vocabulary
from posttrain.memory.retrieval.address import Addresses, addresses
from posttrain.memory.retrieval.deed import asked
from posttrain.memory.view import Lengths, View
from posttrain.text import STOP

READ = 20_000
"""Characters of a question that are read."""
NAMED = 400
"""Words of a question among which names are looked for."""
LONGEST = 8
"""Words of a name."""

_COUNT = re.compile(
    r"\b(how many|how often|how frequently|number of (?:times|steps|turns)|count(?:s|ed)?\b|total number|frequenc)",
    re.I,
)
_LIST = re.compile(
    r"\b(list|name all|enumerate|all (?:the |of the )?\w+|every (?:step|turn|time|action)|which (?:steps|turns|things"
    r"|items|objects|rooms|actions|files|places)|what (?:actions|steps|items|things|objects)|in which (?:steps|turns)"
    r"|the set of|by their steps)\b",
    re.I,
)
_CAUSE = re.compile(
    r"\b(why|cause[sd]?|causing|because|possible|enabled?|enabling|prerequisite|precondition|led to|lead to|due to"
    r"|reason|provid(?:ed|es)|gave|allowed|thanks to|responsible|come from|came from|get it from|from where"
    r"|where had .* (?:taken|come|got)"
    r"|as a key|needed|effect of|what did that|earlier step|earlier action|had the agent got|got hold of|obtained)\b",
    re.I,
)
_STATE = re.compile(
    r"\b(where (?:is|was|were|could|can|did)|in which (?:state|room|place)|state of|status|value|content|contain"
    r"|what was in|inventory|carr(?:y|ied|ying)|holding|label\b|have with|location|history|histories|evol|chang|current"
    r"|at which notch|(?:what|which) (?:was|is|were) the \w+ of|did the .* (?:stand|say|contain|show)|open, closed"
    r"|was the .* (?:open|closed|locked)|attribute)",
    re.I,
)
_HISTORY = re.compile(r"\b(histor|throughout|evol|all changes|changes|over time|change during|so far|whole)", re.I)
_FIRST = re.compile(r"\b(first|initially|earliest)\b", re.I)
_LAST = re.compile(r"\b(last|latest|most recent|final)\b", re.I)
_LATER = re.compile(
    r"\b(which later|later step|first step (?:after|that|for which)|was needed|make possible|lead to)\b", re.I
)
_NEXT = re.compile(
    r"\b(right after|directly after|immediately after|immediately followed|very next|next action|came after)\b", re.I
)
_MOVED = re.compile(
    r"\b(moved|change(?:d)? (?:its|their) (?:place|location|position)|relocated|picked up or put down)\b", re.I
)
_FAILED = re.compile(r"\b(failed?|fails|failing|did not work|didn't work|unsuccessful|errors?)\b", re.I)
_ENTERED = re.compile(r"\b(enter(?:ed)?|go into|went into|come into|came into|return(?:ed)? to|visit(?:ed|s)?)\b", re.I)
_WORD = re.compile(r"\S+")
_EDGES = " \t\n.,;:!?\"'`()[]{}<>*\u2018\u2019\u201c\u201d"
_COMMON = (
    STOP
    | DIRECTIONS
    | frozenset(VERBS)
    | vocabulary(
        "step steps turns action actions observation agent you time first last next thing things item items name "
        "number state all after before key room rooms onto off through closed locked more no not label notch "
        "inventory contents location"
    )
)
"""Single words that are no name in a question."""


@dataclass(frozen=True)
class Plan:
    """What a question asks for."""

    where: Addresses
    words: str
    """The question without its addresses."""
    names: tuple[str, ...] = ()
    """Entities of the run that it names, in order."""
    kinds: tuple[str, ...] = ()
    """Of the verbs in it; see `deed.asked`."""
    counts: bool = False
    lists: bool = False
    causes: bool = False
    states: bool = False
    history: bool = False
    """Whether all versions of a state are asked for."""
    first: bool = False
    last: bool = False
    later: bool = False
    """Whether an effect is asked for, not a cause."""
    following: bool = False
    """Whether what came right after is asked for."""
    moved: bool = False
    failed: bool = False
    entered: bool = False

    @property
    def kind(self) -> str:
        """In one word."""
        if self.counts or self.lists:
            return "count" if self.counts else "list"
        return "cause" if self.causes else "state" if self.states else "recall"


def plan(question: str, view: View, lengths: Lengths) -> Plan:
    """Read a question against a run.

    Args:
        question: In plain words.
        view: The run.
        lengths: Of its turns.
    """
    text = question[:READ]
    turn = lengths.turn
    where = addresses(text, int(turn[0]) if len(turn) else 0, int(turn[-1]) if len(turn) else -1)
    names = named(where.rest, view)
    bare = where.rest
    for name in names:
        bare = re.sub(rf"(?i)(?<!\w){re.escape(name)}(?!\w)", " ", bare)

    def says(pattern: re.Pattern[str]) -> bool:
        return bool(pattern.search(where.rest))

    return Plan(
        where,
        where.rest,
        names,
        asked(bare),
        says(_COUNT),
        says(_LIST),
        says(_CAUSE),
        says(_STATE),
        says(_HISTORY),
        says(_FIRST),
        says(_LAST),
        says(_LATER),
        says(_NEXT),
        says(_MOVED),
        says(_FAILED),
        says(_ENTERED),
    )


def named(text: str, view: View) -> tuple[str, ...]:
    """The entities that a text names, in order; of overlapping names the longest."""
    return named_each([text], view)[0]


def named_each(texts: Sequence[str], view: View) -> list[tuple[str, ...]]:
    """The entities that each of some texts names; all are looked up at once."""
    stretches = [_stretches(text) for text in texts]
    wanted = {name for each in stretches for name in each.values()}
    known = view.named(sorted(wanted)) if wanted else {}
    return [_chosen(each, known) for each in stretches]


def _stretches(text: str) -> dict[tuple[int, int], str]:
    """What may be a name, by its first and last word."""
    found = list(_WORD.finditer(text))[:NAMED]
    stretches: dict[tuple[int, int], str] = {}
    plain = [each.group().strip(_EDGES).casefold() in STOP for each in found]
    for first in range(len(found)):
        for last in range(first, min(first + LONGEST, len(found))):
            if plain[first] or plain[last]:
                continue
            name = _name(text[found[first].start() : found[last].end()])
            if name and name not in _COMMON:
                stretches[first, last] = name
    return stretches


def _chosen(stretches: Mapping[tuple[int, int], str], known: Mapping[str, int]) -> tuple[str, ...]:
    """The names among them, in order."""
    chosen: list[tuple[int, int, str]] = []
    for (first, last), name in sorted(stretches.items(), key=lambda each: (each[0][0] - each[0][1], each[0])):
        if name in known and not any(first <= end and start <= last for start, end, _ in chosen):
            chosen.append((first, last, name))
    names = [name for _, _, name in sorted(chosen)]
    return tuple(dict.fromkeys(name for name in names if name not in (AGENT, CARRIED)))


def _name(text: str) -> str:
    """A stretch without the marks and the possessive around it."""
    name = name_of(text.strip(_EDGES))
    for ending in ("'s", "\u2019s"):
        name = name.removesuffix(ending)
    return name
