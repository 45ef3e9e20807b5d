"""The credit table over all processes: the answers of every process, then the extra rows of every process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional

from posttrain.rl.batch import Row, Table


def with_extra(table: Table, extra: Sequence[Row], rewards: Sequence[float]) -> tuple[Table, list[int]]:
    """The table with the extra rows of all processes, and how many each process has.

    Args:
        table: Of the answers.
        extra: This process's rows.
        rewards: One per extra row; NaN where unscored.
    """
    counts: list[int] = gather_object([len(extra)])
    records = gather_object([(row, reward) for row, reward in zip(map(_light, extra), rewards, strict=True)])
    return table.with_extra([row for row, _ in records], [reward for _, reward in records]), counts


def own(values: Tensor, answers: int, counts: Sequence[int], rank: int, rows: int) -> Tensor:
    """This process's part of a column over all rows, 0 in the rows it was filled up with.

    Args:
        values: (B,) over all processes.
        answers: Answers per process.
        counts: Extra rows of each process.
        rank: This process.
        rows: Rows of this process's batch.
    """
    first = answers * len(counts) + sum(counts[:rank])
    mine = torch.cat([values[rank * answers : (rank + 1) * answers], values[first : first + counts[rank]]])
    return functional.pad(mine, (0, rows - len(mine)))


def _light(row: Row) -> Row:
    """A row without what other processes do not need."""
    return replace(row, prompt_ids=[], scores={})
