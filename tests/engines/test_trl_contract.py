"""Every name, parameter, key and shape of TRL that the adapter relies on."""

import pytest
import torch
from trl import GRPOTrainer

import tiny
from engines import runs
from posttrain.commands import doctor
from posttrain.rl import rlad, upskill
from posttrain.rl.engines import trl
from posttrain.rl.engines.trl import ATTRIBUTES, KEYS, PREFIX, RecipeTrainer


class Watching(RecipeTrainer):
    """Keeps what the engine returned before it was edited, and what the loss saw."""

    def _drop_unscored(self, out):
        raise AssertionError("every row of this run is scored")

    def _answers(self, out):
        self.returned = dict(out)
        return super()._answers(out)

    def _make_live(self, logp, entropy, inputs):
        self.live = super()._make_live(logp, entropy, inputs)
        return self.live


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Two optimiser steps on one generation."""
    return runs.trained(
        tmp_path_factory.mktemp("watched"), rlad(tiny.model(7)), cls=Watching, max_steps=2, num_iterations=2
    )


def test_the_methods_have_their_parameters():
    assert doctor.trl_contract() == []


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_the_trainer_has(watched, name):
    assert hasattr(watched, name)


def test_the_batch_has_its_keys_and_shapes(watched):
    sizes: dict[str, int] = {}
    for key, axes in {**KEYS, "old_per_token_logps": ("B", "C")}.items():
        value = watched.returned[key]
        assert value.dim() == len(axes), key
        for axis, size in zip(axes, value.shape, strict=True):
            assert sizes.setdefault(axis, size) == size, key
    assert next(iter(watched.returned)) == "prompt_ids", "the first key defines the batch size of the shuffle"


def test_log_probabilities_and_entropies_carry_gradient_and_scores_do_not(watched):
    live = watched.live
    assert live.logp.requires_grad
    assert live.entropy is not None
    assert live.entropy.requires_grad
    assert not live.logp_old.requires_grad
    assert not live.score("teacher").requires_grad
    assert live.logp.shape == live.logp_old.shape == live.score("teacher").shape == live.mask.shape == live.ends().shape
    assert live.column("scored").shape == (8, 1)


def test_the_end_token_is_marked_once_in_a_row_that_ended(watched):
    live = watched.live
    assert live.ends().sum(1).max() <= 1
    assert torch.equal(live.ends() & live.mask.bool(), live.ends())


# -- rollouts and rows of a recipe ------------------------------------------------------------------------------------

SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "num_generations": 4, "max_steps": 1}
"""Twelve rows of three prompts in three micro-batches."""


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_a_rollout_function_gets_every_prompt_as_often_as_it_is_answered(tmp_path):
    """Per-device rows times steps per generation, the rows of a group one after the other; it answers with as many."""
    seen = []

    def rollout(prompts, trainer):
        seen.append(prompts)
        return {"prompt_ids": [[0]] * len(prompts), "completion_ids": [[1, 2]] * len(prompts), "logprobs": None}

    trained = GRPOTrainer(
        tiny.model(0), runs.at_least_two, runs.config(tmp_path, **SPLIT), train_dataset=tiny.dataset(chat=True),
        processing_class=tiny.tokenizer(chat=True), rollout_func=rollout,
    )  # fmt: skip
    trained.train()
    (prompts,) = seen
    assert len(prompts) == 12
    assert [prompts.count(prompt) for prompt in prompts] == [4] * 12
    assert prompts[0] == prompts[3] != prompts[4]
    assert prompts[0][0]["role"] == "user", "prompts come without the chat template"


class Matching(RecipeTrainer):
    """Keeps the micro-batches as they reach the loss."""

    def _generate_and_score_completions(self, inputs):
        self.lives = []
        self.whole = super()._generate_and_score_completions(inputs)
        return {**self.whole, f"{PREFIX}scale": torch.tensor(1.5)}

    def _make_live(self, logp, entropy, inputs):
        self.lives.append((inputs, super()._make_live(logp, entropy, inputs)))
        return self.lives[-1][1]


def test_what_a_recipe_adds_to_the_batch_stays_with_its_rows(tmp_path):
    """Through shuffle and split: a row's score under its own skill is its log-probability under the policy."""
    kept = runs.trained(tmp_path, upskill(**runs.SKILLS), cls=Matching, learning_rate=1e-9, **SPLIT)
    assert kept.whole[f"{PREFIX}score.skills"].dim() == 3
    assert len(kept.lives) == 3
    orders = torch.cat([inputs["completion_ids"] for inputs, _ in kept.lives])
    assert not torch.equal(orders, kept.whole["completion_ids"]), "nothing was shuffled"
    for inputs, live in kept.lives:
        skill = inputs["prompt_ids"][:, 0]
        assert live.score("skills").shape == (4, 2, live.logp.shape[1])
        own = live.score("skills")[torch.arange(4), skill]
        torch.testing.assert_close(own * live.mask, live.logp.detach() * live.mask, atol=1e-5, rtol=0)
        assert live.column("scored").shape == (4, 1)
        assert inputs[f"{PREFIX}scale"] == 1.5


def test_a_missing_method_is_named(monkeypatch):
    monkeypatch.setitem(trl.CONTRACT, "_no_such_method", ("x",))
    monkeypatch.setitem(trl.CONTRACT, "_compute_loss", ("model", "no_such_parameter"))
    assert doctor.trl_contract() == [
        "GRPOTrainer._compute_loss has no parameter no_such_parameter",
        "GRPOTrainer has no method _no_such_method",
    ]
