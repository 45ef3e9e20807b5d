"""HGPO's arithmetic: by hand, against `slow_hierarchy`, and by what must not change it."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl.hierarchy import hierarchy_credit, oracle_credit, same_state_credit, step_returns
from posttrain.rl.math import group_advantages
from rl.slow_hierarchy import Turns, random_turns, slow_credit, slow_levels, slow_returns

NAN = math.nan
CREDITS = {
    "hierarchy": partial(hierarchy_credit, depth=2),
    "hierarchy, code": partial(hierarchy_credit, depth=2, weight_offset=2, drop="member"),
    "hierarchy, pad": partial(hierarchy_credit, depth=2, prefix="pad"),
    "same state": same_state_credit,
    "oracle": partial(oracle_credit, depth=2),
}
every_credit = pytest.mark.parametrize("compute", CREDITS.values(), ids=CREDITS.keys())
batches = st.integers(0, 10**6).map(random_turns)


def credit(compute, turns: Turns, dtype=torch.float64, **how):
    rewards = torch.tensor(turns.rewards, dtype=dtype)
    return compute(turns.states, turns.episodes, turns.tasks, rewards, **how)


def episodes(*told, task="task") -> Turns:
    """Episodes one after the other, each a list of (state, reward)."""
    rows = [(state, (task, e), task, float(reward)) for e, turns in enumerate(told) for state, reward in turns]
    return Turns(*map(list, zip(*rows, strict=True)))


def close(found, wanted, atol=1e-9):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=found.dtype), atol=atol, rtol=0)


# -- arithmetic that a human can redo -----------------------------------------------------------------------------

# Two corridors look alike from their middle. Rewards of 8 and 4 at the end, gamma = 1/2:
#
#     turn         1       2       3               1       2       3
#     state        left    middle  door            right   middle  door
#     return       2       4       8               1       2       4
TWO = episodes([("left", 0), ("middle", 0), ("door", 8)], [("right", 0), ("middle", 0), ("door", 4)])


def test_step_returns_by_hand():
    rewards = torch.tensor(TWO.rewards)
    assert step_returns(rewards, TWO.episodes, 0.5).tolist() == [2, 4, 8, 1, 2, 4]
    assert step_returns(rewards, TWO.episodes, 1.0).tolist() == [8, 8, 8, 4, 4, 4]
    assert step_returns(rewards, TWO.episodes, 0.0).tolist() == TWO.rewards


def test_two_episodes_by_hand():
    """Level 0: middle 4, 2 with mean 3; door 8, 4 with mean 6; left and right are alone.

    Level 1: (left, middle) and (right, middle) are alone; (middle, door) occurs twice: 8, 4 as on level 0.
    Level 2: (left, middle, door) and (right, middle, door) are alone.
    So the door has A_0 = A_1 = +-2 and its credit is (1 * 2 + 2 * 2) / 3 = 2, divided by the deviation of 2: +-1.
    """
    for depth in (0, 1, 2, 9):
        assert credit(hierarchy_credit, TWO, depth=depth, gamma=0.5, norm="mean").tolist() == [0, 1, 2, 0, -1, -2]
        found = credit(hierarchy_credit, TWO, depth=depth, gamma=0.5, epsilon=0.0)
        assert found.tolist() == [0, 1, 1, 0, -1, -1]
    assert credit(oracle_credit, TWO, depth=1, gamma=0.5, norm="mean").tolist() == [0, 0, 2, 0, 0, -2]
    assert credit(oracle_credit, TWO, depth=2, gamma=0.5, norm="mean").tolist() == [0] * 6


# Three episodes, returns taken as they are (gamma = 0); what the door gives depends on where one comes from.
#
#     a, door: 6          a, door: 2          b, door: 1
#
# Level 0: mean 3, so A_0 = 3, -1, -2. Level 1: 6 and 2 with mean 4, so A_1 = 2, -2; (b, door) is alone.
THREE = episodes([("a", 0), ("door", 6)], [("a", 0), ("door", 2)], [("b", 0), ("door", 1)])


@pytest.mark.parametrize(
    ("how", "first", "second"),
    [
        ({}, (1 * 3 + 2 * 2) / 3, (1 * -1 + 2 * -2) / 3),
        ({"weight_offset": 2}, (2 * 3 + 3 * 2) / 5, (2 * -1 + 3 * -2) / 5),
        ({"alpha": 0.0}, 2.5, -1.5),
        ({"alpha": 2.0}, (1 * 3 + 4 * 2) / 5, (1 * -1 + 4 * -2) / 5),
    ],
    ids=["paper", "code", "alpha 0", "alpha 2"],
)
def test_weights_by_hand(how, first, second):
    found = credit(hierarchy_credit, THREE, depth=1, gamma=0.0, norm="mean", **how)
    close(found, [0, first, 0, second, 0, -2])


def test_norms_by_hand():
    """At the door 6, 2, 1 deviate by 3, -1, -2: population variance 14/3, sample variance 7."""
    for norm, spread in [("mean", 1.0), ("std", math.sqrt(14 / 3)), ("sample", math.sqrt(7))]:
        found = credit(same_state_credit, THREE, gamma=0.0, norm=norm, epsilon=0.0)
        close(found, [0, 3 / spread, 0, -1 / spread, 0, -2 / spread])


def test_a_member_at_the_mean_keeps_its_level_unless_members_are_dropped():
    """The door gives 5, 1, 3 after a and 1, 5, 9 after b: mean 4 of all, 3 after a.

    The turn of 3 has A_0 = -1 and A_1 = 0, so (1 * -1 + 2 * 0) / 3 = -1/3; without the second level it has -1.
    """
    paths = [("a", 5), ("a", 1), ("a", 3), ("b", 1), ("b", 5), ("b", 9)]
    turns = episodes(*([(start, 0), ("door", reward)] for start, reward in paths))
    how = {"depth": 1, "gamma": 0.0, "norm": "mean"}
    assert credit(hierarchy_credit, turns, **how)[5].item() == pytest.approx(-1 / 3)
    assert credit(hierarchy_credit, turns, drop="member", **how)[5].item() == -1


def test_padding_compares_first_turns_with_first_turns():
    """`door` is the first state twice and comes after `a` once; returns 6, 2, 1 with mean 3.

    Padded, the context (nothing, door) of level 1 holds 6 and 2 with mean 4: (1 * 3 + 2 * 2) / 3.
    """
    turns = episodes([("door", 6)], [("door", 2)], [("a", 0), ("door", 1)])
    how = {"depth": 1, "gamma": 0.0, "norm": "mean"}
    close(credit(hierarchy_credit, turns, **how), [3, -1, 0, -2])
    close(credit(hierarchy_credit, turns, prefix="pad", **how), [7 / 3, -5 / 3, 0, -2])
    close(credit(oracle_credit, turns, prefix="pad", **how), [2, -2, 0, 0])


def test_repeated_visits_of_one_episode_are_compared():
    """s, s, s with rewards 0, 0, 4 and gamma 1/2: returns 1, 2, 4 with mean 7/3; (s, s): 2, 4 with mean 3."""
    turns = episodes([("s", 0), ("s", 0), ("s", 4)])
    found = credit(hierarchy_credit, turns, depth=1, gamma=0.5, norm="mean")
    close(found, [1 - 7 / 3, (2 - 7 / 3 - 2) / 3, (4 - 7 / 3 + 2) / 3])


# -- the independent slow reference -------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", range(9))
@pytest.mark.parametrize("norm", ["std", "sample", "mean"])
def test_it_agrees_with_the_slow_reference(depth, norm):
    """Over all parameters 216 batches, each with both offsets."""
    rng = random.Random(f"{depth} {norm}")
    for _ in range(8):
        turns = random_turns(rng.randrange(10**6))
        shared = {
            "depth": depth,
            "norm": norm,
            "gamma": rng.choice([0.95, 0.95, 0.5, 1.0, 0.0]),
            "prefix": rng.choice(["absent", "pad"]),
            "epsilon": rng.choice([1e-6, 0.5]),
        }
        own = {"alpha": rng.choice([0.0, 0.5, 1.0, 2.0]), "drop": rng.choice(["group", "member"])}
        for offset in (1, 2):
            how = shared | own | {"weight_offset": offset}
            close(credit(hierarchy_credit, turns, **how), slow_credit(turns, **how))
        deepest = [levels.get(depth, 0.0) for levels in slow_levels(turns, **shared)]
        close(credit(oracle_credit, turns, **shared), deepest)


@given(batches, st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_step_returns_agree_with_the_slow_reference(turns, gamma):
    wanted = [NAN if r is None else float(r) for r in slow_returns(turns, gamma)]
    found = step_returns(torch.tensor(turns.rewards, dtype=torch.float64), turns.episodes, gamma)
    torch.testing.assert_close(found, torch.tensor(wanted).double(), atol=1e-12, rtol=1e-6, equal_nan=True)


@given(batches, st.sampled_from([("std", "population"), ("sample", "sample"), ("mean", "none")]))
def test_depth_0_is_gigpos_step_term(turns, norms):
    """Groups of equal task and state, by the function that GRPO uses."""
    norm, spread = norms
    rewards = torch.tensor(turns.rewards, dtype=torch.float64)
    cells = list(zip(turns.tasks, turns.states, strict=True))
    returns = step_returns(rewards, turns.episodes).round(decimals=9)  # equal on paper, equal here
    wanted = group_advantages(returns, torch.tensor([cells.index(cell) for cell in cells]), spread=spread)
    close(credit(same_state_credit, turns, norm=norm), wanted, atol=1e-6)
    assert torch.equal(credit(hierarchy_credit, turns, depth=0, norm=norm), credit(same_state_credit, turns, norm=norm))


# -- what must not change it --------------------------------------------------------------------------------------


@st.composite
def reordered(draw):
    """A batch, and its rows interleaved in another way that keeps each episode's turns in time order."""
    turns = draw(batches)
    places = draw(st.permutations(range(len(turns.states))))
    rows = {e: iter([i for i, f in enumerate(turns.episodes) if f == e]) for e in set(turns.episodes)}
    return turns, [next(rows[turns.episodes[place]]) for place in places]


@every_credit
@given(data=reordered())
def test_it_follows_the_episodes_however_they_interleave(compute, data):
    turns, rows = data
    close(credit(compute, turns.pick(rows)), credit(compute, turns)[rows])


@every_credit
@given(turns=batches, shift=st.integers(1, 3))
def test_it_does_not_depend_on_the_labels(compute, turns, shift):
    names = {state: f"state {(i + shift) % 4}" for i, state in enumerate(sorted(set(turns.states)))}
    renamed = Turns(
        [names[state] for state in turns.states],
        [f"episode {episode}" for episode in turns.episodes],
        [task[::-1] for task in turns.tasks],
        turns.rewards,
    )
    assert torch.equal(credit(compute, renamed), credit(compute, turns))


@every_credit
@given(turns=batches)
def test_labels_may_be_tensors_arrays_or_lists(compute, turns):
    rewards = torch.tensor(turns.rewards)
    state, episode, task = ([list(dict.fromkeys(c)).index(v) for v in c] for c in turns[:3])
    wanted = compute(turns.states, turns.episodes, turns.tasks, rewards)
    assert torch.equal(compute(state, torch.tensor(episode), np.array(task), rewards), wanted)
    assert torch.equal(compute(np.array(turns.states), tuple(episode), torch.tensor(task).short(), rewards), wanted)


@every_credit
@given(turns=batches)
def test_the_same_text_in_two_tasks_never_shares_a_group(compute, turns):
    """Each task's rows alone give what they give among the others."""
    whole = credit(compute, turns)
    for task in set(turns.tasks):
        rows = [i for i, t in enumerate(turns.tasks) if t == task]
        close(whole[rows], credit(compute, turns.pick(rows)))


@every_credit
@given(turns=batches)
def test_two_copies_of_every_episode_change_nothing(compute, turns):
    """Means and population deviations stay; a turn that was alone meets only itself, and still has no level."""
    twice = Turns(
        turns.states * 2,
        [(copy, e) for copy in (0, 1) for e in turns.episodes],
        turns.tasks * 2,
        turns.rewards * 2,
    )
    close(credit(compute, twice), credit(compute, turns).repeat(2))


@every_credit
@given(turns=batches)
def test_unscored_episodes_get_0_and_enter_no_group(compute, turns):
    out = {e for e, r in zip(turns.episodes, turns.rewards, strict=True) if math.isnan(r)}
    rows = [i for i, e in enumerate(turns.episodes) if e not in out]
    found = credit(compute, turns)
    close(found[rows], credit(compute, turns.pick(rows)))
    assert all(found[i] == 0 for i in range(len(found)) if i not in rows)


@pytest.mark.parametrize("joint", ["", " ", "|", "\n", "\0", "', '"], ids=repr)
@pytest.mark.parametrize("compute", [hierarchy_credit, oracle_credit], ids=["hierarchy", "oracle"])
def test_histories_whose_texts_join_to_the_same_text_are_two(compute, joint):
    """("a", "bc", x) and ("ab", "c", x) share x alone, so all that is deeper than level 0 is absent."""
    one, two = ["a", f"b{joint}c"], [f"a{joint}b", "c"]
    turns = episodes(*([(state, 0) for state in path] + [("x", r)] for path, r in [(one, 1), (two, 0)]))
    wanted = 0.0 * torch.zeros(6) if compute is oracle_credit else credit(same_state_credit, turns)
    for depth in (1, 2):
        close(credit(compute, turns, depth=depth), wanted)


@every_credit
@given(turns=batches, scale=st.sampled_from([0.25, 3.0, 1024.0]))
def test_scaling_the_rewards_scales_the_difference_and_not_the_standard_score(compute, turns, scale):
    scaled = turns._replace(rewards=[scale * r for r in turns.rewards])
    close(credit(compute, scaled, norm="mean"), scale * credit(compute, turns, norm="mean"), atol=1e-7)
    close(credit(compute, scaled, epsilon=0.0), credit(compute, turns, epsilon=0.0))


@every_credit
@given(turns=batches)
def test_negating_the_rewards_negates_the_credit(compute, turns):
    negated = turns._replace(rewards=[-r for r in turns.rewards])
    close(credit(compute, negated), -credit(compute, turns))


@every_credit
@given(turns=batches, shift=st.integers(-8, 8), gamma=st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_a_constant_on_all_returns_changes_nothing(compute, turns, shift, gamma):
    """c on an episode's last reward and (1 - gamma) c on the others add up to c on every return."""
    last = {e: i for i, e in enumerate(turns.episodes)}
    shares = [shift * (1.0 if last[e] == i else 1 - gamma) for i, e in enumerate(turns.episodes)]
    shifted = turns._replace(rewards=[r + s for r, s in zip(turns.rewards, shares, strict=True)])
    close(credit(compute, shifted, gamma=gamma), credit(compute, turns, gamma=gamma), atol=1e-7)


@given(batches)
def test_a_depth_beyond_the_longest_episode_adds_nothing(turns):
    wanted = credit(hierarchy_credit, turns, depth=11)
    assert torch.equal(credit(hierarchy_credit, turns, depth=40), wanted)
    assert not credit(oracle_credit, turns, depth=40).any()


@given(batches, st.integers(1, 6), st.sampled_from(["absent", "pad"]))
def test_where_a_state_tells_its_history_all_depths_are_gigpo(turns, depth, prefix):
    """The negative control: without aliasing every level has the groups of level 0."""
    past = dict.fromkeys(turns.episodes, ())
    told = []
    for state, episode in zip(turns.states, turns.episodes, strict=True):
        past[episode] = (*past[episode], state)
        told.append(past[episode])
    clear = turns._replace(states=told)
    close(credit(hierarchy_credit, clear, depth=depth, prefix=prefix), credit(same_state_credit, clear))


@given(batches)
def test_a_steep_weight_leaves_the_deepest_level_that_a_turn_has(turns):
    deepest = [levels[max(levels)] if levels else 0.0 for levels in slow_levels(turns, depth=2)]
    close(credit(hierarchy_credit, turns, depth=2, alpha=80.0), deepest, atol=1e-7)


# -- numbers ------------------------------------------------------------------------------------------------------


@every_credit
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("norm", ["std", "sample", "mean"])
@given(reward=st.floats(-1000, 1000), wins=st.integers(1, 9), turns=st.integers(1, 6))
def test_equal_returns_give_exactly_zero(compute, dtype, norm, reward, wins, turns):
    """All succeed in the same number of steps; 3 times 10 * 0.95^5 gives the released code -0.32 each."""
    batch = episodes(*[[(f"s{t}", 0) for t in range(turns)] + [("end", reward)]] * wins)
    found = credit(compute, batch, dtype, norm=norm)
    assert found.dtype == dtype
    assert not found.any()


@every_credit
@pytest.mark.parametrize("parts", [(0.1, 0.2, 0.3), (float(np.float32(9.9)), 0.1, 10.0)], ids=["float64", "float32"])
def test_returns_that_differ_by_rounding_give_exactly_zero(compute, parts):
    """A sum of two rewards against the whole in one."""
    assert parts[0] + parts[1] != parts[2]
    turns = episodes([("s", parts[0]), ("t", parts[1])], [("s", parts[2]), ("u", 0)])
    assert not credit(compute, turns, gamma=1.0).any()


@every_credit
def test_small_differences_count(compute):
    """One part in ten thousand is no rounding: the standard score is 1 as for any other difference."""
    turns = episodes(*([("s", 0), ("t", 0), ("u", reward)] for reward in (10.0, 10.001)))
    close(credit(compute, turns, epsilon=0.0)[2::3], [-1, 1])


@given(batches, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_a_narrow_type_is_rounded_once_at_the_end(turns, dtype):
    turns = turns._replace(rewards=torch.tensor(turns.rewards, dtype=dtype).tolist())
    assert torch.equal(
        credit(hierarchy_credit, turns, dtype, depth=3), credit(hierarchy_credit, turns, depth=3).to(dtype)
    )


@pytest.mark.parametrize("compute", [*CREDITS.values(), lambda s, e, t, r: step_returns(r, e)])
@pytest.mark.parametrize("rows", [0, 1])
def test_no_turns_and_a_single_one(compute, rows):
    assert compute(["s"] * rows, [0] * rows, [0] * rows, torch.zeros(rows)).tolist() == [0.0] * rows


def test_rewards_keep_their_graph_and_values():
    rewards = torch.tensor([1.0, 0.0], requires_grad=True)
    found = hierarchy_credit(["s", "s"], [0, 1], [0, 0], rewards, depth=2)
    assert not found.requires_grad
    assert rewards.tolist() == [1.0, 0.0]


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"depth": -1}, r"depth=-1 must not be negative"),
        ({"norm": "var"}, r"norm='var' is unknown; use 'std', 'sample' or 'mean'"),
        ({"drop": "row"}, r"drop='row' is unknown; use 'group' or 'member'"),
        ({"prefix": "zero"}, r"prefix='zero' is unknown; use 'absent' or 'pad'"),
        ({"weight_offset": 0}, r"weight_offset=0 must be at least 1"),
        ({"alpha": -1.0}, r"alpha=-1.0 must lie in \[0, 100\]"),
        ({"alpha": NAN}, r"alpha=nan must lie in"),
        ({"gamma": 1.01}, r"gamma=1.01 must lie in \[0, 1\]"),
        ({"gamma": -0.1}, r"gamma=-0.1 must lie in"),
        ({"gamma": NAN}, r"gamma=nan must lie in"),
        ({"epsilon": -1.0}, r"epsilon=-1.0 must be finite and not negative"),
        ({"states": ["s"]}, r"states has 1 rows, but rewards has 2"),
        ({"episode_ids": [0, 1, 2]}, r"episode_ids has 3 rows, but rewards has 2"),
        ({"task_ids": []}, r"task_ids has 0 rows, but rewards has 2"),
        ({"task_ids": [0, 1], "episode_ids": [5, 5]}, r"turns of two tasks"),
        ({"states": list(torch.zeros(2))}, r"states holds tensors"),
        ({"rewards": torch.tensor([1.0, math.inf])}, r"reward is infinite"),
        ({"rewards": torch.tensor([1, 0])}, r"must be floats, \(N,\); got torch.int64"),
        ({"rewards": torch.zeros(2, 1)}, r"got torch.float32, \(2, 1\)"),
        ({"rewards": torch.tensor(0.0)}, r"got torch.float32, \(\)"),
    ],
    ids=str,
)
def test_bad_input_is_answered_by_a_sentence(how, message):
    given_ = {"states": ["s", "s"], "episode_ids": [0, 1], "task_ids": [0, 0], "rewards": torch.tensor([1.0, 0.0])}
    with pytest.raises(ValueError, match=message) as caught:
        hierarchy_credit(**(given_ | {"depth": 1} | how))
    assert str(caught.value).endswith(".")
