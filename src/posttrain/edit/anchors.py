"""Anchors: the prompts that an edit is solved on, harmful and harmless, each harmful one in English and in others.

A JSON Lines file has one prompt a line, `{"id", "language", "kind": "harmful" or "harmless", "text"}`. A CSV file, as
MultiJail and XSafety come, has one question a row and a column for each language, with `id` and `kind` beside them if
it has them. Harmful prompts are paired by their ids; harmless ones need not be. No prompts ship with this package.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["harmful", "harmless"]
KINDS = ("harmful", "harmless")
LEAST = 2
"""Harmful prompts, and harmless ones in English: fewer have no deviation."""
_CODE = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,4})?", re.IGNORECASE)
_NO_LANGUAGE = frozenset(("id", "kind", "src", "tag", "tags", "key", "no", "row"))


class AnchorError(ValueError):
    """The anchors cannot be used as they are; the message says which and what to do."""


class Prompt(NamedTuple):
    """One prompt."""

    id: str
    """Shared by the translations of one prompt."""
    language: str
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.id!r} ({self.language}, {self.kind})"


@dataclass(frozen=True, eq=False)
class Anchors:
    """Prompts of an edit."""

    english: str
    """The language whose harmful prompts the model refuses."""
    languages: tuple[str, ...]
    """Those to edit."""
    harmful: Mapping[str, Sequence[Prompt]]
    """By language, English included; prompt i is the same one in all."""
    harmless: Mapping[str, Sequence[Prompt]]
    """By language; of other languages, too."""

    @property
    def notes(self) -> list[str]:
        """What is worth a warning, a sentence each."""
        found = [
            f"There is no harmless prompt in {name}: an edit may take the language itself for the harm and refuse "
            "harmless questions in it; add some."
            for name in self.languages
            if not self.harmless.get(name)
        ]
        again = [
            f"{len(each) - len({prompt.text for prompt in each})} {kind} in {name}"
            for kind, prompts in (("harmful", self.harmful), ("harmless", self.harmless))
            for name, each in prompts.items()
            if len({prompt.text for prompt in each}) < len(each)
        ]
        if again:
            found.append(f"Prompts repeat the text of another, and count once more each: {', '.join(again)}.")
        return found

    def of(self, languages: Sequence[str]) -> Anchors:
        """The same prompts with fewer languages to edit; none named are all."""
        unknown = [name for name in languages if name not in self.languages]
        if unknown:
            raise AnchorError(
                f"There are no harmful prompts in {_list(unknown)}; the anchors have {_list(self.languages)}."
            )
        if not languages:
            return self
        kept = {name: self.harmful[name] for name in (self.english, *languages)}
        return replace(self, languages=tuple(languages), harmful=kept)

    def split(self, share: float, seed: int = 0) -> tuple[Anchors, Anchors]:
        """Two parts, the second with a share of the ids, in all languages.

        Raises:
            AnchorError: One of them would have too few prompts.
        """
        kinds = (self.harmful[self.english], [p for prompts in self.harmless.values() for p in prompts])
        held = [_drawn([prompt.id for prompt in prompts], share, seed) for prompts in kinds]
        parts = []
        for inside in (False, True):
            harmful, harmless = (
                {name: tuple(p for p in prompts if (p.id in ids) == inside) for name, prompts in found.items()}
                for found, ids in zip((self.harmful, self.harmless), held, strict=True)
            )
            fewest = min(len(harmful[self.english]), len(harmless[self.english]))
            if fewest < LEAST:
                raise AnchorError(
                    f"The anchors are too few to hold a share of {share} out: a part would have {fewest} prompts of a "
                    f"kind in {self.english!r} and needs {LEAST}; give more, or set the layer, gamma and rank yourself."
                )
            parts.append(replace(self, harmful=harmful, harmless=harmless))
        return parts[0], parts[1]


def load(*paths: str | Path, harmless: Sequence[str | Path] = (), english: str = "en") -> Anchors:
    """The anchors of some files together.

    Args:
        paths: JSON Lines, or CSV whose prompts are harmful unless a column `kind` says otherwise.
        harmless: Files, all of whose prompts are harmless.
        english: What the language is called there whose harmful prompts the model refuses.

    Raises:
        AnchorError: A file cannot be read, or the prompts do not make anchors.
    """
    found = [prompt for path in paths for prompt in read(path)]
    return paired(found + [p for path in harmless for p in read(path, "harmless")], english=english)


def read(path: str | Path, kind: Kind | None = None) -> list[Prompt]:
    """The prompts of a file, in its order.

    Args:
        path: A .csv or .tsv file, else JSON Lines.
        kind: Of all of them, whatever the file says.
    """
    path = Path(path)
    if not path.is_file():
        raise AnchorError(f"{path} does not exist; give a .jsonl file with a prompt a line, or a .csv file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnchorError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from error
    table = path.suffix.lower() in (".csv", ".tsv")
    found = _table(path, text, kind) if table else _lines(path, text, kind)
    if not found:
        raise AnchorError(f"{path} is empty; give at least {LEAST} harmful prompts in English and in another language.")
    return found


def paired(prompts: Iterable[Prompt], *, english: str = "en") -> Anchors:
    """Anchors from prompts, in the order of English.

    Raises:
        AnchorError: There is one language only, harmful prompts do not pair, or there are too few.
    """
    by: dict[str, dict[str, dict[str, Prompt]]] = {kind: defaultdict(dict) for kind in KINDS}
    for prompt in prompts:
        same = by[prompt.kind][prompt.language]
        if prompt.id in same:
            raise AnchorError(f"Prompt {prompt} is there twice; give each an id of its own.")
        same[prompt.id] = prompt
    harmful, harmless = by["harmful"], by["harmless"]
    languages = tuple(name for name in harmful if name != english)
    if english not in harmful:
        raise AnchorError(
            f"There is no harmful prompt in {english!r}, which the others are aligned to (languages: "
            f"{_list(harmful) or 'none'}); say with english what it is called."
        )
    if not languages:
        raise AnchorError(f"All harmful prompts are in {english!r}; give them in another language too, with equal ids.")
    for name in languages:
        _check_pairs(harmful[english], harmful[name], english, name)
    for kind, many in (("harmful", harmful[english]), ("harmless", harmless.get(english, {}))):
        if len(many) < LEAST:
            raise AnchorError(
                f"There are {len(many)} {kind} prompts in {english!r}; give at least {LEAST} of each kind, which "
                "tell units apart."
            )
    _check_kinds(harmful, harmless)
    order = list(harmful[english])
    return Anchors(
        english,
        languages,
        {name: tuple(harmful[name][each] for each in order) for name in (english, *languages)},
        {name: tuple(found.values()) for name, found in harmless.items()},
    )


def _check_pairs(first: Mapping[str, Prompt], second: Mapping[str, Prompt], english: str, name: str) -> None:
    alone, extra = [i for i in first if i not in second], [i for i in second if i not in first]
    if alone or extra:
        lacking = [f"{name!r} lacks {_list(alone)}"] if alone else []
        lacking += [f"{english!r} lacks {_list(extra)}"] if extra else []
        raise AnchorError(
            f"Harmful prompts do not pair: {len(first)} in {english!r}, {len(second)} in {name!r}; by id, "
            f"{' and '.join(lacking)}. Each must be in both."
        )


def _check_kinds(harmful: Mapping[str, Mapping[str, Prompt]], harmless: Mapping[str, Mapping[str, Prompt]]) -> None:
    for name, prompts in harmful.items():
        texts = {prompt.text: prompt for prompt in prompts.values()}
        for prompt in harmless.get(name, {}).values():
            if prompt.text in texts:
                raise AnchorError(
                    f"Prompt {prompt} and {texts[prompt.text]} have one text; it cannot be of both kinds."
                )


def _drawn(ids: Sequence[str], share: float, seed: int) -> frozenset[str]:
    """A share of some ids, repeats counted once."""
    once = list(dict.fromkeys(ids))
    return frozenset(random.Random(seed).sample(once, round(share * len(once))))


def _lines(path: Path, text: str, kind: Kind | None) -> list[Prompt]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise AnchorError(f"{path}, line {number} is not JSON ({error.msg}); mend it.") from error
        if not isinstance(record, dict):
            raise AnchorError(f"{path}, line {number} is no object; write id, language, kind and text.")
        found.append(_prompt(f"{path}, line {number}", {**record, "kind": kind or record.get("kind")}))
    return found


def _table(path: Path, text: str, kind: Kind | None) -> list[Prompt]:
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    names = [name for name in rows.fieldnames or () if name]
    languages = [n for n in names if _CODE.fullmatch(n.strip()) and n.strip().lower() not in _NO_LANGUAGE]
    if names and not languages:
        raise AnchorError(
            f"{path} has no column that is a language ({_list(names)}); call each by its code, such as en or bn."
        )
    found = []
    for number, row in enumerate(rows, 1):
        about = {"id": row.get("id") or str(number), "kind": kind or row.get("kind") or "harmful"}
        found += [
            _prompt(f"{path}, row {number}, {name}", {**about, "language": name.strip(), "text": row[name]})
            for name in languages
        ]
    return found


def _prompt(where: str, record: Mapping[str, Any]) -> Prompt:
    given = {name: record.get(name) for name in ("id", "language", "kind", "text")}
    if isinstance(given["id"], int):
        given["id"] = str(given["id"])
    for name, value in given.items():
        if not isinstance(value, str) or not value.strip():
            what = "is missing" if value is None else f"is {value!r}" if not isinstance(value, str) else "is empty"
            raise AnchorError(f"{where}: {name} {what}; every prompt has an id, a language, a kind and a text.")
    if given["kind"] not in KINDS:
        raise AnchorError(f"{where}: kind is {given['kind']!r}; write harmful or harmless.")
    return Prompt(**given)  # pyright: ignore[reportArgumentType]


def _list(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
