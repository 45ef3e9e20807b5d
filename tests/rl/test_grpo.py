"""GRPO: its advantages, its settings, its rollout and what it rejects."""

import asyncio
import math

import pytest
import torch

from posttrain.rl import EngineDefault, Live, Sampled, Table, Task, engine_default, grpo
from rl.cases import random_live, value_and_gradient


def table(rewards, group):
    rewards = torch.tensor(rewards, dtype=torch.float64)
    return Table(rewards, torch.tensor(group), rewards, [str(g) for g in group], torch.ones(len(group)).long())


def test_credit_is_the_papers_and_engine_default_is_the_engines():
    """Rewards 1, 0, 0, 0: sqrt(3) by the population deviation; 0.75 / (0.5 + 1e-4) by TRL's."""
    rows = table([1.0, 0.0, 0.0, 0.0], [0, 0, 0, 0])
    assert grpo().credit(rows).advantages[0].item() == pytest.approx(math.sqrt(3), abs=1e-5)
    assert engine_default().credit(rows).advantages[0].item() == pytest.approx(0.75 / 0.5001, abs=1e-9)
    assert grpo(spread="none").credit(rows).advantages[0].item() == 0.75


def test_the_first_step_has_the_policy_gradient():
    """At pi = pi_old the ratio is 1, so the gradient of row i's token is -A_i / (rows x tokens of the row)."""
    live = random_live(0)
    live = Live(
        logp=live.logp, logp_old=live.logp.detach(), mask=live.mask, advantages=live.advantages, columns=live.columns
    )
    _, gradient = value_and_gradient(grpo(), live)
    want = -live.advantages * live.mask / live.mask.sum(1, keepdim=True) / 6
    torch.testing.assert_close(gradient, want, atol=1e-14, rtol=1e-12)


def test_the_reference_kl_needs_reference_log_probabilities():
    live = random_live(0)
    bare = Live(logp=live.logp, logp_old=live.logp_old, mask=live.mask, advantages=live.advantages)
    with pytest.raises(ValueError, match=r"kl_beta is above 0.*Live\.logp_ref"):
        value_and_gradient(grpo(kl_beta=0.1), bare)


def test_rollout_gives_one_row_per_task_in_order():
    asked = []

    class Tens:
        async def __call__(self, prompt_ids, *, max_tokens=None, temperature=None):
            asked.append((prompt_ids, max_tokens, temperature))
            return [Sampled([10 * ids[0]], [-1.0], "stop") for ids in prompt_ids]

        def encode(self, prompt):
            return [int(prompt)]

        def decode(self, ids):
            return str(ids[0])

    tasks = [Task(str(i), i // 2, i, {"id": f"task {i}"}) for i in range(4)]
    rows = asyncio.run(grpo().owner("rollout").rollout(tasks, Tens(), None))
    assert asked == [([[0], [1], [2], [3]], None, None)]
    assert [(row.prompt_ids, row.ids, row.group) for row in rows] == [([i], [10 * i], i // 2) for i in range(4)]
    assert [(row.prompt, row.completion) for row in rows] == [(str(i), str(10 * i)) for i in range(4)]
    assert all(row.task is task.row for row, task in zip(rows, tasks, strict=True))


@pytest.mark.parametrize("builder", [grpo, engine_default])
@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("clip_low", 0.0, r"\(0, 1\]"),
        ("clip_low", 1.5, r"\(0, 1\]"),
        ("clip_low", math.nan, r"\(0, 1\]"),
        ("clip_high", 0.0, "above 0"),
        ("clip_high", -0.2, "above 0"),
        ("dual_clip", 1.1, r"exceed 1 \+ clip_high"),
        ("dual_clip", -3.0, r"exceed 1 \+ clip_high"),
        ("aggregation", "mean", "'sequence' or 'token'"),
        ("spread", "std", "'population', 'sample' or 'none'"),
        ("kl_beta", -0.1, "not be negative"),
        ("epsilon", -1e-6, "not be negative"),
    ],
)
def test_an_invalid_value_is_named_with_what_to_do(builder, setting, value, advice):
    with pytest.raises(ValueError, match=rf"{setting}='?{value}.*{advice}"):
        builder(**{setting: value})


def test_engine_default_is_trls_documented_configuration():
    method = EngineDefault()
    assert (method.aggregation, method.spread, method.epsilon) == ("token", "sample", 1e-4)
    assert (method.clip_low, method.clip_high, method.kl_beta) == (0.2, 0.2, 0.0)
