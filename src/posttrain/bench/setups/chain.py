"""Chained sums with wordy traces: easy prompts to shorten, hard ones to keep exploring."""

from __future__ import annotations

from typing import Any

from posttrain import stats
from posttrain.bench.measures import attempt
from posttrain.bench.setups.setup import Setup, Trained
from posttrain.tasks.chain import MAX_TOKENS, Level, chain_verdict, chains

EVALUATED = 100
"""Held-out prompts of each level at the end."""
ATTEMPTS = 16


def setup() -> Setup:
    """As many easy chains as hard ones, few enough to be seen several times."""
    return Setup(
        student="chain/start",
        rows=_rows,
        evaluation=_held_out,
        verify=chain_verdict,
        max_completion=MAX_TOKENS,
        learning_rate=3e-4,
        steps=150,
        eval_every=30,
        measure=_measure,
        curves={
            "completions/mean_length": "Tokens of a sampled completion",
            "entropy": "Entropy of the policy, nats per token",
        },
    )


def _rows(seed: int) -> list[dict[str, Any]]:
    return chains(64, seed=seed, level="easy") + chains(64, seed=seed, level="hard")


def _held_out(n: int) -> dict[str, list[dict[str, Any]]]:
    sizes: dict[Level, int] = {"easy": n // 2, "hard": n - n // 2}
    return {str(level): chains(size, seed=1, level=level, split="eval") for level, size in sizes.items()}


def _measure(trained: Trained) -> dict[str, float]:
    found: dict[str, float] = {}
    for level, rows in _held_out(2 * EVALUATED).items():
        attempts = attempt(trained.model, trained.tokenizer, rows, chain_verdict, k=ATTEMPTS, max_tokens=MAX_TOKENS)
        found[f"{level} accuracy"] = attempts.accuracy
        found[f"{level} pass@{ATTEMPTS}"] = stats.pass_at_k(attempts.correct, ATTEMPTS)
        found[f"{level} length"] = attempts.length
        found[f"{level} entropy"] = attempts.entropy
        found[f"{level} truncated"] = attempts.truncated
    return found
