"""A teacher that is confidently wrong on a share of the prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from posttrain.tasks.knights_knaves import NAMES


def corrupt_teacher(model: Any, tokenizer: Any, share: float) -> Any:
    """Let `model`, a Knights & Knaves teacher in the compact form, misread a share of the puzzles.

    In those prompts every role is swapped before the model sees them, so it teaches the solution of another
    puzzle, as sure of itself as ever. Which prompts is decided by a hash of the prompt, the same in every run.

    Args:
        model: A transformers causal model; changed in place and returned.
        tokenizer: Its tokenizer.
        share: Between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"noise={share} is a share of the prompts; give a number from 0 to 1.")
    vocabulary = tokenizer.get_vocab()
    swap = torch.arange(max(vocabulary.values()) + 1)
    for letter in NAMES:
        upper, lower = vocabulary[letter], vocabulary[letter.lower()]
        swap[upper], swap[lower] = lower, upper
    end_of_prompt, colon, pad = vocabulary["?"], vocabulary[":"], tokenizer.pad_token_id

    def misread(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        swapped = swap_roles(ids, swap, end_of_prompt, colon, pad, share)
        return (args, {**kwargs, "input_ids": swapped}) if "input_ids" in kwargs else ((swapped, *args[1:]), kwargs)

    model.model.register_forward_pre_hook(misread, with_kwargs=True)
    return model


def swap_roles(ids: Tensor, swap: Tensor, end_of_prompt: int, colon: int, pad: int, share: float) -> Tensor:
    """(B, L) ids with the roles in the chosen rows' statements swapped; speakers and completions stay."""
    in_prompt = (ids == end_of_prompt).flip(1).cumsum(1).flip(1) > 0
    speaker = torch.zeros_like(in_prompt)
    speaker[:, :-1] = ids[:, 1:] == colon
    letters = torch.where(in_prompt & (ids != pad), ids + 1, torch.zeros_like(ids))
    place = (letters > 0).cumsum(1)
    mixed = (letters * 2654435761 + 97) * (2 * place + 1)
    digest = torch.where(letters > 0, mixed, torch.zeros_like(mixed)).sum(1) % 1000  # of the prompt alone
    chosen = (digest < round(1000 * share)).unsqueeze(1)
    return torch.where(chosen & in_prompt & ~speaker, swap.to(ids.device)[ids], ids)
