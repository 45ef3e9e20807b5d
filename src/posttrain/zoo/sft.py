"""Supervised training of a tiny causal model on prompt-completion pairs, loss on the completion only.

Plain AdamW, linear warm-up then cosine decay to zero. Batches hold examples of one group (here: one number of
people), so hardly a position is padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100
"""The label of a position that takes no part in the loss."""


@dataclass(frozen=True)
class SFTConfig:
    """One supervised run."""

    steps: int
    """Optimiser steps."""
    batch: int = 128
    """Examples per step."""
    learning_rate: float = 2e-3
    """Peak of the schedule."""
    warmup: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """AdamW's decoupled decay."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps is {self.steps} and batch {self.batch}; both must be at least 1")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive")


class Examples(NamedTuple):
    """Encoded pairs of one group, padded on the right to one length L."""

    inputs: torch.Tensor
    """[N, L] token ids: prompt, completion, end token, then 0."""
    labels: torch.Tensor
    """[N, L] the same ids on the completion and its end token, `IGNORED` elsewhere."""


def encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> Examples:
    """Tokenise `(prompt, completion)` pairs and append the end token; a causal model never sees the padding."""
    prompts = [tokenizer.encode(prompt) for prompt, _ in pairs]
    completions = [[*tokenizer.encode(completion), tokenizer.eos_token_id] for _, completion in pairs]
    rows = [torch.tensor(p + c) for p, c in zip(prompts, completions, strict=True)]
    masked = [torch.tensor([IGNORED] * len(p) + c) for p, c in zip(prompts, completions, strict=True)]
    pad = torch.nn.utils.rnn.pad_sequence
    return Examples(
        pad(rows, batch_first=True),
        pad(masked, batch_first=True, padding_value=IGNORED),
    )


def batches(groups: Sequence[Examples], weights: Sequence[float], *, batch: int, seed: int) -> Iterator[Examples]:
    """Batches without end: a group drawn by weight, then its next `batch` examples in a shuffled order."""
    generator = torch.Generator().manual_seed(seed)
    queues: list[list[int]] = [[] for _ in groups]
    shares = torch.tensor(weights, dtype=torch.float64)
    while True:
        which = int(torch.multinomial(shares, 1, generator=generator))
        while len(queues[which]) < batch:
            queues[which] += torch.randperm(len(groups[which].inputs), generator=generator).tolist()
        rows, queues[which] = queues[which][:batch], queues[which][batch:]
        inputs, labels = groups[which].inputs[rows], groups[which].labels[rows]
        used = int((labels != IGNORED).any(dim=0).nonzero().max()) + 1
        yield Examples(inputs[:, :used], labels[:, :used])


def schedule(step: int, config: SFTConfig) -> float:
    """The factor on the learning rate at a step from 0: up over `warmup` steps, then a half cosine to 0."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(
    model: PreTrainedModel,
    data: Iterator[Examples],
    config: SFTConfig,
    *,
    on_step: Callable[[int, float], None],
) -> None:
    """Train in place; `on_step(step, loss)` is called after every step, from 0.

    The loss is the mean cross-entropy in nats over the batch's completion tokens.
    """
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, config))
    for step in range(config.steps):
        batch = next(data)
        logits = model(input_ids=batch.inputs, use_cache=False).logits[:, :-1]
        loss = functional.cross_entropy(
            logits.flatten(0, 1).float(), batch.labels[:, 1:].flatten(), ignore_index=IGNORED
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        on_step(step, float(loss.detach()))
