"""`policy_loss`, the reference loop and TRL take the same optimiser steps, for every method of the house."""

from collections.abc import Sequence

import pytest
import torch

import tiny
from engines import runs
from posttrain.rl import Row, Sampled, engine_default, grpo, kdrl, opd, rlad
from posttrain.rl.engines import loop

GROUP = 4


CASES = {
    "engine_default": lambda t: engine_default(),
    "grpo": lambda t: grpo(),
    "grpo dapo dual": lambda t: grpo(clip_high=0.28, aggregation="token", dual_clip=3.0),
    "grpo no std": lambda t: grpo(spread="none"),
    "rlad": lambda t: rlad(t),
    "rlad literal": lambda t: rlad(t, clamp_gradient="literal"),
    "rlad arithmetic": lambda t: rlad(t, mixture="arithmetic"),
    "rlad end, token mean": lambda t: grpo(aggregation="token") | rlad(t, mask_end=True),
    "kdrl": lambda t: kdrl(t, beta=0.2),
    "kdrl sequence mean": lambda t: kdrl(t, beta=0.2, aggregation="sequence"),
    "kdrl k3 incorrect": lambda t: kdrl(t, beta=0.2, estimator="k3", keep="incorrect"),
    "kdrl unsolved end": lambda t: kdrl(t, beta=0.2, keep="unsolved", mask_end=True),
    "opd": lambda t: opd(t),
}


class Replaying:
    """A transformers model as a policy of the loop: it plays back what TRL sampled and scores with plain logits."""

    def __init__(self, model, played=()):
        self.model, self.played = model, played
        self.parameters = model.parameters

    async def sample(self, prompt_ids, *, max_tokens, temperature, seed):
        assert prompt_ids == [prompt for prompt, _ in self.played]
        return [Sampled(ids, [], "length") for _, ids in self.played]

    def score(self, rows: Sequence[Row]):
        width = max(len(row.ids) for row in rows)
        logp, entropy, mask = (torch.zeros(len(rows), width) for _ in range(3))
        for i, row in enumerate(rows):
            logits = self.model(torch.tensor([row.prompt_ids + row.ids])).logits[0, len(row.prompt_ids) - 1 : -1]
            full = logits.float().log_softmax(-1)
            n = len(row.ids)
            logp = logp.index_put((torch.tensor(i), torch.arange(n)), full[torch.arange(n), row.ids])
            entropy[i, :n] = -(full.exp() * full).sum(-1).detach()
            mask[i, :n] = 1
        return logp, entropy, mask


def with_end(monkeypatch, eos: int):
    """Give the loop's micro-batches the end tokens that TRL marks."""
    plain = loop.Live

    def marked(*args, **kwargs):
        live = plain(*args, **kwargs)
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in marked.ids], batch_first=True)
        return plain(**{**vars(live), "is_end": (ids == eos) & live.mask.bool()})

    monkeypatch.setattr(loop, "Live", marked)
    return marked


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("accumulation", "inner"), [(1, 1), (4, 2)])
def test_trl_and_the_loop_take_the_same_steps(tmp_path, monkeypatch, case, accumulation, inner):
    trained = runs.trained(
        tmp_path, CASES[case](runs.teacher()), cls=runs.Recording, rewards=runs.at_least_two, num_generations=GROUP,
        per_device_train_batch_size=8, gradient_accumulation_steps=accumulation, num_iterations=inner,
        max_steps=inner, learning_rate=0.05, optim="sgd", lr_scheduler_type="constant", max_grad_norm=0.0,
    )  # fmt: skip
    compare_with_the_loop(monkeypatch, case, trained.rows, inner, runs.parameters(trained))


@pytest.mark.parametrize("case", ["rlad", "kdrl"])
@pytest.mark.parametrize(("accumulation", "inner"), [(1, 1), (2, 2)])
def test_two_processes_and_the_loop_take_the_same_steps(tmp_path, monkeypatch, case, accumulation, inner):
    seen = runs.two_processes(
        tmp_path / "out", case, num_generations=GROUP, per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation, num_iterations=inner, max_steps=inner, learning_rate=0.05,
        optim="sgd", lr_scheduler_type="constant", max_grad_norm=0.0,
    )  # fmt: skip
    assert len(seen["rows"]) == 8 * accumulation
    compare_with_the_loop(monkeypatch, case, seen["rows"], inner, seen["parameters"])


def compare_with_the_loop(monkeypatch, case, rows, inner, trained):
    """Take the same steps in the loop, on the rows that TRL sampled, with plain logits."""
    rewards = torch.tensor(runs.at_least_two(tiny.tokenizer().batch_decode([ids for _, ids in rows], True)))
    assert 0 < rewards.mean() < 1
    policy = Replaying(tiny.model(0, scale=3.0), rows)
    marked = with_end(monkeypatch, eos=len(tiny.LETTERS) + 1)
    marked.ids = [ids for _, ids in rows]
    before = runs.parameters_of(policy.model)
    list(
        loop.train(
            CASES[case](Replaying(runs.teacher())), policy, [{"prompt_ids": prompt} for prompt, _ in rows[::GROUP]],
            lambda row: float(sum(i < 5 for i in row.ids) >= 2), steps=1, group_size=GROUP, inner_steps=inner,
            optimizer=torch.optim.SGD(policy.parameters(), lr=0.05),
        )
    )  # fmt: skip
    moved = trained - before
    assert moved.abs().max() > 1e-4, "nothing was trained"
    torch.testing.assert_close(runs.parameters_of(policy.model) - before, moved, atol=2e-6, rtol=1e-3)
