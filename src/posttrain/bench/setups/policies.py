"""The scorers of commands that comparisons in worlds begin with: one that knows nothing, and one that can read tips.

The reader follows tips that promise more, as a chat model would. It was supervised for a few hundred steps on made-up
words and knows nothing of any world; without tips it is as good as uniform over the commands.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

from posttrain.tasks.worlds.view import TextView

READING: dict[str, Any] = {
    "form": "window", "window": 1, "write": "template", "similarity": 0.9, "tips": 1, "discount": 0.9,
}  # fmt: skip
"""An agent for `reader`, which does as a tip says and cannot weigh several: it is shown the one that led to most,
soonest."""

STEPS, BATCH = 300, 64
WORDS = [f"{a}{b}" for a in ("ba", "do", "ku", "mi", "ro", "sa", "te", "vu") for b in ("len", "nar", "pik", "tos")]


def novice(seed: int) -> Any:
    """A policy that takes all commands for equal."""
    from posttrain.rl.command_policy import CommandPolicy

    return CommandPolicy(seed=seed)


def reader(seed: int, width: int = 64) -> Any:
    """A policy that reads; the same seed gives the same weights."""
    import copy

    return copy.deepcopy(_trained(seed, width))


@lru_cache(maxsize=2)
def _trained(seed: int, width: int) -> Any:
    import torch

    from posttrain.rl.batch import Row
    from posttrain.rl.command_policy import CommandPolicy

    coin = random.Random(f"reading {seed}")
    policy = CommandPolicy(width=width, seed=seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for _ in range(STEPS):
        rows, targets = [], []
        for _ in range(BATCH):
            prompt, commands, best = example(coin)
            ids = policy.encode(prompt)
            first = ids[-len(commands) :]
            rows += [Row(ids, [command], 0) for command in first]
            targets += [1 / len(commands) if best is None else float(command == best) for command in commands]
        logp, _, _ = policy.score(rows)
        loss = -(torch.tensor(targets) * logp.squeeze(1)).sum() / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy


def example(coin: random.Random) -> tuple[str, list[str], str | None]:
    """A prompt, its commands, and the one that the best tip is for; None where no tip helps."""

    def words(n: int) -> str:
        return " ".join(coin.choice(WORDS) for _ in range(n))

    commands = sorted(
        {f"go {coin.choice(('north', 'south', 'east', 'west'))}" for _ in range(4)} | {f"take {words(1)}", "look"}
    )
    tips, best = [], None
    if coin.random() < 0.7:
        told = coin.sample(commands, coin.randint(1, min(3, len(commands))))
        good = coin.random() < 0.5
        best = told[0] if good else None
        tips = [f"{command} earned {1 if good and command == told[0] else 0}" for command in told]
        coin.shuffle(tips)
    prompt = TextView().window(words(4), [], words(coin.randint(5, 20)), commands, tips)
    return prompt, commands, best
