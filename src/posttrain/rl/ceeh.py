"""CEEH: compress the easy, explore the hard (Luo et al. 2026, arXiv:2602.22642).

Correct answers are drawn towards the shortest correct answer their own question has had, while the policy's entropy
is kept up on the questions that are hard now:

    Acc(x) = share of correct answers to x in this generation                                   (Eq. 9)
    D_h = {x : Acc_h(x) < mean of Acc_h}                                                        (Eq. 10)
    R = 1[correct] + 1[correct and Acc(x) > Acc_h(x)] max(-0.9, beta (L_x - L) / L_x)           (Eq. 13, 14)
    A = R - mean(R) over the group, not divided by the deviation                                (Sec. 3.4)
    EA: A_t = A + min(alpha H_t, |A| / kappa) for x in D_h, H_t without gradient                (Eq. 7, 8, 12)
    ME: loss - lambda_0 w(x) (1 + cos(pi t / T)) / 2 H_t, w = 5 for x in D_h, else 1            (Eq. 11)
    Acc_h <- Acc_h + eta (Acc - Acc_h), eta = 0.2 if Acc > Acc_h, else 0.05                     (Eq. 15, 16)
    L_x <- min(L_x, shortest correct answer of this generation)

D_h, L_x and Acc_h are those of before this generation. EA cannot change an advantage's sign, and gives nothing where
A = 0; only ME explores questions that are never solved. The ratio is clipped to [1 - 0.2, 1 + 0.28], with a KL to
the reference of weight 0.001 (k3).
Symbols: x -> `table.prompt_key`, L -> `table.length` in tokens, H_t -> `live.entropies()` in nats, lambda_0 ->
`entropy_weight`, w -> `hard_weight`, eta -> `rise` and `fall`, t, T -> `live.step`, `live.total_steps`; Acc_h and
L_x -> the state's `accuracy` and `length`, by prompt.

Differs from the paper: the printed cos(pi t / T) is negative after half of the steps, so the released code's form
stands. The floor of -0.9 applies after beta, as in that code. Acc_h is unset before a question's first visit: it
is not in the mean, the visit has no length term, and the current Acc decides whether the question is hard. ME is
divided by the plain number of tokens; the released code divides by the weighted one, in which the 5 cancels when a
micro-batch holds only hard questions. An empty completion counts as one token. The released code is not the paper in
three more places, each an option here: `reference="average"`, `difficulty="current"` and `gate="reached"`; it also
overwrites an Acc_h of 0 and bounds the ratio by 3 where A < 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posttrain.rl.batch import Credit, Live, Memory, Table
from posttrain.rl.math import Aggregation, Annealing, annealed, group_advantages, masked_mean
from posttrain.rl.method import Method, Settings


class Seen(NamedTuple):
    """What one generation says about its prompts."""

    right: Tensor
    """(B,) bool: correct answers."""
    accuracy: dict[str, float]
    """Acc(x) by prompt; a prompt without an answer that is known to be right or wrong is absent."""
    shortest: dict[str, int]
    """Tokens of the shortest correct answer by prompt; a prompt without one is absent."""


@dataclass(frozen=True)
class CEEH(Method):
    """Entropy for the hard prompts, brevity for the solved ones."""

    name = "ceeh"
    paper = "Luo et al. 2026, arXiv:2602.22642"

    mode: Literal["EA", "ME", "none"] = "EA"
    """How hard prompts explore: in the advantage (EA), by an entropy term of the loss (ME), or not at all."""
    beta: float = 0.1
    """Weight of the length term."""
    floor: float = 0.9
    """The length term takes at most this from a correct answer; below 1, so that where rewards are 0 and 1 it still
    beats a wrong one."""
    rise: float = 0.2
    """Rate of Acc_h towards a higher Acc, and of an averaged L_x towards a shorter answer."""
    fall: float = 0.05
    """Rate of Acc_h towards an Acc that is not higher, and of an averaged L_x towards a longer answer."""
    alpha: float = 0.4
    """EA: weight of the entropy, per nat."""
    kappa: float = 2.0
    """EA: at most |A| / kappa is added; above 1, so that no advantage changes its sign."""
    entropy_weight: float = 0.001
    """ME: weight of the entropy of a prompt that is not hard, at step 0."""
    hard_weight: float = 5.0
    """ME: how many times that a hard prompt gets."""
    anneal: Annealing = "cosine"
    """ME: the weight falls to 0 along half a cosine, or stays `constant`; EA is not annealed."""
    everywhere: bool = False
    """Treat every prompt as a hard one (EA so: Cheng et al., arXiv:2506.14758)."""
    difficulty: Literal["history", "current"] = "history"
    """What makes a prompt hard: Acc_h < mean (the paper), or this generation's Acc <= mean (the released code)."""
    gate: Literal["above", "reached"] = "above"
    """When the length term counts: Acc > Acc_h (the paper; never where Acc has always been 1), or >= (the code)."""
    reference: Literal["minimum", "average"] = "minimum"
    """L_x: the shortest correct answer so far (the paper), or its average at `rise` and `fall` (the released code)."""
    clip_low: float = 0.2
    """The ratio's lower bound is 1 - clip_low."""
    clip_high: float = 0.28
    """The ratio's upper bound is 1 + clip_high."""
    aggregation: Aggregation = "token"
    """Mean over all tokens, the released code's default."""
    kl_beta: float = 0.001
    """Weight of the k3 KL to the reference policy."""

    def __post_init__(self) -> None:
        _ = self.settings
        choices = {
            "mode": ("EA", "ME", "none"),
            "anneal": ("cosine", "constant"),
            "difficulty": ("history", "current"),
            "gate": ("above", "reached"),
            "reference": ("minimum", "average"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                given, names = getattr(self, name), ", ".join(map(repr, allowed))
                raise ValueError(f"{name}={given!r} is unknown; use one of {names}.")
        for name in ("beta", "alpha", "entropy_weight", "hard_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be finite and not negative; 0 switches it off.")
        for name in ("rise", "fall"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in (0, 1]; the paper uses 0.2 and 0.05.")
        if not 0 <= self.floor < 1:
            raise ValueError(
                f"floor={self.floor} must lie in [0, 1), or a long correct answer loses to a wrong one; "
                "the paper uses 0.9."
            )
        if not self.kappa > 1:
            raise ValueError(
                f"kappa={self.kappa} must be above 1, or an advantage can change its sign; the paper uses 2."
            )
        if self.everywhere and self.mode == "none":
            raise ValueError("everywhere=True does nothing with mode='none'; choose 'EA' or 'ME', or leave it out.")

    @property
    def settings(self) -> Settings:
        """Asymmetric clip, token mean, a small KL to the reference."""
        return Settings(self.clip_low, self.clip_high, aggregation=self.aggregation, kl_beta=self.kl_beta)

    def initial_state(self) -> dict[str, dict[str, float]]:
        """Acc_h and L_x by prompt: nothing seen yet."""
        return {"accuracy": {}, "length": {}}

    def check_state(self, state: Mapping[str, Any], keys: Collection[str]) -> None:
        """A sentence if the history is of another data set.

        Args:
            state: Acc_h and L_x, as restored from a checkpoint.
            keys: The ids of the data set's prompts.

        Raises:
            ValueError: If the history has prompts and the data set has none of them.
        """
        history = state["accuracy"]
        if history and not history.keys() & set(keys):
            raise ValueError(
                f"CEEH's history holds {len(history)} prompts, such as {next(iter(history))!r}, and none of them is "
                f"among the data set's {len(keys)}; resume on the data set it was made with, or start a new run."
            )

    def credit(self, table: Table, state: Mapping[str, Any]) -> Credit:
        """A, (B,), and the column `hard`, (B,): 1 where the row's prompt is in D_h."""
        seen = observe(table)
        hard = self.hard_prompts(table.prompt_key, seen.accuracy, state["accuracy"])
        bonus = self.length_bonus(table, seen, state)
        advantages = group_advantages(table.rewards + bonus, table.group, spread="none")
        column = table.rewards.new_tensor([float(key in hard) for key in table.prompt_key])
        metrics = {
            "ceeh/hard": _mean(float(key in hard) for key in seen.accuracy),
            "ceeh/shortened": _mean(float(self.shortens(key, seen, state)) for key in seen.accuracy),
            "ceeh/bonus": masked_mean(bonus, seen.right).item(),
        }
        return Credit(advantages, {"hard": column}, metrics)

    def remember(self, table: Table, state: Mapping[str, Any]) -> Memory:
        """Acc_h of every prompt with a judged answer, and L_x of every one with a correct answer, gate or not."""
        seen = observe(table)
        accuracy, length = dict(state["accuracy"]), dict(state["length"])
        for key, now in seen.accuracy.items():
            before = accuracy.get(key, now)
            accuracy[key] = self.follow(before, now, better=now > before)
        for key, now in seen.shortest.items():
            before = length.get(key, now)
            average = self.reference == "average"
            length[key] = self.follow(before, now, better=now < before) if average else min(before, now)
        metrics = {
            "ceeh/prompts": float(len(accuracy)),
            "ceeh/accuracy": _mean(accuracy.values()),
            "ceeh/reference": _mean(length.values()),
        }
        return Memory({"accuracy": accuracy, "length": length}, metrics)

    def fills(self, hook: str) -> bool:
        """EA shapes, ME adds to the loss, and the length term alone does neither."""
        unused = {"shape": self.mode != "EA", "penalty": self.mode != "ME"}
        return super().fills(hook) and not unused.get(hook, False)

    def shape(self, live: Live) -> Tensor:
        """EA: A + min(alpha H, |A| / kappa) on hard prompts, (B, T)."""
        extra = torch.minimum(self.alpha * live.entropies().detach(), live.advantages.abs() / self.kappa)
        return live.advantages + self.explored(live) * extra

    def penalty(self, live: Live) -> Tensor:
        """ME: -lambda_0 w(x) (1 + cos(pi t / T)) / 2 H, (B, T), with the entropy's gradient."""
        weight = self.entropy_weight * annealed(self.anneal, live.step, live.total_steps)
        return -weight * (1 + (self.hard_weight - 1) * self.explored(live)) * live.entropies()

    def diagnose(self, live: Live) -> dict[str, Tensor]:
        """The share of tokens on hard prompts, and the entropy on these and on the others (nats)."""
        hard = live.column("hard").expand_as(live.mask)
        if live.entropy is None:
            return {"hard/tokens": hard}
        entropy = live.entropy.detach()
        return {
            "hard/tokens": hard,
            "entropy/hard": torch.where(hard.bool(), entropy, torch.nan),
            "entropy/easy": torch.where(hard.bool(), torch.nan, entropy),
        }

    def explored(self, live: Live) -> Tensor:
        """(B, 1): 1 for the rows that explore."""
        hard = live.column("hard")
        return torch.ones_like(hard) if self.everywhere else hard

    def hard_prompts(
        self, keys: Iterable[str], accuracy: Mapping[str, float], history: Mapping[str, float]
    ) -> set[str]:
        """D_h among `keys`; empty as long as there is no history. A prompt with no Acc at all is not hard."""
        if not history:
            return set()
        average = _mean(history.values())
        if self.difficulty == "current":
            return {key for key in keys if accuracy.get(key, math.inf) <= average}
        return {key for key in keys if history.get(key, accuracy.get(key, math.inf)) < average}

    def shortens(self, key: str, seen: Seen, state: Mapping[str, Any]) -> bool:
        """Whether the length term counts for a prompt of this generation: it has an L_x, and its gate is open."""
        if key not in state["length"]:
            return False
        before, now = state["accuracy"][key], seen.accuracy[key]
        return now > before or (self.gate == "reached" and now == before)

    def length_bonus(self, table: Table, seen: Seen, state: Mapping[str, Any]) -> Tensor:
        """max(-floor, beta (L_x - L) / L_x) of correct answers whose prompt shortens, else 0; (B,)."""
        open_keys = {key for key in seen.accuracy if self.shortens(key, seen, state)}
        counts = seen.right & torch.tensor([key in open_keys for key in table.prompt_key], device=seen.right.device)
        reference = table.rewards.new_tensor([state["length"].get(key, 1.0) for key in table.prompt_key])
        bonus = (self.beta * (reference - _tokens(table)) / reference).clamp(min=-self.floor)
        return torch.where(counts, bonus, torch.zeros_like(bonus))

    def follow(self, before: float, now: float, *, better: bool) -> float:
        """One step of the asymmetric average; a value equal to the average leaves it as it is."""
        return before + (self.rise if better else self.fall) * (now - before)


def observe(table: Table) -> Seen:
    """Acc and the shortest correct answer of each prompt, over all its groups.

    Extra rows, unscored rows and rows whose correctness is unknown do not count.
    """
    counted, right = table.judged, table.right
    verdicts, lengths = dict[str, list[bool]](), dict[str, list[int]]()
    for key, counts, is_right, tokens in zip(
        table.prompt_key, counted.tolist(), right.tolist(), _tokens(table).tolist(), strict=True
    ):
        if counts:
            verdicts.setdefault(key, []).append(is_right)
        if is_right:
            lengths.setdefault(key, []).append(tokens)
    accuracy = {key: sum(values) / len(values) for key, values in verdicts.items()}
    return Seen(right, accuracy, {key: min(values) for key, values in lengths.items()})


def _tokens(table: Table) -> Tensor:
    """(B,) lengths of at least 1, so that an L_x is never 0."""
    return table.length.clamp(min=1)


def _mean(values: Iterable[float]) -> float:
    """The mean, 0 of nothing; equal values give exactly that value, where a rounded sum would not."""
    listed = list(values)
    if not listed:
        return 0.0
    return min(max(math.fsum(listed) / len(listed), min(listed)), max(listed))
