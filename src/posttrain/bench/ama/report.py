"""The result as tables for the terminal."""

from __future__ import annotations

from typing import Any

from posttrain.bench.ama.log import KINDS
from posttrain.bench.table import interval, line, table

CAPTION = (
    "all: share of the evidence's turns that were found; new: of those that the question does not name itself. "
    "At most {k} turns{more}. Intervals: 95 %, bootstrap over logs."
)


def tables(result: dict[str, Any]) -> list[Any]:
    """What reads, recall by type, by length and by form, the readers' answers, and what else there is."""
    found = [line(_head(result)), _recall(result)]
    if _has(result, "rules, end"):
        found.append(_rules(result))
    if result["models"]:
        found.append(_model(result))
    for what in ("lengths", "forms"):
        if len(next(iter(result["methods"].values()))[what]) > 1:
            found.append(_by(result, what))
    return [*found, _costs(result), *_differences(result)]


def _head(result: dict[str, Any]) -> str:
    logs = result["logs"]
    questions = sum(log["questions"] for log in logs)
    worlds = ", ".join(dict.fromkeys(log["world"] for log in logs))
    return f"AMA-Bench, {worlds}: {len(logs)} logs, {questions} questions; {result['says']}"


def _has(result: dict[str, Any], measure: str) -> bool:
    return any(measure in row["all"] for row in result["methods"].values())


def _recall(result: dict[str, Any]) -> Any:
    columns = ("all", "new", *(f"{kind} {name}" for kind, name in KINDS.items()), "in tokens")
    more = "" if "data" in result["plan"] else ", more where the evidence is more"
    caption = CAPTION.format(k=result["plan"]["k"], more=more)
    caption += f" Types and tokens: all; tokens: within {result['plan']['tokens']:,} tokens, at four characters each."
    out = table("evidence found", caption, columns, first="method")
    for name, row in result["methods"].items():
        if "all" in row["all"]:
            cells = [row["all"].get("all"), row["all"].get("new")]
            kinds = [_mean(row["kinds"][kind].get("all")) for kind in KINDS]
            out.add_row(name, *map(interval, cells), *kinds, _mean(row["all"].get("all within tokens")))
    return out


def _rules(result: dict[str, Any]) -> Any:
    caption = (
        "Answers of the rule reader, which sees retrieved turns alone; sets by F1. needle: it gets the evidence from "
        "the log, its ceiling; stored: what the method kept of these turns; end: what the method found. exact: the "
        "whole answer right."
    )
    columns = ("needle", "stored", "end", "exact", *(f"{kind} exact" for kind in KINDS))
    out = table("answers by rules", caption, columns, first="method")
    for name, row in result["methods"].items():
        cells = [_mean(row["all"].get(f"rules, {s}")) for s in ("needle", "stored")]
        ends = [interval(row["all"].get("rules, end")), _mean(row["all"].get("exact, end"))]
        kinds = [_mean(row["kinds"][kind].get("exact, end")) for kind in KINDS]
        out.add_row(name, *cells, *ends, *kinds)
    return out


def _model(result: dict[str, Any]) -> Any:
    settings = result["models"]["settings"]
    caption = (
        "right: the judge's share of yes, over what it judged; F1: of words, against the reference. unscored: answers "
        "on which the judge said neither yes nor no."
    )
    columns = [title for s in settings for title in (f"{s}, right", f"{s}, F1")]
    columns += [*(f"{kind} right" for kind in KINDS), "unscored"]
    out = table("answers by the model", caption, columns, first="method")
    for name, row in result["methods"].items():
        cells = [interval(row["all"].get(f"{what}, {s}")) for s in settings for what in ("model", "f1")]
        kinds = [_mean(row["kinds"][kind].get(f"model, {settings[-1]}")) for kind in KINDS]
        out.add_row(name, *cells, *kinds, str(row["unscored"]))
    return out


def _by(result: dict[str, Any], what: str) -> Any:
    names = list(dict.fromkeys(name for row in result["methods"].values() for name in row[what]))
    title = "domain" if what == "forms" and "data" in result["plan"] else what[:-1]
    out = table(f"evidence found, by {title}", "all, over all types.", names, first="method")
    for name, row in result["methods"].items():
        if "all" in row["all"]:
            out.add_row(name, *(interval(row[what].get(each, {}).get("", {}).get("all")) for each in names))
    return out


def _costs(result: dict[str, Any]) -> Any:
    caption = (
        "false evidence: something found for a question that the log does not answer; false abstention: nothing for "
        "one that it does. kept: of the states that the log prints, those that the store gives back."
    )
    columns = ("false evidence", "false abstention", "kept", "build ms/turn", "longest s", "query p50 ms", "p95",
               *(("broken",) if result["errors"] else ()))  # fmt: skip
    out = table("honesty and time", caption, columns, first="method")
    for name, row in result["methods"].items():
        if "all" not in row["all"] and not row["errors"]:
            continue
        kept = row["fidelity"]
        times = row["times"]
        keys = ("build_ms_per_turn", "build_s_longest", "query_ms_p50", "query_ms_p95")
        clock = [f"{times[key]:.2f}" if times else "-" for key in keys]
        shares = [interval(row[key], n=True) for key in ("false evidence", "false abstention")]
        broken = [str(row["errors"])] if result["errors"] else []
        out.add_row(name, *shares, f"{kept['mean']:.4f}" if kept else "-", *clock, *broken)
    return out


def _differences(result: dict[str, Any]) -> list[Any]:
    if not result["differences"]:
        return []
    out = table("differences, question by question", "Intervals: 95 %, bootstrap over logs.",
                ("against", "type", "measure", "difference", "logs"), first="method")  # fmt: skip
    for gap in result["differences"]:
        said = f"{gap['mean']:+.3f} [dim]{gap['low']:+.3f} to {gap['high']:+.3f}[/dim]"
        out.add_row(gap["first"], gap["second"], gap["kind"] or "all", gap["measure"], said, str(gap["n"]))
    return [out]


def _mean(value: dict[str, float] | None) -> str:
    return "-" if value is None else f"{value['mean']:.3f}"
