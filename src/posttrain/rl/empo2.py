"""EMPO2: exploration with a memory of tips, learnt by heart (Liu et al. 2026, arXiv:2602.23008).

After each episode the policy writes a tip for its later self. Some generations act with tips retrieved from that
memory, and of those most are trained as if there had been none, so that at test time no memory is needed:

    mode = on (1 - p), on_tips (p (1 - q)), off (p q)                       once per generation     (Sec. 4.2, F.1)
    A = (R - mean(R)) / std(R),    R = sum_t r_t + r_int,t                  over a task's episodes  (Sec. 2)
    on:       rho = pi(a | s, u) / pi_old(a | s, u)                                                 (Table 3)
    on_tips:  rho = pi(a | s, u, tips) / pi_old(a | s, u, tips)
    off:      rho = pi(a | s, u) / pi_old(a | s, u, tips)
    off:      a token counts if pi(a_t | s, u) >= delta                                             (Eq. 2)
    r_int = 1 / n,    n states like this one were seen before                                       (Sec. 4.2)

The ratio is clipped to [1 - 0.2, 1 + 0.3] and by 10 where A < 0; the loss is a mean over tokens, without a KL.
Symbols: p -> `with_memory`, q -> `off_policy`, delta -> `floor`, tips -> `Guide.tips`, pi_old(a | s, u, tips) ->
`live.score("tips")`, r_int -> `Acted.bonus`; memory and n are in `tips.py`.

Differs from the paper: a tip is looked up by what is seen now; the paper's key, an embedding of the dialogue, is cut
at 256 word pieces and nearly constant. n counts the state itself, all earlier visits to similar states of its task,
and those of its own episode, so that a new state earns 1. The indicator has no gradient, and the tokens it leaves
out stay in the mean. R is divided by the population's deviation. Algorithm 1 replaces the stored log-probabilities
of `off` by those without tips (`old="no_tips"`: rho is 1 at the first step), Table 3 and the released code do not.
Differs from the released code: it computes r_int, logs it and never uses it; its mask is off, and when on drops whole
responses by the old log-probability. Its novelty counts tips, not states.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from posttrain.embedding import Embedder, HashedNGrams, kept_of
from posttrain.rl import tips as memories
from posttrain.rl.agent import Agent, Episode, Guide, text_of
from posttrain.rl.batch import Live, Memory, Row, Sampler, Table, Task
from posttrain.rl.hierarchy import step_returns
from posttrain.rl.method import Score, Settings
from posttrain.tasks.worlds.crowd import Seen

Mode = Literal["on", "on_tips", "off"]

TOLD = 8000
"""At most so many of an episode's last characters are shown to whoever writes a tip."""


@dataclass
class Remembering(Guide):
    """Tips from the memory, for episodes of one generation."""

    method: EMPO2
    memory: Mapping[str, Any]
    mode: Mode

    @property
    def forgets(self) -> bool:
        """Off-policy generations are trained without the tips."""
        return self.mode == "off"

    def tips(self, live: Sequence[Episode]) -> list[list[str]]:
        """At most `tips` for each episode, for what it sees; none in mode `on`."""
        if self.mode == "on":
            return [[] for _ in live]
        return [self._of(episode) for episode in live]

    def _of(self, episode: Episode) -> list[str]:
        assert isinstance(episode.seen, Seen)
        known = self.memory["tips"].get(episode.task.key, [])
        method = self.method
        return memories.retrieve(known, episode.seen.observation, method.vectors, method.similarity, method.tips)


@dataclass(frozen=True)
class EMPO2(Agent):
    """An agent that explores with tips and learns to do without."""

    name = "empo2"
    paper = "Liu et al. 2026, arXiv:2602.23008"

    with_memory: float = 0.25
    """p: share of the generations that act with tips."""
    off_policy: float = 2 / 3
    """q: share of those that are trained without them."""
    old: Literal["tips", "no_tips"] = "tips"
    """Off-policy, the ratio is taken against the probability with tips (Table 3), or without (Algorithm 1)."""
    floor: float = math.exp(-5)
    """delta: off-policy, a token less likely than this without tips is left out; 0 leaves none out (the paper gives no
    value, the released code exp(-5))."""
    novelty: float = 1.0
    """Weight of r_int; 0 switches it off (the paper tries 0.5 and 2)."""
    tips: int = 10
    """At most so many are shown at a turn."""
    similarity: float = 0.9
    """A tip applies, and a state was seen before, if the cosine to it is above this (the paper: 0.5 with MiniLM;
    hashed words of one game's rooms are nearer to each other)."""
    discount: float = 1.0
    """A tip's score, by which it is chosen, is what was earned from its turn on, less by this factor for each turn in
    between; 1 is what the episode earned, as the paper has it."""
    capacity: int = 1000
    """Tips and states remembered of each task; the oldest tips leave first."""
    write: Literal["policy", "template"] = "policy"
    """Who writes tips: the policy, asked after each episode; or a template that names the action and what the episode
    earned, for models too small to write."""
    tip_tokens: int = 128
    """Longest tip in tokens (the released code: 512)."""
    mode_seed: int = 0
    """Of the modes."""
    embed: Embedder = field(default_factory=HashedNGrams)
    """Makes the vectors that are compared (the paper: all-MiniLM-L6-v2)."""
    clip_low: float = 0.2
    """The ratio's lower bound is 1 - clip_low."""
    clip_high: float = 0.3
    """The ratio's upper bound is 1 + clip_high."""
    dual_clip: float = 10.0
    """Upper bound of the ratio where the advantage is negative."""
    kl_beta: float | None = None
    """Weight of the k3 KL to the reference policy; None leaves it open, which is none (WebShop: 0.01)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form != "window":
            raise ValueError("EMPO2 trains turns under another prompt than they were sampled with; use form='window'.")
        for name in ("with_memory", "off_policy", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a probability; give a number from 0 to 1.")
        for name in ("tips", "capacity", "tip_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name, allowed in (("old", ("tips", "no_tips")), ("write", ("policy", "template"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; use {allowed[0]!r} or {allowed[1]!r}.")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount={self.discount} must lie above 0 and at most at 1.")
        if not 0 <= self.novelty < math.inf:
            raise ValueError(f"novelty={self.novelty} must be finite and not negative; 0 switches it off.")
        if not -1 <= self.similarity < 1:
            raise ValueError(f"similarity={self.similarity} is a cosine; give a number from -1 to below 1.")

    @property
    def settings(self) -> Settings:
        """Asymmetric and dual clip, token mean."""
        return Settings(self.clip_low, self.clip_high, self.dual_clip, "token", self.kl_beta)

    def scores(self) -> Sequence[Score]:
        """The rows' log-probabilities under the prompts with tips, where they are trained without."""
        if self.old == "no_tips" or not self.with_memory or not self.off_policy:
            return ()
        return [Score("tips", prompts_of_row=_sampled_after, rows=_is_swapped)]

    @property
    def vectors(self) -> Embedder:
        """The embedder, which sees each text once."""
        return kept_of(self.embed)

    def initial_state(self) -> dict[str, Any]:
        """No tips, no states, no generation yet."""
        return {"generation": 0, "tips": {}, "states": {}}

    def check_state(self, state: Mapping[str, Any], keys: Collection[str]) -> None:
        """A sentence if the memory is of other tasks.

        Raises:
            ValueError: If the memory has tasks and the data set has none of them.
        """
        known = {*state["tips"], *state["states"]}
        if known and not known & set(keys):
            raise ValueError(
                f"EMPO2's memory is of {len(known)} tasks, such as {next(iter(known))!r}, and none of them is among "
                f"the data set's {len(keys)}; resume on the data set it was made with, or start a new run."
            )

    def mode(self, generation: int) -> Mode:
        """How a generation acts and is trained; the same on every process."""
        draw = random.Random(f"empo2 {self.mode_seed} {generation}").random()
        if draw >= self.with_memory:
            return "on"
        return "off" if draw < self.with_memory * self.off_policy else "on_tips"

    async def rollout(self, tasks: Sequence[Task], sampler: Sampler, state: Any) -> list[Row]:
        """One episode per task; with tips if the generation's mode says so, never in evaluation."""
        mode = self.mode(state["generation"]) if sampler.training else "on"
        episodes, share = await self.timed(tasks, sampler, Remembering(self, state, mode))
        lessons = await self.lessons(episodes, sampler) if sampler.training else [[] for _ in episodes]
        rows = []
        for episode, found in zip(episodes, lessons, strict=True):
            led_to = _led_to(episode)
            notes = {"mode": mode, "seen": led_to, "tips": [list(tip) for tip in found], "world_share": share}
            if self.novelty and sampler.training:
                self._reward_novelty(episode, led_to, state)
            rows.append(self.row(episode, notes))
        return rows

    async def lessons(self, episodes: Sequence[Episode], sampler: Sampler) -> list[list[memories.Tip]]:
        """The tips of each episode, one per turn; none of a dropped one."""
        ended = [episode for episode in episodes if not episode.dropped and episode.turns]
        written = [""] * len(ended)
        if self.write == "policy":
            prompts = [
                sampler.encode(self.view.reflection(text_of(e.task.prompt), e.story[-TOLD:], e.earned)) for e in ended
            ]
            samples = await sampler(prompts, max_tokens=self.tip_tokens)
            written = [memories.clean(sampler.decode(sample.ids)) for sample in samples]
        found = {
            episode.seat: _tips(episode, lesson, self.discount) for episode, lesson in zip(ended, written, strict=True)
        }
        return [found.get(episode.seat, []) for episode in episodes]

    def _reward_novelty(self, episode: Episode, led_to: Sequence[str], state: Mapping[str, Any]) -> None:
        """Add r_int to the turns of an episode, for the states they led to."""
        known = state["states"].get(episode.task.key, [])
        bonuses = memories.novelty(known, led_to, self.vectors, self.similarity)
        episode.turns = [
            turn._replace(acted=turn.acted._replace(bonus=self.novelty * bonus))
            for turn, bonus in zip(episode.turns[: len(bonuses)], bonuses, strict=True)
        ]

    async def reward(self, rows: Sequence[Row]) -> list[float]:
        """The novelty of an episode's states."""
        return [sum(turn.acted.bonus for turn in row.turns) for row in rows]

    def remember(self, table: Table, state: Mapping[str, Any]) -> Memory:
        """New tips and visited states of every task, in the order of the table."""
        memory: dict[str, Any] = dict(state)
        for key, notes in zip(table.prompt_key, table.notes or (), strict=True):
            memory = memories.add(memory, key, [memories.Tip(*tip) for tip in notes["tips"]], self.capacity)
            if self.novelty:
                seen = notes["seen"]
                memory = memories.visit(memory, key, seen, self.vectors, self.similarity, self.capacity)
        memory["generation"] = state["generation"] + 1
        metrics = {
            "empo2/tips": float(sum(map(len, memory["tips"].values()))),
            "empo2/states": float(sum(map(len, memory["states"].values()))),
            **{f"empo2/{mode}": float(self.mode(state["generation"]) == mode) for mode in ("on", "on_tips", "off")},
        }
        return Memory(memory, metrics)

    def fills(self, hook: str) -> bool:
        """Without tips there is nothing to anchor to or to mask; without novelty there is no reward."""
        unused = {
            "anchor": not self.scores(),
            "shape": not self.floor or not self.with_memory or not self.off_policy,
            "reward": not self.novelty,
        }
        return super().fills(hook) and not unused.get(hook, False)

    def anchor(self, live: Live) -> Tensor:
        """Log-probabilities with tips where the turn is trained without, else those it was sampled with, (B, T)."""
        with_tips = live.score("tips").squeeze(1)
        return torch.where(with_tips.isnan(), live.logp_old, with_tips)

    def shape(self, live: Live) -> Tensor:
        """A, and 0 at off-policy tokens below the floor, (B, T)."""
        kept = live.logp.detach() >= math.log(self.floor)
        return torch.where(kept | (live.column("swapped") == 0), live.advantages, 0.0)

    def diagnose(self, live: Live) -> dict[str, Tensor]:
        """The ratio off policy, where tips made the action likelier or less likely, and what the floor leaves out."""
        swapped = live.column("swapped") != 0
        anchor = self.anchor(live) if self.fills("anchor") else live.logp_old
        ratio = (live.logp.detach() - anchor).exp()
        low = (live.logp.detach() < math.log(self.floor)).to(live.logp.dtype) if self.floor else ratio * 0
        nothing = torch.full_like(ratio, math.nan)
        return {
            "empo2/ratio": torch.where(swapped, ratio, nothing),
            "empo2/below_floor": torch.where(swapped, low, nothing),
        }


def _led_to(episode: Episode) -> list[str]:
    """The states that the turns of an episode led to; none of a dropped one."""
    if not isinstance(episode.seen, Seen):
        return []
    return [turn.observation for turn in episode.past[1:]] + [episode.seen.observation] * bool(episode.past)


def _tips(episode: Episode, lesson: str, discount: float) -> list[memories.Tip]:
    """One tip per turn: what was done there, what the episode earned, and the lesson."""
    end = f": {lesson}" if lesson else ""
    scores = [episode.earned] * len(episode.past)
    if discount < 1:
        scores = step_returns([turn.acted.reward for turn in episode.turns], [0] * len(scores), discount).tolist()
    return [
        memories.Tip(turn.observation, memories.clean(f"{turn.action} earned {episode.earned:g}{end}"), score)
        for turn, score in zip(episode.past, scores, strict=True)
    ]


def _sampled_after(row: Row) -> list[list[int]]:
    return [row.prompt_ids if row.sampled_after is None else row.sampled_after]


def _is_swapped(row: Row) -> bool:
    return row.sampled_after is not None


async def adapt(
    method: EMPO2, tasks: Sequence[Task], sampler: Sampler, state: Mapping[str, Any], rounds: int
) -> tuple[dict[str, Any], list[float]]:
    """Learn new tasks with the memory alone: play them with tips, and remember, while the weights stay.

    Args:
        method: Its memory is used and grows; its modes and novelty are not.
        tasks: Played in every round; tips are kept by their `key`.
        sampler: The policy.
        state: A memory, such as `initial_state()` or that of a checkpoint.
        rounds: At least 1.

    Returns:
        The memory, and the mean return of each round's episodes that were not dropped.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds} must be at least 1.")
    memory, earned = dict(state), list[float]()
    for _ in range(rounds):
        episodes = await method.play(tasks, sampler, Remembering(method, memory, "on_tips"))
        for episode, tips in zip(episodes, await method.lessons(episodes, sampler), strict=True):
            memory = memories.add(memory, episode.task.key, tips, method.capacity)
        returns = [episode.earned for episode in episodes if not episode.dropped]
        earned.append(sum(returns) / len(returns) if returns else math.nan)
    return memory, earned
