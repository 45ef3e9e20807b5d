"""`policy_loss`, the reference loop and TRL take the same optimiser steps, for every method of the house."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

import tiny
from engines import runs
from posttrain.rl import (
    Row,
    Sampled,
    c_rl,
    ceeh,
    engine_default,
    entropy_bonus,
    grpo,
    kdrl,
    lc_r1,
    length_penalty,
    opd,
    rlad,
    second_order,
    upskill,
)
from posttrain.rl.engines import loop

GROUP = 4
SGD = {"learning_rate": 0.05, "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}


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
    "length_penalty": lambda t: length_penalty(alpha=0.4),
    "lc_r1": lambda t: lc_r1(),
    "entropy_bonus": lambda t: entropy_bonus(weight=0.05),
    "upskill": lambda t: upskill(**runs.SKILLS),
    "upskill sequence": lambda t: upskill(form="sequence", **runs.SKILLS),
    "upskill skill groups": lambda t: upskill(group="skill", **runs.SKILLS),
    "rlad upskill": lambda t: rlad(t) | upskill(**runs.SKILLS),
    "uneven": lambda t: grpo() | runs.Uneven(),
    "uneven token mean": lambda t: grpo(aggregation="token") | runs.Uneven(),
}
"""Recipes that remember nothing: one generation shows all of them."""

REMEMBERING = {
    "ceeh": lambda t: ceeh(kl_beta=0),
    "ceeh ME": lambda t: ceeh(mode="ME", entropy_weight=0.05, kl_beta=0),
    "ceeh none": lambda t: ceeh(mode="none", kl_beta=0),
    "ceeh everywhere": lambda t: ceeh(everywhere=True, kl_beta=0),
    "ceeh of the code": lambda t: ceeh(difficulty="current", gate="reached", reference="average", kl_beta=0),
    "rlad ceeh": lambda t: rlad(t) | ceeh(kl_beta=0),
    "second_order": lambda t: second_order(**runs.CRITIQUES),
    "second_order by question": lambda t: grpo(spread="none") | second_order(group="question", **runs.CRITIQUES),
    "second_order among answers": lambda t: second_order(group="answers", **runs.CRITIQUES),
    "second_order random": lambda t: (
        grpo(spread="none") | second_order(selection="random", reweight=True, **runs.CRITIQUES)
    ),
    "second_order one question": lambda t: second_order(pairs=2, group="question", **runs.CRITIQUES),
    "second_order denoise": lambda t: grpo(spread="none") | second_order(denoise=2, **runs.CRITIQUES),
    "c_rl": lambda t: c_rl(**runs.CRITIQUES),
    "ceeh second_order": lambda t: ceeh(kl_beta=0) | second_order(**runs.CRITIQUES),
}
"""Recipes whose state matters from the second generation on."""


class Replaying:
    """A transformers model as a policy of the loop: it plays back what TRL sampled and scores with plain logits."""

    def __init__(self, model, played=()):
        self.model, self.played = model, list(played)
        self.parameters, self.tokenizer = model.parameters, tiny.tokenizer()

    async def sample(self, prompt_ids, *, max_tokens, temperature, seed):
        now, self.played = self.played[: len(prompt_ids)], self.played[len(prompt_ids) :]
        assert prompt_ids == [prompt for prompt, _ in now]
        return [Sampled(ids, [], "length") for _, ids in now]

    def encode(self, prompt):
        return self.tokenizer(prompt)["input_ids"]

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def score(self, rows: Sequence[Row]):
        self.scored = rows
        logps, entropies = [], []
        for row in rows:
            logits = self.model(torch.tensor([row.prompt_ids + row.ids])).logits[0, len(row.prompt_ids) - 1 : -1]
            full = logits.float().log_softmax(-1)
            logps.append(full[torch.arange(len(row.ids)), row.ids])
            entropies.append(-(full.exp() * full).sum(-1))
        pad = torch.nn.utils.rnn.pad_sequence
        ones = [torch.ones(len(row.ids)) for row in rows]
        return tuple(pad(values, batch_first=True) for values in (logps, entropies, ones))


def with_end(monkeypatch, policy: Replaying):
    """Give the loop's micro-batches the end tokens that TRL marks."""
    plain = loop.Live

    def marked(*args, **kwargs):
        live = plain(*args, **kwargs)
        ids = [torch.tensor(row.ids) for row in policy.scored]
        ids = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1)
        return replace(live, is_end=ids == policy.tokenizer.eos_token_id)

    monkeypatch.setattr(loop, "Live", marked)


def split(accumulation: int, inner: int, generations: int, processes: int = 1) -> dict:
    """Options for groups of four, two of them in a micro-batch of all processes; every generation has all prompts."""
    return {
        "num_generations": GROUP, "per_device_train_batch_size": 8 // processes, "prompts": 2 * accumulation,
        "gradient_accumulation_steps": accumulation, "num_iterations": inner, "max_steps": generations * inner,
        "shuffle_dataset": False, **SGD,
    }  # fmt: skip


SPLITS = pytest.mark.parametrize(("accumulation", "inner"), [(1, 1), (4, 2)])


@pytest.mark.parametrize("case", CASES)
@SPLITS
def test_trl_and_the_loop_take_the_same_steps(tmp_path, monkeypatch, case, accumulation, inner):
    trained = runs.trained(
        tmp_path, CASES[case](runs.teacher()), cls=runs.Recording, rewards=runs.at_least_two,
        **split(accumulation, inner, 1),
    )  # fmt: skip
    said = compare_with_the_loop(monkeypatch, CASES[case], trained.generations, inner, runs.parameters(trained))
    if accumulation == inner == 1:
        compare_metrics(trained, said)


@pytest.mark.parametrize("case", REMEMBERING)
@SPLITS
def test_recipes_with_a_state_take_the_same_steps_over_three_generations(
    tmp_path, monkeypatch, case, accumulation, inner
):
    trained = runs.trained(
        tmp_path, REMEMBERING[case](runs.teacher()), cls=runs.Recording, rewards=runs.at_least_two,
        **split(accumulation, inner, 3),
    )  # fmt: skip
    for name in ("ceeh/hard", "critique/pairs"):
        assert any(runs.history(trained, name)) or name.split("/")[0] not in trained.recipe.name, "nothing happened"
    said = compare_with_the_loop(monkeypatch, REMEMBERING[case], trained.generations, inner, runs.parameters(trained))
    if accumulation == inner == 1:
        compare_metrics(trained, said)


def compare_with_the_loop(monkeypatch, recipe, generations, inner, trained):
    """Take the same steps in the loop, on the rows that TRL sampled, with plain logits."""
    played = [row for generation in generations for row in generation.sampled]
    answers = [ids for generation in generations for _, ids in generation.answers]
    rewards = torch.tensor(runs.at_least_two(tiny.tokenizer().batch_decode(answers, True)))
    assert 0 < rewards.mean() < 1
    policy = Replaying(tiny.model(0, scale=3.0), played)
    with_end(monkeypatch, policy)
    tasks = [{**row, "prompt_ids": policy.encode(row["prompt"])} for row in tiny.rows(len(generations[0].answers) // 4)]
    before = runs.parameters_of(policy.model)
    metrics = list(
        loop.train(
            recipe(Replaying(runs.teacher())), policy, tasks, lambda row: float(sum(i < 5 for i in row.ids) >= 2),
            steps=len(generations), group_size=GROUP, inner_steps=inner,
            optimizer=torch.optim.SGD(policy.parameters(), lr=0.05),
        )
    )  # fmt: skip
    assert policy.played == []
    moved = trained - before
    assert moved.abs().max() > 1e-4, "nothing was trained"
    torch.testing.assert_close(runs.parameters_of(policy.model) - before, moved, atol=2e-6, rtol=1e-3)
    return metrics


def compare_metrics(trained, said):
    """What the loop logs of each generation is what TRL logs of it; TRL's `reward` is that of the task alone."""
    for line, ours in zip(trained.state.log_history, said, strict=False):
        for name in ours.keys() - {"step", "reward"}:
            assert line[name] == pytest.approx(ours[name], abs=1e-5, rel=1e-4), name
