"""The linear experiment: its loss is the theory's model, arms move what they should, and training finds the optima."""

import numpy as np
import pytest
import torch

from posttrain.bench.value_only import linear
from posttrain.bench.value_only.linear import ARMS, PRETRAINED, TASKS, Linear, loss, measure, prompts, run, trained
from posttrain.tune import theory

SMALL = Linear(d=2, shots=8, batch=200, pretrain_steps=1200, tune_steps=1000, random_tasks=20)
TINY = Linear(d=2, shots=3, batch=8, pretrain_steps=3, tune_steps=3, random_tasks=2)


@pytest.fixture(scope="module")
def found():
    return run(100, SMALL)


def model(seed, d=2):
    draw = torch.Generator().manual_seed(seed)
    return {"q": torch.randn(d + 2, d + 2, generator=draw), "v": torch.randn(d + 2, generator=draw)}


@pytest.mark.parametrize("shots", [0, 1, 5])
def test_the_loss_is_that_of_the_theory_s_model(shots):
    weights, drawn = model(0), prompts(SMALL, torch.Generator().manual_seed(1), shots=shots)
    tokens = drawn.tokens.double().numpy()
    answers = theory.predict(
        theory.Weights(weights["q"].double().numpy(), weights["v"].double().numpy()), tokens[:, :-1], tokens[:, -1]
    )
    assert float(loss(weights, drawn)) == pytest.approx(np.square(answers - drawn.y.numpy()).mean(), rel=1e-5)


def test_a_prompt_hides_the_query_s_answer_and_shows_the_others():
    theta, setup = torch.tensor([3.0, -1.0]), Linear(d=2, shots=4, batch=5, noise=0.0)
    drawn = prompts(setup, torch.Generator().manual_seed(0), theta)
    torch.testing.assert_close(drawn.tokens[:, :-1, -1], drawn.tokens[:, :-1, 1:-1] @ theta)
    assert not drawn.tokens[:, -1, -1].any()
    torch.testing.assert_close(drawn.y, drawn.tokens[:, -1, 1:-1] @ theta)
    assert bool((drawn.tokens[..., 0] == 1).all())


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_moves_its_weights_and_no_others(name):
    start, draw = model(2), torch.Generator().manual_seed(3)
    theta_0 = torch.tensor([0.6, 0.8])
    end = trained(start, ARMS[name].parts, TINY, 5, linear._tuning(ARMS[name], theta_0, Linear(d=2, batch=8), draw))
    for part in "qv":
        assert torch.equal(end[part], start[part]) == (part not in ARMS[name].parts)
    assert not end["q"].requires_grad


def test_a_seed_is_a_run_and_has_every_measure():
    first = run(5, TINY)
    assert first == run(5, TINY)
    assert first != run(6, TINY)
    assert list(first) == [PRETRAINED, *ARMS, "theory"]
    assert list(first[PRETRAINED]) == [measure(task, n) for task in TASKS for n in range(4)]


def test_without_examples_all_weights_reach_the_noise_and_values_their_floor(found):
    data, theta_0 = theory.isotropic(2, 0.1), np.array([1.0, 0])
    assert found["ZS (all)"]["target, 0 shots"] == pytest.approx(0.1, abs=0.02)
    assert found["ZS (V)"]["target, 0 shots"] == pytest.approx(theory.value_floor(theta_0, data), abs=0.03)
    assert found[PRETRAINED]["random, 0 shots"] == pytest.approx(1.1, abs=0.05)


def test_examples_hurt_all_weights_and_help_values(found):
    assert found["ZS (all)"]["target, 8 shots"] > 5 * found["ZS (all)"]["target, 0 shots"]
    for task in TASKS:
        assert found["ZS (V)"][measure(task, 8)] < found["ZS (all)"][measure(task, 8)] / 2
    assert found["ZS+FS (V)"]["target, 8 shots"] < found["ZS (V)"]["target, 8 shots"]
    assert found["ZS+FS (V)"]["opposite, 8 shots"] > found["ZS (V)"]["opposite, 8 shots"]


def test_training_finds_what_the_closed_forms_say(found):
    said = found["theory"]
    assert said["a, trained"] == pytest.approx(said["a, in theory"], abs=0.05)
    assert said["w, trained"] == pytest.approx(said["w, in theory"], abs=0.05)
    assert said["c, trained"] == pytest.approx(said["c, by gradient flow"], abs=0.2)


def test_a_number_below_one_is_refused():
    with pytest.raises(ValueError, match="shots=0 must be at least 1"):
        Linear(shots=0)
