"""What a TRL run writes as it goes: one JSON line per logged step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from posttrain.files import append_line, read_lines, rewrite_lines


class Recorder(TrainerCallback):
    """Appends every log to a JSONL file; a resumed run first drops the lines after its checkpoint.

    Args:
        path: The file.
        watch: Called with every record, such as a progress bar.
    """

    def __init__(self, path: Path, watch: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.path, self.watch = path, watch

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Keep what a resumed run will not write again."""
        if state.is_world_process_zero:
            kept = [line for line in read_lines(self.path) if line["step"] <= state.global_step and state.global_step]
            rewrite_lines(self.path, kept)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """One line; numbers only, and no NaN, which is not JSON."""
        if not state.is_world_process_zero or not logs:
            return
        numbers = {k: v for k, v in logs.items() if isinstance(v, int | float) and math.isfinite(v)}
        record = {"step": state.global_step, **numbers}
        append_line(self.path, record)
        if self.watch is not None:
            self.watch(record)
