"""Every name, parameter, key and shape of TRL that the adapter relies on."""

import pytest
import torch

import tiny
from engines import runs
from posttrain.commands import doctor
from posttrain.rl import rlad
from posttrain.rl.engines import trl
from posttrain.rl.engines.trl import ATTRIBUTES, KEYS, RecipeTrainer


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


def test_a_missing_method_is_named(monkeypatch):
    monkeypatch.setitem(trl.CONTRACT, "_no_such_method", ("x",))
    monkeypatch.setitem(trl.CONTRACT, "_compute_loss", ("model", "no_such_parameter"))
    assert doctor.trl_contract() == [
        "GRPOTrainer._compute_loss has no parameter no_such_parameter",
        "GRPOTrainer has no method _no_such_method",
    ]
