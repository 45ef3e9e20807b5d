"""Values that look like keys: long words of many bits per character, and the harmless shapes they may have.

    H(t) = -sum_c (n_c / n) log2(n_c / n)        n_c = times that character c occurs among the n of the text

A key and a commit hash look the same, so this is a weak sign; the benign shapes make it weaker, as anything can be
given one of them.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import unquote

from posttrain.guard.egress.facts import Token
from posttrain.guard.egress.parts import WORD, Part

_WORD = r"[A-Z]?[a-z]{1,3}\d{0,2}|[A-Z]?(?=[a-z]*[aeiouy])[a-z]{4,15}\d{0,2}|[A-Z]{1,4}|\d{1,4}"
_CAPITALISED = r"[A-Z](?=[a-z]*[aeiouy])[a-z]{3,14}"
_SIGNED = r"X-(?:Amz|Goog)-(?:Algorithm|Credential|Date|Security-Token|Signature|SignedHeaders)"

BENIGN: dict[str, re.Pattern[str]] = {
    "date": re.compile(r"\d{4}-?\d{2}-?\d{2}(?:[T_-]\d{2,6}(?:\.\d+)?Z?)?|1\d{9}(?:\d{3}){0,3}"),
    "git-hash": re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}"),
    "uuid": re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    "signature": re.compile(rf"query (?:{_SIGNED}|sig|Signature|Key-Pair-Id|Policy)", re.IGNORECASE),
    "words": re.compile(rf"(?:{_WORD})(?:[-_.](?:{_WORD})|{_CAPITALISED})*"),
}
"""Shape to what a value is like; `signature` looks at the value's place instead, a parameter of a signed URL."""

LENGTH, BITS, MOST = 8, 3.0, 32
FEW = 64
"""Characters up to which it is faster to count each by itself."""
_PERCENT = re.compile("%[0-9A-Fa-f]{2}")


def shannon(text: str) -> float:
    """H: bits per character of a text, by its own frequencies; 0 for an empty one."""
    if not text:
        return 0.0
    letters = set(text)
    counts = map(text.count, letters) if len(letters) <= FEW else Counter(text).values()
    return math.log2(len(text)) - sum(map(_weight, counts)) / len(text)


@lru_cache(maxsize=4096)
def _weight(n: int) -> float:
    return n * math.log2(n)


def tokens(parts: Iterable[Part]) -> tuple[Token, ...]:
    """The values of at least 8 characters and 3 bits per character; at most 32, those of most bits first.

    Args:
        parts: Of a request. Their words are looked at, with percent-encodings undone.
    """
    rated = ((shannon(word), where, word) for where, word in dict.fromkeys(_words(parts)))
    best = heapq.nlargest(MOST, (one for one in rated if one[0] >= BITS))
    return tuple(Token(where, len(word), round(bits, 3), _shape(where, word)) for bits, where, word in best)


def _words(parts: Iterable[Part]) -> Iterator[tuple[str, str]]:
    """Places and words that can reach 3 bits, for which a word must have 8 different characters."""
    for where, text in parts:
        for word in WORD.findall(unquote(text) if _PERCENT.search(text) else text):
            if len(word) >= LENGTH and len(set(word)) >= 2**BITS:
                yield where, word


def _shape(where: str, word: str) -> str:
    """The first benign shape that a value has."""
    return next((name for name, like in BENIGN.items() if like.fullmatch(where if name == "signature" else word)), "")
