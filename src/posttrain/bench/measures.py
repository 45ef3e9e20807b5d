"""What a trained model does when it samples: accuracy, pass@k, length and entropy. Needs transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from posttrain import stats
from posttrain.tasks.evaluate import Completed, complete, log_probabilities
from posttrain.tasks.verdict import Verifier


class Attempts(NamedTuple):
    """k completions of each of several prompts."""

    texts: list[list[str]]
    """(prompts, k)"""
    correct: list[list[float]]
    """(prompts, k), 1 or 0."""
    length: float
    """Mean tokens of a completion, the end token included."""
    entropy: float
    """Mean entropy of the model per sampled token, over the whole vocabulary, in nats."""
    truncated: float
    """Share of completions without an end token."""

    @property
    def accuracy(self) -> float:
        """Share of right completions."""
        return stats.pass_at_k(self.correct, 1)


def attempt(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    verify: Verifier,
    *,
    k: int,
    max_tokens: int,
    temperature: float = 1.0,
    chunk: int = 400,
    seed: int = 0,
) -> Attempts:
    """Sample k completions of every row's prompt and judge them."""
    repeated = [row for row in rows for _ in range(k)]
    texts, lengths, entropies, ended = [], [], [], []
    for start in range(0, len(repeated), chunk):
        prompts = [row["prompt"] for row in repeated[start : start + chunk]]
        done = complete(
            model, tokenizer, prompts, max_new_tokens=max_tokens, sampled=True, temperature=temperature,
            seed=seed + start,
        )  # fmt: skip
        texts += done.texts
        mask = done.attention[:, done.prompt_width :].float()
        lengths.append(mask.sum(1))
        entropies.append((entropy(model, done) * mask).sum(1))
        ended.append((done.ids[:, done.prompt_width :] == tokenizer.eos_token_id).any(1).float())
    found = [verify(text, str(row["answer"])).correct for text, row in zip(texts, repeated, strict=True)]
    tokens = torch.cat(lengths)
    return Attempts(
        texts=[texts[i : i + k] for i in range(0, len(texts), k)],
        correct=[found[i : i + k] for i in range(0, len(found), k)],
        length=tokens.mean().item(),
        entropy=(torch.cat(entropies).sum() / tokens.sum()).item(),
        truncated=1 - torch.cat(ended).mean().item(),
    )


@torch.no_grad()
def entropy(model: Any, completed: Completed) -> torch.Tensor:
    """(B, T) entropy at each completion token in nats; for small vocabularies."""
    logp = log_probabilities(model, completed)
    return -(logp.exp() * logp).sum(-1)
