"""Words of texts that agents produce (prose, code, paths, JSON, tables), what is new in one, and how long one is.

A name is looked up whole and by its parts: `src/app/readConfig.py` gives itself and src, app, readconfig, read, config,
py. Words are stemmed (Porter 2), so that `opened` finds `opening`; the commonest English words are left out. Scripts
that are written without spaces give pairs of neighbouring characters.
"""

from __future__ import annotations

import math
import re
from functools import cache, lru_cache
from itertools import chain, pairwise
from typing import Any

from posttrain.extras import need


def words_of(text: str) -> list[str]:
    """A vocabulary that is written as one text."""
    return text.split()


LONGEST = 64
"""Characters of a word that count; of longer ones, such as hashes and encoded files, the rest is not looked up."""

STOP = frozenset(
    words_of(
        "a an and are as at be been but by did do does for from had has have how if in into is it its of on or "
        "that the their them then there these they this to was were what when where which who why will with would"
    )
)
"""Words that tell nothing apart."""

_CHUNK = re.compile(r"[^\W_]+(?:[._/\\:@+-]{1,2}[^\W_]+)*")
_PART = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORDS = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


def terms(text: str) -> list[str]:
    """The words of a text as they are looked up, in order, repeats included."""
    chunks = _CHUNK.findall(text)
    split = _known if max(map(len, chunks), default=0) <= 4 * LONGEST else _split
    return list(chain.from_iterable(map(split, chunks)))


def _split(chunk: str) -> tuple[str, ...]:
    """The words of a run of characters without a space."""
    whole = chunk.lower()
    if whole.isalpha() and whole.isascii() and (chunk == whole or chunk[1:] == whole[1:]):
        return () if whole in STOP else (_stem(whole[:LONGEST]),)
    found, words = [], _WORDS.findall(chunk)
    if len(words) > 1 and len(whole) <= LONGEST:
        found.append(whole)
    for word in words:
        found += _parts(word)
    return tuple(each for each in found if each not in STOP)


_known = lru_cache(maxsize=1 << 16)(_split)
"""For short ones; a long one would fill the memory."""


def _parts(word: str) -> list[str]:
    """Of a run of letters and digits: itself, and what camelCase and digits divide it into."""
    if _UNSPACED.search(word):
        return [a + b for a, b in pairwise(word.lower())] or [word]
    whole = word.lower()[:LONGEST]
    parts = [each for run in _PART.findall(word[: 4 * LONGEST]) for each in _CAMEL.split(run)]
    if len(parts) < 2:
        return [_stem(whole)]
    return [whole, *(_stem(part.lower()[:LONGEST]) for part in parts)]


@lru_cache(maxsize=1 << 15)
def _stem(word: str) -> str:
    return _stemmer().stemWord(word) if word.isascii() and word.isalpha() else word


@cache
def _stemmer() -> Any:
    """The one in Python: a faster one that may be installed could be of another version."""
    return need("snowballstemmer.english_stemmer").EnglishStemmer()


def news(text: str, before: str) -> str:
    """The lines of a text that an earlier one does not have."""
    if not before or text == before:
        return "" if before else text
    seen = set(before.splitlines())
    return "\n".join(line for line in text.splitlines() if line not in seen)


BYTES = 3.6
"""Of a token of agents' logs, about."""


def tokens(text: str) -> int:
    """About how many tokens a model would read."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES)
