"""`make bench`: measure, print a table, write results/bench.json.

`python -m benchmarks PART...` measures some parts anew and keeps the others; each says where and when it was measured.
Two take longer and are commands of their own: `python -m benchmarks.memory_peers`, a memory beside the stores that
users pick, up to a million turns, and `python -m benchmarks.memory_faults`, what it loses when it is killed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    agents,
    egress,
    hierarchy,
    memory_add,
    method_cost,
    startup,
    step_time,
    teacher_memory,
    weight_edit,
)
from posttrain.bench.record import provenance
from posttrain.files import write_json

PARTS = {
    "startup": startup,
    "teacher_memory": teacher_memory,
    "step_time": step_time,
    "method_cost": method_cost,
    "hierarchy": hierarchy,
    "agents": agents,
    "egress": egress,
    "memory": memory_add,
    "edit": weight_edit,
}
OUT = Path("results/bench.json")


def main(names: Sequence[str]) -> None:
    """Measure and report; figures above their bound are marked, not failed: a busy machine is not a bug."""
    for name in names:
        if name not in PARTS:
            sys.exit(f"there is no part {name!r}; the parts are {', '.join(PARTS)}.")
    found = json.loads(OUT.read_text()) if OUT.is_file() else {}
    for name in names or PARTS:
        found[name] = {"measured": provenance(), **PARTS[name].measure()}
        write_json(OUT, {part: found[part] for part in PARTS if part in found})
    table = Table("figure", "measured", "at most", title="benchmarks", title_justify="left")
    for name in names or PARTS:
        for title, value, bound in PARTS[name].rows(found[name]):
            table.add_row(title, f"{value:.3f}" + ("" if value <= bound else "  above"), f"{bound:.3f}")
        if "skipped" in found[name]:
            table.add_row(name, f"skipped: {found[name]['skipped']}", "")
    Console().print(table)


main(sys.argv[1:])
