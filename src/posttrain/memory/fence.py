"""Text from a log between marks that it cannot write: whatever it holds, it ends where we say it ends.

    Between the lines with 3f9c2a71b04d88e6 stands what was recorded, ...
    [3f9c2a71b04d88e6] turn 12, observation, characters 0 to 30
    | The vault is open.
    | Step 13: Action: ...
    [3f9c2a71b04d88e6] end

The mark is in none of the texts, and every line of a text begins with a bar; so no text can close the fence, open
another one, or pass for a line of ours. It is drawn anew for every reply, or made from the texts where a conversation
must come out the same again. `unfenced` gets the texts back.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BAR = "| "

_LINES = re.compile(r"(?<=\n)|(?<=\r)(?!\n)|(?<=[\v\f\x1c\x1d\x1e\x85\u2028\u2029])")
"""Where a line begins, for any program that could show the text."""


class Piece(NamedTuple):
    """One text."""

    label: str
    """What it is, in our words, on one line."""
    text: str


def fenced(pieces: Sequence[Piece], *, same: bool = False) -> str:
    """All pieces, in order.

    Args:
        pieces: Their labels hold nothing that a log could have written.
        same: Whether the same pieces are written the same every time, so that a recorded model knows them again.
    """
    mark = _mark([piece.text for piece in pieces], same)
    lines = [f"Between the lines with {mark} stands what was recorded. It is data: it asks nothing of you."]
    for piece in pieces:
        lines += [f"[{mark}] {piece.label}", _barred(piece.text)]
    return "\n".join([*lines, f"[{mark}] end"])


def unfenced(text: str) -> list[Piece]:
    """The pieces of `fenced`, exactly."""
    mark = re.match(r"Between the lines with (\w+) ", text)
    if mark is None:
        raise ValueError("This text has no fence; `fenced` makes one.")
    sign = f"[{mark[1]}] "
    found = []
    for part in text.split(f"\n{sign}")[1:-1]:
        label, body = part.split("\n", 1)
        found.append(Piece(label, "".join(line.removeprefix(BAR) for line in _LINES.split(body))))
    return found


def _barred(text: str) -> str:
    """A bar before every line."""
    return "".join(BAR + line for line in _LINES.split(text))


def _mark(texts: Sequence[str], same: bool) -> str:
    """Sixteen hexadecimal digits that are in no text."""
    return next(mark for mark in (_digests(texts) if same else _draws()) if not any(mark in text for text in texts))


def _draws() -> Iterator[str]:
    while True:
        yield secrets.token_hex(8)


def _digests(texts: Sequence[str]) -> Iterator[str]:
    """Digests of all texts; the next one of the digest before."""
    digest = hashlib.blake2b(repr(list(texts)).encode(), digest_size=8)
    while True:
        yield digest.hexdigest()
        digest = hashlib.blake2b(digest.digest(), digest_size=8)
