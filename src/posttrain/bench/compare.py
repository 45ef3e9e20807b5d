"""Recipes side by side on the same seeds: `posttrain compare grpo kdrl rlad --task knights-knaves --seeds 5`.

Every arm sees the same prompts and takes the same optimiser steps. Runs go to a folder as they proceed; a killed
comparison does only what is missing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from posttrain import stats
from posttrain.bench import job as jobs
from posttrain.bench.arms import Arm, parse_all
from posttrain.bench.record import provenance
from posttrain.bench.setups import setup
from posttrain.files import read_lines, read_new_lines, write_json
from posttrain.values import check_group_size

Progress = Callable[[str, int, dict[str, Any]], None]
"""`(arm label, seed, log record)`, as runs proceed."""


@dataclass(frozen=True)
class CompareConfig:
    """What to compare, on what and for how long. 0 means: the task's own setting."""

    arms: tuple[str, ...]
    """Recipes with options, such as `grpo` or `kdrl:beta=0.2`; the first is the one others are compared with."""
    task: str = "knights-knaves"
    """What to train on."""
    seeds: int = 5
    """Runs of each arm."""
    first_seed: int = 10
    """The first seed; hyper-parameters were tuned on 0 to 2."""
    steps: int = 0
    """Optimiser steps of a run."""
    learning_rate: float = 0.0
    """Constant, with AdamW."""
    prompts: int = 16
    """Prompts per generation."""
    group_size: int = 8
    """Completions per prompt."""
    inner_steps: int = 0
    """Optimiser steps per generation."""
    eval_every: int = 5
    """Steps between evaluations."""
    eval_rows: int = 200
    """Held-out prompts."""
    noise: float = 0.0
    """Share of the prompts on which the teacher is confidently wrong."""
    workers: int = 0
    """Runs at a time, one core each; 0 for one per core."""

    def __post_init__(self) -> None:
        parse_all(self.arms)
        task = setup(self.task)
        for name in ("steps", "learning_rate", "inner_steps"):
            if getattr(self, name) == 0:
                object.__setattr__(self, name, getattr(task, name))
        for name in ("seeds", "steps", "prompts", "inner_steps", "eval_every", "workers"):
            if getattr(self, name) < (0 if name == "workers" else 1):
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.eval_rows < 8:
            raise ValueError(f"eval_rows={self.eval_rows} is too few to measure anything; use at least 8.")
        check_group_size(self.group_size)
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise={self.noise} is a share of the prompts; give a number from 0 to 1.")

    @property
    def seed_list(self) -> list[int]:
        """The seeds."""
        return list(range(self.first_seed, self.first_seed + self.seeds))

    def shared(self) -> dict[str, Any]:
        """What all runs of a folder have in common."""
        return {k: v for k, v in asdict(self).items() if k not in ("arms", "seeds", "first_seed", "workers")}


def run(config: CompareConfig, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Do the runs that are missing in `folder` and summarise all of them."""
    _check_folder(folder, config)
    todo = [job for job in plan(config, folder) if not is_done(job.log)]
    if todo:
        _run_all(todo, config.workers or os.cpu_count() or 1, progress)
    return summarise(config, folder)


def plan(config: CompareConfig, folder: Path) -> list[jobs.Job]:
    """One job per arm and seed, seeds outermost, so that all arms advance together."""
    shared = config.shared()
    return [
        jobs.Job(arm=arm.label, seed=seed, log=log_path(folder, arm, seed), **shared)
        for seed in config.seed_list
        for arm in parse_all(config.arms)
    ]


def log_path(folder: Path, arm: Arm, seed: int) -> Path:
    """Where a run logs."""
    return folder / arm.slug / f"seed-{seed}.jsonl"


def is_done(log: Path) -> bool:
    """Whether a run reached its end."""
    return any(line.get("done") for line in read_lines(log))


def _check_folder(folder: Path, config: CompareConfig) -> None:
    """Runs of other settings must not be mixed in."""
    path = folder / "shared.json"
    if path.is_file() and (before := json.loads(path.read_text())) != config.shared():
        differing = [k for k in config.shared() if before.get(k) != config.shared()[k]]
        raise ValueError(
            f"{folder} holds runs with other settings ({', '.join(differing)}); choose another folder or remove it."
        )
    if not path.is_file():
        write_json(path, config.shared())
        write_json(folder / "measured.json", provenance())


def _run_all(todo: Sequence[jobs.Job], workers: int, progress: Progress | None) -> None:
    """Run jobs in processes, and pass on what they log."""
    offsets = {job.log: 0 for job in todo}
    spawn = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, spawn, jobs.end_with_parent) as pool:
        running = {pool.submit(jobs.run, job) for job in todo}
        try:
            while running:
                ended, running = wait(running, timeout=0.2)
                _pass_on(todo, offsets, progress)
                for future in ended:
                    future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers that inherit one thread, so that two of them do not fight over two cores."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE")}
    os.environ.update({"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _pass_on(todo: Sequence[jobs.Job], offsets: dict[Path, int], progress: Progress | None) -> None:
    """Hand new log lines to `progress`."""
    if progress is None:
        return
    for job in todo:
        records, offsets[job.log] = read_new_lines(job.log, offsets[job.log])
        for record in records:
            progress(job.arm, job.seed, record)


def summarise(config: CompareConfig, folder: Path) -> dict[str, Any]:
    """Curves, areas, final accuracies and paired differences of the finished runs of `folder`."""
    arms = parse_all(config.arms)
    runs = {arm.label: [_read(log_path(folder, arm, seed)) for seed in config.seed_list] for arm in arms}
    first = arms[0].label
    summaries = {label: _summary(found) for label, found in runs.items()}
    for label, found in runs.items():
        for measure in ("auc", "sampled_auc", "final"):
            gap = stats.paired([run[measure] for run in found], [run[measure] for run in runs[first]])
            summaries[label][f"{measure}_minus_first"] = {**gap.difference._asdict(), "wins": gap.wins}
    return {
        **json.loads((folder / "measured.json").read_text()),
        "config": {**config.shared(), "arms": list(config.arms)},
        "seeds": config.seed_list,
        "n": config.seeds,
        "first": first,
        "arms": summaries,
    }


def _read(log: Path) -> dict[str, Any]:
    """One run's curve and what it cost."""
    lines = list(read_lines(log))
    evaluations = [line for line in lines if "eval" in line]
    steps = [line["step"] for line in evaluations]
    accuracy = [statistics.mean(line["eval"]["accuracy"].values()) for line in evaluations]
    trained = [line for line in lines if "reward" in line]
    end = next(line for line in reversed(lines) if line.get("done"))
    return {
        "steps": steps,
        "accuracy": accuracy,
        "sampled": [line["correct"] for line in trained],
        "sampled_auc": statistics.mean(line["correct"] for line in trained),
        "auc": stats.auc(steps, accuracy),
        "final": accuracy[-1],
        "final_by_group": evaluations[-1]["eval"]["accuracy"],
        "teacher_kl": [line["eval"]["teacher_kl"] for line in evaluations],
        "veto_positive": _mean(trained, "veto/positive"),
        "veto_negative": _mean(trained, "veto/negative"),
        "clamped": _mean(trained, "teacher/clamped"),
        "seconds": end["seconds"],
        "tokens": end["tokens"],
    }


def _mean(lines: Sequence[dict[str, Any]], key: str) -> float | None:
    """Mean of a metric over the records that have it; None if none has."""
    values = [line[key] for line in lines if line.get(key) is not None]
    return statistics.mean(values) if values else None


def _per_step(runs: Sequence[dict[str, Any]], which: int) -> list[float]:
    """Mean success of each step over seeds (0), or half the width of its 95 % interval (1)."""
    columns = list(zip(*(run["sampled"] for run in runs), strict=True))
    if which == 0:
        return [statistics.mean(column) for column in columns]
    return [1.96 * statistics.stdev(c) / len(c) ** 0.5 if len(c) > 1 else 0.0 for c in columns]


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All seeds of one arm."""
    groups = runs[0]["final_by_group"]
    return {
        "auc": stats.bootstrap([run["auc"] for run in runs])._asdict(),
        "sampled_auc": stats.bootstrap([run["sampled_auc"] for run in runs])._asdict(),
        "final": stats.bootstrap([run["final"] for run in runs])._asdict(),
        "final_by_group": {g: stats.bootstrap([run["final_by_group"][g] for run in runs])._asdict() for g in groups},
        "final_teacher_kl": stats.bootstrap([run["teacher_kl"][-1] for run in runs])._asdict(),
        "veto_positive": _mean(runs, "veto_positive"),
        "veto_negative": _mean(runs, "veto_negative"),
        "clamped": _mean(runs, "clamped"),
        "seconds": _mean(runs, "seconds"),
        "tokens": _mean(runs, "tokens"),
        "steps": runs[0]["steps"],
        "curves": [[round(x, 4) for x in run["accuracy"]] for run in runs],
        "sampled_curve": [[round(x, 4) for x in column] for column in (_per_step(runs, 0), _per_step(runs, 1))],
        "teacher_kl_curves": [[round(x, 4) for x in run["teacher_kl"]] for run in runs],
        "auc_by_seed": [run["auc"] for run in runs],
        "sampled_auc_by_seed": [run["sampled_auc"] for run in runs],
        "final_by_seed": [run["final"] for run in runs],
    }
