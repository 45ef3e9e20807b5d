"""States that log lines tell: `key=value` pairs of what the line is about, and its error codes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from posttrain.memory.extract.said import WORDY, Named, Said, name_of, value_of
from posttrain.memory.extract.words import NAMES

_LOG = re.compile(
    r"^\W{0,2}(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\d\d:\d\d:\d\d|[A-Z][a-z]{2} +\d+ \d\d:\d\d|\d{10,13}\b"
    r"|\[?(?:DEBUG|INFO|WARN(?:ING)?|ERROR|FATAL|CRITICAL|TRACE|NOTICE)\b)"
)
_PAIR = re.compile(
    r"""(?<![\w./?&])([A-Za-z_][\w.\-]{0,40})=(?:"([^"\n]{0,200})"|'([^'\n]{0,200})'|([^\s,;"'()\[\]{}]{1,200}))"""
)
_CODE = re.compile(
    r"\b(?:[A-Z]{1,6}-?\d{2,6}|E[A-Z]{3,}|[A-Z]\w*(?:Error|Exception|Warning)|[A-Z][A-Z0-9]+_[A-Z0-9_]+)\b"
)


def is_log(line: str) -> bool:
    """Whether a line begins as lines of logs do."""
    return bool(_LOG.match(line))


def pairs(text: str, start: int, end: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The characters of each key and each value of `key=value`."""
    return [(found.span(1), found.span(found.lastindex or 0)) for found in _PAIR.finditer(text, start, end)]


def told(text: str, start: int, end: int) -> Iterator[Said | Named]:
    """The pairs are states of what the line is about: the value of a key such as `job`, `user_id` or `file`."""
    found = pairs(text, start, end)
    about = next((each for each in found if _names(text[slice(*each[0])].lower())), None)
    for key, value in found:
        name, said = name_of(text[slice(*key)]), text[slice(*value)]
        if about is None:
            yield Said(name, "value", value_of(said), *value, key)
        elif (key, value) == about:
            yield Named(_entity(text, key, value), *value)
        else:
            yield Said(_entity(text, *about), name, value_of(said), *value, about[1])
    for code in _CODE.finditer(text, start, end):
        if code.group() not in ("DEBUG", "ERROR"):
            yield Named(name_of(code.group()), *code.span())


def _names(key: str) -> bool:
    return (
        key in NAMES
        or key in ("job", "task", "worker", "pod", "process", "request", "order")
        or key.endswith(("_id", "id"))
    )


def _entity(text: str, key: tuple[int, int], value: tuple[int, int]) -> str:
    """What a line is about: the value, with its key where the value alone is a number."""
    said = text[slice(*value)]
    return name_of((said if any(map(str.isalpha, said)) else f"{text[slice(*key)]} {said}")[:WORDY])
