"""HGPO and what it is compared with, on tables of episodes; the arithmetic of groups itself is in test_hierarchy."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import (
    HGPO,
    Acted,
    GiGPO,
    Oracle,
    Recipe,
    SameState,
    Table,
    agent,
    gigpo,
    grpo,
    hgpo,
    oracle,
    same_state,
)
from posttrain.rl.engines.loop import TabularPolicy, train
from posttrain.rl.math import group_advantages

NAN = math.nan
METHODS = {"hgpo": HGPO, "gigpo": GiGPO, "same_state": SameState, "oracle": Oracle}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
BUILDERS = [hgpo, gigpo, same_state, oracle]


def table(*told, group=None, rewards=None, dtype=torch.float64):
    """Episodes, each a list of (state, reward) or (state, reward, fine); of one task unless told otherwise."""
    acted = [[Acted(state, float(reward), *fine) for state, reward, *fine in turns] for turns in told]
    own = [sum(turn.reward - turn.fine for turn in turns) for turns in acted]
    return Table(
        rewards=torch.tensor(own if rewards is None else rewards, dtype=dtype),
        group=torch.tensor(group or [0] * len(acted)),
        correct=torch.zeros(len(acted)),
        prompt_key=["task"] * len(acted),
        length=torch.ones(len(acted)),
        acted=acted,
    )


def credit(method, of):
    """By the recipe, which is what engines ask."""
    return Recipe(methods=(method,)).credit(of).advantages


def close(found, wanted, atol=1e-9):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=found.dtype), atol=atol, rtol=0)


# -- arithmetic that a human can redo -----------------------------------------------------------------------------

# Rewards of 8 and 4 at the door, gamma = 1/2: returns 4, 8 and 2, 4; means 3 in the hall, 6 at the door.
TWO = [[("hall", 0), ("door", 8)], [("hall", 0), ("door", 4)]]
# Three returns at one door, gamma = 0: 6 and 2 from the left with mean 4, 1 from the right; mean 3 of all.
THREE = [[("left", 0), ("door", 6)], [("left", 0), ("door", 2)], [("right", 0), ("door", 1)]]


def test_same_state_by_hand():
    close(credit(SameState(gamma=0.5, norm="mean"), table(*TWO)), [[1, 2], [-1, -2]])
    close(credit(SameState(gamma=0.5, epsilon=0.0), table(*TWO)), [[1, 1], [-1, -1]])
    close(credit(SameState(gamma=0.0, norm="mean"), table(*THREE)), [[0, 3], [0, -1], [0, -2]])


def test_gigpo_by_hand():
    """The episodes earned 8 and 4, mean 6, deviation 2: two more for each turn of the first, or 1 if divided."""
    close(credit(GiGPO(gamma=0.5, norm="mean"), table(*TWO)), [[2 + 1, 2 + 2], [-2 - 1, -2 - 2]])
    close(credit(GiGPO(gamma=0.5, norm="mean", omega=0.5), table(*TWO)), [[2.5, 3], [-2.5, -3]])
    close(credit(GiGPO(gamma=0.5, epsilon=0.0), table(*TWO)), [[2, 2], [-2, -2]])
    close(credit(GiGPO(gamma=0.5, norm="sample", epsilon=0.0), table(*TWO)) * math.sqrt(2), [[2, 2], [-2, -2]])


def test_oracle_by_hand():
    """Only turns with one state before them have a level 1; from the right there is no other."""
    close(credit(Oracle(depth=1, gamma=0.0, norm="mean"), table(*THREE)), [[0, 2], [0, -2], [0, 0]])


def test_hgpo_by_hand():
    """At the door A_0 = 3, -1, -2 and A_1 = 2, -2: (1 * 3 + 2 * 2) / 3 and (1 * -1 + 2 * -2) / 3."""
    close(credit(HGPO(depth=1, gamma=0.0, norm="mean"), table(*THREE)), [[0, 7 / 3], [0, -5 / 3], [0, -2]])
    found = credit(HGPO(depth=1, gamma=0.0, norm="mean", weight_offset=2), table(*THREE))
    close(found, [[0, (2 * 3 + 3 * 2) / 5], [0, (2 * -1 + 3 * -2) / 5], [0, -2]])
    close(credit(HGPO(depth=1, gamma=0.0, norm="mean", alpha=0.0), table(*THREE)), [[0, 2.5], [0, -1.5], [0, -2]])


def test_a_fine_comes_off_its_own_turn_after_discounting():
    """The first episode is fined 1 at the door: returns 4, 8 - 1 and 4, 8. In the hall they are equal."""
    at_the_door = table([("hall", 0), ("door", 8, 1.0)], [("hall", 0), ("door", 8)])
    in_the_hall = table([("hall", 0, 1.0), ("door", 8)], [("hall", 0), ("door", 8)])
    for method in (SameState(gamma=0.5, norm="mean"), HGPO(depth=0, gamma=0.5, norm="mean")):
        close(credit(method, at_the_door), [[0, -0.5], [0, 0.5]])
        close(credit(method, in_the_hall), [[-0.5, 0], [0.5, 0]])


def test_the_episodes_term_of_gigpo_counts_fines():
    """Returns of the episodes 7 and 8."""
    fined = table([("hall", 0), ("door", 8, 1.0)], [("hall", 0), ("door", 8)])
    close(credit(GiGPO(gamma=0.5, norm="mean"), fined), [[-0.5, -1], [0.5, 1]])


def test_a_second_reward_is_earned_by_the_last_turn():
    """2 more for the first episode: returns (8 + 2) / 2, 10 and 4, 8."""
    more = table([("hall", 0), ("door", 8)], [("hall", 0), ("door", 8)], rewards=[10.0, 8.0])
    close(credit(SameState(gamma=0.5, norm="mean"), more), [[0.5, 1], [-0.5, -1]])


def test_a_methods_reward_for_a_turn_is_earned_by_that_turn():
    """2 more in the hall, which are in the episode's 10 as well: returns 2 + 4, 8 and 4, 8."""
    acted = [[Acted("hall", 0.0, 0.0, 2.0), Acted("door", 8.0)], [Acted("hall", 0.0), Acted("door", 8.0)]]
    more = replace(table([("hall", 0), ("door", 8)], [("hall", 0), ("door", 8)], rewards=[10.0, 8.0]), acted=acted)
    close(credit(SameState(gamma=0.5, norm="mean"), more), [[1, 0], [-1, 0]])


def test_grpo_compares_whole_episodes():
    """Returns 8, 4 and, of another task, 1, 3."""
    told = table(*TWO, [("hall", 1)], [("hall", 1), ("hall", 2)], group=[0, 0, 1, 1])
    close(grpo(epsilon=0.0).credit(told).advantages, [1, -1, -1, 1])


# -- properties ---------------------------------------------------------------------------------------------------

turns = st.tuples(st.sampled_from("abc"), st.integers(-3, 3), st.sampled_from([0.0, 0.25]))
batches = st.lists(st.lists(turns, max_size=5), min_size=1, max_size=6)


@given(batches, st.sampled_from(["std", "sample", "mean"]), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_at_depth_0_hgpo_is_same_state_and_so_is_the_oracle(told, norm, gamma):
    shared = {"norm": norm, "gamma": gamma, "kl_beta": 0.0}
    wanted = credit(SameState(**shared), table(*told))
    assert torch.equal(credit(HGPO(depth=0, **shared), table(*told)), wanted)
    assert torch.equal(credit(Oracle(depth=0, **shared), table(*told)), wanted)


@given(batches, st.sampled_from(["std", "sample", "mean"]))
def test_gigpo_is_its_two_terms(told, norm):
    of = table(*told)
    spread = {"std": "population", "sample": "sample", "mean": "none"}[norm]
    exists = torch.tensor([[k < len(episode) for k in range(max(1, *map(len, told), 0))] for episode in told])
    wanted = credit(SameState(norm=norm), of) + group_advantages(of.rewards, of.group, spread=spread).unsqueeze(1)
    close(credit(GiGPO(norm=norm), of), torch.where(exists, wanted, 0.0))


@every_method
@given(told=batches)
def test_an_unscored_episode_gets_zeros_and_disturbs_nobody(method, told):
    alone = table(*told)
    lost = [("a", 3), ("b", -3), ("c", 1)]
    among = table(lost, *told, rewards=[NAN, *alone.rewards.tolist()])
    found = credit(method(), among)
    assert not found[0].any()
    wanted = credit(method(), alone)
    close(found[1:, : wanted.shape[1]], wanted)
    assert not found[1:, wanted.shape[1] :].any()


@every_method
@given(one=batches, other=batches)
def test_turns_of_two_tasks_are_never_compared(method, one, other):
    found = credit(method(), table(*one, *other, group=[0] * len(one) + [1] * len(other)))
    for rows, alone in ((found[: len(one)], one), (found[len(one) :], other)):
        wanted = credit(method(), table(*alone))
        close(rows[:, : wanted.shape[1]], wanted)


@every_method
@given(told=batches)
def test_places_without_a_turn_get_0(method, told):
    found = credit(method(), table(*told))
    for episode, values in zip(told, found, strict=True):
        assert not values[len(episode) :].any()


@every_method
def test_no_turns_at_all(method):
    assert credit(method(), table([], [])).tolist() == [[0], [0]]


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_has_the_tables_type(method, dtype):
    found = credit(method(gamma=0.5), table(*TWO, dtype=dtype))
    assert found.dtype == dtype
    close(found, credit(method(gamma=0.5), table(*TWO)), atol=1e-5)


@every_method
def test_an_engines_rounding_makes_no_credit(method):
    """In each of three episodes the last turn, in one state, earns nothing; 16.8 has no float32."""
    told = [[("a", 16.7), ("b", 0.1), ("s", 0)], [("c", 33.3), ("d", 0.7), ("s", 0)], [("e", 0), ("f", 0), ("s", 0)]]
    wanted = credit(method(), table(*told))
    close(credit(method(), table(*told, dtype=torch.float32)), wanted, atol=1e-5)
    assert method is GiGPO or not wanted[:, 2].any()


def test_the_share_of_turns_with_credit_is_logged():
    """Three of the six turns: both on the left have equal returns, and the one on the right is alone."""
    assert HGPO(gamma=0.0).credit(table(*THREE), None).metrics == {"hgpo/credited": 3 / 6}


# -- recipes and bad values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDERS)
def test_a_small_kl_is_the_papers_and_can_be_left_open(build):
    assert (agent() | build()).settings.kl_beta == 0.01
    assert (agent() | build(kl_beta=0.0)).settings.kl_beta == 0
    assert (grpo(kl_beta=0.2) | agent() | build(kl_beta=None)).settings.kl_beta == 0.2


@pytest.mark.parametrize("build", BUILDERS)
def test_without_episodes_there_is_nothing_to_credit(build):
    recipe, policy = build(kl_beta=0.0), TabularPolicy(torch.zeros(1, 1, 2))
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"agent\(worlds=\.\.\.\)"):
        next(train(recipe, policy, [{"prompt_ids": [0]}], len, steps=1, group_size=2, optimizer=optimizer))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gamma": 1.1}, r"gamma=1.1 must lie in \[0, 1\]"),
        ({"gamma": NAN}, r"gamma=nan must lie in"),
        ({"norm": "none"}, r"norm='none' is unknown; use 'std', 'sample' or 'mean'"),
        ({"epsilon": -1.0}, r"epsilon=-1.0 must be finite and not negative"),
        ({"epsilon": NAN}, r"epsilon=nan must be finite"),
        ({"kl_beta": -0.1}, r"kl_beta=-0.1 must not be negative"),
    ],
    ids=str,
)
@every_method
def test_impossible_values_of_all_are_answered_by_a_sentence(method, options, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        method(**options)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        (HGPO, {"depth": -1}, r"depth=-1 must not be negative"),
        (Oracle, {"depth": -1}, r"depth=-1 must not be negative"),
        (GiGPO, {"omega": -1.0}, r"omega=-1.0 must be finite and not negative"),
        (GiGPO, {"omega": NAN}, r"omega=nan must be finite"),
        (HGPO, {"alpha": -1.0}, r"alpha=-1.0 must lie in \[0, 100\]"),
        (HGPO, {"alpha": 101}, r"alpha=101 must lie in \[0, 100\]"),
        (HGPO, {"weight_offset": 0}, r"weight_offset=0 must be at least 1"),
        (HGPO, {"drop": "row"}, r"drop='row' is unknown; use 'group' or 'member'"),
        (HGPO, {"prefix": "zero"}, r"prefix='zero' is unknown; use 'absent' or 'pad'"),
    ],
    ids=str,
)
def test_impossible_values_of_one_are_answered_by_a_sentence(method, options, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        method(**options)
    assert str(caught.value).endswith(".")
