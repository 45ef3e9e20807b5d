"""Train `corridor/start` from nothing: a small transformer that walks the corridor at random.

Every example is what an agent sees somewhere on a random walk, in one of the two forms of context, and a random
admissible action. So the model acts from the first episode on, and knows nothing of lamps.

On one thread, the same configuration, machine and library versions give identical weight files.

    build(Path("corridor"), CorridorConfig())
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from posttrain.tasks.draw import Split
from posttrain.tasks.evaluate import complete
from posttrain.tasks.worlds.corridor import TOKENS, Corridor, corridors
from posttrain.tasks.worlds.view import Past, TextView
from posttrain.zoo.building import Phase, StartConfig, build_start
from posttrain.zoo.models import Size
from posttrain.zoo.sft import SFTConfig, encode

ACTION_TOKENS = 2
"""An action and its end token."""
VIEW = TextView(list_actions=False)
"""How the model is asked."""


@dataclass(frozen=True)
class CorridorConfig(StartConfig):
    """The model to build."""

    sft: SFTConfig = field(default_factory=lambda: SFTConfig(steps=200, batch=64, warmup=20))
    """Training on random walks."""
    size: Size = field(default_factory=lambda: Size(layers=2, width=64, heads=4))
    """Shape of the model."""
    legs: int = 3
    """Junctions of the corridors."""
    gap: int = 1
    """Bare corridors between a lamp and its junction."""
    turns: int = 20
    """Longest walk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turns < 1:
            raise ValueError(f"turns is {self.turns}; it must be at least 1")


def build(out: Path, config: CorridorConfig) -> dict[str, Any]:
    """Train, save and evaluate the model in `out/start`; see `build_start`."""
    return build_start(
        out,
        "corridor/start",
        config,
        tokens=TOKENS,
        max_new_tokens=ACTION_TOKENS,
        phases=partial(_phases, config),
        scores=partial(_scores, config),
    )


def examples(config: CorridorConfig, n: int, *, seed: int, split: Split = "train") -> list[tuple[str, list[str]]]:
    """Prompts from random walks, in either form, each with the actions that are admissible there."""
    coin = random.Random(seed)
    tasks = [
        task
        for aliased in (True, False)
        for task in corridors(16, seed=seed, legs=config.legs, gap=config.gap, aliased=aliased, split=split)
    ]
    found: list[tuple[str, list[str]]] = []
    while len(found) < n:
        found += _walk(coin.choice(tasks), config, coin)
    return found[:n]


def _walk(task: dict[str, Any], config: CorridorConfig, coin: random.Random) -> list[tuple[str, list[str]]]:
    """One random walk: a prompt per turn, with a window of a random width, or as a growing dialogue."""
    world, past = Corridor(), list[Past]()
    observation, window, full = world.reset(task), coin.randint(0, 4), coin.random() < 0.5
    dialogue, found = VIEW.opening(task["prompt"], observation, []), []
    for _ in range(config.turns):
        shown = past[len(past) - window :] if window else []
        prompt = dialogue if full else VIEW.window(task["prompt"], shown, observation, [])
        found.append((prompt, world.actions()))
        action = coin.choice(world.actions())
        past.append(Past(observation, action))
        step = world.step(action)
        if step.done:
            break
        observation = step.observation
        dialogue += f"{action}<eos>{VIEW.then(observation, [])}"
    return found


def _phases(config: CorridorConfig, tokenizer: PreTrainedTokenizerBase) -> Iterator[Phase]:
    coin = random.Random(config.seed)
    found = examples(config, config.sft.steps * config.sft.batch, seed=config.seed)
    yield Phase([encode(tokenizer, [(prompt, coin.choice(actions)) for prompt, actions in found])], [1.0], config.sft)


def _scores(
    config: CorridorConfig, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> dict[str, dict[str, Any]]:
    """How often an action is admissible, on walks through corridors that training did not see."""
    found = examples(config, config.evaluation, seed=config.seed, split="eval")
    prompts = [prompt for prompt, _ in found]

    def admissible(*, sampled: bool) -> float:
        texts = complete(model, tokenizer, prompts, max_new_tokens=ACTION_TOKENS, sampled=sampled).texts
        return round(sum(text in actions for text, (_, actions) in zip(texts, found, strict=True)) / len(found), 4)

    scores = {"greedy": admissible(sampled=False), "sampled": admissible(sampled=True)}
    return {"accuracy": {"admissible": {"n": len(found), **scores}}}
