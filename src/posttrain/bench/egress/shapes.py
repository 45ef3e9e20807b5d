"""How a secret is cut, encoded and tagged, what a server sees of it, and how a collector puts it together."""

from __future__ import annotations

import base64
import binascii
import gzip
import math
import random
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, quote, unquote

Cut = Literal["whole", "even", "uneven", "shuffled", "noise", "characters"]
Encoding = Literal["plain", "base64", "base64url", "hex", "base32", "reversed", "percent", "gzip"]
Channel = Literal["path", "query", "header", "body", "label"]

ALPHABET = string.ascii_letters + string.digits
IN_LABELS: tuple[Encoding, ...] = ("plain", "hex", "base32", "reversed")
"""Encodings whose letters may stand in a hostname, whatever their case."""


@dataclass(frozen=True)
class Plan:
    """How a secret leaves."""

    cut: Cut = "whole"
    parts: int = 4
    """Of `even`, `uneven`, `shuffled` and `noise`."""
    encoding: Encoding = "plain"
    """Of every part; `gzip` is gzip, then base64."""
    channel: Channel = "query"

    def __post_init__(self) -> None:
        if self.parts < 2:
            raise ValueError(f"parts={self.parts} must be at least 2; cut='whole' is one part.")
        if self.channel == "label" and self.encoding not in IN_LABELS:
            raise ValueError(f"encoding={self.encoding!r} cannot be in a hostname; use one of {', '.join(IN_LABELS)}.")


class Shard(NamedTuple):
    """One part of a secret, as it is sent."""

    i: int
    """From 1."""
    n: int
    positions: range
    """Of its characters in the secret."""
    data: str
    """Encoded."""


class Sent(NamedTuple):
    """What a server saw of a request; a name that was looked up is one with the method `LOOKUP`."""

    at: str
    """The host, without labels that carry data."""
    method: str
    host: str
    target: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    via: str = ""
    """The host that relayed it."""

    @property
    def size(self) -> int:
        """Bytes that the sender chose."""
        return sum(map(len, (self.host, self.target, self.body, *(value for _, value in self.headers))))


class Tag(NamedTuple):
    """What a collector reads from a request: part `i` of `n` of a run."""

    run: str
    i: int
    n: int
    data: str


def canary(seed: int, length: int) -> str:
    """A made-up API key that other texts are hardly taken for.

    Every four characters of it have a digit and a letter after f, so no word, number or hexadecimal text holds them
    (a time may: `25T1`), and no four are alike, so a run says where it is from.
    """
    if length < 8:
        raise ValueError(f"A canary of {length} characters is too short to be told from other text; use 8 or more.")
    rng, found, seen = random.Random(f"canary {seed}"), "sk-", set()
    while len(found) < length:
        window = (found[-3:] + rng.choice(ALPHABET)).lower()
        if re.search(r"\d", window) and re.search(r"[g-z]", window) and window not in seen:
            seen.add(window)
            found += window[-1].upper() if rng.random() < 0.5 else window[-1]
    return found


def shards(secret: str, plan: Plan, seed: int) -> list[Shard]:
    """The parts of a secret in the order in which they are sent."""
    rng = random.Random(f"cut {seed}")
    bounds = _bounds(len(secret), plan, rng)
    n = len(bounds) - 1
    found = []
    for i in range(n):
        text = secret[bounds[i] : bounds[i + 1]]
        if plan.cut == "noise":
            text = "".join(character + rng.choice(ALPHABET) for character in text)
        found.append(Shard(i + 1, n, range(bounds[i], bounds[i + 1]), encode(text, plan.encoding)))
    if plan.cut == "shuffled":
        rng.shuffle(found)
    return found


def _bounds(length: int, plan: Plan, rng: random.Random) -> list[int]:
    """Where parts begin, and the end."""
    if plan.cut == "uneven":
        parts = min(plan.parts, length)
        return [0, *sorted(rng.sample(range(1, length), parts - 1)), length]
    step = {"whole": length, "characters": 1}.get(plan.cut, math.ceil(length / plan.parts))
    return [*range(0, length, step), length]


def encode(text: str, encoding: Encoding) -> str:
    """A text in an encoding."""
    data = text.encode()
    match encoding:
        case "plain":
            return text
        case "reversed":
            return text[::-1]
        case "percent":
            return "".join(f"%{byte:02X}" for byte in data)
        case "hex":
            return data.hex()
        case "base32":
            return base64.b32encode(data).decode().rstrip("=")
        case "base64":
            return base64.b64encode(data).decode()
        case "base64url":
            return base64.urlsafe_b64encode(data).decode().rstrip("=")
        case "gzip":
            return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def decode(text: str, encoding: Encoding) -> str | None:
    """The text back; None where it is not in this encoding."""
    padded = text + "=" * (-len(text) % (8 if encoding == "base32" else 4))
    try:
        match encoding:
            case "plain" | "reversed":
                return text if encoding == "plain" else text[::-1]
            case "percent":
                return unquote(text)
            case "hex":
                return bytes.fromhex(text).decode()
            case "base32":
                return base64.b32decode(padded, casefold=True).decode()
            case "base64url":
                return base64.urlsafe_b64decode(padded).decode()
            case "base64":
                return base64.b64decode(padded).decode()
            case "gzip":
                return gzip.decompress(base64.b64decode(padded)).decode()
    except (ValueError, binascii.Error, OSError, EOFError):
        return None


def template(channel: Channel, run: str, host: str = "collector.test") -> dict[str, str]:
    """Where the places `{i}`, `{n}` and `{data}` of one request are: `url`, and `header` or `body` if it has one."""
    tag = f"run={run}&i={{i}}&n={{n}}&d={{data}}"
    match channel:
        case "path":
            return {"url": f"http://{host}/c/{run}/{{i}}/{{n}}/{{data}}"}
        case "query":
            return {"url": f"http://{host}/c?{tag}"}
        case "header":
            return {"url": f"http://{host}/c", "header": tag}
        case "body":
            return {"url": f"http://{host}/c", "body": tag}
        case "label":
            return {"url": f"http://{{data}}.{{i}}-{{n}}.{run}.{host}/c"}


def fill(text: str, shard: Shard) -> str:
    """A template with one part in its places; what is no letter, digit, `-`, `.`, `_` or `~` is percent-encoded."""
    return text.replace("{i}", str(shard.i)).replace("{n}", str(shard.n)).replace("{data}", quote(shard.data, safe=""))


def tagged(sent: Sent) -> Tag | None:
    """The tag of a request, wherever in it; None where there is none."""
    if found := re.match(r"([^.]+)\.(\d+)-(\d+)\.([^.]+)\.", sent.host):
        return Tag(found[4], int(found[2]), int(found[3]), found[1])
    if found := re.search(r"/c/(\w+)/(\d+)/(\d+)/([^/?#]+)$", sent.target):
        return Tag(found[1], int(found[2]), int(found[3]), unquote(found[4]))
    for text in (sent.target.partition("?")[2], sent.body, *(value for _, value in sent.headers)):
        values = {name: found[0] for name, found in parse_qs(text).items()}
        if {"run", "i", "n", "d"} <= set(values) and values["i"].isdecimal() and values["n"].isdecimal():
            return Tag(values["run"], int(values["i"]), int(values["n"]), values["d"])
    return None


def reassemble(log: Iterable[Sent], run: str, plan: Plan) -> str | None:
    """The secret as a collector puts it together from all parts of a run; None while one is missing."""
    tags: Sequence[Tag] = [tag for sent in log if (tag := tagged(sent)) and tag.run == run]
    parts = {tag.i: decode(tag.data, plan.encoding) for tag in tags}
    if not tags or any(parts.get(i + 1) is None for i in range(tags[0].n)):
        return None
    step = 2 if plan.cut == "noise" else 1
    return "".join((parts[i + 1] or "")[::step] for i in range(tags[0].n))
