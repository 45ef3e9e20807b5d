"""CEEH's two ways to explore: EA in the advantage, ME by the loss; and what is logged of them. All in float64."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import Normalizer, Recipe, policy_loss
from posttrain.rl.baselines.entropy_bonus import EntropyBonus
from posttrain.rl.ceeh import CEEH
from rl.cases import random_live, select


def live_of(seed=0, hard=None, **fields):
    """A random micro-batch whose entropy is a leaf, with a `hard` column: by default every other row."""
    live = random_live(seed)
    hard = torch.arange(live.mask.shape[0]) % 2 if hard is None else torch.as_tensor(hard)
    columns = {**live.columns, "hard": hard.to(live.logp.dtype).expand(live.mask.shape[0])}
    return replace(live, entropy=live.entropy.clone().requires_grad_(), columns=columns, **fields)


def entropy_gradient(method, live, normalizer=None):
    """The loss's gradient with respect to each token's entropy, (B, T)."""
    loss = policy_loss(Recipe.of(method), live, normalizer).value
    return torch.autograd.grad(loss, live.entropy, materialize_grads=True)[0]


# -- EA: exploring in the advantage -------------------------------------------------------------------------------


def test_the_entropy_advantage_by_hand():
    """min(0.4 H, |A| / 2): H = 1 gives 0.4, at A = +-0.5 at most 0.25, at A = 0 nothing; easy rows keep theirs."""
    live = live_of(hard=[1, 1, 1, 1, 0, 0])
    column = torch.tensor([2.0, 0.5, -0.5, 0.0, 2.0, -0.5]).double().unsqueeze(1)
    live = replace(live, advantages=column.expand_as(live.mask), entropy=torch.ones_like(live.logp))
    shaped = CEEH().shape(live)
    assert shaped[:, 0].tolist() == pytest.approx([2.4, 0.75, -0.25, 0.0, 2.0, -0.5])
    narrow = CEEH(alpha=0.1, kappa=10).shape(live)
    assert narrow[:, 0].tolist() == pytest.approx([2.1, 0.55, -0.45, 0.0, 2.0, -0.5])


@given(seed=st.integers(0, 999), alpha=st.floats(0, 100), everywhere=st.booleans())
def test_no_advantage_changes_its_sign_or_leaves_its_bounds(seed, alpha, everywhere):
    """A < 0 stays at or below A / 2, A > 0 at or below 1.5 A, and nothing falls."""
    live = live_of(seed)
    before, after = live.advantages, CEEH(alpha=alpha, everywhere=everywhere).shape(live)
    assert torch.equal(after.sign(), before.sign())
    assert (after >= before).all()
    assert (after <= torch.where(before < 0, before / 2, 1.5 * before) + 1e-12).all()
    if not everywhere:
        assert torch.equal(after[::2], before[::2])  # rows that are not hard


def test_the_entropy_advantage_gives_nothing_where_the_advantage_is_zero():
    live = live_of()
    live = replace(live, advantages=torch.zeros_like(live.advantages))
    assert (CEEH(alpha=10.0, everywhere=True).shape(live) == 0).all()


@given(seed=st.integers(0, 999))
def test_the_entropy_advantage_passes_no_gradient_through_the_entropy(seed):
    live = live_of(seed)
    assert not CEEH().shape(live).requires_grad
    assert (entropy_gradient(CEEH(), live) == 0).all()


def test_each_token_has_its_own_entropy():
    live = live_of(hard=1)
    live = replace(live, advantages=torch.full_like(live.mask, 100.0))
    torch.testing.assert_close(CEEH().shape(live), 100 + 0.4 * live.entropy.detach())


# -- ME: exploring by the loss ------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), hard=st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_hard_token_weighs_five_times_an_easy_one_in_any_mix(seed, hard):
    """Half way, so 0.001 / 2 over the plain number of tokens; all-hard batches included."""
    live = live_of(seed, hard)
    weight = torch.where(torch.tensor(hard), 5.0, 1.0).double().unsqueeze(1)
    expected = -0.0005 * weight * live.mask / live.mask.sum()
    torch.testing.assert_close(entropy_gradient(CEEH(mode="ME"), live), expected, atol=1e-15, rtol=1e-12)


@given(seed=st.integers(0, 999), cut=st.integers(1, 5), mode=st.sampled_from(["EA", "ME"]))
def test_splitting_a_step_into_micro_batches_changes_nothing(seed, cut, mode):
    """The first micro-batch holds only hard rows, the second only easy ones."""
    method, live = CEEH(mode=mode), live_of(seed, [i < cut for i in range(6)])
    normalizer = Normalizer.of(live.mask)
    whole = policy_loss(Recipe.of(method), live)
    parts = [select(live, rows) for rows in (slice(0, cut), slice(cut, None))]
    losses = [policy_loss(Recipe.of(method), part, normalizer) for part in parts]
    torch.testing.assert_close(sum(loss.value for loss in losses), whole.value, atol=1e-12, rtol=0)
    split = sum(torch.autograd.grad(loss.value, live.entropy, materialize_grads=True)[0] for loss in losses)
    torch.testing.assert_close(split, entropy_gradient(method, live), atol=1e-15, rtol=1e-12)
    for name, mean in whole.metrics.items():
        torch.testing.assert_close(sum(loss.metrics[name].total for loss in losses), mean.total)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (15, (2 + math.sqrt(2)) / 4), (30, 0.5), (60, 0.0), (99, 0.0)])
def test_the_weight_falls_along_half_a_cosine_and_never_turns_negative(step, factor):
    """The printed cos(pi t / T) would be -1 at the end and push the entropy down."""
    live = live_of(hard=0, step=step)
    mean_entropy_gradient = entropy_gradient(CEEH(mode="ME"), live).sum().item()
    assert mean_entropy_gradient == pytest.approx(-0.001 * factor, abs=1e-15)
    assert entropy_gradient(CEEH(mode="ME", anneal="constant"), live).sum().item() == pytest.approx(-0.001)


def test_cosine_annealing_without_a_planned_number_of_steps_says_what_to_do():
    live = live_of(total_steps=0)
    with pytest.raises(ValueError, match="total_steps=0; give the engine a number of steps, or use anneal='constant'"):
        CEEH(mode="ME").penalty(live)
    CEEH(mode="ME", anneal="constant").penalty(live)
    CEEH(mode="EA").shape(live)


def test_me_raises_the_entropy_of_unsolved_prompts_too():
    live = live_of()
    live = replace(live, advantages=torch.zeros_like(live.advantages))
    assert (entropy_gradient(CEEH(mode="ME"), live)[live.mask.bool()] < 0).all()


@given(seed=st.integers(0, 999), weight=st.floats(0, 1))
def test_me_everywhere_at_weight_one_is_a_uniform_entropy_bonus(seed, weight):
    live = live_of(seed)
    ours = CEEH(mode="ME", everywhere=True, hard_weight=1.0, entropy_weight=weight)
    assert torch.equal(ours.penalty(live), EntropyBonus(weight=weight).penalty(live))


# -- modes and metrics ----------------------------------------------------------------------------------


@given(seed=st.integers(0, 999))
def test_each_mode_explores_in_its_own_way_only(seed):
    live = live_of(seed)
    filled = {mode: [h for h in ("shape", "penalty") if CEEH(mode=mode).fills(h)] for mode in ("EA", "ME", "none")}
    assert filled == {"EA": ["shape"], "ME": ["penalty"], "none": []}
    assert not torch.equal(Recipe.of(CEEH(mode="EA")).shape(live), live.advantages)
    assert (Recipe.of(CEEH(mode="ME")).penalty(live) != 0).any()
    bare = replace(live, entropy=None)
    policy_loss(Recipe.of(CEEH(mode="none")), bare)
    for mode in ("EA", "ME"):
        with pytest.raises(ValueError, match=r"needs the policy's entropy.*set Live\.entropy"):
            policy_loss(Recipe.of(CEEH(mode=mode)), bare)


@pytest.mark.parametrize("mode", ["EA", "ME"])
@given(seed=st.integers(0, 999))
def test_everywhere_treats_every_prompt_as_hard(mode, seed):
    """What is logged about hard prompts stays as it is."""
    live, hard = live_of(seed), live_of(seed, hard=1)
    chosen, everywhere = CEEH(mode=mode), CEEH(mode=mode, everywhere=True)
    hook = "shape" if mode == "EA" else "penalty"
    assert torch.equal(getattr(everywhere, hook)(live), getattr(chosen, hook)(hard))
    assert torch.equal(everywhere.diagnose(live)["hard/tokens"], chosen.diagnose(live)["hard/tokens"])


def test_the_mean_entropies_of_hard_and_easy_prompts_are_logged():
    live = live_of(3)
    metrics = policy_loss(Recipe.of(CEEH()), live).metrics
    for rows, name in ((slice(1, None, 2), "entropy/hard"), (slice(0, None, 2), "entropy/easy")):
        kept = live.entropy.detach()[rows][live.mask[rows].bool()]
        assert (metrics[name].total / metrics[name].count).item() == pytest.approx(kept.mean().item())
    for hard in (0, 1):
        metrics = policy_loss(Recipe.of(CEEH()), live_of(3, hard=hard)).metrics
        assert [metrics[f"entropy/{kind}"].count.item() > 0 for kind in ("hard", "easy")] == [hard == 1, hard == 0]
