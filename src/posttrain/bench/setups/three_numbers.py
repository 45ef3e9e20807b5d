"""UpSkill's arithmetic: combine two of three numbers into the third, asked with every strategy once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import torch

from posttrain import stats
from posttrain.bench.measures import attempt
from posttrain.bench.setups.setup import Setup, Trained
from posttrain.rl.skills import score_skills
from posttrain.rl.upskill import UpSkill, skill_information, with_skill
from posttrain.tasks.three_numbers import MAX_TOKENS, three_numbers, three_numbers_verdict

TRAIN, HELD_OUT = 266, 150
"""All prompts there are. As in the paper, training and evaluation draw from all of them."""
EVALUATED = 300
"""Prompts at the end."""
ATTEMPTS = 5
TEMPERATURES = (1.0, 1.5, 2.0, 3.0)
"""At which the control samples."""
REPEATS = 4
"""Rounds of attempts, to lessen the noise."""


def setup() -> Setup:
    """The paper's 32 prompts of 5 completions, without a KL."""
    return Setup(
        student="skills/start",
        rows=_rows,
        evaluation=lambda n: {"all prompts": _rows(1)[:n]},
        verify=three_numbers_verdict,
        max_completion=MAX_TOKENS,
        learning_rate=5e-4,
        steps=1200,
        prompts=32,
        group_size=5,
        eval_every=120,
        ask=_asked,
        measure=_measure,
        curves={"entropy": "Entropy of the policy, nats per token"},
    )


def _rows(seed: int) -> list[dict[str, Any]]:
    """All prompts, in an order of the seed's."""
    rows = three_numbers(TRAIN, seed=seed) + three_numbers(HELD_OUT, seed=seed, split="eval")
    return random.Random(seed).sample(rows, len(rows))


def _measure(trained: Trained) -> dict[str, float]:
    """Every strategy once, or plainly as often; information about the strategy in nats."""
    method = _skilled(trained.recipe)
    rows = _rows(1)[:EVALUATED]
    skills = method.skills if method else ATTEMPTS
    asked = [with_skill(r["prompt"], z, method.template) if method else r["prompt"] for r in rows for z in _z(skills)]
    answers = [row["answer"] for row in rows for _ in _z(skills)]
    texts, correct = _ask(trained, asked, answers, skills)
    expected = {
        "pass@1": stats.pass_at_k(correct, 1),
        f"pass@{skills}": _mean(lambda c: stats.pass_at_k(c, skills), _rounds(correct, skills)),
        "consensus": _mean(stats.consensus, _rounds(correct, skills)),
        "plurality": _mean(_plurality, list(zip(_rounds(texts, skills), _rounds(correct, skills), strict=True))),
        "distinct answers": _mean(lambda t: sum(len(set(x)) for x in t) / len(t), _rounds(texts, skills)),
    }
    if method is None:
        return expected | {f"pass@{skills}, best temperature": _hottest(trained, asked, answers, skills)}
    fixed = [with_skill(row["prompt"], 1, method.template) for row in rows for _ in _z(skills)]
    _, alone = _ask(trained, fixed, answers, skills)
    expected[f"pass@{skills}, one strategy"] = _mean(lambda c: stats.pass_at_k(c, skills), _rounds(alone, skills))
    return expected | _information(trained, method, rows, texts)


def _z(skills: int) -> range:
    return range(1, skills + 1)


def _skilled(recipe: Any) -> UpSkill | None:
    """The method with strategies, if the recipe has one."""
    return next((m for m in recipe.methods if isinstance(m, UpSkill) and m.skills > 1), None)


def _asked(recipe: Any, prompt: str, place: int) -> str:
    """A held-out prompt with one strategy after the other, or plainly."""
    method = _skilled(recipe)
    return with_skill(prompt, 1 + place % method.skills, method.template) if method else prompt


def _hottest(trained: Trained, prompts: list[str], answers: list[str], skills: int) -> float:
    """pass@N of plain samples at the temperature that suits it best, chosen on these very prompts."""
    found = [_ask(trained, prompts, answers, skills, temperature)[1] for temperature in TEMPERATURES]
    return max(_mean(lambda c: stats.pass_at_k(c, skills), _rounds(correct, skills)) for correct in found)


def _ask(
    trained: Trained, prompts: list[str], answers: list[str], skills: int, temperature: float = 1.0
) -> tuple[list[list[str]], list[list[float]]]:
    """Texts and verdicts, (questions, REPEATS x skills), one round of strategies after the other."""
    rows = [{"prompt": prompt, "answer": answer} for prompt, answer in zip(prompts, answers, strict=True)]
    found = attempt(
        trained.model, trained.tokenizer, rows, three_numbers_verdict, k=REPEATS, max_tokens=MAX_TOKENS,
        temperature=temperature,
    )  # fmt: skip
    questions = range(0, len(rows), skills)

    def by_round(values: list[list[Any]]) -> list[list[Any]]:
        return [list(itertools.chain(*zip(*values[q : q + skills], strict=True))) for q in questions]

    return by_round(found.texts), by_round(found.correct)


def _rounds(values: list[list[Any]], skills: int) -> list[list[list[Any]]]:
    """One (questions, skills) table per round."""
    return [[row[r * skills : (r + 1) * skills] for row in values] for r in range(REPEATS)]


def _mean(function: Callable[[Any], float], tables: list[Any]) -> float:
    return sum(map(function, tables)) / len(tables)


def _plurality(table: tuple[list[list[str]], list[list[float]]]) -> float:
    """Share of questions whose single most frequent text is right; any right expression is the truth."""
    texts, correct = table
    right = [[text for text, c in zip(*row, strict=True) if c] for row in zip(texts, correct, strict=True)]
    truths = [max(found, key=row.count, default=None) for row, found in zip(texts, right, strict=True)]
    return stats.plurality(texts, truths)


def _information(
    trained: Trained, method: UpSkill, rows: list[dict[str, Any]], texts: list[list[str]]
) -> dict[str, float]:
    """Both forms in nats, and how varied the completions are with and without the strategy known."""
    tokenizer = trained.tokenizer
    asked = [(row["prompt"], text) for row, found in zip(rows, texts, strict=True) for text in found]
    completions = [[*tokenizer.encode(text), tokenizer.eos_token_id][:MAX_TOKENS] for _, text in asked]
    scores = score_skills(
        trained.model, tokenizer, [question for question, _ in asked], completions,
        skills=method.skills, template=method.template, chunk=512,
    )  # fmt: skip
    skill = torch.tensor([z for _ in rows for _ in range(REPEATS) for z in _z(method.skills)])
    own = scores.logp[torch.arange(len(skill)), skill - 1]
    mixture = scores.logp.logsumexp(1) - torch.tensor(float(method.skills)).log()
    tokens = scores.mask.sum()
    return {
        "information, sequence": skill_information(scores.logp, skill, scores.mask, "sequence").mean().item(),
        "information, token": skill_information(scores.logp, skill, scores.mask, "token").mean().item(),
        "H(token | z)": -((own * scores.mask).sum() / tokens).item(),
        "H(token)": -((mixture * scores.mask).sum() / tokens).item(),
    }
