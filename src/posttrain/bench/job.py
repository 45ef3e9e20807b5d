"""One arm on one seed, in a process of its own: trains a zoo student under TRL and logs as it goes.

Log lines: `{"step", metrics...}` per optimiser step, `{"step", "eval": {...}}` per evaluation, and at the end
`{"step", "done": true, "seconds", "tokens"}`, without which the run is done again.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.bench import arms
from posttrain.bench.setups import Setup, setup
from posttrain.files import append_line


@dataclass(frozen=True)
class Job:
    """What a worker process needs to know; all of it pickles."""

    arm: str
    """As in `arms.parse`."""
    task: str
    """As in `setups.setup`."""
    seed: int
    """Of the prompts' order and the sampling; every arm sees the same prompts at the same step."""
    log: Path
    """JSONL file."""
    steps: int
    """Optimiser steps."""
    learning_rate: float
    """Constant."""
    prompts: int
    """Per generation."""
    group_size: int
    """Completions per prompt."""
    inner_steps: int
    """Optimiser steps per generation."""
    eval_every: int
    """Steps between evaluations."""
    eval_rows: int
    """Held-out prompts."""
    noise: float
    """Share of the prompts on which the teacher is wrong."""


def end_with_parent() -> None:
    """Let this worker die when the comparison that started it is killed; it would write on into the next one's log."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run(job: Job) -> None:
    """Train and log; the log is complete when its last line says `done`."""
    import torch

    from posttrain.rl.run import quiet

    torch.set_num_threads(1)
    quiet()
    with contextlib.redirect_stdout(io.StringIO()):
        _train(job, setup(job.task))


def _train(job: Job, task: Setup) -> None:
    import tempfile

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from posttrain import zoo
    from posttrain.bench.corrupt import corrupt_teacher
    from posttrain.rl.engines.recorder import Recorder
    from posttrain.rl.run import RunConfig, trainer

    job.log.unlink(missing_ok=True)
    student, teacher_path = zoo.path(task.student), zoo.path(task.teacher)
    tokenizer = AutoTokenizer.from_pretrained(student)
    clean = AutoModelForCausalLM.from_pretrained(teacher_path).eval()
    teacher: Any = str(teacher_path)
    if job.noise:
        teacher = corrupt_teacher(AutoModelForCausalLM.from_pretrained(teacher_path), tokenizer, job.noise)
    with tempfile.TemporaryDirectory() as scratch:
        config = RunConfig(
            output_dir=Path(scratch),
            steps=job.steps,
            learning_rate=job.learning_rate,
            prompts=job.prompts,
            group_size=job.group_size,
            inner_steps=job.inner_steps,
            max_completion=task.max_completion,
            seed=job.seed,
            micro_batch=0,
            save_every=0,
            cpu=True,
            trl={"gradient_checkpointing": False},
        )
        built = trainer(
            arms.parse(job.arm).build(teacher),
            student,
            task.rows(job.seed),
            task.verify,
            config,
            callbacks=[Recorder(job.log), _evaluation(job, task, tokenizer, clean)],
            processing_class=tokenizer,
        )
        start = time.perf_counter()
        built.train()
        seconds = time.perf_counter() - start
    record = {"done": True, "seconds": round(seconds, 1), "tokens": int(built.state.num_input_tokens_seen)}
    append_line(job.log, {"step": job.steps, **record})


def _evaluation(job: Job, task: Setup, tokenizer: Any, teacher: Any) -> Any:
    """A callback that evaluates greedily at the start, every `eval_every` steps and at the end."""
    from transformers import TrainerCallback

    from posttrain.tasks.evaluate import complete, divergence, judge

    groups = task.held_out(job.eval_rows)

    def evaluate(model: Any, step: int) -> None:
        found: dict[str, float] = {}
        rows, kls = 0, 0.0
        for name, held_out in groups.items():
            completed = complete(
                model, tokenizer, [row["prompt"] for row in held_out], max_new_tokens=2 * task.max_completion
            )
            found[name] = judge(completed, held_out, task.verify).correct
            kls += len(held_out) * divergence(model, teacher, completed)
            rows += len(held_out)
        append_line(job.log, {"step": step, "eval": {"accuracy": found, "teacher_kl": kls / rows}})

    class Evaluation(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            evaluate(model, 0)

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step % job.eval_every == 0 or state.global_step == state.max_steps:
                evaluate(model, state.global_step)

    return Evaluation()
