"""One arm on one seed, in a process of its own: trains a zoo student under TRL, or plays (`play.py`), and logs.

Log lines: `{"step", metrics...}` per optimiser step, `{"step", "eval": {...}}` per evaluation, and at the end
`{"step", "measured": {...}}` where the task measures more, and `{"step", "done": true, "seconds", "tokens"}`, without
which the run is done again.
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
from posttrain.bench.setups import DataSet, Setup, Trained, WorldSetup, setup
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
    """Passes over the completions of one generation."""
    slices: int
    """Optimiser steps per pass."""
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
    task = setup(job.task)
    if isinstance(task, WorldSetup):
        from posttrain.bench.play import play

        play(job, task)
        return
    quiet()
    with contextlib.redirect_stdout(io.StringIO()):
        _train(job, task)


def _train(job: Job, task: Setup) -> None:
    import tempfile

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from posttrain import zoo
    from posttrain.rl.engines.recorder import Recorder
    from posttrain.rl.run import RunConfig, trainer

    job.log.unlink(missing_ok=True)
    arm, student = arms.parse(job.arm), zoo.path(task.student)
    tokenizer = AutoTokenizer.from_pretrained(student)
    given, clean = dict(task.fields), None
    if task.teacher:
        path = zoo.path(task.teacher)
        clean = AutoModelForCausalLM.from_pretrained(path).eval()
        given["teacher"] = _corrupted(path, tokenizer, job.noise) if job.noise else str(path)
    data, recipe = _data(arm, task, job.seed), arm.build(**given)
    with tempfile.TemporaryDirectory() as scratch:
        config = RunConfig(
            output_dir=Path(scratch),
            steps=job.steps,
            learning_rate=job.learning_rate,
            prompts=arm.run.get("prompts", job.prompts),
            group_size=arm.run.get("group_size", job.group_size),
            inner_steps=job.inner_steps,
            slices=job.slices,
            temperature=arm.run.get("temperature", 1.0),
            max_completion=task.max_completion,
            seed=job.seed,
            micro_batch=0,
            save_every=0,
            cpu=True,
            trl={"gradient_checkpointing": False},
        )
        built = trainer(
            recipe,
            student,
            data.rows,
            data.verify,
            config,
            callbacks=[Recorder(job.log), _evaluation(job, task, tokenizer, clean, recipe)],
            processing_class=tokenizer,
        )
        start = time.perf_counter()
        built.train()
        seconds = time.perf_counter() - start
    if task.measure is not None:
        trained = Trained(built.model.eval(), tokenizer, built.recipe)
        append_line(job.log, {"step": job.steps, "measured": task.measure(trained)})
    record = {"done": True, "seconds": round(seconds, 1), "tokens": int(built.state.num_input_tokens_seen)}
    append_line(job.log, {"step": job.steps, **record})


def _corrupted(path: Path, tokenizer: Any, noise: float) -> Any:
    """The teacher, confidently wrong on a share of the prompts."""
    from transformers import AutoModelForCausalLM

    from posttrain.bench.corrupt import corrupt_teacher

    return corrupt_teacher(AutoModelForCausalLM.from_pretrained(path), tokenizer, noise)


def _data(arm: arms.Arm, task: Setup, seed: int) -> DataSet:
    """What the arm trains on."""
    name = arm.run.get("data")
    return DataSet(task.rows(seed), task.verify) if name is None else task.data[name](seed)


def _evaluation(job: Job, task: Setup, tokenizer: Any, teacher: Any, recipe: Any) -> Any:
    """A callback that evaluates greedily at the start, every `eval_every` steps and at the end."""
    from transformers import TrainerCallback

    from posttrain.tasks.evaluate import complete, divergence, judge

    groups = task.evaluation(job.eval_rows)

    def evaluate(model: Any, step: int) -> None:
        found: dict[str, float] = {}
        rows, kls = 0, 0.0
        for name, evaluated in groups.items():
            prompts = [
                row["prompt"] if task.ask is None else task.ask(recipe, row["prompt"], i)
                for i, row in enumerate(evaluated)
            ]
            completed = complete(model, tokenizer, prompts, max_new_tokens=2 * task.max_completion)
            found[name] = judge(completed, evaluated, task.verify).correct
            if teacher is not None:
                kls += len(evaluated) * divergence(model, teacher, completed)
            rows += len(evaluated)
        distance = {} if teacher is None else {"teacher_kl": kls / rows}
        append_line(job.log, {"step": step, "eval": {"accuracy": found, **distance}})

    class Evaluation(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            evaluate(model, 0)

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step % job.eval_every == 0 or state.global_step == state.max_steps:
                evaluate(model, state.global_step)

    return Evaluation()
