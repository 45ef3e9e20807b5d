"""Tuning that keeps what a model has: the values of attention alone, and reports of what was forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posttrain.lazy import exports

if TYPE_CHECKING:
    from posttrain.tune.arms import Arm, Sweep, Swept, equal_arms, sweep
    from posttrain.tune.few_shot import FewShot, with_examples
    from posttrain.tune.rows import check_confined, close_rows, confine, merge, open_rows
    from posttrain.tune.scoring import AnswerScorer
    from posttrain.tune.trainer import ValueOnlyTrainer
    from posttrain.tune.values import ValueOnly, low_rank, value_only

__getattr__ = exports(
    __name__,
    {
        "arms": ("Arm", "Sweep", "Swept", "equal_arms", "sweep"),
        "few_shot": ("FewShot", "with_examples"),
        "rows": ("check_confined", "close_rows", "confine", "merge", "open_rows"),
        "scoring": ("AnswerScorer",),
        "trainer": ("ValueOnlyTrainer",),
        "values": ("ValueOnly", "low_rank", "value_only"),
    },
)

__all__ = [
    "AnswerScorer",
    "Arm",
    "FewShot",
    "Sweep",
    "Swept",
    "ValueOnly",
    "ValueOnlyTrainer",
    "check_confined",
    "close_rows",
    "confine",
    "equal_arms",
    "low_rank",
    "merge",
    "open_rows",
    "sweep",
    "value_only",
    "with_examples",
]
