"""Hooks run to their end from plain code and from within a running loop, as in a notebook."""

import asyncio
import threading

import pytest
import torch

from engines import runs
from posttrain.rl import grpo, upskill
from posttrain.rl.engines.loop import TabularPolicy, train
from posttrain.rl.engines.run_async import run_async


async def inside(function):
    """Plain code called while a loop runs."""
    return function()


async def seen() -> tuple[bool, str]:
    await asyncio.sleep(0)
    return torch.is_grad_enabled(), threading.current_thread().name


async def failing() -> None:
    raise ValueError("a hook's own sentence")


def test_without_a_loop_nothing_leaves_the_thread():
    assert run_async(seen()) == (True, threading.current_thread().name)


@pytest.mark.parametrize("grad", [True, False])
def test_within_a_loop_the_grad_mode_is_kept(grad):
    with torch.set_grad_enabled(grad):
        enabled, thread = asyncio.run(inside(lambda: run_async(seen())))
    assert enabled == grad
    assert thread != threading.current_thread().name


def test_an_error_comes_out_of_either():
    for call in (lambda: run_async(failing()), lambda: asyncio.run(inside(lambda: run_async(failing())))):
        with pytest.raises(ValueError, match="a hook's own sentence"):
            call()


def test_the_reference_loop_trains_the_same_within_a_loop():
    def trained() -> list[dict[str, float]]:
        policy = TabularPolicy(torch.zeros(2, 1, 3, dtype=torch.float64))
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)
        tasks = [{"prompt_ids": [0]}, {"prompt_ids": [1]}]
        reward = lambda row: float(row.ids == [0])  # noqa: E731
        return list(train(grpo(), policy, tasks, reward, steps=3, group_size=4, optimizer=optimizer))

    assert asyncio.run(inside(trained)) == trained()


def test_trl_trains_the_same_within_a_loop(tmp_path):
    """A rollout, a reward and extra rows of a recipe's own."""

    def trained(name: str) -> torch.Tensor:
        recipe = grpo() | upskill(**runs.SKILLS) | runs.Uneven()
        return runs.parameters(runs.trained(tmp_path / name, recipe, max_steps=2))

    assert torch.equal(asyncio.run(inside(lambda: trained("inside"))), trained("outside"))
