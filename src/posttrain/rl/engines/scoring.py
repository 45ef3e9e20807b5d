"""Log-probabilities of completions under another model or under other prompts, for TRL. No logits are kept.

On an accelerator TRL's fused head projects tile by tile. On a CPU it would project every prompt position as well, so
there the plain head is used on the completion alone, a chunk of rows at a time.

Axes: B rows, C completion tokens, N prompts, P prompt tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from trl.trainer.utils import selective_log_softmax

from posttrain.rl.batch import Row
from posttrain.rl.method import Score
from posttrain.rl.tokens import left_padded
from posttrain.tasks.evaluate import evaluating

if TYPE_CHECKING:
    from posttrain.rl.engines.trl import RecipeTrainer


def under_model(trainer: RecipeTrainer, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """(B, C) log-probabilities of a batch's completions, by the fused head in row chunks."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        return trainer.stock_logps(model, ids, mask, batch["completion_ids"].size(1), chunk_of(trainer))


@torch.no_grad()
def under_prompts(trainer: RecipeTrainer, score: Score, rows: Sequence[Row], batch: Mapping[str, Tensor]) -> Tensor:
    """(B, N, C) log-probabilities of the rows' completions under each row's N prompts; NaN in rows not asked for."""
    assert score.prompts_of_row is not None
    if score.rows is not None:
        wanted = torch.tensor([score.rows(row) for row in rows], device=batch["completion_ids"].device)
        some = [row for row, is_wanted in zip(rows, wanted.tolist(), strict=True) if is_wanted]
        if not some:
            return torch.full_like(batch["completion_ids"], torch.nan, dtype=torch.float32).unsqueeze(1)
        part = {key: batch[key][wanted] for key in ("completion_ids", "completion_mask")}
        found = under_prompts(trainer, replace(score, rows=None), some, part)
        out = found.new_full((len(rows), *found.shape[1:]), torch.nan)
        out[wanted] = found
        return out
    prompts = [score.prompts_of_row(row) for row in rows]
    numbers = {len(alternatives) for alternatives in prompts}
    if len(numbers) != 1 or 0 in numbers:
        raise ValueError(
            f"The score {score.name!r} gave {sorted(numbers)} prompts per row; give every row equally many, at least 1."
        )
    number = numbers.pop()
    encoded = trainer.hook_sampler.encode_all([alternatives[n] for n in range(number) for alternatives in prompts])
    device = batch["completion_ids"].device
    prompt_ids, prompt_mask = left_padded(encoded, trainer.pad_id, device)
    ids = torch.cat([prompt_ids, batch["completion_ids"].repeat(number, 1)], dim=1)
    mask = torch.cat([prompt_mask, batch["completion_mask"].repeat(number, 1)], dim=1)
    width = batch["completion_ids"].size(1)
    model, chunk = trainer.teachers.get(score.name, trainer.model), chunk_of(trainer)
    with evaluating(model):
        if device.type == "cpu":
            found = plain(model, ids, mask, width, temperature=trainer.temperature, chunk=chunk)
        else:
            found = trainer.stock_logps(model, ids, mask, width, chunk)
    seen = batch["completion_mask"].repeat(number, 1).bool()
    return torch.where(seen, found, 0.0).view(number, len(rows), width).transpose(0, 1)


@torch.no_grad()
def plain(model: Any, ids: Tensor, mask: Tensor, width: int, *, temperature: float, chunk: int) -> Tensor:
    """(B, C) log-probabilities of the last `width` ids; the logits of one chunk of rows exist at a time."""
    found = []
    for part, seen in zip(ids.split(chunk), mask.split(chunk), strict=True):
        out = model(input_ids=part, attention_mask=seen, logits_to_keep=width + 1, use_cache=False)
        logits = out.logits[:, :-1].float() / temperature
        found.append(selective_log_softmax(logits, part[:, -width:]))
    return torch.cat(found)


def chunk_of(trainer: RecipeTrainer) -> int:
    """Rows per forward pass."""
    args = trainer.args
    return args.per_device_train_batch_size if trainer.model.training else args.per_device_eval_batch_size
