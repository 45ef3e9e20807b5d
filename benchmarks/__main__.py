"""`make bench`: run all, print a table, write results/bench.json.

Two take longer and are commands of their own: `python -m benchmarks.memory_peers`, a memory beside the stores that
users pick, up to a million turns, and `python -m benchmarks.memory_faults`, what it loses when it is killed.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import agents, egress, hierarchy, memory_add, method_cost, startup, step_time, teacher_memory
from posttrain.bench.record import provenance
from posttrain.files import write_json


def main() -> None:
    """Measure and report; ratios above their bound are marked, not failed: a busy machine is not a bug."""
    found = {
        "startup": startup.measure(),
        "teacher_memory": teacher_memory.measure(),
        "step_time": step_time.measure(),
        "method_cost": method_cost.measure(),
        "hierarchy": hierarchy.measure(),
        "agents": agents.measure(),
        "egress": egress.measure(),
        "memory": memory_add.measure(),
    }
    write_json(Path("results/bench.json"), {**provenance(), **found})
    table = Table("figure", "measured", "at most", title="benchmarks", title_justify="left")
    speed, memory, start = found["step_time"], found["teacher_memory"], found["startup"]
    cost, credit, episodes = found["method_cost"], found["hierarchy"], found["agents"]
    for name, value, bound in [
        (
            "step time, RecipeTrainer / GRPOTrainer",
            speed["recipe_over_stock"]["median"],
            speed["recipe_over_stock"]["at_most"],
        ),
        ("step time, RLAD / GRPO", speed["rlad_over_grpo"]["median"], speed["rlad_over_grpo"]["at_most"]),
        *(
            (title, cost[key]["median"], cost[key]["at_most"])
            for title, key in [
                ("step time, CEEH / GRPO", "ceeh_over_grpo"),
                ("scoring under 5 prompts / 5 plain passes", "skill_scoring_over_plain"),
                ("step time, second order / GRPO on the same prompts", "second_order_over_grpo"),
            ]
        ),
        *(
            (title, credit[key]["median"], credit[key]["at_most"])
            for title, key in [
                ("HGPO's credit, 5,000 turns / per-row Python", "credit_over_python"),
                ("HGPO's credit, 5,000 turns / its authors' function", "credit_over_authors"),
            ]
            if "skipped" not in credit[key]
        ),
        ("HGPO's credit, seconds for 100,000 turns", credit["seconds_100000"], credit["seconds_100000_at_most"]),
        *(
            (title, episodes[key][value], episodes[key]["at_most"])
            for title, key, value in [
                ("episode of 30 steps, tokens of full / window form", "context_forms", "full_over_window"),
                ("rollout of 16 episodes, share of the world", "world_share", "share"),
            ]
            if "skipped" not in episodes[key]
        ),
        *egress.rows(found["egress"]),
        *memory_add.rows(found["memory"]),
        ("teacher pass, peak memory / plain log_softmax", memory["ratio"], memory["at_most"]),
        ("import posttrain / import torch", start["import_posttrain_over_torch"], start["import_at_most"]),
        ("import posttrain.rl / import torch", start["import_posttrain_rl_over_torch"], start["import_at_most"]),
        ("posttrain --help, seconds", start["help_seconds"], start["help_at_most"]),
    ]:
        table.add_row(name, f"{value:.3f}" + ("" if value <= bound else "  above"), f"{bound:.3f}")
    Console().print(table)


main()
