"""Train `skills/start` from nothing: the brief supervised warm-up of UpSkill's arithmetic environment.

Every example is a prompt with one of its right answers, drawn anew each time. Half of the prompts ask for a strategy
that is drawn independently of the answer, so the model cannot know that strategies differ: they have to be learnt.

On one thread, the same configuration, machine and library versions give identical weight files.

    build(Path("skills"), SkillsConfig())
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from posttrain.tasks.three_numbers import (
    MAX_TOKENS,
    TOKENS,
    right_answers,
    three_numbers,
    three_numbers_verdict,
    with_strategy,
)
from posttrain.zoo.building import Phase, StartConfig, build_start, check_share, score
from posttrain.zoo.sft import SFTConfig, encode

WARMUP = SFTConfig(steps=100, batch=64, warmup=10)
"""The paper's 100 steps."""


@dataclass(frozen=True)
class SkillsConfig(StartConfig):
    """The model to build; two layers of 128, as in the paper."""

    sft: SFTConfig = WARMUP
    """Training on right answers."""
    prompts: int = 260
    """Training prompts; there are 266."""
    strategies: int = 5
    """Numbers of the prefix, from 1."""
    prefixed: float = 0.5
    """Share of the examples that ask for a strategy."""
    evaluation: int = 120
    """Prompts on the card, per kind; there are 150 held-out ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.strategies <= 9:
            raise ValueError(f"strategies is {self.strategies}; expected 1 to 9")
        check_share("prefixed", self.prefixed)


def build(out: Path, config: SkillsConfig) -> dict[str, Any]:
    """Train, save and evaluate the model in `out/start`; see `build_start`."""
    return build_start(
        out,
        "skills/start",
        config,
        tokens=TOKENS,
        max_new_tokens=MAX_TOKENS,
        phases=partial(_phases, config),
        scores=partial(_scores, config),
    )


def examples(config: SkillsConfig) -> list[tuple[str, str]]:
    """As many prompts with an answer as training takes, some with a strategy that says nothing about the answer."""
    coin = random.Random(config.seed)
    rows = three_numbers(config.prompts, seed=config.seed)
    pairs = []
    for _ in range(config.sft.steps * config.sft.batch):
        row = coin.choice(rows)
        answer = coin.choice(right_answers(row["answer"]))
        strategy = coin.randint(1, config.strategies)
        prefixed = coin.random() < config.prefixed
        pairs.append((with_strategy(row["prompt"], strategy) if prefixed else row["prompt"], answer))
    return pairs


def _phases(config: SkillsConfig, tokenizer: PreTrainedTokenizerBase) -> Iterator[Phase]:
    yield Phase([encode(tokenizer, examples(config))], [1.0], config.sft)


def _scores(
    config: SkillsConfig, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> dict[str, dict[str, Any]]:
    """Accuracies on prompts of training, on held-out ones and on those with a strategy."""
    held_out = three_numbers(config.evaluation, seed=config.seed, split="eval")
    kinds = {
        "train": three_numbers(config.evaluation, seed=config.seed),
        "held out": held_out,
        "held out, strategy 1": [row | {"prompt": with_strategy(row["prompt"], 1)} for row in held_out],
    }
    return {
        "accuracy": {
            kind: score(model, tokenizer, rows, three_numbers_verdict, max_new_tokens=MAX_TOKENS, samples=5)
            for kind, rows in kinds.items()
        }
    }
