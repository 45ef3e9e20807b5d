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
from posttrain.bench.setups import Setup, WorldSetup, setup
from posttrain.files import read_lines, read_new_lines, write_json
from posttrain.values import check_group_size

OWN = (
    "steps", "learning_rate", "prompts", "group_size", "inner_steps", "slices", "eval_every", "eval_rows",
)  # fmt: skip
"""Settings that a task has of its own."""

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
    prompts: int = 0
    """Prompts per generation."""
    group_size: int = 0
    """Completions per prompt."""
    inner_steps: int = 0
    """Passes over the completions of one generation."""
    slices: int = 0
    """Optimiser steps per pass."""
    eval_every: int = 0
    """Steps between evaluations."""
    eval_rows: int = 0
    """Held-out prompts."""
    noise: float = 0.0
    """Share of the prompts on which the teacher is confidently wrong."""
    workers: int = 0
    """Runs at a time, one core each; 0 for one per core."""

    def __post_init__(self) -> None:
        arms, task = parse_all(self.arms), setup(self.task)
        for name in OWN:
            if getattr(self, name) == 0:
                object.__setattr__(self, name, getattr(task, name))
        for name in ("seeds", "steps", "prompts", "inner_steps", "slices", "eval_every", "workers"):
            if getattr(self, name) < (0 if name == "workers" else 1):
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.eval_rows < 8:
            raise ValueError(f"eval_rows={self.eval_rows} is too few to measure anything; use at least 8.")
        for arm in arms:
            self._check_arm(arm, task)
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise={self.noise} is a share of the prompts; give a number from 0 to 1.")

    def _check_arm(self, arm: Arm, task: Setup | WorldSetup) -> None:
        """Reject an arm that this task cannot run."""
        recipe = arm.build(teacher="teacher")
        turns = recipe.episodic or any(part.needs_turns for part in recipe.parts)
        missing = {
            "a teacher": arm.has("teacher") and not task.teacher,
            "a form for critiques": arm.has("critique_form") and "critique_form" not in task.fields,
            "prompts that name a strategy": recipe.fills("rollout") and not recipe.episodic and task.ask is None,
            "a world to act in": turns and not isinstance(task, WorldSetup),
        }
        for what in (name for name, lacks in missing.items() if lacks):
            raise ValueError(f"The arm {arm.label!r} needs {what}, and the task {self.task!r} has none; leave it out.")
        if isinstance(task, WorldSetup):
            self._check_played(arm, recipe)
        if (data := arm.run.get("data")) is not None and data not in task.data:
            others = ", ".join(task.data) or "none"
            raise ValueError(
                f"The arm {arm.label!r} has data={data!r}, but the other data of {self.task!r} is {others}."
            )
        size = arm.run.get("group_size", self.group_size)
        check_group_size(size)
        recipe.check_group_size(size)

    def _check_played(self, arm: Arm, recipe: Any) -> None:
        """Reject what the loop, which trains in worlds, does not do."""
        if recipe.settings.kl_beta:
            raise ValueError(f"The arm {arm.label!r} has a KL to a reference, which worlds here do not; add kl_beta=0.")
        unused = {"temperature": "temperature" in arm.run, "noise": self.noise > 0, "slices": self.slices > 1}
        if found := [name for name, is_set in unused.items() if is_set]:
            raise ValueError(f"The task {self.task!r} is played, and has no {' and no '.join(found)}; leave it out.")

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
    arms, task = parse_all(config.arms), setup(config.task)
    runs = {arm.label: [_read(log_path(folder, arm, seed), task) for seed in config.seed_list] for arm in arms}
    first = arms[0].label
    summaries = {label: _summary(found) for label, found in runs.items()}
    for label, found in runs.items():
        summaries[label]["measured"] = _measured(config.seed_list, found, runs[first])
        for measure in ("auc", "sampled_auc", "final"):
            gap = stats.paired([run[measure] for run in found], [run[measure] for run in runs[first]])
            summaries[label][f"{measure}_minus_first"] = {**gap.difference._asdict(), "wins": gap.wins}
    return {
        **json.loads((folder / "measured.json").read_text()),
        "config": {**config.shared(), "arms": list(config.arms)},
        "seeds": config.seed_list,
        "n": config.seeds,
        "first": first,
        "curves": dict(task.curves),
        "arms": summaries,
    }


def _measured(seeds: Sequence[int], runs: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the task measures at the end: interval, values by seed and the paired difference to the first arm.

    A measure is taken over the seeds that have it, and paired over those on which the first arm has it too.
    """
    out: dict[str, Any] = {}
    for name in dict.fromkeys(name for run in runs for name in run["measured"]):
        ours, theirs = (
            {seed: run["measured"][name] for seed, run in zip(seeds, found, strict=True) if name in run["measured"]}
            for found in (runs, first)
        )
        values = list(ours.values())
        out[name] = {**stats.bootstrap(values)._asdict(), "by_seed": values, "seeds": list(ours)}
        if common := [seed for seed in ours if seed in theirs]:
            gap = stats.paired([ours[seed] for seed in common], [theirs[seed] for seed in common])
            out[name]["minus_first"] = {**gap.difference._asdict(), "wins": gap.wins}
    return out


def _read(log: Path, task: Setup | WorldSetup) -> dict[str, Any]:
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
        "teacher_kl": [line["eval"]["teacher_kl"] for line in evaluations] if task.teacher else None,
        "measured": next((line["measured"] for line in reversed(lines) if "measured" in line), {}),
        "logged": {name: [line[name] for line in trained if name in line] for name in task.curves},
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


def _per_step(series: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of each step the mean over seeds, and half the width of its 95 % interval."""
    columns = list(zip(*series, strict=True))
    means = [statistics.mean(column) for column in columns]
    halves = [1.96 * statistics.stdev(c) / len(c) ** 0.5 if len(c) > 1 else 0.0 for c in columns]
    return [[round(x, 4) for x in part] for part in (means, halves)]


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All seeds of one arm."""
    groups = runs[0]["final_by_group"]
    return {
        "auc": stats.bootstrap([run["auc"] for run in runs])._asdict(),
        "sampled_auc": stats.bootstrap([run["sampled_auc"] for run in runs])._asdict(),
        "final": stats.bootstrap([run["final"] for run in runs])._asdict(),
        "final_by_group": {g: stats.bootstrap([run["final_by_group"][g] for run in runs])._asdict() for g in groups},
        **_distances(runs),
        "veto_positive": _mean(runs, "veto_positive"),
        "veto_negative": _mean(runs, "veto_negative"),
        "clamped": _mean(runs, "clamped"),
        "seconds": _mean(runs, "seconds"),
        "tokens": _mean(runs, "tokens"),
        "steps": runs[0]["steps"],
        "curves": [[round(x, 4) for x in run["accuracy"]] for run in runs],
        "sampled_curve": _per_step([run["sampled"] for run in runs]),
        "logged": {name: _per_step([run["logged"][name] for run in runs]) for name in runs[0]["logged"]},
        "auc_by_seed": [run["auc"] for run in runs],
        "sampled_auc_by_seed": [run["sampled_auc"] for run in runs],
        "final_by_seed": [run["final"] for run in runs],
    }


def _distances(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How far from the teacher, where there is one."""
    if runs[0]["teacher_kl"] is None:
        return {}
    return {
        "final_teacher_kl": stats.bootstrap([run["teacher_kl"][-1] for run in runs])._asdict(),
        "teacher_kl_curves": [[round(x, 4) for x in run["teacher_kl"]] for run in runs],
    }
