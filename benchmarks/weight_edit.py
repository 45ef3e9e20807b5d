"""What a weight edit costs at the size of a 7B model's layer, and how much one factorisation saves in a search.

A projection of 3,584 inputs, 400 chosen units each of gate and up, 1,000 harmful and 1,000 harmless anchors. The search
has 8 gammas and 8 ranks over both projections. Beside it stands what the theorem says, read literally, for each cell:
Q and its Cholesky factor, M, and the singular values of R M; a few cells are timed, the rest counted at their median.

Capture of all layers' inputs is timed beside a forward pass of the same batches without the head, in turns.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

INPUTS, CHOSEN, ANCHORS = 3584, 400, 1000
GAMMAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
LITERAL = 3
"""Cells of the literal form that are timed."""


def measure() -> dict[str, Any]:
    """Seconds, a ratio and MiB."""
    found = {name: _in_a_process(name) for name in ("search", "literal", "capture")}
    cells = len(GAMMAS) * len(RANKS) * 2
    literal = cells * found["literal"]["seconds_of_a_cell"]
    return {
        "inputs": INPUTS, "chosen": CHOSEN, "anchors": 2 * ANCHORS, "cells": cells, "threads": os.cpu_count(),
        "solve_seconds": found["search"]["solve_seconds"], "solve_at_most": 1.5,
        "search_seconds": found["search"]["search_seconds"], "search_at_most": 10.0,
        "search_over_literal": round(found["search"]["search_seconds"] / literal, 5), "ratio_at_most": 0.1,
        "peak_mib": found["search"]["peak_mib"], "peak_at_most": 1000.0,
        "literal_cell_seconds": found["literal"]["seconds_of_a_cell"],
        "largest_difference": found["literal"]["largest_difference"],
        "capture_over_forward": found["capture"] | {"at_most": 1.1},
    }  # fmt: skip


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most."""
    return [
        ("edit of a 7B layer, seconds of a solve", found["solve_seconds"], found["solve_at_most"]),
        ("edit of a 7B layer, seconds of a search of 128 cells", found["search_seconds"], found["search_at_most"]),
        ("the same / one literal solve per cell", found["search_over_literal"], found["ratio_at_most"]),
        ("the same, peak memory, MiB", found["peak_mib"], found["peak_at_most"]),
        ("capture of all layers / a forward pass", found["capture_over_forward"]["median"], 1.1),
    ]


def _in_a_process(name: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.weight_edit", name], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _anchors() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    low, safe = (torch.randn(ANCHORS, INPUTS, generator=draw, dtype=torch.float64) for _ in range(2))
    return low, safe, [torch.randn(ANCHORS, CHOSEN, generator=draw, dtype=torch.float64) for _ in range(2)]


def _search() -> dict[str, Any]:
    from posttrain.edit.ridge import Ridge

    low, safe, gaps = _anchors()
    begun = time.perf_counter()
    solver = Ridge(low, safe)
    solver.solve(gaps[:1], solver.weights())[0].delta(32)
    solve = time.perf_counter() - begun
    begun = time.perf_counter()
    solver, losses, best = Ridge(low, safe), {}, None
    for gamma in GAMMAS:
        for place, solution in enumerate(solver.solve(gaps, solver.weights(gamma))):
            for rank in RANKS:
                losses[gamma, place, rank] = solution.loss(rank) / solution.gap
            best = solution
    assert best is not None
    best.delta(32)
    search = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"solve_seconds": round(solve, 3), "search_seconds": round(search, 3), "peak_mib": round(peak, 1)}


def _literal() -> dict[str, Any]:
    from posttrain.edit.ridge import Ridge

    low, safe, gaps = _anchors()
    solver, seconds, far = Ridge(low, safe), [], 0.0
    for gamma in GAMMAS[:LITERAL]:
        weights = solver.weights(gamma)
        begun = time.perf_counter()
        q = low.T @ low + weights.gamma * (safe.T @ safe) + weights.ridge * torch.eye(INPUTS, dtype=torch.float64)
        root = torch.linalg.cholesky(q).T
        full = torch.linalg.solve(q, low.T @ gaps[0])
        u, sigma, right = torch.linalg.svd(root @ full, full_matrices=False)
        delta = torch.linalg.solve_triangular(root, (u[:, :32] * sigma[:32]) @ right[:32], upper=True)
        seconds.append(time.perf_counter() - begun)
        ours = solver.solve(gaps[:1], weights)[0].delta(32)
        far = max(far, float((ours - delta).norm() / delta.norm()))
    return {"seconds_of_a_cell": round(statistics.median(seconds), 3), "largest_difference": far}


def _capture() -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, LlamaConfig

    from benchmarks.step_time import ratio
    from posttrain.edit.anchors import Prompt
    from posttrain.edit.capture import Encoded, capture
    from posttrain.projections import gated

    torch.manual_seed(0)
    shape = LlamaConfig(vocab_size=4096, hidden_size=512, intermediate_size=1536, num_hidden_layers=8,
                        num_attention_heads=8, num_key_value_heads=4)  # fmt: skip
    model = AutoModelForCausalLM.from_config(shape).eval()
    ids = torch.randint(0, 4096, (64, 64))
    prompts = [Encoded(Prompt(str(n), "en", "harmless", ""), row) for n, row in enumerate(ids.tolist())]
    modules = [each.module for each in gated(model) if each.part == "gate"]

    def plain() -> None:
        with torch.no_grad():
            for at in range(0, len(ids), 16):
                model.get_decoder()(input_ids=ids[at : at + 16], use_cache=False)

    def ours() -> None:
        capture(model, prompts, modules, batch=16)

    times: dict[Any, list[float]] = {plain: [], ours: []}
    for _ in range(9):
        for side, seconds in times.items():
            begun = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - begun)
    return ratio(times[ours][1:], times[plain][1:])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"search": _search, "literal": _literal, "capture": _capture}[sys.argv[1]]()))
    else:
        print(json.dumps(measure(), indent=1))
