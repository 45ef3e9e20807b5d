"""Value-only tuning: only what attention hands on is trained, not where it looks (Lee et al. 2026, arXiv:2602.23197).

In the paper's one-layer linear attention, Z' = Z + (1/N) (Z Q Z') (Z V'), fine-tuning everything on a task without
examples makes the score z_q' Q z_b constant, and with it the use of examples is lost; with Q (queries and keys merged)
frozen and V trained it stays. In a transformer Q is `q` and `k` of each layer and V is `v`; its LLM runs are LoRA of
rank 128 on subsets of q, k, v, o.

`value_only` gives the LoRA config: `v_proj` by its full names where it is a module; the fused module where q, k and v
are one, whose other outputs `confine` (see `posttrain.tune.rows`) keeps at exactly zero. alpha -> `alpha`, r -> `r`.

Differs from the paper: alpha is not given there; here it is 2 r. Biases are not trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from posttrain.extras import need
from posttrain.projections import Part, Projection, attention, check_value_rows


@dataclass(frozen=True)
class ValueOnly:
    """Which values are tuned, and how."""

    update: Literal["lora", "full"] = "lora"
    """Low-rank, or the values' weights themselves."""
    rank: int = 128
    """Of LoRA (the paper's, for Qwen2.5-3B); more than a module's smaller side adds parameters and no freedom."""
    alpha: float | None = None
    """Of LoRA; 2 times the rank by default."""
    dropout: float = 0.0
    """Of LoRA's input."""
    layers: tuple[int, ...] | None = None
    """Only these layers; all by default."""
    parts: tuple[Part, ...] = ("v",)
    """Other subsets of q, k, v, o are for comparisons (see `posttrain.tune.arms`)."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Of modules, by name, where they differ from `rank`."""

    def __post_init__(self) -> None:
        if self.update not in ("lora", "full"):
            raise ValueError(f"update={self.update!r} is unknown; use 'lora' or 'full'.")
        if self.rank < 1:
            raise ValueError(f"rank={self.rank} must be at least 1; the paper uses 128.")
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha={self.alpha} must be above 0; leave it out for 2 times the rank.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1).")
        if not self.parts or any(part not in ("q", "k", "v", "o") for part in self.parts):
            raise ValueError(f"parts={self.parts} must be some of 'q', 'k', 'v', 'o'; value-only tuning has ('v',).")

    def lora(self, projections: Iterable[Projection]) -> Any:
        """The `LoraConfig` for these settings; `projections` as of `attention(model)`."""
        return low_rank(
            projections, self.parts, rank=self.rank, alpha=self.alpha, dropout=self.dropout, ranks=self.ranks
        )


def value_only(
    model: Any, *, r: int = 128, alpha: float | None = None, dropout: float = 0.0, layers: Sequence[int] | None = None
) -> Any:
    """A PEFT `LoraConfig` that reaches the values of a decoder and no other module.

    Where q, k and v are one module, call `confine(peft_model, attention(model))` once PEFT has wrapped the model;
    `ValueOnlyTrainer` does. The slices are checked on the model first (`check_value_rows`).

    Args:
        model: A decoder of transformers.
        r: Rank.
        alpha: 2 r by default.
        dropout: Of the adapter's input.
        layers: Only these; all by default.

    Raises:
        ValueError: The model's values cannot be told apart; the sentence says why.
    """
    config = ValueOnly(rank=r, alpha=alpha, dropout=dropout)
    projections = attention(model, layers)
    check_value_rows(model, projections)
    return config.lora(projections)


def low_rank(
    projections: Iterable[Projection],
    parts: Sequence[Part] = ("v",),
    *,
    rank: int = 128,
    alpha: float | None = None,
    dropout: float = 0.0,
    ranks: Mapping[str, int] | None = None,
) -> Any:
    """A `LoraConfig` for the modules that hold some parts.

    Args:
        projections: Of `attention(model)`.
        parts: Which of them.
        rank: Of each module.
        alpha: 2 times the rank by default; its ratio to the rank is the same in all modules.
        dropout: Of the adapter's input.
        ranks: Of modules, by name, where it differs.
    """
    chosen = [each for each in projections if each.part in parts]
    if not chosen:
        raise ValueError(f"None of the projections is one of {', '.join(parts)}; give attention(model).")
    names = list(dict.fromkeys(each.module for each in chosen))
    scale = (2.0 * rank if alpha is None else alpha) / rank
    other = {name: value for name, value in (ranks or {}).items() if value != rank}
    return need("peft").LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=_whole(scale * rank),
        lora_dropout=dropout,
        target_modules=names,
        rank_pattern=other,
        alpha_pattern={name: _whole(scale * value) for name, value in other.items()},
        fan_in_fan_out=all(each.transposed for each in chosen),
    )


def _whole(alpha: float) -> float:
    """An int where it is one: PEFT writes it down as such, and other readers of adapters expect it."""
    return alpha if alpha % 1 else int(alpha)
