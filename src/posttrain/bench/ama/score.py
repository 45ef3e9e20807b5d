"""From rows to shares with their intervals: by type, length and surface form, and differences between methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from posttrain.bench.ama.log import KINDS
from posttrain.bench.ama.methods.table import ABLATIONS, METHODS, OUR_WORDS, OURS, RULE
from posttrain.bench.ama.plan import SETTINGS, Plan
from posttrain.bench.ama.rows import Asked, Row
from posttrain.bench.record import provenance
from posttrain.stats import grouped, wilson

Measure = Callable[[Asked], float | None]
"""Of one question; None where it does not apply."""

DRAWS = 2000
NO_MODEL = "no model: retrieval only"


def recall(needle: Sequence[Sequence[int]], found: Iterable[int]) -> float | None:
    """The share of the evidence's pieces that some found turn holds; None without evidence."""
    there = set(found)
    return sum(not there.isdisjoint(piece) for piece in needle) / len(needle) if needle else None


def fresh(asked: Asked) -> list[tuple[int, ...]]:
    """The pieces of evidence of which no turn is named in the question."""
    return [piece for piece in asked.needle if set(piece).isdisjoint(asked.named)]


def _found(each: Asked, needle: Sequence[Sequence[int]], most: int | None = None) -> float | None:
    """Recall among the turns found; None for a method that finds none."""
    return recall(needle, each.turns[:most]) if each.k else None


def _whole(share: float | None) -> float | None:
    return None if share is None else float(share == 1)


MEASURES: Mapping[str, Measure] = {
    "all": lambda each: _found(each, each.needle),
    "all, whole": lambda each: _whole(_found(each, each.needle)),
    "new": lambda each: _found(each, fresh(each)),
    "new, whole": lambda each: _whole(_found(each, fresh(each))),
    "all at 5": lambda each: _found(each, each.needle, 5),
    "new at 5": lambda each: _found(each, fresh(each), 5),
    "all within tokens": lambda each: recall(each.needle, each.within),
    "new within tokens": lambda each: recall(fresh(each), each.within),
    **{f"rules, {name}": lambda each, name=name: each.rules.get(name) for name in SETTINGS},
    **{f"exact, {name}": lambda each, name=name: _whole(each.rules.get(name)) for name in SETTINGS},
    **{f"model, {name}": lambda each, name=name: _right(each, name) for name in SETTINGS},
    **{f"f1, {name}": lambda each, name=name: each.model.get(name, {}).get("f1") for name in SETTINGS},
}
"""Recall of the evidence, whether all of it was found, the rule reader's answers and the model's, by setting."""


def _right(each: Asked, setting: str) -> float | None:
    right = each.model.get(setting, {}).get("right")
    return None if right is None else float(right)


def score(plan: Plan, rows: Sequence[Row], models: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The result as JSON.

    Args:
        plan: What was run.
        rows: All of them.
        models: Who read and judged, where models did.
    """
    by_method = {name: [row for row in rows if row.method == name] for name in plan.chosen}
    some = next(iter(by_method.values()), [])
    return {
        "provenance": provenance(),
        "says": f"read by {models['reader']}, judged by {models['judge']}" if models else NO_MODEL,
        "models": dict(models or {}),
        "plan": plan.record(),
        "logs": [{"log": r.log, "world": r.world, "form": r.form, "length": r.length, "tokens": r.tokens,
                  "turns": r.size, "questions": len(r.asked)} for r in some],
        "left_out": plan.left_out,
        "errors": sum(bool(row.error) for row in rows),
        "methods": {name: {"note": METHODS[name].note, **_method(of)} for name, of in by_method.items()},
        "differences": _differences(by_method),
    }  # fmt: skip


def _method(rows: Sequence[Row]) -> dict[str, Any]:
    """One method."""
    sound = [row for row in rows if not row.error]
    lengths = list(dict.fromkeys(row.length for row in sound))
    forms = list(dict.fromkeys(row.form for row in sound))
    printed = sum(row.printed for row in sound)
    asked = [each for row in sound for each in row.asked if each.k]
    return {
        "all": _cell(sound),
        "kinds": {kind: _cell(sound, kind) for kind in KINDS},
        "lengths": {name: _few([row for row in sound if row.length == name]) for name in lengths},
        "forms": {name: _few([row for row in sound if row.form == name]) for name in forms},
        "false evidence": _share(bool(each.turns) for each in asked if not each.answerable),
        "false abstention": _share(not each.turns for each in asked if each.answerable),
        "fidelity": _of(sum(row.kept for row in sound), printed) if printed else None,
        "times": _times(sound),
        "unscored": sum(
            found["right"] is None for row in sound for each in row.asked for found in each.model.values()
        ),
        "errors": len(rows) - len(sound),
        "because": sorted({row.error for row in rows if row.error})[:3],
    }  # fmt: skip


FEW = ("all", "new", "rules, end", "exact, end", "model, end")


def _few(rows: Sequence[Row]) -> dict[str, Any]:
    """The main measures, over all and by type."""
    return {kind: _cell(rows, kind, FEW) for kind in ("", *KINDS)}


def _cell(rows: Sequence[Row], kind: str = "", names: Sequence[str] = tuple(MEASURES)) -> dict[str, Any]:
    """Measures over the answerable questions of a type, or of all."""
    asked = [[each for each in row.asked if each.answerable and kind in ("", each.kind)] for row in rows]
    found = {}
    for name in names:
        groups = [[value for each in of if (value := MEASURES[name](each)) is not None] for of in asked]
        if any(groups):
            mean = {key: round(value, 5) for key, value in grouped(groups, draws=DRAWS)._asdict().items()}
            found[name] = {**mean, "questions": sum(map(len, groups))}
    return found


def _differences(by_method: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """Ours against the rule of ten lines, and each ablation against ours on the type that its part is there for."""
    wanted = [(OURS, RULE, "", name) for name in ("all", "new", "all, whole", "new, whole", "rules, end")]
    wanted += [(OURS, RULE, kind, "new") for kind in KINDS]
    wanted += [(OURS, OUR_WORDS, "", name) for name in ("all", "new")]
    for part, kind in ABLATIONS.items():
        wanted += [(f"{OURS} without {part}", OURS, kind, name) for name in ("all", "rules, end")]
    found = []
    for first, second, kind, name in wanted:
        pairs = _pairs(by_method.get(first, ()), by_method.get(second, ()), kind, MEASURES[name])
        if any(pairs):
            gap = {**grouped(pairs)._asdict(), "questions": sum(map(len, pairs))}
            found.append({"first": first, "second": second, "kind": kind, "measure": name, **gap})
    return found


def _pairs(first: Sequence[Row], second: Sequence[Row], kind: str, measure: Measure) -> list[list[float]]:
    """By log, the first's value minus the second's for each question that both have."""
    others = {row.log: row for row in second if not row.error}
    found = []
    for row in first:
        if row.error or row.log not in others:
            continue
        gaps = []
        for one, other in zip(row.asked, others[row.log].asked, strict=True):
            a, b = measure(one), measure(other)
            if one.answerable and kind in ("", one.kind) and a is not None and b is not None:
                gaps.append(a - b)
        found.append(gaps)
    return found


def _times(rows: Sequence[Row]) -> dict[str, float] | None:
    """Of building, for each turn and for the longest log; of searching."""
    seconds = [each.seconds for row in rows for each in row.asked]
    if not seconds:
        return None
    longest = max(rows, key=lambda row: row.tokens)
    return {
        "build_ms_per_turn": 1e3 * sum(row.build for row in rows) / sum(row.size for row in rows),
        "build_s_longest": longest.build,
        "longest_tokens": longest.tokens,
        "query_ms_p50": 1e3 * float(np.percentile(seconds, 50)),
        "query_ms_p95": 1e3 * float(np.percentile(seconds, 95)),
    }


def _share(values: Iterable[bool]) -> dict[str, float] | None:
    listed = list(values)
    return _of(sum(listed), len(listed)) if listed else None


def _of(successes: int, n: int) -> dict[str, float]:
    return wilson(successes, n)._asdict()
