"""The recipes that every test of the matrix must pass, random micro-batches, and a slow loss to compare with.

`slow_loss` is written from the papers' equations, token by token in Python floats, and shares no code with
the package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from posttrain.rl import (
    Live,
    Normalizer,
    Recipe,
    c_rl,
    ceeh,
    engine_default,
    entropy_bonus,
    grpo,
    kdrl,
    lc_r1,
    length_penalty,
    opd,
    policy_loss,
    rlad,
    second_order,
    upskill,
)

TEACHER = "the teacher"


@dataclass(frozen=True)
class Equations:
    """What a recipe should compute, as numbers of the papers."""

    ratio: str = "grpo"  # or "rlad"
    alpha: float = 1.0
    clamp: float = 1.0
    literal: bool = False
    arithmetic: bool = False
    ratio_mask_end: bool = False
    low: float = 0.2
    high: float = 0.2
    dual: float = math.inf
    token_mean: bool = False
    reference: float = 0.0  # beta of the KL to the reference
    teacher: float = 0.0  # beta of the KL to the teacher
    k3: bool = False
    keep: str = "all"
    teacher_mask_end: bool = False
    explore: str = "none"  # what hard rows do: "EA" in the advantage, "ME" in the loss
    everywhere: bool = False  # all rows are hard
    alpha_entropy: float = 0.4  # EA's alpha
    kappa: float = 2.0
    entropy: float = 0.0  # weight of the entropy in the loss, at STEP
    hard_weight: float = 1.0  # how many times that on hard rows


class Case(NamedTuple):
    recipe: Recipe
    equations: Equations


STEP = 30  # at which the random micro-batches stand, so that annealing is visible
RLAD = Equations(ratio="rlad", alpha=0.5, high=0.28)
KD = Equations(teacher=0.2, token_mean=True)
CEEH = Equations(high=0.28, token_mean=True, reference=0.001)

CASES = {
    "grpo": Case(grpo(), Equations()),
    "grpo_kl": Case(grpo(kl_beta=0.05), Equations(reference=0.05)),
    "grpo_dual": Case(grpo(dual_clip=1.5), Equations(dual=1.5)),
    "dapo": Case(grpo(clip_high=0.28, aggregation="token"), Equations(high=0.28, token_mean=True)),
    "dr_grpo": Case(grpo(spread="none", aggregation="token"), Equations(token_mean=True)),
    "engine_default": Case(engine_default(), Equations(token_mean=True)),
    "opd": Case(opd(TEACHER), Equations(teacher=1.0, token_mean=True)),
    "kdrl_k2": Case(kdrl(TEACHER, beta=0.2), KD),
    "kdrl_k3": Case(kdrl(TEACHER, beta=0.2, estimator="k3"), replace(KD, k3=True)),
    # 0.2 - 30 * 0.004 = 0.08
    "kdrl_annealed": Case(kdrl(TEACHER, beta=0.2, anneal_to=0.01, anneal_per_step=0.004), replace(KD, teacher=0.08)),
    "kdrl_incorrect": Case(kdrl(TEACHER, beta=0.2, keep="incorrect"), replace(KD, keep="incorrect")),
    "kdrl_unsolved": Case(kdrl(TEACHER, beta=0.2, keep="unsolved"), replace(KD, keep="unsolved")),
    "kdrl_mask_end": Case(kdrl(TEACHER, beta=0.2, mask_end=True), replace(KD, teacher_mask_end=True)),
    "kdrl_sequence": Case(kdrl(TEACHER, beta=0.2, aggregation="sequence"), replace(KD, token_mean=False)),
    "rlad": Case(rlad(TEACHER), RLAD),
    "rlad_literal": Case(rlad(TEACHER, clamp_gradient="literal"), replace(RLAD, literal=True)),
    "rlad_arithmetic": Case(rlad(TEACHER, alpha=0.3, mixture="arithmetic"), replace(RLAD, alpha=0.3, arithmetic=True)),
    "rlad_mask_end": Case(rlad(TEACHER, mask_end=True), replace(RLAD, ratio_mask_end=True)),
    "rlad_alpha_0": Case(rlad(TEACHER, alpha=0.0), replace(RLAD, alpha=0.0)),
    "rlad_alpha_1": Case(rlad(TEACHER, alpha=1.0), replace(RLAD, alpha=1.0)),
    "rlad_clamp_wide": Case(rlad(TEACHER, clamp=3.0), replace(RLAD, clamp=3.0)),
    "rlad_on_engine_default": Case(engine_default() | rlad(TEACHER), replace(RLAD, token_mean=True)),
    "ceeh": Case(ceeh(), replace(CEEH, explore="EA")),
    "ceeh_wide": Case(
        ceeh(alpha=1.5, kappa=5.0, kl_beta=0), replace(CEEH, explore="EA", alpha_entropy=1.5, kappa=5.0, reference=0.0)
    ),
    "ceeh_everywhere": Case(ceeh(everywhere=True), replace(CEEH, explore="EA", everywhere=True)),
    # half way, (1 + cos(pi / 2)) / 2 = 1/2
    "ceeh_me": Case(ceeh(mode="ME", entropy_weight=0.04), replace(CEEH, explore="ME", entropy=0.02, hard_weight=5.0)),
    "ceeh_me_everywhere": Case(
        ceeh(mode="ME", entropy_weight=0.04, anneal="constant", everywhere=True),
        replace(CEEH, explore="ME", entropy=0.04, hard_weight=5.0, everywhere=True),
    ),
    "ceeh_none": Case(ceeh(mode="none"), CEEH),
    "length_penalty": Case(length_penalty(), Equations()),
    "lc_r1": Case(lc_r1(), Equations()),
    "entropy_bonus": Case(entropy_bonus(weight=0.04), Equations(explore="ME", entropy=0.02)),
    "upskill": Case(upskill(), Equations(reference=0.04)),
    "second_order": Case(second_order(), Equations(reference=0.001)),
    "c_rl": Case(c_rl(), Equations(reference=0.001)),
    "rlad_ceeh": Case(rlad(TEACHER) | ceeh(), replace(RLAD, token_mean=True, reference=0.001, explore="EA")),
    "rlad_upskill": Case(rlad(TEACHER) | upskill(), replace(RLAD, reference=0.04)),
    "ceeh_second_order": Case(ceeh() | second_order(), replace(CEEH, explore="EA")),
    "length_penalty_entropy_bonus": Case(
        length_penalty() | entropy_bonus(weight=0.02, anneal="constant"), Equations(explore="ME", entropy=0.02)
    ),
    "rlad_kdrl": Case(rlad(TEACHER) | kdrl(TEACHER, beta=0.2), replace(RLAD, teacher=0.2, token_mean=True)),
}
"""Every recipe that the matrix runs; a new method adds rows here."""


def random_live(seed: int = 0, rows: int = 6, tokens: int = 5) -> Live:
    """Completions of random lengths whose policies differ by more than the clip and the clamp, in float64.

    Every other row is hard. The entropy is a leaf of its own, so that its gradient is apart from that of `logp`.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    length = torch.randint(1, tokens + 1, (rows,), generator=generator)
    place = torch.arange(tokens)
    logp = -1.5 + 0.5 * normal(rows, tokens)
    correct = (torch.rand(rows, generator=generator) < 0.4).double()
    solved = correct.view(-1, 2).amax(1).repeat_interleave(2) if rows % 2 == 0 else correct
    return Live(
        logp=logp.requires_grad_(),
        logp_old=logp.detach() + 0.4 * normal(rows, tokens),
        mask=(place < length.unsqueeze(1)).double(),
        advantages=normal(rows).unsqueeze(1).expand(rows, tokens),
        entropy=normal(rows, tokens).abs().requires_grad_(),
        logp_ref=logp.detach() + 0.5 * normal(rows, tokens),
        scores={"teacher": logp.detach() + 1.2 * normal(rows, tokens)},
        columns={
            "scored": torch.ones(rows).double(),
            "correct": correct,
            "any_correct": solved,
            "hard": (torch.arange(rows) % 2).double(),
        },
        is_end=place == length.unsqueeze(1) - 1,
        step=STEP,
        total_steps=2 * STEP,
    )


def value_and_gradient(recipe: Recipe, live: Live, normalizer: Normalizer | None = None) -> tuple[Tensor, Tensor]:
    """The loss and its gradient with respect to `logp`, (B, T)."""
    loss = policy_loss(recipe, live, normalizer).value
    return loss.detach(), torch.autograd.grad(loss, live.logp)[0]


def value_and_gradients(recipe: Recipe, live: Live, normalizer: Normalizer | None = None) -> tuple[Tensor, Tensor]:
    """The loss and its gradients with respect to `logp` and `entropy`, (2, B, T)."""
    loss = policy_loss(recipe, live, normalizer).value
    return loss.detach(), torch.stack(torch.autograd.grad(loss, [live.logp, live.entropy], materialize_grads=True))


def leaf(x: Tensor) -> Tensor:
    """The same values, with a gradient of their own."""
    return x.detach().clone().requires_grad_()


def select(live: Live, rows: Tensor | slice) -> Live:
    """Some rows of a micro-batch, as leaves of their own."""
    return replace(
        live,
        logp=leaf(live.logp[rows]),
        logp_old=live.logp_old[rows],
        mask=live.mask[rows],
        advantages=live.advantages[rows],
        entropy=None if live.entropy is None else live.entropy[rows],
        logp_ref=None if live.logp_ref is None else live.logp_ref[rows],
        scores={name: value[rows] for name, value in live.scores.items()},
        columns={name: value[rows] for name, value in live.columns.items()},
        is_end=None if live.is_end is None else live.is_end[rows],
    )


def overwrite(live: Live, where: Tensor, value: float) -> Live:
    """The micro-batch with `value` in every log-probability, entropy and advantage at `where`, (B, T) bool."""

    def put(x: Tensor) -> Tensor:
        return torch.where(where, torch.full_like(x, value), x)

    return replace(
        live,
        logp=leaf(put(live.logp)),
        logp_old=put(live.logp_old),
        advantages=put(live.advantages),
        entropy=None if live.entropy is None else leaf(put(live.entropy)),
        logp_ref=None if live.logp_ref is None else put(live.logp_ref),
        scores={name: put(score) for name, score in live.scores.items()},
    )


def slow_loss(eq: Equations, live: Live, logp: Tensor, entropy: Tensor) -> float:
    """The loss at `logp` and `entropy`; the numbers of `live` stay where the gradient is stopped."""
    rows, tokens = logp.shape
    live = replace(live, logp=live.logp.detach(), entropy=live.entropy.detach())
    per_row: list[list[float]] = []
    for b in range(rows):
        terms = []
        for t in range(tokens):
            if live.mask[b, t] == 0:
                continue
            terms.append(_slow_term(eq, live, b, t, logp[b, t].item(), entropy[b, t].item()))
        per_row.append(terms)
    if eq.token_mean:
        return sum(sum(terms) for terms in per_row) / max(sum(len(terms) for terms in per_row), 1)
    return sum(sum(terms) / max(len(terms), 1) for terms in per_row) / rows


def _slow_term(eq: Equations, live: Live, b: int, t: int, now: float, entropy: float) -> float:
    old, teacher = float(live.logp_old[b, t]), float(live.scores["teacher"][b, t])
    stopped, stopped_entropy = float(live.logp[b, t]), float(live.entropy[b, t])
    advantage = float(live.advantages[b, t])
    end = bool(live.is_end[b, t])
    hard = eq.everywhere or live.columns["hard"][b] == 1
    if eq.explore == "EA" and hard:
        advantage += min(eq.alpha_entropy * stopped_entropy, abs(advantage) / eq.kappa)
    if eq.ratio == "grpo" or (eq.ratio_mask_end and end):
        log_ratio = now - old
    elif eq.arithmetic:
        bounded = min(max(teacher, stopped - eq.clamp), stopped + eq.clamp)
        log_ratio = now - math.log(eq.alpha * math.exp(old) + (1 - eq.alpha) * math.exp(bounded))
    elif eq.literal:
        log_ratio = eq.alpha * (now - old) + (1 - eq.alpha) * min(max(now - teacher, -eq.clamp), eq.clamp)
    else:
        bounded = min(max(teacher, stopped - eq.clamp), stopped + eq.clamp)
        log_ratio = eq.alpha * (now - old) + (1 - eq.alpha) * (now - bounded)
    ratio = math.exp(log_ratio)
    clipped = min(max(ratio, 1 - eq.low), 1 + eq.high)
    objective = min(ratio * advantage, clipped * advantage)
    if advantage < 0:
        objective = max(objective, eq.dual * advantage)
    loss = -objective
    if eq.reference:
        reference = float(live.logp_ref[b, t]) - now
        loss += eq.reference * (math.exp(reference) - reference - 1)
    dropped = (
        (eq.keep == "incorrect" and live.columns["correct"][b] == 1)
        or (eq.keep == "unsolved" and live.columns["any_correct"][b] == 1)
        or (eq.teacher_mask_end and end)
    )
    if eq.teacher and not dropped:
        r = teacher - now
        loss += eq.teacher * (math.exp(r) - r - 1 if eq.k3 else r * r / 2)
    if eq.explore == "ME":
        loss -= eq.entropy * (eq.hard_weight if hard else 1) * entropy
    return loss


def slow_gradients(eq: Equations, live: Live, step: float = 1e-6) -> Tensor:
    """Central differences of `slow_loss` in each log-probability and in each entropy, (2, B, T)."""
    at = torch.stack([live.logp.detach(), live.entropy.detach()])
    gradient = torch.zeros_like(at)
    for place in range(at.numel()):
        up, down = at.clone(), at.clone()
        up.view(-1)[place] += step
        down.view(-1)[place] -= step
        gradient.view(-1)[place] = (slow_loss(eq, live, *up) - slow_loss(eq, live, *down)) / (2 * step)
    return gradient
