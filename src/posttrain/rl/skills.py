"""Use of a model trained with UpSkill: ask with every skill once, and measure how far apart the skills are.

Works on what transformers' causal language models and tokenizers offer; rows are padded on the left.
Axes: B completions, N skills, T completion tokens. All log-probabilities are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posttrain.rl.tokens import cut, left_padded
from posttrain.rl.upskill import TEMPLATE, check_template, with_skill
from posttrain.tasks.evaluate import evaluating


class Attempt(NamedTuple):
    """One completion and the skill it was asked for."""

    skill: int
    """From 1; 0 for none."""
    text: str
    """Without special tokens."""
    ids: list[int]
    """(T,) with the end token, where there is one."""


class SkillScores(NamedTuple):
    """What `skill_information` takes."""

    logp: Tensor
    """(B, N, T) log-probabilities of the completions' tokens under every skill, 0 behind their end."""
    mask: Tensor
    """(B, T) 1 on completion tokens."""


@torch.no_grad()
def sample_skills(
    model: Any,
    tokenizer: Any,
    question: Any,
    k: int,
    *,
    skills: int | Sequence[int] = 5,
    template: str = TEMPLATE,
    max_new_tokens: int,
    temperature: float = 0.7,
    top_p: float = 0.9,
    seed: int = 0,
) -> list[Attempt]:
    """Answer a question k times, with one skill after the other; all in one batch.

    Args:
        model: The trained model.
        tokenizer: Its tokenizer, with a padding token.
        question: Text, or messages for a tokenizer with a chat template; without the skill.
        k: Attempts. Beyond the number of skills it starts again with the first.
        skills: N for 1 to N, or the skills to use; 1 names none, which is the control without skills.
        template: As in training.
        max_new_tokens: Longest completion.
        temperature: Of the sampling (paper: 0.7); 0 takes the likeliest tokens.
        top_p: Share of the probability to sample from (paper: 0.9).
        seed: Of the sampling; torch's own random state is left as it was.
    """
    check_template(template)
    chosen = _chosen(skills)
    if k < 1 or not chosen:
        raise ValueError(f"k={k} attempts with the skills {chosen} leave nothing to ask; give at least one of each.")
    asked = [chosen[i % len(chosen)] for i in range(k)]
    prompts = [encode(tokenizer, with_skill(question, z, template) if z else question) for z in asked]
    ids, attention = left_padded(prompts, tokenizer.pad_token_id, _device(model))
    how = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        how = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    with evaluating(model), torch.random.fork_rng([ids.device] if ids.device.type == "cuda" else []):
        torch.manual_seed(seed)
        out = model.generate(input_ids=ids, attention_mask=attention, max_new_tokens=max_new_tokens, **how)
    ends = _end_tokens(model, tokenizer)
    found = [cut(row, ends).ids for row in out[:, ids.shape[1] :].tolist()]
    texts = tokenizer.batch_decode(found, skip_special_tokens=True)
    return [Attempt(*attempt) for attempt in zip(asked, texts, found, strict=True)]


@torch.no_grad()
def score_skills(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Any],
    completions: Sequence[Sequence[int]],
    *,
    skills: int = 5,
    template: str = TEMPLATE,
    temperature: float = 1.0,
    chunk: int = 8,
) -> SkillScores:
    """Log-probabilities of completions under every skill; the logits of one chunk exist at a time.

    Args:
        model: The trained model.
        tokenizer: Its tokenizer, with a padding token.
        questions: B questions as text or messages, without the skill.
        completions: B lists of token ids, none of them empty.
        skills: N.
        template: As in training.
        temperature: That the completions were sampled with.
        chunk: Rows per forward pass.
    """
    check_template(template)
    if skills < 1:
        raise ValueError(f"skills={skills} leaves nothing to score under; give the number used in training (paper: 5).")
    if len(questions) != len(completions):
        raise ValueError(f"There are {len(questions)} questions and {len(completions)} completions; give one each.")
    if not completions or not all(completions):
        raise ValueError("There is no completion, or an empty one; give at least one token each.")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above 0; a greedy choice has no log-probability.")
    prompts = [
        encode(tokenizer, with_skill(question, z, template)) for question in questions for z in range(1, skills + 1)
    ]
    rows = [list(completion) for completion in completions for _ in range(skills)]
    longest = max(map(len, rows))
    logp = torch.zeros(len(rows), longest)
    with evaluating(model):
        for first in range(0, len(rows), chunk):
            part = slice(first, first + chunk)
            for row, found in enumerate(_score(model, tokenizer, prompts[part], rows[part], temperature), first):
                logp[row, : len(found)] = found
    mask = torch.tensor([[float(t < len(completion)) for t in range(longest)] for completion in completions])
    return SkillScores(logp.view(len(completions), skills, longest), mask)


def encode(tokenizer: Any, prompt: Any) -> list[int]:
    """Token ids of a prompt as in training: text by the tokenizer, messages through its chat template."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    if tokenizer.chat_template is None:
        raise ValueError("The question is messages, but the tokenizer has no chat template; give text, or set one.")
    return tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)[
        "input_ids"
    ]


def _chosen(skills: int | Sequence[int]) -> list[int]:
    """The skills to go through; 0 stands for none."""
    if isinstance(skills, int):
        return [0] if skills == 1 else list(range(1, skills + 1))
    return list(skills)


def _score(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], completions: Sequence[list[int]], temperature: float
) -> list[Tensor]:
    """Log-probabilities of each completion's tokens under its prompt, (T,) each, from one forward pass."""
    together = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    ids, attention = left_padded(together, tokenizer.pad_token_id, _device(model))
    width = max(map(len, completions))
    position = (attention.cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=position,
        logits_to_keep=width + 1,
        use_cache=False,
    )
    logits = out.logits[:, :-1].float() / temperature
    taken = logits.gather(-1, ids[:, -width:].unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
    return [row[-len(completion) :].cpu() for row, completion in zip(taken, completions, strict=True)]


def _device(model: Any) -> torch.device:
    """Where a model's weights are."""
    return next(model.parameters()).device


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The ids that end a completion."""
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return set(ends) if isinstance(ends, list) else {ends}
