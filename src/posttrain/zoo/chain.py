"""Train `chain/start` from nothing: chained sums with wordy traces, careless late in a chain.

It first learns from right traces, then for a short while from careless ones, in which a step after the fourth that
wraps around (9 + 4 = 3, 2 - 5 = 7) is mostly wrong, always in the same way. So short chains are solved, long ones
often are not, and what was learnt first can be brought back, one sum after another. Most traces say nearly everything
twice; some are brief from the start, so shorter right traces are there to be found.

On one thread, the same configuration, machine and library versions give identical weight files.

    build(Path("chain"), ChainConfig())
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from posttrain.tasks.chain import LEVELS, MAX_TOKENS, TOKENS, Level, apply, chain_verdict, chains, operations, trace
from posttrain.zoo.building import Phase, StartConfig, build_start, check_share, score
from posttrain.zoo.models import Size
from posttrain.zoo.sft import SFTConfig, encode

CAREFUL = SFTConfig(steps=1300, batch=64)
"""Long enough to be right on nearly every chain."""
CARELESS = SFTConfig(steps=200, batch=64, learning_rate=1e-3, warmup=20)
"""Long enough to pick up the mistakes, and not to forget how it is done."""

NARROW = Size(width=96)
"""Hundreds of steps of long traces are sampled from it."""


@dataclass(frozen=True)
class ChainConfig(StartConfig):
    """The model to build."""

    sft: SFTConfig = CAREFUL
    """Training on right traces."""
    size: Size = NARROW
    """Shape of the model."""
    careless: SFTConfig = CARELESS
    """Training on careless traces, after that."""
    slip: float = 0.8
    """Probability that a careless trace gets a step wrong that can go wrong."""
    sure_steps: int = 4
    """Steps at the start of a chain that never go wrong."""
    wordiness: float = 0.95
    """Probability of each repetition and of each restated step in a wordy trace."""
    brief: float = 0.3
    """Share of the traces that are brief."""
    brief_wordiness: float = 0.2
    """Probability of each repetition and of each restated step in a brief trace."""
    examples: int = 2500
    """Training chains per number of steps; there are 2661 of 2 steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("slip", self.slip)
        for name in ("wordiness", "brief", "brief_wordiness"):
            check_share(name, getattr(self, name))


def build(out: Path, config: ChainConfig) -> dict[str, Any]:
    """Train, save and evaluate the model in `out/start`; see `build_start`."""
    return build_start(
        out,
        "chain/start",
        config,
        tokens=TOKENS,
        max_new_tokens=MAX_TOKENS,
        phases=partial(_phases, config),
        scores=lambda model, tokenizer: {
            "accuracy": {level: evaluate(model, tokenizer, level, config.evaluation) for level in ("easy", "hard")}
        },
    )


def worked(prompt: str, *, slip: float, sure_steps: int, wordiness: float, coin: random.Random) -> str:
    """A wordy trace. After `sure_steps`, a step that wraps around gets its own wrong sum with probability `slip`."""
    value, rest = operations(prompt)
    sums = []
    for place, (sign, number) in enumerate(rest):
        total = apply(value, sign, number)
        wraps = total < value if sign == "+" else total > value
        if wraps and place >= sure_steps and coin.random() < slip:
            total = (total + 1 + (value * number + (sign == "+")) % 9) % 10
        sums.append(total)
        value = total
    repeated, restated = ([coin.random() < wordiness for _ in sums] for _ in range(2))
    return trace(prompt, sums=sums, repeated=repeated, restated=restated)


def evaluate(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, level: Level, n: int, *, seed: int = 0
) -> dict[str, Any]:
    """Scores on `n` held-out chains of a level, as in `models.score`, with 16 samples of each."""
    rows = chains(n, level=level, seed=seed, split="eval")
    return score(model, tokenizer, rows, chain_verdict, max_new_tokens=MAX_TOKENS, samples=16, seed=seed)


def _phases(config: ChainConfig, tokenizer: PreTrainedTokenizerBase) -> Iterator[Phase]:
    """Right traces, then careless ones; one group of examples per number of steps."""
    counts = list(itertools.chain.from_iterable(LEVELS.values()))
    for slip, sft in ((0.0, config.sft), (config.slip, config.careless)):
        coin = random.Random(config.seed)

        def write(prompt: str, slip: float = slip, coin: random.Random = coin) -> str:
            wordiness = config.brief_wordiness if coin.random() < config.brief else config.wordiness
            return worked(prompt, slip=slip, sure_steps=config.sure_steps, wordiness=wordiness, coin=coin)

        groups = []
        for steps in counts:
            prompts = [row["prompt"] for row in chains(config.examples, steps=steps, seed=config.seed)]
            groups.append(encode(tokenizer, [(prompt, write(prompt)) for prompt in prompts]))
        yield Phase(groups, [1.0] * len(groups), sft)
