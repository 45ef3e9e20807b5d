"""Scoring costs no (rows x tokens x vocabulary) logits: a teacher's head works in tiles, other prompts in chunks."""

import torch
from datasets import Dataset
from torch.utils._python_dispatch import TorchDispatchMode
from trl.kernels import chunked_logprob

import tiny
from engines import runs
from posttrain.rl import Row, rlad, upskill
from posttrain.rl.engines import scoring
from posttrain.rl.engines.trl import RecipeTrainer

ROWS, TOKENS, VOCABULARY = 8, 48, 5000


class Largest(TorchDispatchMode):
    """The most elements that any tensor with a vocabulary axis had."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor) and VOCABULARY in tensor.shape and 32 not in tensor.shape:
                self.elements = max(self.elements, tensor.numel())
        return out


def sampled():
    """A batch as TRL makes it."""
    torch.manual_seed(0)
    ids = torch.randint(0, 20, (ROWS, TOKENS + 3))
    ones = torch.ones_like(ids)
    return {
        "prompt_ids": ids[:, :3], "prompt_mask": ones[:, :3],
        "completion_ids": ids[:, 3:], "completion_mask": ones[:, 3:],
    }  # fmt: skip


def test_scoring_never_holds_logits_of_all_tokens(tmp_path, monkeypatch):
    """TRL's tiles are 4096 tokens long; with 64 they show on a small batch."""
    monkeypatch.setattr(chunked_logprob, "TOKEN_CHUNK_SIZE", 64)
    teacher = tiny.model(7, vocab=VOCABULARY, hidden=32)
    batch = sampled()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    with Largest() as plain, torch.no_grad():
        logps = teacher(ids).logits.log_softmax(-1)
    expected = logps[:, 2:-1].gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
    assert plain.elements >= ROWS * TOKENS * VOCABULARY, "the watch sees nothing"

    trainer = RecipeTrainer(
        tiny.model(0, vocab=VOCABULARY, hidden=32), tiny.early_letters, runs.config(tmp_path),
        recipe=rlad(teacher), train_dataset=Dataset.from_list(tiny.rows()), processing_class=tiny.tokenizer(),
    )  # fmt: skip
    with Largest() as watch:
        scored = scoring.under_model(trainer, trainer.teachers["teacher"], batch)
    torch.testing.assert_close(scored, expected, atol=1e-5, rtol=1e-5)
    assert watch.elements == 64 * VOCABULARY < ROWS * TOKENS * VOCABULARY / 2


def test_other_prompts_hold_logits_of_one_chunk_of_rows(tmp_path):
    """Eight rows under three prompts are 24; two of them and the completion alone have logits at a time."""
    trainer = runs.trainer(
        tmp_path, upskill(**(runs.SKILLS | {"skills": 3})), model=tiny.model(0, vocab=VOCABULARY, hidden=32),
        num_generations=3, per_device_train_batch_size=2, gradient_accumulation_steps=3,
    )  # fmt: skip
    batch = sampled()
    rows = [Row([0], ids.tolist(), 0, prompt="abcdefgh", skill=1) for ids in batch["completion_ids"]]
    (score,) = trainer.recipe.scores()
    trainer.model.train()
    with Largest() as watch:
        found = scoring.under_prompts(trainer, score, rows, batch)
    assert found.shape == (ROWS, 3, TOKENS)
    assert 2 * TOKENS * VOCABULARY <= watch.elements <= 2 * (TOKENS + 1) * VOCABULARY
