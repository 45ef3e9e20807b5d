"""A small causal transformer that does regression in context, and LoRA for its attention projections."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The model, and the prompts that it reads."""

    d: int = 2
    """Coordinates of x."""
    shots: int = 10
    """Examples of a prompt."""
    layers: int = 2
    """Of the transformer."""
    width: int = 48
    """Of the residual stream; the MLP's is twice as much."""
    heads: int = 4
    """Of each layer."""
    start_token: bool = True
    """Whether a prompt begins with a token of its own."""

    def __post_init__(self) -> None:
        if min(self.d, self.shots, self.layers, self.heads) < 1:
            raise ValueError(f"{self} has a number below 1.")
        if self.width % self.heads:
            raise ValueError(f"width={self.width} is no multiple of heads={self.heads}; give one that is.")


class LoRA(nn.Module):
    """W + B A with W frozen; B starts at 0."""

    def __init__(self, base: nn.Linear, rank: int, draw: torch.Generator) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features, generator=draw) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.base(x) + x @ self.a.T @ self.b.T


class Block(nn.Module):
    """Attention and an MLP, each after a norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in "qkvo")
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, h: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        rows, tokens, width = h.shape
        x = self.before(h)
        q, k, v = (each(x).view(rows, tokens, self.heads, -1).transpose(1, 2) for each in (self.q, self.k, self.v))
        later = h.new_full((tokens, tokens), -math.inf).triu(1)
        scores = (q @ k.transpose(2, 3)) * (self.heads / width) ** 0.5 + later
        h = h + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, tokens, width))
        return h + self.down(self.up(self.between(h)).relu())


class Regressor(nn.Module):
    """Answers y at each x of a prompt from what came before."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(shape.width)) if shape.start_token else None
        self.read = nn.Linear(shape.d + 2, shape.width)  # x, y, and whether it is a y
        self.place = nn.Parameter(0.02 * torch.randn(2 * shape.shots + 2, shape.width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm, self.answer = nn.LayerNorm(shape.width), nn.Linear(shape.width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Answers after 0, 1, ... n examples, (B, n+1), from x (B, n+1, d) and the y of all but the last, (B, n)."""
        rows, asked, d = x.shape
        tokens = x.new_zeros(rows, 2 * asked - 1, d + 2)
        tokens[:, ::2, :d], tokens[:, 1::2, d], tokens[:, 1::2, d + 1] = x, y, 1.0
        h = self.read(tokens)
        if self.start is not None:
            h = torch.cat([self.start.expand(rows, 1, -1), h], 1)
        h = h + self.place[: h.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.answer(self.norm(h[:, int(self.start is not None) :: 2]))[..., 0]


def adapted(model: Regressor, parts: str, rank: int, draw: torch.Generator) -> Regressor:
    """A copy of a model, frozen but for a LoRA on some projections of every layer; its answers are the same at first.

    Args:
        model: Stays as it is.
        parts: Letters of `qkvo`.
        rank: From 1 to the width.
        draw: Of the first A.
    """
    if not parts or set(parts) - set("qkvo"):
        raise ValueError(f"parts={parts!r} must be letters of 'qkvo', one or more.")
    if not 1 <= rank <= (width := model.read.out_features):
        raise ValueError(f"rank={rank} must lie between 1 and the width, {width}.")
    copy = deepcopy(model).requires_grad_(False)
    for block in copy.blocks:
        for part in parts:
            setattr(block, part, LoRA(getattr(block, part), rank, draw))
    return copy


def moved(model: Regressor) -> float:
    """Length of what the LoRA adds to the attention projections, as a share of theirs."""
    added, whole = 0.0, 0.0
    for block in model.blocks:
        for part in "qkvo":
            layer = getattr(block, part)
            base = layer.base if isinstance(layer, LoRA) else layer
            whole += float(base.weight.detach().square().sum())
            if isinstance(layer, LoRA):
                added += float((layer.b @ layer.a).detach().square().sum())
    return math.sqrt(added / whole)
