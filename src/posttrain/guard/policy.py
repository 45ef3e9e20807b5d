"""Policies as data: strict TOML to frozen dataclasses, with a hash that names the very policy a verdict came from."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from posttrain.extras import need

P = TypeVar("P")


class Strict:
    """Base of the dataclasses a policy is made of: an unknown key or a value of another type is refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "use_attribute_docstrings": True,
    }

    def __post_init__(self) -> None:
        """Refuse a word that a field does not know, also in a policy that is built in Python."""
        for name, words in _words(type(self)).items():
            value = getattr(self, name)
            for word in value if isinstance(value, tuple) else (value,):
                if word not in words:
                    raise Unfit(f"{word!r} must be {' or '.join(words)}", name)


@cache
def _words(kind: type) -> dict[str, tuple[str, ...]]:
    """The words that the fields of a dataclass take, where they take some words only."""
    found = {
        name: get_args(hint)[0] if get_origin(hint) is tuple else hint for name, hint in get_type_hints(kind).items()
    }
    return {name: get_args(hint) for name, hint in found.items() if get_origin(hint) is Literal}


class Unfit(ValueError):
    """A value that a dataclass refuses, with the key it stands under, whose line `parse` names.

    Args:
        because: Half a sentence, such as `9 must lie between 0 and 4`.
        key: As it is in the dataclass, and positions in arrays of tables.
    """

    def __init__(self, because: str, *key: str | int) -> None:
        super().__init__(f"{'.'.join(map(str, key))}: {because}")
        self.because, self.key = because, key


@contextmanager
def under(*key: str) -> Iterator[None]:
    """What is raised inside is about this key."""
    try:
        yield
    except ValueError as error:
        raise Unfit(str(error), *key) from None


def at_least(least: float, **values: float) -> None:
    """Raise `Unfit` unless all values, by their keys, are numbers from `least` on."""
    for key, value in values.items():
        if not value >= least:  # nor is NaN
            raise Unfit(f"{value:g} must be at least {least:g}", key)


def parse(kind: type[P], text: str, name: str = "policy") -> P:
    """A policy from TOML.

    Args:
        kind: A frozen dataclass on `Strict`; its own `__post_init__` checks what types cannot say.
        text: TOML.
        name: Of the file, for errors.

    Raises:
        ValueError: One sentence with the line, what was given and what is expected.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is no TOML: {error}.") from None
    pydantic, adapter = need("pydantic"), _adapter(kind)
    try:
        # JSON mode lets strict fields take lists for tuples and texts for enumerations.
        return adapter.validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=True)[0]
        raise ValueError(_sentence(first, text, name)) from None


def load(kind: type[P], path: Path) -> P:
    """A policy from a TOML file."""
    if not path.is_file():
        raise ValueError(f"There is no policy at {path}; `--policy` takes a TOML file.")
    return parse(kind, read_text(path), str(path))


def read_text(path: Path) -> str:
    """What is in a TOML file; a sentence if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); TOML must be.") from None


def schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a policy, for editors; keys are described by their fields' docstrings."""
    return {"$schema": DIALECT, **_plain(_adapter(kind).json_schema())}


@cache
def _adapter(kind: type) -> Any:
    """What validates a dataclass; to make it takes longer than to use it, as it reads the fields' docstrings."""
    return need("pydantic").TypeAdapter(kind)


DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _plain(value: Any) -> Any:
    """A schema without defaults that JSON cannot hold (infinity), and each description on one line."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if not (k == "default" and isinstance(v, float) and not math.isfinite(v))}
    return {k: " ".join(v.split()) if k == "description" and isinstance(v, str) else _plain(v) for k, v in kept.items()}


def fingerprint(policy: Any) -> str:
    """Sixteen hex digits that name a policy's values, defaults included."""
    values = json.dumps(asdict(policy), sort_keys=True, default=str)
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def _sentence(error: dict[str, Any], text: str, name: str) -> str:
    """One validation error in words, with its line."""
    cause = error.get("ctx", {}).get("error")
    path = [*error["loc"], *(cause.key if isinstance(cause, Unfit) else ())]
    line = line_of(text, path)
    where = f"{name}, line {line}" if line else name
    key = ".".join(map(str, path))
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}: there is no key {key!r}."
    if error["type"] == "missing":
        return f"{where}: {key} is missing."
    if error["type"] in ("tuple_type", "list_type") and isinstance(error["input"], dict):
        return f"{where}: {key} must be a list; for a list of tables write [[{key}]] in place of [{key}]."
    reason = cause.because if isinstance(cause, Unfit) else str(cause or error["msg"])
    given = "" if isinstance(error["input"], dict) else f" (given: {error['input']!r})"
    return f"{where}: {f'{key}: ' if key else ''}{reason.rstrip('.')}{given}."


def line_of(text: str, path: list[str | int]) -> int:
    """The line of TOML where a key is set, counted from 1, or that of the nearest table around it; 0 if none is.

    Args:
        text: TOML.
        path: Keys, and positions in arrays of tables.
    """
    names = [part for part in path if isinstance(part, str)]
    index = next((part for part in path if isinstance(part, int)), 0)
    table: list[str] = []
    seen: dict[str, int] = {}
    best = (0, 0)
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[{1,2})\s*([\w.\-\"' ]+?)\s*\]", line):
            table = [part.strip(" \"'") for part in header[2].split(".")]
            seen[header[2]] = seen.get(header[2], -1) + 1
            here = table
            if header[1] == "[[" and seen[header[2]] != index:
                table = ["\0"]
                continue
        elif key := re.match(r"\s*([\w.\-\"' ]+?)\s*=", line):
            here = table + [part.strip(" \"'") for part in key[1].split(".")]
        else:
            continue
        common = next(
            (i for i, (a, b) in enumerate(zip(here, names, strict=False)) if a != b), min(len(here), len(names))
        )
        if common == len(here) and common > best[0]:
            best = (common, number)
    return best[1]
