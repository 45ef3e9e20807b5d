"""Step numbers in a question: single ones, lists, ranges, the first so many, and bounds such as `until step 9`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from posttrain.text import words_of

_COUNTED = words_of(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_ORDERED = words_of(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_WORDS = {word: number for words in (_COUNTED, _ORDERED) for number, word in enumerate(words, 1)}

_UNIT = r"(?:time[ -]?)?(?:steps?|turns?)\b"
_DIGITS = r"\d{1,12}(?![\d]|[.,]\d)"
_NUMBER = rf"(?:{_DIGITS}|\b(?:{'|'.join(_COUNTED)})\b)"
_MARK = r"[\s-]*(?:number|no\.?|\#)?\s*"
_ONE = rf"(?:{_UNIT}{_MARK})?{_NUMBER}"
_TO = r"\s*(?:-|\u2010|\u2011|\u2012|\u2013|\u2014|\u2212|\bto\b|\bthrough\b|\buntil\b|\bup to\b|\btill\b)\s*"
_ITEM = rf"{_ONE}(?:{_TO}{_ONE})?"
_JOIN = r"\s*(?:,\s*and\b|,\s*or\b|,|/|&|\band\b|\bor\b|\bvs\.?|\u2192|->)\s*"
_LIST = re.compile(rf"\b{_UNIT}{_MARK}{_NUMBER}(?:{_TO}{_ONE})?(?:{_JOIN}{_ITEM})*", re.I)
_BETWEEN = re.compile(rf"\b(?:between|from)\s+({_ONE})(?:\s+and\s+|{_TO})({_ONE})", re.I)
_ENDS = re.compile(
    rf"\b(first|initial|opening|last|final|closing)\s+({_NUMBER})\s+(?:{_UNIT}|actions?\b|observations?\b)", re.I
)
_NTH = re.compile(rf"\b(?:(\d{{1,12}})(?:st|nd|rd|th)|({'|'.join(_ORDERED[1:])}))\s+(?:{_UNIT})(?!\s*{_NUMBER})", re.I)
_SINGLE = re.compile(_ITEM, re.I)
_VALUE = re.compile(_NUMBER, re.I)
_UPTO = re.compile(r"\b(until|till|by|up to|through|before|prior to|preceding|earlier than|as of)\s*$", re.I)
_SINCE = re.compile(r"\b(after|since|following|later than|from)\s*$", re.I)
_AT_ONCE = re.compile(r"\b(?:right|immediately|directly|just|shortly|state|as)\s+after\s*$", re.I)

LONGEST = 100_000
"""Steps of a range that are looked at; questions name no longer ones."""


@dataclass(frozen=True)
class Addresses:
    """The steps that a question names; numbers that the run may not have included."""

    steps: tuple[int, ...] = ()
    """One by one, ordered, both ends of ranges included."""
    spans: tuple[tuple[int, int], ...] = ()
    """Ranges, both ends included."""
    until: int | None = None
    """What is asked lies at or before this step, where the question says so."""
    since: int | None = None
    """What is asked lies at or after this step, where the question says so."""
    rest: str = ""
    """The question without the addresses."""

    @property
    def latest(self) -> int | None:
        """The time that the question speaks of: its own bound, or its largest step."""
        if self.until is not None:
            return self.until
        return max(self.steps, default=None)

    @property
    def inside(self) -> tuple[int, int] | None:
        """The only range that is asked about, if there is one."""
        return self.spans[0] if len(self.spans) == 1 else None


def addresses(question: str, first: int, last: int) -> Addresses:
    """Read the steps that a question names.

    Args:
        question: In plain words.
        first: Number of the run's first turn, where `the first three steps` begin.
        last: Number of its last turn.
    """
    steps: set[int] = set()
    spans: list[tuple[int, int]] = []
    until: list[int] = []
    since: list[int] = []
    taken: list[tuple[int, int]] = []

    def free(found: re.Match[str]) -> bool:
        return not any(start < found.end() and found.start() < end for start, end in taken)

    def span(one: int, other: int) -> None:
        if other > one:
            spans.append((one, min(other, one + LONGEST)))
        steps.update((one, other))

    for found in _ENDS.finditer(question):
        count = _value(found[2])
        ahead = found[1].lower() in ("first", "initial", "opening")
        if count:
            span(*((first, first + count - 1) if ahead else (max(first, last - count + 1), last)))
            taken.append(found.span())
    for found in _BETWEEN.finditer(question):
        one, other = _value(found[1]), _value(found[2])
        bare = not re.search(_UNIT, found.group(), re.I)
        if free(found) and one < other and not (bare and (other > last or one < first)):
            span(one, other)
            taken.append(found.span())
    for found in _LIST.finditer(question):
        if not free(found):
            continue
        taken.append(found.span())
        numbers = []
        for item in _SINGLE.finditer(found.group()):
            ends = [_value(each) for each in _VALUE.findall(item.group())]
            numbers += ends
            span(ends[0], ends[-1])
        before = question[max(0, found.start() - 40) : found.start()]
        if bound := _UPTO.search(before):
            late = bound[1].lower() in ("before", "prior to", "preceding", "earlier than")
            until.append(min(numbers) - 1 if late else max(numbers))
        elif (bound := _SINCE.search(before)) and not _AT_ONCE.search(before) and len(numbers) == 1:
            since.append(numbers[0] + (bound[1].lower() in ("after", "following", "later than")))
    for found in _NTH.finditer(question):
        if free(found) and (number := int(found[1]) if found[1] else 0):
            steps.add(number)
            taken.append(found.span())
        elif free(found):
            steps.add(first + _WORDS[found[2].lower()] - 1)
            taken.append(found.span())
    rest, at = [], 0
    for start, end in sorted(taken):
        rest.append(question[at:start])
        at = end
    return Addresses(
        tuple(sorted(steps)),
        tuple(dict.fromkeys(spans)),
        min(until, default=None),
        max(since, default=None),
        " ".join((*rest, question[at:])),
    )


def _value(text: str) -> int:
    """The number in it, in digits or in a word."""
    digits = re.findall(r"\d+", text)
    if digits:
        return int(digits[-1])
    return _WORDS[text.split()[-1].strip("-#").lower()]
