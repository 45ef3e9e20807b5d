"""Rows of a hook as entries of TRL's batch: make them, put them beside the answers, fill up to a number.

Axes: B rows, P prompt tokens (padded on the left), C completion tokens (padded on the right).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from posttrain.rl.batch import Row
from posttrain.rl.tokens import left_padded
from posttrain.rl.turns import trained

PER_ROW_PROMPT = ("prompt_ids", "prompt_mask")
"""(B, P)"""
PER_ROW_TOKEN = (
    "completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps", "sampling_per_token_logps",
    "tool_mask",
)  # fmt: skip
"""(B, C)"""
OTHERS = ("advantages", "num_items_in_batch")
"""What is computed anew once all rows are there."""


def to_batch(rows: Sequence[Row], pad_id: int, device: Any, ends: Set[int] | None = None) -> dict[str, Tensor]:
    """Ids and masks of rows, as `_generate_and_score_completions` returns them.

    Args:
        rows: At least one.
        pad_id: The padding token.
        device: Where the tensors go.
        ends: Tokens of which a completion's last must be one, or it is not trained; None trains all.
    """
    prompt_ids, prompt_mask = left_padded([row.prompt_ids for row in rows], pad_id, device)
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids, dtype=torch.long)
        if ends is None or not ends.isdisjoint(row.ids[-1:]):
            mask[i, : len(row.ids)] = torch.tensor(trained(row))
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": ids.to(device),
        "completion_mask": mask.to(device),
    }


def sampled_logps(rows: Sequence[Row], device: Any) -> Tensor:
    """(B, C) log-probabilities as the rows were sampled, 0 on padding."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(list(row.logps)) for row in rows], True).to(device)


def merge(answers: Mapping[str, Any], extra: Mapping[str, Tensor], pad_id: int, prefix: str) -> dict[str, Any]:
    """The answers' rows, then the extra ones, in one batch; entries under `prefix` are 0 in the extra rows.

    Raises:
        ValueError: The answers carry something that this function does not know how to extend.
    """
    _check_keys(answers, prefix)
    out: dict[str, Any] = {}
    for key, left in answers.items():
        if key in OTHERS:
            out[key] = left
        elif key in PER_ROW_PROMPT:
            fill = pad_id if key == "prompt_ids" else 0
            out[key] = _stack(left, extra[key], fill, on_the_left=True)
        elif key.startswith(prefix):
            rows = extra["completion_ids"].shape[0]
            zeros = left.new_zeros((rows, *left.shape[1:-1], extra["completion_ids"].shape[1]))
            out[key] = _stack(left, zeros, 0, on_the_left=False)
        else:
            fill = {"completion_ids": pad_id, "tool_mask": 1}.get(key, 0)
            right = extra.get(key)
            right = torch.full_like(extra["completion_mask"], fill) if right is None else right
            out[key] = _stack(left, right, fill, on_the_left=False)
    return out


def replaced(answers: Mapping[str, Any], rows: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """The batch with other rows in place of the answers'; what is computed anew once all rows are there stays.

    Raises:
        ValueError: The answers carry something that the other rows do not have.
    """
    _check_keys(answers, prefix)
    return {**{key: answers[key] for key in OTHERS}, **rows}


def _check_keys(answers: Mapping[str, Any], prefix: str) -> None:
    """Reject a batch that carries something unknown."""
    unknown = [k for k in answers if k not in (*PER_ROW_PROMPT, *PER_ROW_TOKEN, *OTHERS) and not k.startswith(prefix)]
    if unknown:
        raise ValueError(
            f"The batch holds {', '.join(unknown)}, which rows that a method makes do not have; train text-only "
            "prompts and without vLLM's importance correction, or leave that method out."
        )


def fill_up(batch: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The batch with copies of its first row, without a trained token, up to `rows` rows."""
    have = batch["prompt_ids"].shape[0]
    out = dict(batch)
    for key, value in batch.items():
        if isinstance(value, Tensor) and value.dim() and value.shape[0] == have:
            copies = value[:1].expand(rows - have, *value.shape[1:])
            out[key] = torch.cat([value, torch.zeros_like(copies) if key == "completion_mask" else copies])
    return out


def _stack(top: Tensor, bottom: Tensor, fill: float, *, on_the_left: bool) -> Tensor:
    """Two tensors one above the other, the narrower one padded in the last axis."""
    width = max(top.shape[-1], bottom.shape[-1])

    def widen(x: Tensor) -> Tensor:
        missing = width - x.shape[-1]
        return functional.pad(x, (missing, 0) if on_the_left else (0, missing), value=fill)

    return torch.cat([widen(top), widen(bottom).to(top.dtype)])
