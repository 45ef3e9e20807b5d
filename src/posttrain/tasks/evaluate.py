"""How often a model is right on rows of a task, and how far it is from a teacher. Needs transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posttrain.tasks.verdict import Verifier


class Completed(NamedTuple):
    """Completions of a list of prompts, in order."""

    texts: list[str]
    """Without special tokens."""
    ids: Tensor
    """(B, P + T) prompts, padded on the left, then completions, padded on the right."""
    attention: Tensor
    """(B, P + T) 1 on prompt and completion tokens, the end token included."""
    prompt_width: int
    """P."""


class Accuracy(NamedTuple):
    """What an evaluation found."""

    correct: float
    """Share of right answers among the judged; NaN if none was judged."""
    unscored: int
    """Rows the verifier could not judge."""
    mean_length: float
    """Completion tokens, the end token included."""
    max_length: int
    """Of the longest completion."""
    n: int
    """Rows."""


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model without dropout, for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    sampled: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
) -> Completed:
    """Greedy completions, or samples at a temperature; torch's random state is left as it was."""
    device = next(model.parameters()).device
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    batch = {key: batch[key].to(device) for key in ("input_ids", "attention_mask")}
    how = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if sampled else {}
    with evaluating(model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ids = model.generate(**batch, do_sample=sampled, max_new_tokens=max_new_tokens, **how)
    width = batch["input_ids"].shape[1]
    ended = (ids[:, width:] == tokenizer.eos_token_id).cumsum(1)
    ends_here = (ids[:, width:] == tokenizer.eos_token_id) & (ended == 1)
    attention = torch.cat([batch["attention_mask"], ((ended == 0) | ends_here).long()], dim=1)
    texts = tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True)
    return Completed(texts, ids, attention, width)


def judge(completed: Completed, rows: Sequence[Mapping[str, Any]], verify: Verifier) -> Accuracy:
    """Accuracy of completions against the rows' `answer` column."""
    found = [verify(text, str(row["answer"])).correct for text, row in zip(completed.texts, rows, strict=True)]
    known = [value for value in found if not math.isnan(value)]
    lengths = completed.attention[:, completed.prompt_width :].sum(1)
    correct = sum(known) / len(known) if known else math.nan
    return Accuracy(correct, len(found) - len(known), lengths.float().mean().item(), int(lengths.max()), len(rows))


def log_probabilities(model: Any, completed: Completed) -> Tensor:
    """(B, T, V) at each completion token, over the whole vocabulary."""
    out = model(input_ids=completed.ids, attention_mask=completed.attention)
    return out.logits[:, completed.prompt_width - 1 : -1].float().log_softmax(-1)


@torch.no_grad()
def divergence(model: Any, teacher: Any, completed: Completed) -> float:
    """KL(model || teacher) per completion token in nats, exact over the vocabulary; for small vocabularies."""
    ours, theirs = (log_probabilities(m, completed) for m in (model, teacher))
    per_token = (ours.exp() * (ours - theirs)).sum(-1)
    mask = completed.attention[:, completed.prompt_width :]
    return ((per_token * mask).sum() / mask.sum()).item()
