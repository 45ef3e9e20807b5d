"""A verifier as TRL reward functions, and TRL's columns as the verifier's arguments."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

from posttrain.tasks.verdict import Verdict, Verifier

RewardFunction = Callable[..., list[float]]


def text_of(completion: Any) -> str:
    """A completion's text, from TRL's plain or conversational form."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def judge_all(verify: Verifier, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """A verdict per (completion, answer); a verifier with a method `many` judges them at the same time."""
    many = getattr(verify, "many", None)
    return list(many(pairs)) if many is not None else [verify(completion, answer) for completion, answer in pairs]


ENVIRONMENT = "environment"
"""The field of a rollout that holds the episodes' rewards, and the name of the reward function that reads it."""


def with_environment(functions: Any, args: Any) -> tuple[list[Any], Any]:
    """The reward functions with the environment's reward before them, and the arguments with a weight of 1 for it."""
    given = [] if functions is None else functions if isinstance(functions, list) else [functions]
    if args.reward_weights is not None:
        args = copy.copy(args)
        args.reward_weights = [1.0, *args.reward_weights]
    return [environment, *given], args


def environment(environment: Sequence[float], **_: Any) -> list[float | None]:
    """The reward of an episode, which the rollout brings along; None where it was dropped."""
    return [None if math.isnan(value) else value for value in environment]


def from_verifier(verify: Verifier) -> tuple[list[RewardFunction], list[float]]:
    """Two reward functions, `reward` and `correct`, and their weights 1 and 0.

    They read the data set's `answer` column. A completion is judged once: `correct` reuses what `reward` found.
    """
    judged: dict[str, list[Verdict]] = {}

    def reward(completions: Sequence[Any], answer: Sequence[str], **_: Any) -> list[float]:
        judged["last"] = judge_all(verify, [(text_of(c), a) for c, a in zip(completions, answer, strict=True)])
        return [verdict.reward for verdict in judged["last"]]

    def correct(completions: Sequence[Any], **_: Any) -> list[float]:
        return [verdict.correct for verdict in judged["last"]]

    return [reward, correct], [1.0, 0.0]
