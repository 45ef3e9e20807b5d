"""`posttrain bench`: attacks by defences, memories by questions, edits and tuning where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

from posttrain.commands.parse import parse

BENCHES = {
    "egress": "Silent Egress: what leaves an agent.",
    "agentdojo": "AgentDojo's suites: utility, and injections carried out.",
    "ama": "AMA-Bench: how much of long agent logs a memory gives back.",
    "edit": "Sparse weight editing where the truth is known.",
    "value-only": "Value-only tuning: a linear model in closed form, and a small softmax one.",
}


def main(arguments: Sequence[str]) -> None:
    """Parse and run."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(
            f"usage: posttrain bench {{{','.join(BENCHES)}}} [...]\n\n"
            "  egress      Silent Egress: attacks by defences; see egress --help\n"
            "  agentdojo   AgentDojo's suites by defences; see agentdojo --help\n"
            "  ama         AMA-Bench: memories by length and type of question; see ama --help\n"
            "  edit        an edit of safety units, where the truth is known; see edit --help\n"
            "  value-only  tuning by values alone, in closed form and in softmax; see value-only --help"
        )
        return
    if name not in BENCHES:
        raise ValueError(f"there is no bench {name!r}; write posttrain bench {' or '.join(BENCHES)}.")
    form = {"prog": f"posttrain bench {name}", "description": BENCHES[name]}
    if name == "egress":
        from posttrain.commands import bench_egress

        bench_egress.run(parse(bench_egress.BenchEgress, rest, **form))
    elif name == "agentdojo":
        from posttrain.commands import bench_agentdojo

        bench_agentdojo.run(parse(bench_agentdojo.BenchAgentDojo, rest, **form))
    elif name == "edit":
        from posttrain.commands import bench_edit

        bench_edit.run(parse(bench_edit.BenchEdit, rest, **form))
    elif name == "value-only":
        from posttrain.commands import bench_value_only

        bench_value_only.run(parse(bench_value_only.BenchValueOnly, rest, **form))
    else:
        from posttrain.commands import bench_ama

        bench_ama.run(parse(bench_ama.BenchAMA, rest, **form))
