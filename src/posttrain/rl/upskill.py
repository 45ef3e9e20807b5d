"""UpSkill: strategies that can be told apart, by mutual information (Shah et al. 2026, arXiv:2602.22296).

A prompt says which of N strategies to use, and a completion is rewarded for being likelier under its own strategy
than under all of them together. After training one asks with every strategy once: pass@N rises, pass@1 may fall.

    r = r_corr - beta KL + alpha_1 r_MI(tau; x, z)                                              (total reward)
    r_TMI = sum_t log p(y_t | x, z, y_<t) - log (1/N) sum_z' p(y_t | x, z', y_<t)               (token form)
    r_seq = log p(tau | x, z) - log (1/N) sum_z' p(tau | x, z')                                 (sequence form)

The paper prints the token form; its released code trains with the sequence form. E[r_seq] is I(tau; z | x), and no
value is above log N. E[r_TMI] is at least I, because its mixture forgets what y_<t already says about z; it can
exceed log N and is bounded by T log N. Either is 0 for a model that ignores z, so the reward starts as a plateau.
Symbols: N -> `skills`, z -> `Row.skill` (from 1), alpha_1 -> `weight`, beta -> `kl_beta`, r_corr -> the rewards of the
task, p -> `Row.scores["skills"]`, (N, T) log-probabilities of a row's tokens under the N prompts; all in nats.

Differs from the paper: r_MI is clipped to [-cap, cap] before it is weighted; the arithmetic code clips the weighted
value, in which its alpha 0.5 and cap 1 are ours of 0.5 and 2, and the GSM8K code does not clip (`cap=math.inf`). Rows
are scored under the prompts, chat template and temperature that they were sampled with; the GSM8K code scores without
chat template and system prompt, and the arithmetic code at another temperature, so that their estimate can be negative
on average. r_corr is the task's, commonly 0 or 1; the GSM8K code gives +1 and -1. Its groups of 6 out of 30 completions
of a question hold strategies unevenly; here a group holds each equally often, or one strategy alone (`group="skill"`,
as in the arithmetic code). GSM8K's advantages are divided by the sample deviation, ours by the population's; the KL is
a term of the loss, as in TRL, not of the reward. Left out: the semantic reward, which is one number per batch and so
gives no advantage, the mixture KL, and separate weights for the two logarithms.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from posttrain.rl.batch import Credit, Row, Sampler, Table, Task
from posttrain.rl.grpo import answer
from posttrain.rl.math import group_advantages
from posttrain.rl.method import Method, Score, Settings

Form = Literal["token", "sequence"]
TEMPLATE = "Strategy {z} | {question}"


def token_information(skill_logp: Tensor, skill: Tensor, mask: Tensor) -> Tensor:
    """Log p(y_t | z) - log (1/N) sum_z' p(y_t | z') at each token, in nats; 0 where the mask is.

    Args:
        skill_logp: (..., N, T) log-probabilities of the tokens under every skill.
        skill: (...) long, from 1: the skill they were sampled with.
        mask: (..., T) 1 for a token that counts, else 0.

    Returns:
        (..., T) in float32 or wider.
    """
    return _information(_gaps(skill_logp, skill, mask))


def skill_information(skill_logp: Tensor, skill: Tensor, mask: Tensor, form: Form = "token") -> Tensor:
    """r_TMI or r_seq: how much a completion says about its skill, in nats, unclipped and unweighted.

    Args:
        skill_logp: (B, N, T), or (N, T) for one row.
        skill: (B,) long, from 1; () for one row.
        mask: (B, T) 1 for a token that counts, else 0; (T,) for one row.
        form: `token` mixes the skills anew at every token, `sequence` mixes whole completions.

    Returns:
        (B,), or () for one row, in float32 or wider.
    """
    gaps = _gaps(skill_logp, skill, mask)
    if form == "sequence":
        return _information(gaps.sum(-1, keepdim=True)).squeeze(-1)
    if form == "token":
        return _information(gaps).sum(-1)
    raise ValueError(f"form={form!r} is unknown; use 'token' or 'sequence'.")


def _gaps(skill_logp: Tensor, skill: Tensor, mask: Tensor) -> Tensor:
    """Log p(y_t | z') - log p(y_t | z), (..., N, T): small even where a sequence's log-probability is -300."""
    number = skill_logp.shape[-2]
    if bool(((skill < 1) | (skill > number)).any()):
        raise ValueError(f"A skill lies outside 1 to {number}, the number of prompts scored; count skills from 1.")
    wide = skill_logp.to(torch.promote_types(skill_logp.dtype, torch.float32))
    place = (skill.long() - 1)[..., None, None].expand(*skill.shape, 1, wide.shape[-1])
    return torch.where(mask.bool().unsqueeze(-2), wide - wide.gather(-2, place), 0.0)


def _information(gaps: Tensor) -> Tensor:
    """Log N - log sum_z' exp(gap), (..., T); the same kernel gives log N, so that gaps of 0 give exactly 0."""
    return torch.zeros_like(gaps).logsumexp(-2) - gaps.logsumexp(-2)


def check_template(template: str) -> None:
    """Raise unless a template has the fields {z} and {question} and no other."""
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError:
        found = set[str]()
    if found != {"z", "question"}:
        raise ValueError(
            f"template={template!r} must have the fields {{z}} and {{question}}; the paper's is {TEMPLATE!r}."
        )


def with_skill(prompt: Any, z: int, template: str = TEMPLATE) -> Any:
    """The prompt that asks for skill z: text in the template, or messages whose last user message is in it."""
    if isinstance(prompt, str):
        return template.format(z=z, question=prompt)
    if not all(isinstance(message, dict) for message in prompt):
        raise ValueError("A skill is named in text, but this prompt is token ids; give text or messages.")
    place = max((i for i, message in enumerate(prompt) if message["role"] == "user"), default=None)
    if place is None or not isinstance(prompt[place]["content"], str):
        raise ValueError("A skill is named in the last user message, but this prompt has none of plain text; add one.")
    asked = {**prompt[place], "content": template.format(z=z, question=prompt[place]["content"])}
    return [*prompt[:place], asked, *prompt[place + 1 :]]


@dataclass(frozen=True)
class UpSkill(Method):
    """A reward for completions that tell which skill they were asked for."""

    name = "upskill"
    paper = "Shah et al. 2026, arXiv:2602.22296"

    skills: int = 5
    """N; 1 names no skill and changes nothing but the KL."""
    form: Form = "token"
    """The printed reward, or `sequence`, which the released code trains with."""
    weight: float = 0.5
    """alpha_1 (arithmetic: 0.5 and 1; GSM8K: 5, and 1 for Llama). With `cap` 2 it adds at most 1 to a reward."""
    cap: float = 2.0
    """Bound on |r_MI| of a completion in nats, before the weight (arithmetic: 2, as 1 after it; GSM8K: none)."""
    kl_beta: float | None = 0.04
    """Weight of the k3 KL to the reference policy (GSM8K: TRL's default; arithmetic: 0); None leaves it open."""
    group: Literal["question", "skill"] = "question"
    """Compare all completions of a question, or only those of one skill, without a deviation (arithmetic)."""
    template: str = TEMPLATE
    """How a prompt names a skill."""

    def __post_init__(self) -> None:
        _ = self.settings
        check_template(self.template)
        if self.skills < 1:
            raise ValueError(f"skills={self.skills} must be at least 1; the paper uses 5, and 1 names none.")
        if self.form not in ("token", "sequence"):
            raise ValueError(f"form={self.form!r} is unknown; use 'token' or 'sequence'.")
        if self.group not in ("question", "skill"):
            raise ValueError(f"group={self.group!r} is unknown; use 'question' or 'skill'.")
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight={self.weight} must be finite and not negative; the paper uses 0.5 to 5.")
        if not self.cap > 0:
            raise ValueError(f"cap={self.cap} must be above 0 nats; math.inf does not clip.")

    def fills(self, hook: str) -> bool:
        """Nothing with one skill; credit only with `group="skill"`, so that it stays free for another method."""
        return super().fills(hook) and self.skills > 1 and (hook != "credit" or self.group == "skill")

    @property
    def settings(self) -> Settings:
        """The KL."""
        return Settings(kl_beta=self.kl_beta)

    def check_group_size(self, size: int) -> None:
        """Raise unless a group of this size can hold every skill equally often."""
        least = 2 * self.skills if self.group == "skill" else self.skills
        if self.skills > 1 and (size % self.skills or size < least):
            often = "equally often" if self.group == "question" else "equally often and at least twice"
            raise ValueError(
                f"group_size={size} cannot hold each of {self.skills} skills {often}; use a multiple of {self.skills}, "
                f"such as {max(least, -(-size // self.skills) * self.skills)}, or change skills."
            )

    def scores(self) -> Sequence[Score]:
        """The policy's own log-probabilities under every skill."""
        return (Score("skills", prompts_of_row=self.prompts_of_row),) if self.skills > 1 else ()

    def prompts_of_row(self, row: Row) -> list[Any]:
        """A row's question under each of the N skills; N times its own prompt where it has no skill."""
        if row.skill == 0:
            return [row.prompt_ids] * self.skills
        return [with_skill(row.prompt, z, self.template) for z in range(1, self.skills + 1)]

    async def rollout(self, tasks: Sequence[Task], sampler: Sampler, state: Any) -> list[Row]:
        """One completion per task; a task's skill follows from its place among the rows of all ranks.

        `Row.prompt` stays the plain question; `Row.prompt_ids` name the skill.
        """
        skills = [1 + task.index % self.skills for task in tasks]
        prompts = [
            sampler.encode(with_skill(task.prompt, z, self.template)) for task, z in zip(tasks, skills, strict=True)
        ]
        return await answer(tasks, prompts, sampler, skills)

    async def reward(self, rows: Sequence[Row]) -> list[float]:
        """alpha_1 clip(r_MI); 0 for rows without a skill."""
        told = [i for i, row in enumerate(rows) if row.skill and not row.extra]
        rewards = [0.0] * len(rows)
        found = self.information([rows[i] for i in told], self.form).clamp(-self.cap, self.cap)
        for i, value in zip(told, found.tolist(), strict=True):
            rewards[i] = self.weight * value
        return rewards

    def diagnose_rows(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        """r_TMI and r_seq in nats, unclipped, the trained one per token, and the share that is clipped."""
        told = [row for row in rows if row.skill and not row.extra]
        if self.skills == 1 or not told:
            return {}
        token, sequence = (self.information(told, form) for form in ("token", "sequence"))
        trained = token if self.form == "token" else sequence
        lengths = trained.new_tensor([max(len(row.ids), 1) for row in told])
        return {
            "skill/information_token": token.tolist(),
            "skill/information_sequence": sequence.tolist(),
            "skill/information_per_token": (trained / lengths).tolist(),
            "skill/clipped": (trained.abs() > self.cap).float().tolist(),
        }

    def information(self, rows: Sequence[Row], form: Form) -> Tensor:
        """r_TMI or r_seq of rows that have a skill, (B,) in nats."""
        if not rows:
            return torch.zeros(0)
        if any("skills" not in row.scores for row in rows):
            raise ValueError("upskill needs a row's score 'skills', which this engine gave none of; set Row.scores.")
        logp = pad_sequence([row.scores["skills"].T for row in rows], batch_first=True).transpose(1, 2)
        mask = pad_sequence([torch.ones(len(row.ids)) for row in rows], batch_first=True).to(logp.device)
        skill = torch.tensor([row.skill for row in rows], device=logp.device)
        return skill_information(logp, skill, mask, form)

    def credit(self, table: Table, state: Any) -> Credit:
        """Rewards minus the mean of those of the same question and skill, (B,); in force with `group="skill"`."""
        skill = torch.zeros_like(table.group) if table.skill is None else table.skill
        return Credit(group_advantages(table.rewards, table.group * (self.skills + 1) + skill, spread="none"))
