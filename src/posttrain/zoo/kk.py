"""Train the knights-and-knaves teacher and student from nothing, on worked traces in the compact language.

The teacher solves nearly every puzzle. The student is smaller and is made to have room: it first learns from right
traces, then for a short while from careless ones, in which every statement with an operator is judged by tossing a
coin. It keeps the format, guesses, and can be brought back: its groups of samples have right and wrong answers, and
reinforcement learning finds within a hundred steps what it once knew.

On one thread, the same configuration, machine and library versions give identical weight files. Elsewhere sums are
added in another order: the files differ, and the teacher's accuracies agree within 0.03.

    build(Path("kk"), KKConfig())
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from posttrain.tasks.evaluate import Accuracy, complete, judge
from posttrain.tasks.knights_knaves import (
    COMPACT_TOKENS,
    Puzzle,
    agreements,
    compact_prompt,
    compact_verdict,
    puzzles,
    sample,
    search_trace,
)
from posttrain.zoo.building import appearing, fit, torch_threads, write_card
from posttrain.zoo.models import Size, load, make_model, make_tokenizer, save
from posttrain.zoo.sft import Examples, SFTConfig, batches, encode

COMMAND = "posttrain zoo build kk"
MAX_NEW_TOKENS = 136
"""Longer than any right trace with its end token: 20 for 2 people, 53 for 3, 134 for 4."""


@dataclass(frozen=True)
class ModelConfig:
    """One model and its training."""

    sft: SFTConfig
    """Steps, batch and learning rate."""
    layers: int
    """Transformer blocks."""
    pools: tuple[tuple[int, int, float], ...]
    """Training data, as (people, puzzles, share of the batches)."""
    careless: str = ""
    """Operators, such as `&|`, whose statements the last training traces judge by tossing a coin."""
    careless_steps: int = 0
    """Steps on such traces, after those on right ones."""
    width: int = 128
    """Size of the residual stream."""
    heads: int = 4
    """Attention heads, each of `width / heads`."""

    def __post_init__(self) -> None:
        Size(self.layers, self.width, self.heads)
        if not 0 <= self.careless_steps < self.sft.steps:
            raise ValueError(f"careless_steps is {self.careless_steps}; expected 0 to {self.sft.steps - 1}")


TEACHER = ModelConfig(SFTConfig(steps=1500, batch=64), layers=3, pools=((2, 400, 0.15), (3, 30_000, 0.85)))
"""Long enough to be right on nearly every puzzle of 2 and 3 people."""
STUDENT = ModelConfig(
    SFTConfig(steps=900, batch=64),
    layers=2,
    pools=((2, 400, 0.15), (3, 20_000, 0.85)),
    careless="&|>~",
    careless_steps=150,
)
"""It writes well-formed traces and guesses at every statement with an operator."""


@dataclass(frozen=True)
class KKConfig:
    """The pair to build."""

    teacher: ModelConfig = TEACHER
    """The model that solves the puzzles."""
    student: ModelConfig = STUDENT
    """The model with room to grow."""
    seed: int = 0
    """Of the puzzles and of the initial weights."""
    threads: int = 1
    """Of torch. Matrices this small gain nothing from a second thread, which also ends repeatability to the bit."""
    evaluation: tuple[tuple[int, int], ...] = ((2, 100), (3, 400), (4, 100))
    """Held-out puzzles on the card, as (people, puzzles)."""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}; it must be at least 1")


def build(out: Path, config: KKConfig) -> dict[str, Any]:
    """Train, save and evaluate both models.

    `out/teacher` and `out/student` get float16 weights, tokenizer and `card.json`. `out` appears when everything
    is ready, or not at all.

    Args:
        out: A directory that does not exist yet.
        config: Sizes, steps and seed.

    Returns:
        The two cards, by name.

    Raises:
        ValueError: `out` exists, or a pool asks for more puzzles than there are.
    """
    with torch_threads(config.threads), appearing(out) as ready:
        return {
            name: _build_one(ready / name, name, model, config)
            for name, model in (("teacher", config.teacher), ("student", config.student))
        }


def training_data(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int, *, careless: str
) -> list[Examples]:
    """The encoded prompts and traces of each pool, all from the train split."""
    coin = random.Random(seed)
    groups = []
    for people, n, _ in config.pools:
        drawn = sample(n, people=people, seed=seed, unique=False)
        pairs = [(compact_prompt(p.statements), trace(p, careless, coin)) for p in drawn]
        groups.append(encode(tokenizer, pairs))
    return groups


def trace(puzzle: Puzzle, careless: str, coin: random.Random) -> str:
    """A search for a solution in which statements that begin with a `careless` operator are judged by chance.

    Judgements that refute every candidate are thrown again, so the trace ends in an answer, right or wrong.

    Raises:
        ValueError: The puzzle has no solution.
    """
    claims = compact_prompt(puzzle.statements).rstrip("?").split(";")
    guessed = [claim[len("A:")] in careless for claim in claims]
    judged = agreements(puzzle.statements)
    if search_trace(judged) is None:
        raise ValueError(f"puzzle is {puzzle}, which has no solution; draw puzzles with `sample`")
    while True:
        thrown = [
            [coin.random() < 0.5 if guess else agrees for agrees, guess in zip(row, guessed, strict=True)]
            for row in judged
        ]
        found = search_trace(thrown)
        if found is not None:
            return found


def evaluate(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    *,
    people: int,
    n: int,
    seed: int = 0,
    sampled: bool = False,
) -> Accuracy:
    """Score `n` puzzles of the eval split, all in one batch.

    Args:
        model: The teacher, the student or a descendant of theirs.
        tokenizer: The model's; pads on the left.
        people: Persons per puzzle, 2 to 4.
        n: Puzzles; two people have about 140 held-out ones.
        seed: Of the puzzles and of the sampling.
        sampled: Sample at temperature 1 instead of taking the likeliest token.
    """
    rows = puzzles(n, people=people, seed=seed, split="eval")
    prompts = [row["prompt"] for row in rows]
    completed = complete(model, tokenizer, prompts, max_new_tokens=MAX_NEW_TOKENS, sampled=sampled, seed=seed)
    return judge(completed, rows, compact_verdict)


def _stream(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[Examples]:
    """Batches of right traces, then of careless ones, under one schedule."""
    shares = [share for *_, share in config.pools]
    careful_steps = config.sft.steps - config.careless_steps
    for careless, steps in (("", careful_steps), (config.careless, config.careless_steps)):
        if steps:
            groups = training_data(config, tokenizer, seed, careless=careless)
            yield from itertools.islice(batches(groups, shares, batch=config.sft.batch, seed=seed), steps)


def _build_one(directory: Path, name: str, model_config: ModelConfig, config: KKConfig) -> dict[str, Any]:
    """Train one model, save it and write its card."""
    tokenizer = make_tokenizer(COMPACT_TOKENS)
    size = Size(model_config.layers, model_config.width, model_config.heads)
    model = make_model(len(tokenizer), size, seed=config.seed)
    seconds = fit(f"kk/{name}", model, _stream(model_config, tokenizer, config.seed), model_config.sft)
    save(model, tokenizer, directory, max_new_tokens=MAX_NEW_TOKENS)
    model, tokenizer = load(directory)
    scores = {f"{people} people": _scores(model, tokenizer, people, n) for people, n in config.evaluation}
    return write_card(
        directory,
        name=f"kk/{name}",
        training_seconds=seconds,
        command=COMMAND,
        parameters=model.num_parameters(),
        facts={"accuracy": scores},
        config=config,
        training=model_config,
    )


def _scores(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, people: int, n: int) -> dict[str, float]:
    greedy = evaluate(model, tokenizer, people=people, n=n)
    sampled = evaluate(model, tokenizer, people=people, n=n, sampled=True)
    return {
        "n": n,
        "greedy": round(greedy.correct, 4),
        "sampled": round(sampled.correct, 4),
        "mean_tokens": round(greedy.mean_length, 1),
        "max_tokens": greedy.max_length,
    }
