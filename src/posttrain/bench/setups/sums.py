"""Short sums to solve and to judge, for second-order rollout."""

from __future__ import annotations

from typing import Any

from posttrain import zoo
from posttrain.bench.measures import attempt
from posttrain.bench.setups.setup import DataSet, Setup, Trained
from posttrain.rl.second_order import quality
from posttrain.tasks.critique import RIGHT, critique_rows, critique_verdict
from posttrain.tasks.critique_arithmetic import MAX_TOKENS, SumCritique, sum_verdict, sums

FORM = SumCritique()
STUDENT = "critique/start"
JUDGED = 200
"""Held-out questions whose answers are judged at the end, one right and one wrong answer each."""
SAMPLED = 10
"""Answers per question from which those are chosen, as in the paper."""
ATTEMPTS = 4


def setup() -> Setup:
    """The paper's groups of 5; 32 questions a generation, and as many pairs where pairs are judged."""
    return Setup(
        student=STUDENT,
        rows=lambda seed: sums(1000, seed=seed),
        evaluation=lambda n: {f"{k} steps": sums(n // 2, seed=1, steps=k, split="eval") for k in (2, 3)},
        verify=sum_verdict,
        max_completion=MAX_TOKENS,
        learning_rate=2e-4,
        steps=150,
        prompts=32,
        group_size=5,
        eval_every=15,
        fields={"critique_form": FORM},
        data={"critiques": _static},
        measure=_measure,
    )


def _static(seed: int) -> DataSet:
    """Pairs of the start model, made once; the data of static critique training."""
    return DataSet(_pairs(sums(1000, seed=seed), seed), critique_verdict(FORM))


def _pairs(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Critique prompts about the start model's answers, as many right ones as wrong ones."""
    from posttrain.zoo.models import load

    model, tokenizer = load(zoo.path(STUDENT))
    found = attempt(model, tokenizer, rows, sum_verdict, k=SAMPLED, max_tokens=MAX_TOKENS, seed=1000 + seed)
    return critique_rows(rows, found.texts, found.correct, FORM, seed=seed)


def _measure(trained: Trained) -> dict[str, float]:
    """Solving and judging on held-out questions; the answers to judge are the start model's, the same for all arms."""
    questions = sums(2 * JUDGED, seed=1, split="eval")
    solved = attempt(trained.model, trained.tokenizer, questions, sum_verdict, k=ATTEMPTS, max_tokens=2 * MAX_TOKENS)
    pairs = _pairs(questions, seed=1)[: 2 * JUDGED]
    judged = attempt(
        trained.model, trained.tokenizer, pairs, critique_verdict(FORM), k=ATTEMPTS, max_tokens=2 * MAX_TOKENS
    )
    verdicts = [FORM.verdict(text) for texts in judged.texts for text in texts]
    right = [pair["answer"] == RIGHT for pair in pairs for _ in range(ATTEMPTS)]
    found = {name.removeprefix("critique/"): value for name, value in quality(verdicts, right).items()}
    return {"solving": solved.accuracy, **{f"judging, {name}": value for name, value in found.items()}}
