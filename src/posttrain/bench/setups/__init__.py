"""The tasks that `posttrain compare` knows, one module each with a function `setup() -> Setup`."""

from __future__ import annotations

import importlib

from posttrain.bench.setups.setup import DataSet, Setup, Trained, WorldSetup

TASKS = {
    "knights-knaves": "posttrain.bench.setups.knights_knaves",
    "chain": "posttrain.bench.setups.chain",
    "three-numbers": "posttrain.bench.setups.three_numbers",
    "sums": "posttrain.bench.setups.sums",
    "corridor": "posttrain.bench.setups.corridor",
    "coins": "posttrain.bench.setups.coins",
    "far-coins": "posttrain.bench.setups.far_coins",
    "science": "posttrain.bench.setups.science",
    "open-corridor": "posttrain.bench.setups.open_corridor",
}
"""Name to module; imported when needed."""


def setup(name: str) -> Setup | WorldSetup:
    """A task's setup; a sentence for an unknown one."""
    if name not in TASKS:
        raise ValueError(f"There is no task {name!r} to compare on; the tasks are {', '.join(TASKS)}.")
    return importlib.import_module(TASKS[name]).setup()


__all__ = ["TASKS", "DataSet", "Setup", "Trained", "WorldSetup", "setup"]
