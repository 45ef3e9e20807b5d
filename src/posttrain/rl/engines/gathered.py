"""The credit table over all processes: the answers of every process, then the extra rows of every process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional

from posttrain.rl.batch import Row, Table
from posttrain.rl.turns import Unrolled, spread


def with_extra(table: Table, extra: Sequence[Row], rewards: Sequence[float]) -> tuple[Table, list[int]]:
    """The table with the extra rows of all processes, and how many each process has.

    Args:
        table: Of the answers.
        extra: This process's rows.
        rewards: One per extra row; NaN where unscored.
    """
    counts: list[int] = gather_object([len(extra)])
    texts = table.prompts is not None
    found = gather_object(
        [(_light(row, texts=texts), reward, len(row.ids)) for row, reward in zip(extra, rewards, strict=True)]
    )
    rows, values, lengths = ([record[i] for record in found] for i in range(3))
    return table.with_extra(rows, values, lengths), counts


def own(
    values: Tensor, answers: Unrolled, tasks: int, counts: Sequence[int], rank: int, shape: tuple[int, int]
) -> Tensor:
    """This process's part of a column over all rows, 0 in the rows it was filled up with.

    Args:
        values: (B,) over the tasks and the extra rows of all processes, or (B, K) with one per turn of an episode.
        answers: This process's rows that answer tasks.
        tasks: Per process.
        counts: Extra rows of each process.
        rank: This process.
        shape: Rows and tokens of this process's batch.

    Returns:
        (rows,), or (rows, tokens) where a row holds several turns.
    """
    first = tasks * len(counts) + sum(counts[:rank])
    mine = spread(values[rank * tasks : (rank + 1) * tasks], answers, shape[1])
    if counts[rank]:
        mine = torch.cat([mine, values[first : first + counts[rank]]])
    return functional.pad(mine, (*[0, 0] * (mine.dim() - 1), 0, shape[0] - len(mine)))


def _light(row: Row, *, texts: bool) -> Row:
    """A row with what a table needs of it: its group, key, notes and, where asked for, texts."""
    prompt, completion = (row.prompt, row.completion) if texts else (None, None)
    return Row([], [], row.group, {"id": row.key}, prompt, completion, extra=True, joins=row.joins, notes=row.notes)
