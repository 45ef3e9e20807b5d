"""Anchors: the prompts that an edit is solved on, harmful and harmless, each harmful one in English and in others.

A JSON Lines file has one prompt a line, `{"id", "language", "kind": "harmful" or "harmless", "text"}`. A CSV file, as
MultiJail and XSafety come, has one question a row and a column for each language, called by its code of ISO 639, with
`id` and `kind` beside them if it has them. Harmful prompts are paired by their ids; harmless ones need not be. No
prompts ship with this package.
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
_CODE = re.compile(r"([a-z]{2,3})([-_][a-z0-9]{2,4})?", re.IGNORECASE)
_TWO = (
    " aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo"
    " es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia ie ig ii ik io is it iu ja jv ka kg"
    " ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl"
    " nn nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv"
    " sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
)
"""ISO 639-1, but for `id` and `no`, which tables use otherwise; `ind` and `nb` or `nor` are the same languages."""
_NO_LANGUAGE = " src tag key row idx url set cat ref num len pid qid uid ids sub lab raw txt ans ord "
"""Of three letters, and in tables something else."""


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
    def said(self) -> str:
        """How many prompts of which kind and language."""
        kinds = (("harmful", self.harmful), ("harmless", self.harmless))
        return "; ".join(
            f"{kind} prompts: {', '.join(f'{name} {len(prompts)}' for name, prompts in found.items())}"
            for kind, found in kinds
        )

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
        if self.english in languages:
            raise AnchorError(f"{self.english!r} is what the others are aligned to; name languages to edit.")
        if len(set(languages)) < len(languages):
            raise AnchorError(f"languages={_list(languages)} must name each language once.")
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
        what = "is a folder" if path.is_dir() else "does not exist"
        raise AnchorError(f"{path} {what}; give a .jsonl file with a prompt a line, or a .csv file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnchorError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from error
    table = path.suffix.lower() in (".csv", ".tsv")
    found = _table(path, text, kind) if table else _lines(path, text, kind)
    if not found:
        raise AnchorError(f"{path} is empty; give at least {LEAST} harmful prompts in English and in another language.")
    return found


def once(prompts: Iterable[Prompt]) -> list[Prompt]:
    """The same prompts, if no two of one language and kind have one id.

    Raises:
        AnchorError: Two have.
    """
    found: dict[tuple[str, str, str], Prompt] = {}
    for prompt in prompts:
        if prompt[:3] in found:
            raise AnchorError(f"Prompt {prompt} is there twice; give each an id of its own.")
        found[prompt[:3]] = prompt
    return list(found.values())


def paired(prompts: Iterable[Prompt], *, english: str = "en") -> Anchors:
    """Anchors from prompts, in the order of English.

    Raises:
        AnchorError: There is one language only, harmful prompts do not pair, or there are too few.
    """
    by: dict[str, dict[str, dict[str, Prompt]]] = {kind: defaultdict(dict) for kind in KINDS}
    for prompt in once(prompts):
        by[prompt.kind][prompt.language][prompt.id] = prompt
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
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise AnchorError(f"{path} is no table ({error}); mend it, or write JSON Lines.") from error
    names = [name.strip() for name in rows[0]] if rows else []
    beside = {name.lower(): at for at, name in enumerate(names) if name.lower() in ("id", "kind")}
    languages = {name: at for at, name in enumerate(names) if _is_language(name)}
    if names and not languages:
        raise AnchorError(
            f"{path} has no column that is a language ({_list(names)}); call each by its code, such as en or bn."
        )
    found = []
    for number, row in enumerate(rows[1:], 1):
        cells = [*row, *[None] * (len(names) - len(row))]
        told = {name: (cells[at] or "").strip() for name, at in beside.items()}
        about = {"id": told.get("id") or f"{path.stem} {number}", "kind": kind or told.get("kind") or "harmful"}
        found += [
            _prompt(f"{path}, row {number}, {name}", {**about, "language": name, "text": cells[at]})
            for name, at in languages.items()
        ]
    for name in languages:
        texts = {prompt.text for prompt in found if prompt.language == name}
        if found and all(text.strip().isnumeric() or text.startswith(("http://", "https://")) for text in texts):
            raise AnchorError(
                f"{path}: column {name!r} reads as a language and has no prompts (such as {min(texts)!r}); call it by "
                "a longer name, or leave it out."
            )
    return found


def _is_language(name: str) -> bool:
    """Whether a column's name is the code of a language, with its script or region if it is said."""
    code = _CODE.fullmatch(name)
    if code is None:
        return False
    letters = f" {code[1].lower()} "
    return letters in _TWO if len(code[1]) == 2 else letters not in _NO_LANGUAGE


def _prompt(where: str, record: Mapping[str, Any]) -> Prompt:
    given = {name: record.get(name) for name in ("id", "language", "kind", "text")}
    if isinstance(given["id"], int):
        given["id"] = str(given["id"])
    for name, value in given.items():
        if not isinstance(value, str) or not value.strip():
            what = "is missing" if value is None else f"is {value!r}" if not isinstance(value, str) else "is empty"
            raise AnchorError(f"{where}: {name} {what}; every prompt has an id, a language, a kind and a text.")
    if any("\ud800" <= letter <= "\udfff" for letter in str(given["text"])):
        raise AnchorError(f"{where}: text has half of a surrogate pair, which is no letter; mend it.")
    if given["kind"] not in KINDS:
        raise AnchorError(f"{where}: kind is {given['kind']!r}; write harmful or harmless.")
    return Prompt(**given)  # pyright: ignore[reportArgumentType]


def _list(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
