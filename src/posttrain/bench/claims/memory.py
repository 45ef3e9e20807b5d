"""AMA-Agent's claims, by retrieval alone: evidence found, and answers by rules; no model reads, so none is compared."""

from __future__ import annotations

from typing import Any

from posttrain.bench.ama.log import KINDS
from posttrain.bench.ama.methods.table import ABLATIONS, OUR_WORDS, OURS, RULE
from posttrain.bench.claims.claim import Cell, Claim, Experiment, interval, made

EXPERIMENTS = {
    "ama-sample": Experiment(
        "AMA-Bench: the evidence of the real episodes, by the steps that questions and answers cite",
        bench=("ama", "--data", "$POSTTRAIN_DATA/ama_bench_sample"),
        section=lambda result: section(result, "ama-sample"),
    ),
    "ama-rooms": Experiment(
        "AMA-Bench: a world of our own, with evidence from the simulator, 8K to 1M tokens",
        bench=("ama", "--world", "rooms", "--lengths", "8K", "32K", "128K", "1M", "--seeds", "5"),
        section=lambda result: section(result, "ama-rooms"),
    ),
}


def section(result: dict[str, Any], name: str) -> list[str]:
    """Setting, picture and the table of methods by types."""
    logs = result["logs"]
    questions = sum(log["questions"] for log in logs)
    more = "" if "data" in result["plan"] else ", more where the evidence is more"
    rules = any("rules, end" in row["all"] for row in result["methods"].values())
    columns = ["all", "new", *(f"{kind} {said}" for kind, said in KINDS.items()),
               *(("exact answers", "false evidence") if rules else ()), "query p95, ms"]  # fmt: skip
    lines = [
        f"{result['says'].capitalize()}. {len(logs)} logs, {questions:,} questions, {made(result)}.", "",
        f"![{name}](../results/{name}.png)", "",
        f"The share of the evidence's turns that is found among at most {result['plan']['k']}{more}; new: of those "
        "that the question does not name. Intervals: 95 %, bootstrap over logs.", "",
        "| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|",
    ]  # fmt: skip
    for method, row in result["methods"].items():
        cells = [_share(row["all"].get("all")), _share(row["all"].get("new"))]
        cells += [_mean(row["kinds"][kind].get("all")) for kind in KINDS]
        if rules:
            cells += [_mean(row["all"].get("exact, end")), _mean(row["false evidence"])]
        times = row["times"]
        lines.append(f"| {method} | " + " | ".join([*cells, f"{times['query_ms_p95']:.1f}" if times else "-"]) + " |")
    if result["left_out"]:
        lines += ["", "Left out: " + "; ".join(f"{what}, {why}" for what, why in result["left_out"].items()) + "."]
    return lines


def _share(value: dict[str, float] | None) -> str:
    return "-" if value is None else f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _mean(value: dict[str, float] | None) -> str:
    return "-" if value is None else f"{value['mean']:.3f}"


def _gap(result: dict[str, Any], first: str, second: str, kind: str, measure: str) -> dict[str, Any] | None:
    wanted = {"first": first, "second": second, "kind": kind, "measure": measure}
    return next((gap for gap in result["differences"] if wanted.items() <= gap.items()), None)


def over_the_rule(result: dict[str, Any]) -> str:
    """New and all evidence against the rule of ten lines, with code words and with ours."""
    parts, least = [], []
    for rule in (RULE, OUR_WORDS):
        for measure in ("new", "all"):
            gap = _gap(result, OURS, rule, "", measure)
            if gap is None:
                return "not measured: the memory or the rule is missing"
            parts.append(f"{measure} {interval(gap)} against `{rule}`, over {gap['n']} logs")
            least.append(gap)
    said = "holds" if all(gap["low"] > 0 for gap in least) else "undecided"
    if any(gap["high"] < 0 for gap in least):
        said = "does not hold"
    return f"**{said}**: {'; '.join(parts)}"


def above_words(result: dict[str, Any]) -> str:
    """Each type against plain BM25."""
    ours, words = result["methods"].get(OURS), result["methods"].get("BM25")
    if ours is None or words is None:
        return "not measured: the memory or BM25 is missing"
    pairs = {kind: (ours["kinds"][kind]["all"]["mean"], words["kinds"][kind]["all"]["mean"]) for kind in KINDS}
    said = "holds" if all(a > b for a, b in pairs.values()) else "does not hold"
    return f"**{said}**: " + ", ".join(f"{kind} {a:.3f} against {b:.3f}" for kind, (a, b) in pairs.items())


def ablations(result: dict[str, Any]) -> str:
    """Each part on the type that it is there for; the claim holds where ten points or more are lost."""
    parts, least = [], True
    for part, kind in ABLATIONS.items():
        gap = _gap(result, f"{OURS} without {part}", OURS, kind, "all")
        if gap is None:
            return "not measured: an ablation is missing"
        least = least and gap["mean"] <= -0.10 and gap["high"] < 0
        parts.append(f"{kind} without {part} {interval(gap)}")
    return f"**{'holds' if least else 'does not hold'}**: {', '.join(parts)}"


def by_length(*methods: str) -> Cell:
    """Evidence found at each length, by method; level if the longest is within five points of the shortest."""

    def cell(result: dict[str, Any]) -> str:
        parts, level = [], None
        for name in methods:
            row = result["methods"].get(name)
            if row is None:
                continue
            means = [cells[""]["all"]["mean"] for cells in row["lengths"].values()]
            if name == OURS:
                level = abs(means[-1] - means[0]) <= 0.05
            parts.append(f"`{name}` " + ", ".join(f"{mean:.3f}" for mean in means))
        lengths = ", ".join(next(iter(result["methods"].values()))["lengths"])
        said = {True: "**holds**", False: "**does not hold**", None: "not measured for ours"}[level]
        return f"{said}: at {lengths}: {'; '.join(parts)}"

    return cell


def losses(result: dict[str, Any]) -> str:
    """Answers by rules from the evidence, from what is stored of it, and from what is found."""
    row = result["methods"].get(OURS)
    if row is None:
        return "not measured: the memory is missing"
    found = {name: row["all"][f"rules, {name}"]["mean"] for name in ("needle", "stored", "end")}
    kept = row["fidelity"]
    printed = f"; states given back {kept['mean']:.4f} of {kept['n']:,}" if kept else ""
    return ", ".join(f"{name} {mean:.3f}" for name, mean in found.items()) + printed


def honesty(result: dict[str, Any]) -> str:
    """False evidence and false abstention, ours and of words."""
    parts = []
    for name in (OURS, "BM25"):
        row = result["methods"].get(name)
        if row is not None:
            shares = ", ".join(f"{what} {row[what]['mean']:.3f}" for what in ("false evidence", "false abstention"))
            parts.append(f"`{name}`: {shares}")
    return "; ".join(parts) or "not measured"


METHOD = "AMA-Agent's memory"

CLAIMS = (
    Claim(
        METHOD, "accuracy .572, BM25 .344, truncated context .518 (Qwen3-32B reads and judges)",
        "no model: cited evidence among ten turns that the question does not name, against a ten-line rule",
        "ama-sample", over_the_rule,
    ),
    Claim(
        METHOD, "above BM25 on each type: .624/.615/.531/.472 against .330/.426/.345/.250",
        "no model: cited evidence among ten turns, by type, ours against BM25", "ama-sample", above_words,
    ),
    Claim(
        METHOD, "without the graph .572 falls to .43, without the tools to .44",
        "no model: evidence found on the type that each part is there for, a part taken out", "ama-rooms", ablations,
    ),
    Claim(
        METHOD, "level from 8K to 128K tokens, where long context falls after 32K (a figure without numbers)",
        "no model: evidence found by length, all three forms", "ama-rooms", by_length(OURS, RULE, "BM25"),
    ),
    Claim(
        METHOD, "given the evidence .46; as others stored it .27 to .37; end to end .20 to .26 (BabyAI)",
        "answers of a rule reader from the evidence, from what was stored of it, and from what was found",
        "ama-rooms", losses,
    ),
    Claim(
        METHOD, "(not in the paper) questions that the log does not answer",
        "something found where there is nothing, nothing where there is something", "ama-rooms", honesty,
    ),
)  # fmt: skip

NOT_HERE = (
    "AMA-Agent's accuracy with a model: nothing here reads with one. `posttrain bench ama --data DIR --model "
    "openai:NAME --base-url URL` measures it where a model runs; only numbers under one reader and one judge compare.",
)
