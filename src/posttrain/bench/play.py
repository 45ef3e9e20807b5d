"""One arm on one seed in worlds: a policy that scores commands, trained in the reference loop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from posttrain.bench import arms
from posttrain.bench.setups import Trained, WorldSetup
from posttrain.files import append_line

if TYPE_CHECKING:
    from posttrain.bench.job import Job
    from posttrain.rl.recipe import Recipe


def play(job: Job, task: WorldSetup) -> None:
    """Train and log, as `job.py` says."""
    import torch

    from posttrain.rl.agent import environment
    from posttrain.rl.engines import loop
    from posttrain.tasks.worlds.crowd import Crowd

    job.log.unlink(missing_ok=True)
    arm = arms.parse(job.arm)
    policy, worlds = task.policy(job.seed), Crowd(task.world, threads=1)
    recipe = recipe_of(arm, task, worlds, job.seed)
    rows = task.rows(job.seed)[: arm.run.get("prompts", job.prompts)]
    optimizer = torch.optim.Adam(policy.parameters(), lr=job.learning_rate)
    start, actions = time.perf_counter(), 0.0
    groups = task.evaluation(job.eval_rows, job.seed)
    evaluated = [(0.0, _evaluate(job, task, groups, recipe, policy, 0))]
    for step, metrics in enumerate(
        loop.train(
            recipe,
            policy,
            rows,
            environment,
            steps=-(-job.steps // job.inner_steps),
            group_size=arm.run.get("group_size", job.group_size),
            inner_steps=job.inner_steps,
            optimizer=optimizer,
            seed=job.seed,
        ),
        start=1,
    ):
        if "agent/won" not in metrics:
            raise RuntimeError(
                f"Every episode of generation {step} was dropped; the world of {job.task!r} does not work."
            )
        actions += metrics["agent/turns"] * len(rows) * arm.run.get("group_size", job.group_size)
        seconds = round(time.perf_counter() - start, 1)
        found = {**metrics, "step": step, "correct": metrics["agent/won"], "actions": actions, "seconds": seconds}
        append_line(job.log, found)
        if step % job.eval_every == 0 or step * job.inner_steps >= job.steps:
            evaluated.append((actions, _evaluate(job, task, groups, recipe, policy, step)))
    measured = {} if task.measure is None else task.measure(Trained(policy, None, recipe, job.seed))
    if task.budget:
        measured[f"area, {task.budget} actions"] = area(evaluated, task.budget)
    if measured:
        append_line(job.log, {"step": job.steps, "measured": measured})
    worlds.close()
    record = {"done": True, "seconds": round(time.perf_counter() - start, 1), "tokens": int(actions)}
    append_line(job.log, {"step": job.steps, **record})


def recipe_of(arm: arms.Arm, task: WorldSetup, worlds: Any, seed: int = 0) -> Recipe:
    """The arm's recipe, with an agent before it if it has none; the task's fields go to whichever agent it is."""
    from dataclasses import fields, replace

    from posttrain.rl.agent import Agent
    from posttrain.rl.recipe import Recipe

    built = arm.build(**task.fields)
    if not built.episodic:
        built = Recipe.of(Agent()) | built
    given = {option for part in arm.parts for option in part.options}
    owner = built.owner("rollout")
    known = {f.name for f in fields(owner)} - given
    chosen = {name: value for name, value in {**task.agent, "mode_seed": seed}.items() if name in known}
    methods = tuple(replace(m, worlds=worlds, **chosen) if isinstance(m, Agent) else m for m in built.methods)
    return Recipe(built.base, methods)


def area(points: Sequence[tuple[float, float]], budget: float) -> float:
    """The mean height of a curve (x, y) from 0 to `budget`, straight between its points and level after the last."""
    ended = [*points, (max(budget, points[-1][0]), points[-1][1])]
    total = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(ended):
        if x0 >= budget or x1 == x0:
            continue
        end = min(x1, budget)
        height = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        total += (end - x0) * (y0 + height) / 2
    return total / budget


def _evaluate(job: Job, task: WorldSetup, groups: Mapping[str, Any], recipe: Recipe, policy: Any, step: int) -> float:
    """Log the share of the evaluation tasks that are solved without a memory, by group; their mean."""
    from posttrain.rl.engines.loop import trial

    found = {}
    for name, rows in groups.items():
        verdicts = [row.verdict for row in trial(recipe, policy, rows, seed=1, temperature=task.temperature)]
        solved = [verdict for verdict in verdicts if verdict == verdict and verdict is not None]
        found[name] = sum(solved) / len(solved) if solved else 0.0
    append_line(job.log, {"step": step, "eval": {"accuracy": found}})
    return sum(found.values()) / len(found)
