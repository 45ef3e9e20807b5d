"""Step time of RecipeTrainer beside GRPOTrainer, and of RLAD beside GRPO plus one teacher forward.

The two trainers take turns, A B A B ..., one process, one thread. A ratio is taken for each pair; the median is the
figure. Wall time of whole training runs is measured, generation included.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from posttrain.rl import engine_default, grpo, rlad
from posttrain.rl.engines.trl import RecipeTrainer

VOCABULARY, ROWS, PROMPT, COMPLETION, STEPS = 4096, 16, 32, 48, 4


def measure(pairs: int = 9) -> dict[str, Any]:
    """The two ratios and what bounds the second."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    teacher = model(1)
    stock, ours, plain, distilled = [], [], [], []
    run(GRPOTrainer)
    for _ in range(pairs):
        stock.append(run(GRPOTrainer))
        ours.append(run(RecipeTrainer, recipe=engine_default()))
    for _ in range(pairs):
        plain.append(run(RecipeTrainer, recipe=grpo()))
        distilled.append(run(RecipeTrainer, recipe=rlad(teacher, alpha=1.0, clip_high=0.2)))
    forward = statistics.median(_teacher_forward() for _ in range(pairs))
    step = statistics.median(plain) / STEPS
    return {
        "recipe_over_stock": ratio(ours, stock) | {"at_most": 1.05},
        "rlad_over_grpo": ratio(distilled, plain) | {"at_most": round(1 + forward / step + 0.05, 4)},
        "teacher_forward_over_step": round(forward / step, 4),
        "step_seconds": round(step, 4),
        "setting": f"Qwen3 of {model(0).num_parameters() / 1e6:.1f} M parameters, {ROWS} rows of {PROMPT} + "
        f"{COMPLETION} tokens, vocabulary {VOCABULARY}, {STEPS} steps a run, {pairs} pairs, one thread",
    }


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most."""
    titles = {
        "recipe_over_stock": "step time, RecipeTrainer / GRPOTrainer",
        "rlad_over_grpo": "step time, RLAD / GRPO",
    }
    return [(title, found[key]["median"], found[key]["at_most"]) for key, title in titles.items()]


def ratio(first: list[float], second: list[float]) -> dict[str, float]:
    """Median and range of the ratios of pairs."""
    ratios = sorted(a / b for a, b in zip(first, second, strict=True))
    return {"median": round(statistics.median(ratios), 4), "low": round(ratios[0], 4), "high": round(ratios[-1], 4)}


def model(seed: int) -> Qwen3ForCausalLM:
    """A random Qwen3."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY, hidden_size=192, intermediate_size=576, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, head_dim=48, eos_token_id=1, pad_token_id=0, bos_token_id=None,
        )
    )  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """One word is one token."""
    core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="w0", eos_token="w1")


def data() -> Dataset:
    """64 prompts of equal length."""
    rows = [{"prompt": " ".join(f"w{(17 * i + 31 * j) % 4000 + 2}" for j in range(PROMPT))} for i in range(64)]
    return Dataset.from_list(rows)


def _reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [sum(i % 2 for i in ids) / len(ids) for ids in completion_ids]


def trainer(
    cls: Any, folder: str, *, prompts: int = 2, group: int = 8, rewards: Any = None, dataset: Any = None, **recipe: Any
) -> Any:
    """A trainer on a few prompts a step, whose completions all have the same length."""
    args = GRPOConfig(
        folder, per_device_train_batch_size=prompts * group, num_generations=group, max_completion_length=COMPLETION,
        max_steps=STEPS, learning_rate=1e-5, report_to=[], disable_tqdm=True, use_cpu=True, bf16=False,
        save_strategy="no", seed=0, generation_kwargs={"min_new_tokens": COMPLETION},
    )  # fmt: skip
    return cls(
        model(0), rewards or _reward, args, train_dataset=dataset or data(), processing_class=tokenizer(), **recipe,
    )  # fmt: skip


def run(cls: Any, **options: Any) -> float:
    """Seconds of one training run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        built = trainer(cls, folder, **options)
        start = time.perf_counter()
        built.train()
        return time.perf_counter() - start


def _teacher_forward() -> float:
    """Seconds of one no-grad fused forward of the teacher on a step's rows, timed on its own."""
    from trl.trainer import add_fused_lm_head

    teacher = model(1).eval()
    add_fused_lm_head(teacher)
    ids = torch.randint(2, VOCABULARY, (ROWS, PROMPT + COMPLETION))
    labels = ids.clone()
    labels[:, :PROMPT] = -100
    with torch.no_grad():
        start = time.perf_counter()
        teacher(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True)
        return time.perf_counter() - start
