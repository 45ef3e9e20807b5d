"""What actions do, in one form for questions and logs: the verb, and what it is done to, in prose, JSON or a call."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

from posttrain.memory.extract.act import Act, failed
from posttrain.memory.extract.act import worked as succeeded
from posttrain.memory.extract.words import PHRASES, VERBS, vocabulary
from posttrain.memory.rows import Turn
from posttrain.text import terms

_WORD = re.compile(r"\w+(?:[./:@+-]+\w+)*", re.UNICODE)
_READ = 2000
"""Characters of an action that are read."""
_FIRST = 12
"""The verb is among so many first words of an action."""
_NEAR = 3
"""What it is done to begins within so many words after the verb."""
_WIDE = {"write": 400}
"""Verbs whose text comes before what it is done to."""
_ALSO = {
    "labelled": "write", "labeled": "write", "label": "write", "wrote": "write", "written": "write", "write": "write",
    "writes": "write", "edited": "edit", "modified": "edit", "changed": "edit",
}  # fmt: skip
"""Forms that have a kind of their own in questions."""
_VAGUE = frozenset({"use", "look"})
"""Kinds of many verbs, which are told apart by the verb itself."""
_NOT_VERBS = vocabulary("state set light left return score load hand cut read cool clean warm run type list show")
"""Words that are nouns or adjectives in questions as often as verbs."""
MOVES = frozenset({"take", "put", "drop"})
"""Kinds that change the place of what they are done to."""
EFFECTIVE = frozenset({*MOVES, "open", "close", "lock", "unlock", "go"})
"""Kinds that change a state whenever they work."""
LOOKS = frozenset(terms("look examine inspect search check view read"))
"""Kinds that show something; that a thing is locked is what they tell, not their failure."""
_BROKE = re.compile(
    r"\W*(?:you (?:can't|cannot|can not|see no)|no such|there is no|nothing happens|error|fail|invalid|\w+ not found)"
    r"|[^a-z]*result\W+failed",
    re.IGNORECASE,
)
_TOLD = re.compile(r"\W*you (?:have |had |just |now |successfully )*(\w+)(?:\s+(\w+))?", re.IGNORECASE)


class Deed(NamedTuple):
    """What an action does."""

    kind: str
    rest: tuple[str, ...]
    """The words after the verb, case folded."""


@lru_cache(maxsize=1 << 15)
def kind_of(word: str, after: str = "") -> tuple[str, int] | None:
    """The kind of a verb in any form, and of how many words it is; `pick` and `up` are one verb."""
    word, after = word.casefold(), after.casefold()
    if (word, after) in PHRASES:
        return PHRASES[word, after], 2
    if word in _ALSO:
        return _ALSO[word], 1
    stem = (terms(word) or [word])[-1]
    kind = VERBS.get(word) or _stems().get(stem)
    if kind is None:
        return None
    return stem if kind in _VAGUE else kind, 1


@cache
def _stems() -> dict[str, str]:
    return {stem: kind for word, kind in VERBS.items() for stem in terms(word)}


def deed(action: str, kinds: Collection[str] | None = None) -> Deed | None:
    """The first verb of an action, and what comes after it; None too where it is of none of some kinds."""
    words = _WORD.finditer(action, 0, _READ)
    word = next(words, None)
    for _ in range(_FIRST):
        if word is None:
            return None
        after = next(words, None)
        found = kind_of(word[0], after[0] if after else "")
        if found:
            if kinds is not None and found[0] not in kinds:
                return None
            last = after if after and found[1] == 2 else word
            return Deed(found[0], tuple(each.casefold() for each in _WORD.findall(action, last.end(), _READ)))
        word = after
    return None


def done_to(found: Deed, name: str) -> bool:
    """Whether it is done to something of this name."""
    wanted = tuple(_WORD.findall(name.casefold()))
    reach = _WIDE.get(found.kind, _NEAR)
    return any(found.rest[at : at + len(wanted)] == wanted for at in range(min(reach, len(found.rest))))


def worked(found: Deed, observation: str) -> bool | None:
    """Whether an observation tells that it was done, or that it failed; None where it tells neither."""
    told = _TOLD.match(observation)
    if told and (kind := kind_of(told[1], told[2] or "")) and kind[0] == found.kind:
        return True
    if succeeded(Act(), observation):
        return True
    if found.kind in LOOKS and not _BROKE.match(observation):
        return None
    return False if failed(observation) else None


@cache
def verbs(kinds: frozenset[str]) -> tuple[str, ...]:
    """The words, as they are looked up, of the verbs of some kinds."""
    forms = {*VERBS, *_ALSO, *kinds}
    found = {terms(word)[0] for word in forms if terms(word) and (kind := kind_of(word)) and kind[0] in kinds}
    return tuple(sorted(found | {terms(first)[0] for (first, _), kind in PHRASES.items() if kind in kinds}))


def asked(question: str) -> tuple[str, ...]:
    """The kinds of the verbs in a question that speak of what was done, in order."""
    words = _WORD.findall(question)
    kinds = []
    for at, word in enumerate(words):
        found = kind_of(word, words[at + 1] if at + 1 < len(words) else "")
        if found and word.casefold() not in _NOT_VERBS:
            kinds.append(found[0])
    return tuple(dict.fromkeys(kinds))


def that(turns: Iterable[Turn], kinds: Collection[str], name: str | None = None) -> Iterator[Turn]:
    """The turns whose action is of one of the kinds, is done to `name` where one is given, and worked."""
    for turn in turns:
        found = deed(turn.action, kinds)
        if found and (name is None or done_to(found, name)) and worked(found, turn.observation) is not False:
            yield turn
