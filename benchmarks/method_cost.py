"""What CEEH, UpSkill and second-order rollout add to a step of GRPO, side by side on one random model.

CEEH takes turns with GRPO under the same settings. UpSkill's scoring is set against N plain forward passes over the
same rows. Second-order rollout is set against GRPO on a data set that holds questions and critique prompts of the same
lengths already, so that both generate as many tokens after the same prompts; and, for information, against GRPO on
twice as many questions, whose prompts are shorter.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers.utils import logging

from benchmarks.step_time import COMPLETION, PROMPT, ROWS, STEPS, VOCABULARY, data, model, ratio, run, trainer
from posttrain.rl import Row, Score, ceeh, grpo, second_order
from posttrain.rl.engines import scoring
from posttrain.rl.engines.rows import to_batch
from posttrain.rl.engines.trl import RecipeTrainer

SKILLS = 5
SAME: dict[str, Any] = {"clip_high": 0.28, "aggregation": "token", "kl_beta": 0.0, "spread": "none"}


def parity(completions: list[str], **_: Any) -> list[float]:
    """1 for about half of all texts, so that groups are mixed and pairs are found."""
    return [float(sum(map(ord, text)) % 2) for text in completions]


def mixed() -> Dataset:
    """As many questions as critique prompts, which quote a question and a response."""
    questions: list[str] = data()["prompt"]
    response = " ".join(f"w{i + 2}" for i in range(COMPLETION))
    return Dataset.from_list([{"prompt": p} for q in questions for p in (q, f"{q} {response}")])


@dataclass(frozen=True)
class Bare:
    """The question and the response, nothing else; a verdict by the number of words, so that both occur."""

    def prompt(self, question: str, response: str) -> str:
        return f"{question} {response}"

    def verdict(self, critique: str) -> bool | None:
        return bool(parity([critique])[0])

    def refinement(self, question: str, response: str, critique: str) -> str:
        return f"{question} {response} {critique}"


def measure(pairs: int = 7) -> dict[str, Any]:
    """The three ratios and their bounds."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    found: dict[str, list[float]] = {name: [] for name in ("grpo", "ceeh", "mixed", "double", "second")}
    second = grpo(**SAME) | second_order(critiques=8, kl_beta=0.0, critique_form=Bare())
    run(RecipeTrainer, recipe=grpo(**SAME))
    for _ in range(pairs):
        found["grpo"].append(run(RecipeTrainer, recipe=grpo(**SAME)))
        found["ceeh"].append(run(RecipeTrainer, recipe=ceeh(kl_beta=0.0)))
    for _ in range(pairs):
        found["mixed"].append(run(RecipeTrainer, prompts=4, rewards=parity, dataset=mixed(), recipe=grpo(**SAME)))
        found["second"].append(run(RecipeTrainer, rewards=parity, recipe=second))
        found["double"].append(run(RecipeTrainer, prompts=4, rewards=parity, recipe=grpo(**SAME)))
    return {
        "ceeh_over_grpo": ratio(found["ceeh"], found["grpo"]) | {"at_most": 1.05},
        "skill_scoring_over_plain": _scoring(pairs) | {"at_most": 1.1},
        "second_order_over_grpo": ratio(found["second"], found["mixed"]) | {"at_most": 1.1},
        "second_order_over_questions_alone": ratio(found["second"], found["double"]),
        "setting": f"Qwen3 of {model(0).num_parameters() / 1e6:.1f} M parameters, {ROWS} answers of {PROMPT} + "
        f"{COMPLETION} tokens, as many critiques, vocabulary {VOCABULARY}, {STEPS} steps a run, {pairs} pairs, one "
        f"thread; {SKILLS} skills",
    }


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most."""
    titles = {
        "ceeh_over_grpo": "step time, CEEH / GRPO",
        "skill_scoring_over_plain": "scoring under 5 prompts / 5 plain passes",
        "second_order_over_grpo": "step time, second order / GRPO on the same prompts",
    }
    return [(title, found[key]["median"], found[key]["at_most"]) for key, title in titles.items()]


def _scoring(pairs: int) -> dict[str, float]:
    """Scoring under N prompts in one call, over N forward passes that project the completion and keep no more."""
    with tempfile.TemporaryDirectory() as folder:
        built = trainer(RecipeTrainer, folder, recipe=grpo(**SAME))
    text = built.processing_class
    prompts: list[str] = data()["prompt"][:ROWS]
    rows = [Row(text(prompt)["input_ids"], list(range(2, 2 + COMPLETION)), 0, prompt=prompt) for prompt in prompts]
    asked = [[f"w{2 + z} {row.prompt}" for z in range(SKILLS)] for row in rows]
    score = Score("skills", prompts_of_row=lambda row: next(a for a, r in zip(asked, rows, strict=True) if r is row))
    batch = to_batch(rows, text.pad_token_id, "cpu")
    ours, plain = [], []
    for _ in range(pairs + 1):
        start = time.perf_counter()
        scoring.under_prompts(built, score, rows, batch)
        middle = time.perf_counter()
        for z in range(SKILLS):
            padded = text([a[z] for a in asked], padding=True, padding_side="left", return_tensors="pt")
            _plain(built.model, padded, batch["completion_ids"])
        ours.append(middle - start)
        plain.append(time.perf_counter() - middle)
    return ratio(ours[1:], plain[1:])


@torch.no_grad()
def _plain(model: Any, prompts: Any, completions: torch.Tensor) -> torch.Tensor:
    """Log-probabilities as one would write them by hand, on the completion's positions alone."""
    ids = torch.cat([prompts["input_ids"], completions], dim=1)
    mask = torch.cat([prompts["attention_mask"], torch.ones_like(completions)], dim=1)
    out = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=COMPLETION + 1)
    return out.logits[:, :-1].log_softmax(-1).gather(-1, completions.unsqueeze(-1)).squeeze(-1)
