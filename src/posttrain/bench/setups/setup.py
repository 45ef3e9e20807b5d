"""What a comparison trains on: a shipped student, prompts, evaluation prompts, a verifier, and what is measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from posttrain.tasks.verdict import Verifier
from posttrain.tasks.worlds.world import World


class DataSet(NamedTuple):
    """Rows to train on and their judge."""

    rows: list[dict[str, Any]]
    verify: Verifier


class Trained(NamedTuple):
    """What the measures at the end of a run are taken on."""

    model: Any
    """The trained model."""
    tokenizer: Any
    """Its tokenizer."""
    recipe: Any
    """What it was trained with."""
    seed: int = 0
    """Of the run."""


def cycled(rows: Sequence[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """The first n of the rows one after the other, over and over."""
    return list(itertools.islice(itertools.cycle(rows), n))


@dataclass(frozen=True)
class WorldSetup:
    """A task that is played: worlds, and a small policy that scores commands, trained in the reference loop."""

    world: Callable[[], World]
    """Makes one."""
    rows: Callable[[int], list[dict[str, Any]]]
    """Training tasks of a seed; the first `prompts` are played in every generation."""
    evaluation: Callable[[int, int], dict[str, list[dict[str, Any]]]]
    """About n evaluation tasks in named groups, for a run of a seed."""
    policy: Callable[[int], Any]
    """The untrained policy of a seed."""
    learning_rate: float
    """With Adam."""
    steps: int
    """Optimiser steps of a run."""
    agent: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the agent, whichever method it is, such as its window."""
    prompts: int = 16
    """Tasks per generation."""
    group_size: int = 8
    """Episodes per task."""
    inner_steps: int = 1
    """Passes over the episodes of one generation."""
    slices: int = 1
    """The loop takes all rows in one step."""
    eval_rows: int = 64
    """Evaluation tasks."""
    eval_every: int = 10
    """Optimiser steps between evaluations."""
    budget: int = 0
    """Actions up to which the area under the evaluations is also taken, for arms whose episodes differ in length."""
    temperature: float = 0.4
    """Of the sampling in evaluations (HGPO: 0.4)."""
    measure: Callable[[Trained], dict[str, float]] | None = None
    """What is measured once at the end, by name."""
    curves: Mapping[str, str] = field(default_factory=dict)
    """Metrics of the training log to keep for the picture, and their titles."""
    teacher: str = ""
    """None has one."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Given to every method that has a field of this name."""
    data: Mapping[str, Callable[[int], DataSet]] = field(default_factory=dict)
    """Other rows that an arm can train on; none."""
    ask: None = None
    """Episodes ask by themselves."""


@dataclass(frozen=True)
class Setup:
    """One task with its tiny models and the settings tuned for them on seeds 0 to 2."""

    student: str
    """Name in the zoo."""
    rows: Callable[[int], list[dict[str, Any]]]
    """Training rows of a seed."""
    evaluation: Callable[[int], dict[str, list[dict[str, Any]]]]
    """About n evaluation rows in named groups, the same for every seed."""
    verify: Verifier
    """Judges a completion."""
    max_completion: int
    """Longest completion in tokens."""
    learning_rate: float
    """For the student, with AdamW."""
    steps: int
    """Optimiser steps of a run."""
    teacher: str = ""
    """Name in the zoo; empty if the task has none."""
    prompts: int = 16
    """Per generation."""
    group_size: int = 8
    """Completions per prompt."""
    slices: int = 1
    """Optimiser steps per generation, each on its share of the completions."""
    inner_steps: int = 1
    """Passes over the completions of one generation."""
    eval_rows: int = 200
    """Evaluation prompts."""
    eval_every: int = 5
    """Optimiser steps between evaluations."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Given to every method that has a field of this name, such as how critiques are asked for."""
    data: Mapping[str, Callable[[int], DataSet]] = field(default_factory=dict)
    """Other rows that an arm can train on, by name, from a seed."""
    ask: Callable[[Any, str, int], str] | None = None
    """How a recipe's model is asked an evaluation prompt, from the recipe, prompt and place; plainly if None."""
    measure: Callable[[Trained], dict[str, float]] | None = None
    """What is measured once at the end, by name."""
    curves: Mapping[str, str] = field(default_factory=dict)
    """Metrics of the training log to keep for the picture, and their titles."""
