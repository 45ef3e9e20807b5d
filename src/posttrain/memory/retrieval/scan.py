"""Counting and listing over every turn, by a small fixed language of queries. No code is run, and time is linear.

    {"from": 10, "to": 90, "where": [{"field": "action", "word": "open"}], "not": [{"contains": "locked"}]}
    {"entity": "brass key", "role": "write", "by": "verb"}
    {"fact": {"entity": "chest", "attribute": "state", "value": "open"}, "first": true}
    {"failed": true}

| key | what it keeps |
|---|---|
| `from`, `to` | steps, both included |
| `where`, `not` | turns for which all, or none, of some conditions on the text hold |
| `verb` | turns whose action is of this kind, in any form of the verb |
| `failed` | turns that tell that the action did not work (true), or the others (false) |
| `entity`, `role` | turns that write, read or mention a thing |
| `fact` | turns from which on a state has another value; `entity`, `attribute` and `value` narrow it |
| `first`, `last` | of what is left, only the first or the last |
| `by` | count by `verb`, `action`, `entity` or `value` |
| `limit` | how many turns are given as evidence; the numbers of all are in the findings |

A condition has one of `contains`, `word`, `equals` and `starts`, and may have `field`, `action` or
`observation`; without it either counts. Case is ignored. A query that is plain text is what turns contain.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from posttrain.memory.answer import Answer, Evidence, Finding
from posttrain.memory.extract.act import failed
from posttrain.memory.extract.said import name_of
from posttrain.memory.retrieval.deed import deed, kind_of
from posttrain.memory.rows import Fact, Field, Proof, Turn
from posttrain.memory.view import View

Query: TypeAlias = Mapping[str, Any]
"""As in the table above."""

LANGUAGE = (
    "an object with some of: from, to (steps); where, not (lists of conditions, each one of contains, word, equals, "
    "starts, and if wanted field: action or observation); verb; failed (true, false); entity, role (write, read, "
    "mention); fact (entity, attribute, value); first, last (true); by (verb, action, entity, value), which counts "
    "groups; limit"
)
"""The queries as a model is told of them."""

FIELDS: tuple[Field, ...] = ("action", "observation")
WAYS = ("contains", "word", "equals", "starts")
KEYS = ("from", "to", "where", "not", "verb", "failed", "entity", "role", "fact", "first", "last", "by", "limit")
ROLES = ("write", "read", "mention")
GROUPS = ("verb", "action", "entity", "value")
LIMIT = 20
"""Turns of evidence, unless the query says otherwise."""
CHUNK = 512
"""Turns that are read at a time."""


@dataclass(frozen=True)
class Condition:
    """On the text of a turn."""

    fields: tuple[Field, ...]
    pattern: re.Pattern[str]
    whole: bool
    """Whether all of the field must match."""

    def proof(self, turn: Turn) -> Proof | None:
        """Where it first holds."""
        for field in self.fields:
            text = turn.text(field)
            found = self.pattern.fullmatch(text.strip()) if self.whole else self.pattern.search(text)
            if found:
                start = len(text) - len(text.lstrip()) if self.whole else found.start()
                return Proof(turn.turn, field, start, start + len(found.group()))
        return None


def scan(view: View, query: str | Query) -> Answer:
    """All turns of a run that a query keeps.

    Args:
        view: The run.
        query: A mapping as in this module's table, the same as JSON text, or plain text.

    Returns:
        The steps, how many they are, and the groups where `by` is given, as findings; the first turns as evidence.

    Raises:
        ValueError: The query is none; the sentence says what is wrong.
    """
    asked = read(query)
    lengths = view.lengths().turn
    shown = query if isinstance(query, str) else json.dumps(dict(query), ensure_ascii=False, sort_keys=True)
    if not len(lengths):
        return Answer(view.run, shown, view.until, because="Nothing is known of this run at that time.")
    first, last = asked.get("from", int(lengths[0])), asked.get("to", int(lengths[-1]))
    marks, values = _marked(view, asked)
    where, unless = _conditions(asked.get("where", [])), _conditions(asked.get("not", []))
    kept: list[tuple[Turn, tuple[Proof, ...]]] = []
    steps: list[int] = []
    groups: Counter[str] = Counter()
    limit = asked.get("limit", LIMIT)
    for turn in _turns(view, first, last, marks):
        proofs = [condition.proof(turn) for condition in where]
        if None in proofs or any(condition.proof(turn) for condition in unless) or not _does(turn, asked):
            continue
        steps.append(turn.turn)
        groups.update(_groups(turn, asked.get("by"), values))
        if len(kept) < limit or asked.get("last"):
            kept = [] if asked.get("last") else kept
            kept.append((turn, tuple(each for each in (*proofs, *(marks or {}).get(turn.turn, ())) if each)))
        if asked.get("first"):
            break
    if asked.get("last"):
        steps = steps[-1:]
        groups = Counter({name: 1 for turn, _ in kept for name in _groups(turn, asked.get("by"), values)})
    return _answer(view, shown, steps, kept[:limit], groups if asked.get("by") else None)


def _answer(
    view: View,
    query: str,
    steps: Sequence[int],
    kept: Iterable[tuple[Turn, tuple[Proof, ...]]],
    groups: Counter[str] | None,
) -> Answer:
    several = f"{len(steps)} turns" if len(steps) != 1 else "1 turn"
    findings = [
        Finding("count", f"{several} of the whole log.", len(steps)),
        Finding("turns", _listed(steps), list(steps)),
    ]
    if groups is not None:
        ordered = dict(sorted(groups.items(), key=lambda each: (-each[1], each[0])))
        text = ", ".join(f"{name or 'none'}: {count}" for name, count in list(ordered.items())[:50])
        findings.append(Finding("groups", text or "There is no group.", ordered))
    evidence = tuple(Evidence(t.turn, t.action, t.observation, 1.0, proofs, ("scan",)) for t, proofs in kept)
    because = "" if steps else "No turn of the whole log fits the query."
    return Answer(view.run, query, view.until, evidence, tuple(findings), because)


def _listed(steps: Sequence[int]) -> str:
    text = ", ".join(map(str, steps[:200])) or "none"
    return f"Steps: {text}{', and so on' if len(steps) > 200 else ''}."


def _turns(view: View, first: int, last: int, marks: Mapping[int, Any] | None) -> Iterator[Turn]:
    """The turns of a range, or those of them that are marked, a few at a time."""
    if marks is None:
        known = view.lengths().turn
        known = known[(known >= first) & (known <= last)].tolist()
    else:
        known = sorted(step for step in marks if first <= step <= last)
    for at in range(0, len(known), CHUNK):
        part = known[at : at + CHUNK]
        yield from view.between(part[0], part[-1]) if marks is None else view.turns(part)


def _marked(view: View, asked: Query) -> tuple[dict[int, list[Proof]] | None, dict[int, list[str]]]:
    """The turns that the graph keeps, with proofs, or None if it is not asked; and the values of facts."""
    marks: dict[int, list[Proof]] | None = None
    values: dict[int, list[str]] = defaultdict(list)
    if "entity" in asked:
        marks = defaultdict(list)
        for posting in view.postings([name_of(asked["entity"])]):
            if "role" not in asked or posting.role == asked["role"]:
                marks[posting.turn].append(posting.proof)
    if "fact" in asked:
        found: dict[int, list[Proof]] = defaultdict(list)
        for fact in _facts(view, asked["fact"]):
            found[fact.turn].append(fact.proof)
            values[fact.turn].append(fact.value)
        marks = found if marks is None else {step: marks[step] + found[step] for step in marks if step in found}
    return marks, values


def _facts(view: View, asked: Mapping[str, str]) -> list[Fact]:
    given = {name: name_of(text) for name, text in asked.items()}
    facts = view.facts([given["entity"]] if "entity" in given else None)
    return [
        fact
        for fact in facts
        if name_of(fact.attribute) == given.get("attribute", name_of(fact.attribute))
        and name_of(fact.value) == given.get("value", name_of(fact.value))
    ]


def _does(turn: Turn, asked: Query) -> bool:
    """Whether verb and success are as asked."""
    if "verb" in asked:
        what = deed(turn.action)
        if what is None or what.kind != _verb(asked["verb"]):
            return False
    return "failed" not in asked or failed(turn.observation) is asked["failed"]


def _verb(text: str) -> str:
    word, _, after = text.strip().casefold().partition(" ")
    found = kind_of(word, after)
    return found[0] if found else word


def _groups(turn: Turn, by: str | None, values: Mapping[int, Sequence[str]]) -> list[str]:
    if by == "action":
        return [" ".join(turn.action.split())]
    if by in ("verb", "entity"):
        what = deed(turn.action)
        return [(what.kind if by == "verb" else " ".join(what.rest)) if what else ""]
    return list(values.get(turn.turn, ())) if by == "value" else []


def _conditions(given: Iterable[Mapping[str, str]]) -> list[Condition]:
    found = []
    for each in given:
        way = next(name for name in WAYS if name in each)
        text = re.escape(each[way].strip() if way == "equals" else each[way])
        form = {"word": rf"(?<!\w){text}(?!\w)", "starts": rf"\A\s*{text}"}.get(way, text)
        fields: tuple[Field, ...] = FIELDS if "field" not in each else (each["field"],)  # type: ignore[assignment]
        found.append(Condition(fields, re.compile(form, re.IGNORECASE), way == "equals"))
    return found


def read(query: str | Query) -> Query:
    """A query, checked.

    Raises:
        ValueError: It is none; one sentence says what is wrong and what is expected.
    """
    if isinstance(query, str):
        if not query.strip():
            raise ValueError('The query is empty; give a text to look for, or a JSON object such as {"verb": "open"}.')
        if not query.lstrip().startswith("{"):
            return {"where": [{"contains": query.strip()}]}
        try:
            query = json.loads(query)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'The query is no JSON ({error}); give an object such as {{"verb": "open"}}.') from error
    if not isinstance(query, Mapping):
        raise ValueError(f'The query is a {type(query).__name__}; give an object such as {{"verb": "open"}}.')
    if unknown := [key for key in query if key not in KEYS]:
        raise ValueError(f"The query has the key {unknown[0]!r:.60}; expected some of {', '.join(KEYS)}.")
    for key, value in query.items():
        _check(key, value)
    if "role" in query and "entity" not in query:
        raise ValueError("The query has a role and no entity; say whose role.")
    if query.get("first") and query.get("last"):
        raise ValueError("The query asks for both the first and the last; leave one out.")
    if query.get("by") == "value" and "fact" not in query:
        raise ValueError("The query counts by value and asks for no fact; say of which facts.")
    return query


def _check(key: str, value: Any) -> None:
    """Raise unless a key's value is of its form."""
    if key in ("from", "to", "limit"):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise ValueError(f"The query's {key!r} is {value!r:.60}; expected a whole number from 0.")
    elif key in ("failed", "first", "last"):
        if not isinstance(value, bool):
            raise ValueError(f"The query's {key!r} is {value!r:.60}; expected true or false.")
    elif key in ("where", "not"):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f'The query\'s {key!r} is no list; expected conditions such as {{"contains": "lamp"}}.')
        for each in value:
            _check_condition(each)
    elif key == "fact":
        names = ("entity", "attribute", "value")
        if not isinstance(value, Mapping) or not all(n in names and isinstance(v, str) for n, v in value.items()):
            raise ValueError(f"The query's 'fact' is {value!r:.60}; expected texts for some of {', '.join(names)}.")
    elif key in ("role", "by"):
        choices = ROLES if key == "role" else GROUPS
        if value not in choices:
            raise ValueError(f"The query's {key!r} is {value!r:.60}; expected one of {', '.join(choices)}.")
    elif not isinstance(value, str) or not value.strip():
        raise ValueError(f"The query's {key!r} is {value!r:.60}; expected a text.")


def _check_condition(each: Any) -> None:
    if not isinstance(each, Mapping):
        raise ValueError(
            f'A condition of the query is {each!r:.60}; expected an object such as {{"contains": "lamp"}}.'
        )
    ways = [name for name in each if name != "field"]
    if len(ways) != 1 or ways[0] not in WAYS or not isinstance(each[ways[0]], str) or not each[ways[0]]:
        raise ValueError(f"A condition of the query is {dict(each)!r:.60}; expected one text under {', '.join(WAYS)}.")
    if "field" in each and each["field"] not in FIELDS:
        raise ValueError(f"A condition's field is {each['field']!r:.60}; expected {' or '.join(FIELDS)}.")
