"""How long it takes to import posttrain and to print the help."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any


def measure(pairs: int = 7) -> dict[str, Any]:
    """`import posttrain.rl` over `import torch` in turns, and seconds of `posttrain --help`."""
    ratios, help_seconds = [], []
    _seconds("import torch")
    for _ in range(pairs):
        torch = _seconds("import torch")
        ratios.append((_seconds("import posttrain") / torch, _seconds("import posttrain.rl") / torch))
        help_seconds.append(_seconds("from posttrain.cli import main; main(['--help'])"))
    return {
        "import_posttrain_over_torch": round(statistics.median(r[0] for r in ratios), 4),
        "import_posttrain_rl_over_torch": round(statistics.median(r[1] for r in ratios), 4),
        "import_at_most": 1.2,
        "help_seconds": round(statistics.median(help_seconds), 4),
        "help_at_most": 0.3,
        "setting": f"{pairs} pairs of fresh processes, median",
    }


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most."""
    return [
        ("import posttrain / import torch", found["import_posttrain_over_torch"], found["import_at_most"]),
        ("import posttrain.rl / import torch", found["import_posttrain_rl_over_torch"], found["import_at_most"]),
        ("posttrain --help, seconds", found["help_seconds"], found["help_at_most"]),
    ]


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
