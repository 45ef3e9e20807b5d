"""Lists of token ids: cut at an end token, and padded to one width."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from posttrain.rl.batch import Sampled


def cut(ids: list[int], ends: Collection[int]) -> Sampled:
    """A completion up to its first end token."""
    place = next((i for i, token in enumerate(ids) if token in ends), None)
    return Sampled(ids, [], "length") if place is None else Sampled(ids[: place + 1], [], "stop")


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: Any) -> tuple[Tensor, Tensor]:
    """Ids (B, P) and mask (B, P), padded on the left."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        if row:
            ids[i, width - len(row) :] = torch.tensor(row)
            mask[i, width - len(row) :] = 1
    return ids.to(device), mask.to(device)
