"""The reference loss by hand, its normaliser, and what it measures."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from posttrain.rl import Live, Method, Normalizer, Recipe, grpo, policy_loss
from rl.cases import CASES, random_live, select, value_and_gradient


def two_rows() -> Live:
    """One token with ratio 1.5 and A = 1 (clipped at 1.2), and two tokens with ratio 1 and A = -1."""
    old = torch.tensor([[-2.0, 0.0], [-1.0, -1.0]], dtype=torch.float64)
    now = old + torch.tensor([[math.log(1.5), 0.0], [0.0, 0.0]], dtype=torch.float64)
    return Live(
        logp=now.requires_grad_(),
        logp_old=old,
        mask=torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double(),
        advantages=torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double(),
    )


@dataclass(frozen=True)
class Toll(Method):
    """A price per row and a price per token."""

    name = "toll"
    paper = "a toy"
    per_row: bool = False

    def penalty(self, live):
        prices = torch.tensor([4.0, 1.0], dtype=live.logp.dtype)
        return prices if self.per_row else prices.unsqueeze(1).expand_as(live.logp)


def test_sequence_loss_by_hand():
    """Row terms -1.2 and mean(1, 1) = 1, so the mean over rows is -0.1."""
    assert policy_loss(grpo(), two_rows()).value.item() == pytest.approx(-0.1)


def test_token_loss_by_hand():
    """Token terms -1.2, 1, 1 over three tokens: 0.8 / 3."""
    assert policy_loss(grpo(aggregation="token"), two_rows()).value.item() == pytest.approx(0.8 / 3)


def test_reference_kl_by_hand():
    """pi = pi_ref / 2 everywhere: k3 = 2 - log 2 - 1 at every token, so its mean is that in both aggregations."""
    live = two_rows()
    live = replace(live, logp_ref=live.logp.detach() + math.log(2))
    for aggregation in ("sequence", "token"):
        without, with_kl = (
            policy_loss(grpo(aggregation=aggregation, kl_beta=beta), live).value.item() for beta in (0.0, 0.1)
        )
        assert with_kl - without == pytest.approx(0.1 * (1 - math.log(2)))


@pytest.mark.parametrize("per_row", [False, True])
def test_a_penalty_is_aggregated_exactly_like_the_policy_term(per_row):
    """Prices 4 and 1 on rows of one and two tokens: (4 + 1) / 2 by sequence, (4 + 1 + 1) / 3 by token."""
    for aggregation, price in [("sequence", 2.5), ("token", 2.0)]:
        base = grpo(aggregation=aggregation)
        added = policy_loss(base | Toll(per_row), two_rows()).value - policy_loss(base, two_rows()).value
        assert added.item() == pytest.approx(price)


def test_the_default_normaliser_is_the_micro_batchs_own():
    live = random_live(0)
    whole = Normalizer(rows=6.0, tokens=live.mask.sum())
    for recipe in (grpo(), grpo(aggregation="token")):
        assert policy_loss(recipe, live).value == policy_loss(recipe, live, whole).value


@pytest.mark.parametrize("name", ["dapo", "engine_default", "kdrl_k2", "rlad_on_engine_default"])
def test_unscored_tokens_are_not_counted_in_the_token_mean(name):
    """As in the TRL engine, which counts the trained tokens after it has dropped the unscored rows."""
    live = random_live(3)
    scored = torch.tensor([1, 1, 0, 1, 0, 1])
    value, gradient = value_and_gradient(
        CASES[name].recipe, replace(live, columns={**live.columns, "scored": scored.double()})
    )
    kept = scored.bool()
    alone_value, alone = value_and_gradient(CASES[name].recipe, select(live, kept))
    torch.testing.assert_close(value, alone_value, atol=1e-13, rtol=0)
    torch.testing.assert_close(gradient[kept], alone, atol=1e-13, rtol=0)


def test_shape_reaches_the_loss_and_the_veto_counts():
    @dataclass(frozen=True)
    class Flip(Method):
        name = "flip"
        paper = "a toy"

        def shape(self, live):
            return -live.advantages

    live = random_live(0)
    flipped = replace(live, advantages=-live.advantages)
    one, other = policy_loss(grpo() | Flip(), live), policy_loss(grpo(), flipped)
    assert one.value == other.value
    for key in ("veto/positive", "veto/negative"):
        assert one.metrics[key].count == other.metrics[key].count > 0


def test_a_method_that_reads_a_missing_score_is_told_to_declare_it():
    with pytest.raises(ValueError, match=r"No score 'teacher'.*declare it in scores\(\)"):
        policy_loss(CASES["rlad"].recipe, two_rows())


def test_a_method_that_reads_a_missing_column_is_told_to_return_it():
    live = replace(two_rows(), scores={"teacher": two_rows().logp_old})
    with pytest.raises(ValueError, match=r"No column 'correct'.*return it from credit\(\)"):
        policy_loss(CASES["kdrl_incorrect"].recipe, live)


@pytest.mark.parametrize("read", ["prompts", "entropy"])
def test_what_a_penalty_reads_under_a_zero_mask_does_not_reach_the_weights(read):
    """Scores of several prompts are (B, N, T); the slope of a square root is infinite at an entropy of 0."""

    @dataclass(frozen=True)
    class Reader(Method):
        name = "reader"
        paper = "a toy"

        def penalty(self, live):
            return live.logp * live.score("prompts").mean(dim=1) if read == "prompts" else live.entropy.sqrt()

    live = two_rows()
    scores = torch.zeros(2, 3, 2, dtype=torch.float64)
    scores[0, :, 1] = math.inf
    live = replace(live, scores={"prompts": scores}, entropy=live.mask.clone().requires_grad_())
    policy_loss(Recipe() | Reader(), live).value.backward()
    assert live.logp.grad.isfinite().all()
    if read == "entropy":
        assert torch.equal(live.entropy.grad == 0, live.mask == 0)
