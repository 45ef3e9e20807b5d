"""Registered secrets: how much of each stands in a text, in runs too long to be there by chance.

A character of a secret is covered if it lies in a run of at least m characters that a text shares with the secret,
where m is the smallest length with

    a^m >= 2^32,    a = characters of the smallest alphabet that holds the secret

so that a given run occurs by chance once in four billion places: m = 10 for digits, 8 for hex, 7 for base32, 6 for
base62 and base64, 5 otherwise. A text is compared as it is, read backwards, and folded: in lower case, with
everything but letters and digits removed, as far as the text is UTF-8. For the folded text m is that of the folded
secret, and what was removed counts with the letter before it. A secret with letters beyond ASCII is also looked for
composed, decomposed, small and in capitals.

A run that is no secret counts like any other: the `sk-proj-` of a key, the header of a token, a word in a passphrase.
Requests that carry it cover that share of the secret and no more, which does no harm below the policy's `share`. Two
secrets with a run in common are both covered by it.

Values stay in memory. No error, `repr` or result holds one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from posttrain.extras import need
from posttrain.guard.egress.decode import NO_LETTER_OR_DIGIT
from posttrain.guard.egress.facts import Covered
from posttrain.guard.egress.policy import SecretSource

ALPHABETS: tuple[tuple[int, re.Pattern[bytes]], ...] = (
    (10, re.compile(rb"[0-9]*")),
    (16, re.compile(rb"[0-9a-f]*|[0-9A-F]*")),
    (32, re.compile(rb"[a-z2-7]*|[A-Z2-7]*")),
    (62, re.compile(rb"[0-9A-Za-z]*")),
    (64, re.compile(rb"[0-9A-Za-z_.-]*|[0-9A-Za-z+/]*={0,2}")),
)
"""Sizes and members, the smallest first; everything else counts as the 95 printable characters. The dots of a token and
the end of base64 do not make a larger alphabet."""

LONGEST = 8192
"""Most bytes of a secret."""
SECONDS = 10.0
"""That a command may take."""
CHUNK = 1 << 16


def run_length(secret: str) -> int:
    """m: the fewest characters of a secret that count."""
    return _run_length(secret.encode("utf-8", "surrogateescape"))


def read(sources: Sequence[SecretSource]) -> dict[str, str]:
    """The values of secrets, from where the policy says they are.

    Raises:
        ValueError: One cannot be read. The sentence does not hold what was read.
    """
    found = {}
    for source in sources:
        value, problem = _value(source)
        if problem or not value:
            raise ValueError(f"Secret {source.id!r}: {problem or 'its value is empty'}.")
        found[source.id] = value
    return found


class Secrets:
    """Looks for secrets in texts, in time linear in the text, for any number of secrets.

    Args:
        values: Id to value.

    Raises:
        ValueError: A value is too short or too regular to be told from ordinary text, too long, or no text.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        if broken := [name for name, value in values.items() if _HALF.search(value)]:
            raise ValueError(f"Secret {broken[0]!r} holds half of a surrogate pair, which no request can carry.")
        held = {name: value.encode("utf-8", "surrogateescape") for name, value in values.items()}
        for name, value in held.items():
            if problem := _unfit(value):
                raise ValueError(f"Secret {name!r} {problem}, so it cannot be told from other text; use another value.")
        self.lengths = {name: len(value) for name, value in held.items()}
        """Id to bytes."""
        self._plain = _Runs((name, *one) for name, value in held.items() for one in _spellings(value))
        folded = ((name, *_fold(value)) for name, value in held.items())
        self._folded = _Runs((name, letters, starts) for name, letters, starts in folded if not _unfit(letters))

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self.lengths)})"

    def carried(self, texts: Iterable[bytes]) -> dict[str, Covered]:
        """What some texts together carry: id to the covered bytes, of secrets of which there are any."""
        bits: dict[str, int] = {}
        plain = list(texts)
        for runs, forms in ((self._plain, plain), (self._folded, map(_folded, plain))):
            for name, mask in runs.masks(forms):
                bits[name] = bits.get(name, 0) | mask
        return {name: Covered(self.lengths[name], mask) for name, mask in bits.items()}

    def redact(self, text: str) -> str:
        """The text with every run of a secret, and all that overlaps it, replaced by `<secret:ID>`."""
        data = text.encode("utf-8", "surrogatepass")
        spans = [*self._plain.spans(data), *self._unfolded(data)]
        pieces, at = [], 0
        for start, end, names in _merged(spans):
            pieces += [data[at:start].decode("utf-8", "replace"), f"<secret:{','.join(sorted(names))}>"]
            at = end
        return "".join((*pieces, data[at:].decode("utf-8", "replace"))) if pieces else text

    def _unfolded(self, data: bytes) -> Iterator[_Span]:
        """Where runs of folded secrets stand in the unfolded text."""
        if found := list(self._folded.spans(_squeezed(data))):
            kept = _kept(data)
            yield from (_Span(kept[start], kept[end - 1] + 1, names) for start, end, names in found)


class _Span(NamedTuple):
    """A place in a text, and the secrets that it is a run of."""

    start: int
    end: int
    names: frozenset[str]


class _Runs:
    """The runs of m bytes of several secrets in one form, forwards and backwards.

    Args:
        forms: Ids, the secrets' forms, and for every byte of a form, and for its end, where in the secret it begins.
    """

    def __init__(self, forms: Iterable[tuple[str, bytes, Sequence[int]]]) -> None:
        covers: dict[bytes, dict[str, int]] = {}
        for name, form, starts in forms:
            m = _run_length(form)
            for at in range(len(form) - m + 1):
                mask = (1 << starts[at + m]) - (1 << starts[at])
                if not mask:
                    continue
                for run in (form[at : at + m], form[at : at + m][::-1]):
                    known = covers.setdefault(run, {})
                    known[name] = known.get(name, 0) | mask
        self._covers = list(covers.values())
        self._overlap = max(map(len, covers), default=1) - 1
        self._shortest = min(map(len, covers), default=1)
        self._between = bytes(sorted(set(range(256)).difference(*covers))[-1:])
        """A byte that no run holds; none if they hold all."""
        self._automaton = need("ahocorasick_rs").BytesAhoCorasick(list(covers))

    def masks(self, texts: Iterable[bytes]) -> Iterator[tuple[str, int]]:
        """Ids and bitmaps of what some texts hold. One search is faster than many."""
        long = [text for text in texts if len(text) >= self._shortest]
        joined = [self._between.join(long)] if self._between and long else long
        for run in {run for text in joined for run, _, _ in self._matches(text)}:
            yield from self._covers[run].items()

    def spans(self, text: bytes) -> Iterator[_Span]:
        """Where a text holds it."""
        for run, start, end in self._matches(text):
            yield _Span(start, end, frozenset(self._covers[run]))

    def _matches(self, text: bytes) -> Iterator[tuple[int, int, int]]:
        """Runs with their places, piece by piece, so that a text full of them does not fill the memory."""
        for at in range(0, len(text), CHUNK):
            piece = text[at : at + CHUNK + self._overlap]
            for run, start, end in self._automaton.find_matches_as_indexes(piece, overlapping=True):
                yield run, at + start, at + end


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    """Places that do not overlap, in order."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda span: span[:2]):
        if merged and span.start < merged[-1].end:
            last = merged.pop()
            span = _Span(last.start, max(last.end, span.end), last.names | span.names)
        merged.append(span)
    return merged


_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_REMOVED = frozenset(NO_LETTER_OR_DIGIT)
_LOWER = bytes(range(256)).lower()
_BREAK = "\x7f"
_ALL_BUT_BREAKS = bytes(_REMOVED - {ord(_BREAK)})


def _spellings(secret: bytes) -> Iterator[tuple[bytes, list[int]]]:
    """A secret as it is, and beyond ASCII also composed, decomposed, small and in capitals; with where bytes begin."""
    yield secret, list(range(len(secret) + 1))
    text = secret.decode("utf-8", "surrogateescape")
    for case, composed in () if secret.isascii() else product((str, str.lower, str.upper), ("NFC", "NFD")):
        form, starts, at = b"", [], 0
        for letter in _letters(text):
            new = unicodedata.normalize(composed, case(letter)).encode("utf-8", "surrogateescape")
            form, starts = form + new, starts + [at] * len(new)
            at += len(letter.encode("utf-8", "surrogateescape"))
        yield form, [*starts, len(secret)]


def _letters(text: str) -> list[str]:
    """Characters, with the accents that follow them."""
    found: list[str] = []
    for character in text:
        if found and unicodedata.combining(character):
            found[-1] += character
        else:
            found.append(character)
    return found


def _squeezed(text: bytes) -> bytes:
    """In lower case, without anything but letters and digits."""
    return text.translate(_LOWER, NO_LETTER_OR_DIGIT)


def _folded(text: bytes) -> bytes:
    """The same, with breaks where there is no UTF-8: letters of what was decoded by mistake are not pulled together."""
    if text.isascii():
        return _squeezed(text)
    marked = text.decode("utf-8", "replace").replace("\ufffd", _BREAK).encode("ascii", "ignore")
    return marked.translate(_LOWER, _ALL_BUT_BREAKS)


def _kept(text: bytes) -> list[int]:
    """Where the letters and digits stand."""
    return [at for at, byte in enumerate(text) if byte not in _REMOVED]


def _fold(secret: bytes) -> tuple[bytes, list[int]]:
    """A secret's folded form, and where each of its bytes begins, with what was removed after the one before."""
    return _squeezed(secret), [0, *_kept(secret)[1:], len(secret)]


def _run_length(secret: bytes) -> int:
    size = next((size for size, members in ALPHABETS if members.fullmatch(secret)), 95)
    return next(m for m in range(1, 33) if size**m >= 2**32)


def _unfit(secret: bytes) -> str:
    """Why a value cannot be looked for; empty if it can."""
    least = max(8, 2 * _run_length(secret))
    if len(secret) < least:
        return f"has {len(secret)} characters, and with its alphabet {least} are the fewest"
    if len(secret) > LONGEST:
        return f"has {len(secret)} characters, and {LONGEST} are the most"
    if len(set(secret)) < 5:
        return f"has only {len(set(secret))} different characters"
    return ""


def _value(source: SecretSource) -> tuple[str, str]:
    """A secret's value, without the line ends after it, or what is wrong."""
    if source.env:
        problem = "" if source.env in os.environ else f"there is no environment variable {source.env}"
        return os.environ.get(source.env, "").rstrip("\r\n"), problem
    output, problem = _printed(source.command) if source.command else _in_file(Path(source.file))
    if output.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        problem = "its value is written in UTF-16; write it in UTF-8"
    return output.removeprefix(BOM_UTF8).decode("utf-8", "surrogateescape").rstrip("\r\n"), problem


def _in_file(path: Path) -> tuple[bytes, str]:
    try:
        return path.read_bytes(), ""
    except OSError as error:
        return b"", f"{path} cannot be read ({error.strerror})"


def _printed(command: Sequence[str]) -> tuple[bytes, str]:
    """What a command prints, without its messages, as these may hold the value too."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        return b"", f"its command {command[0]!r} cannot be run ({error.strerror})"
    with process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return b"", f"its command {command[0]!r} did not end within {SECONDS:g} seconds"
    if process.returncode:
        return b"", f"its command {command[0]!r} ended with {process.returncode}; run it by hand to see why"
    return output, ""
