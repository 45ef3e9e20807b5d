"""Episodes as rows: which rows, which tokens, whose advantage; and what each turn earned."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.rl import Acted, Row, Table, Turn
from posttrain.rl.turns import by_turn, flat, spread, tokens_of, trained, unrolled

NAN = math.nan


def turn(*ids, prompt=(7,), state="s", reward=0.0, fine=0.0, **more):
    return Turn(list(prompt), list(ids), [-0.5] * len(ids), Acted(state, reward, fine), **more)


# An episode of two turns: asked with 7, said 1 2, told 8 9, said 3.
TURNS = [turn(1, 2), turn(3, prompt=(7, 1, 2, 8, 9))]
FULL = Row([7], [1, 2, 8, 9, 3], 0, turns=TURNS, turn_of=[0, 0, -1, -1, 1], verdict=1.0)
WINDOW = Row([7], [3], 0, turns=TURNS, by_turn=True, verdict=1.0)
ANSWER = Row([7], [4, 5, 6], 0)


# -- rows by hand -------------------------------------------------------------------------------------------------


def test_a_row_that_is_not_trained_by_turn_stays_as_it_is():
    found = unrolled([FULL, ANSWER])
    assert found.rows == [FULL, ANSWER]
    assert (found.place, found.turn) == ([0, 1], [0, 0])


def test_an_episode_by_turn_is_a_row_per_turn_after_its_own_prompt():
    found = unrolled([ANSWER, WINDOW])
    assert [(row.prompt_ids, row.ids) for row in found.rows[1:]] == [([7], [1, 2]), ([7, 1, 2, 8, 9], [3])]
    assert [row.logps for row in found.rows[1:]] == [[-0.5, -0.5], [-0.5]]
    assert [row.sampled_after for row in found.rows] == [None] * 3
    assert (found.place, found.turn) == ([0, 1, 1], [0, 0, 1])
    assert unrolled(found.rows).rows == found.rows  # rows of turns are rows


def test_a_turn_can_be_trained_after_another_prompt_than_it_was_sampled_after():
    told = [TURNS[0]._replace(trained_after=[6]), TURNS[1]]
    first, second = unrolled([replace(WINDOW, turns=told)]).rows
    assert (first.prompt_ids, first.sampled_after) == ([6], [7])
    assert (second.prompt_ids, second.sampled_after) == ([7, 1, 2, 8, 9], None)


@pytest.mark.parametrize(
    "row", [replace(WINDOW, verdict=NAN), replace(WINDOW, turns=[])], ids=["dropped", "without a turn"]
)
def test_an_episode_that_trains_nothing_keeps_one_row_of_one_untrained_token(row):
    found = unrolled([WINDOW, row, ANSWER])
    assert (found.place, found.turn) == ([0, 0, 1, 2], [0, 1, 0, 0])
    assert found.rows[2].prompt_ids == [7]
    assert len(found.rows[2].ids) == 1
    assert trained(found.rows[2]) == [0]


def test_sampled_tokens_are_trained_and_counted_and_the_worlds_are_not():
    assert trained(FULL) == [1, 1, 0, 0, 1]
    assert trained(ANSWER) == [1, 1, 1]
    assert [tokens_of(row) for row in (FULL, WINDOW, ANSWER)] == [3, 3, 3]
    assert tokens_of(replace(FULL, ids=[7], turn_of=[-1])) == 0


# -- advantages by hand -------------------------------------------------------------------------------------------


def test_an_episodes_advantage_goes_to_all_its_rows():
    assert spread(torch.tensor([10.0, 20.0]), unrolled([WINDOW, ANSWER]), 3).tolist() == [10, 10, 20]


def test_a_turns_advantage_goes_to_its_row():
    advantages = torch.tensor([[10.0, 11.0], [20.0, 21.0]])
    assert spread(advantages, unrolled([WINDOW, WINDOW]), 2).tolist() == [10, 11, 20, 21]


def test_a_turns_advantage_goes_to_its_tokens():
    found = spread(torch.tensor([[10.0, 11.0]]), unrolled([FULL]), 6)
    assert found[0][[0, 1, 4]].tolist() == [10, 10, 11]


def test_a_dropped_episode_among_turns_disturbs_nobody():
    advantages = torch.tensor([[10.0, 11.0], [0.0, 0.0], [20.0, 21.0]])
    found = unrolled([WINDOW, replace(WINDOW, verdict=NAN), WINDOW])
    wide = spread(advantages, found, 2).expand(5, 2)
    assert wide[:, 0].tolist() == [10, 11, 0, 20, 21]
    assert wide[0].tolist() == [10, 10]


# -- advantages of any episodes -----------------------------------------------------------------------------------


@st.composite
def dialogues(draw):
    """Episodes in full form: for each, the length of every action and of what the world says before it."""
    parts = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4)
    rows = []
    for told in draw(st.lists(parts, min_size=1, max_size=4)):
        turn_of = []
        for k, (world, action) in enumerate(told):
            turn_of += [-1] * (world if k else 0) + [k] * action
        rows.append(Row([1], [2] * len(turn_of), 0, turn_of=turn_of, turns=[turn(2)] * len(told), verdict=0.0))
    return rows


@given(dialogues(), st.booleans())
def test_every_trained_token_gets_the_advantage_of_its_own_turn(rows, with_answer):
    """Whatever stands at the other places is masked."""
    rows = [*rows, ANSWER] if with_answer else rows
    most = max(len(row.turns) for row in rows)
    advantages = torch.arange(len(rows)).unsqueeze(1) * 100.0 + torch.arange(max(most, 1))
    width = max(len(row.ids) for row in rows)
    found = spread(advantages, unrolled(rows), width)
    assert found.shape == (len(rows), width)
    for e, row in enumerate(rows):
        for t, k in enumerate(row.turn_of or [0] * len(row.ids)):
            assert k < 0 or found[e, t] == 100 * e + k


@given(dialogues())
def test_both_forms_give_each_turn_the_same_advantage(rows):
    advantages = torch.randn(len(rows), 4, generator=torch.Generator().manual_seed(0))
    width = max(len(row.ids) for row in rows)
    dialogue = spread(advantages, unrolled(rows), width)
    turns = unrolled([replace(row, by_turn=True, turn_of=()) for row in rows])
    of_turns = spread(advantages, turns, 1)
    for value, e, k in zip(of_turns, turns.place, turns.turn, strict=True):
        assert dialogue[e, rows[e].turn_of.index(k)] == value


@given(dialogues())
def test_one_advantage_per_episode_is_as_many_equal_ones(rows):
    one = torch.randn(len(rows), generator=torch.Generator().manual_seed(0))
    width = max(len(row.ids) for row in rows)
    wide = spread(one.unsqueeze(1).expand(-1, 4), unrolled(rows), width)
    assert torch.equal(wide, spread(one, unrolled(rows), width).unsqueeze(1).expand(-1, width))


# -- what each turn earned ----------------------------------------------------------------------------------------


def table(acted, rewards, dtype=torch.float64):
    n = len(acted)
    return Table(
        rewards=torch.tensor(rewards, dtype=dtype),
        group=torch.zeros(n, dtype=torch.long),
        correct=torch.zeros(n),
        prompt_key=["task"] * n,
        length=torch.ones(n),
        acted=acted,
    )


def test_turns_by_hand():
    """The second episode has no turn. The third earned 5 + 1 - 0.5, and 2 more that no turn tells of."""
    acted = [[Acted("a", 3.0)], [], [Acted("b", 5.0), Acted("c", 0.0, 0.5), Acted("a", 1.0)]]
    found = flat(table(acted, [3.0, 0.0, 7.5]))
    assert found.episode.tolist() == [0, 2, 2, 2]
    assert found.turn.tolist() == [0, 0, 1, 2]
    assert found.states == ["a", "b", "c", "a"]
    assert found.rewards.tolist() == [3, 5, 0, 3]
    assert found.fines.tolist() == [0, 0, 0.5, 0]


tenths = st.integers(-50, 50).map(lambda n: n / 10)
acts = st.builds(Acted, st.sampled_from("abc"), tenths, st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([0.0, 0.3]))
episodes = st.lists(st.tuples(st.lists(acts, max_size=5), tenths, st.booleans()), min_size=1, max_size=6)


def of_turns(acted):
    """What the environment gave, with the methods' own rewards for turns."""
    return sum(a.reward - a.fine for a in acted) + sum(a.bonus for a in acted)


def paid(told):
    """The same and a second reward; NaN where unscored."""
    return [NAN if gone else of_turns(acted) + more for acted, more, gone in told]


@given(episodes)
def test_the_turns_of_an_episode_earned_what_the_episode_did(told):
    acted, rewards = [acted for acted, _, _ in told], paid(told)
    found = flat(table(acted, rewards))
    for e, (own, reward) in enumerate(zip(acted, rewards, strict=True)):
        mine = found.episode == e
        assert found.turn[mine].tolist() == list(range(len(own)))
        if own and not math.isnan(reward):
            assert (found.rewards - found.fines)[mine].sum().item() == pytest.approx(reward, abs=1e-9)
            assert found.rewards[mine][:-1].tolist() == [a.reward + a.bonus for a in own][:-1]
    assert found.states == [a.state for own in acted for a in own]


@given(episodes)
def test_unscored_episodes_are_unscored_in_every_turn_and_no_others_are(told):
    found = flat(table([acted for acted, _, _ in told], paid(told)))
    gone = torch.tensor([gone for _, _, gone in told])
    assert torch.equal(found.rewards.isnan(), gone[found.episode])


@given(episodes, st.sampled_from([torch.float32, torch.float64]))
def test_an_engines_rounding_is_no_reward(told, dtype):
    """0.1 has no float32, so the difference to an episode's own turns is never exactly 0."""
    acted = [acted for acted, _, _ in told]
    found = flat(table(acted, list(map(of_turns, acted)), dtype))
    assert found.rewards.tolist() == [a.reward + a.bonus for own in acted for a in own]


@given(episodes)
def test_by_turn_is_the_way_back_and_0_where_there_is_no_turn(told):
    acted = [acted for acted, _, _ in told]
    found = flat(table(acted, paid(told)))
    values = torch.arange(1, len(found.states) + 1, dtype=torch.float64)
    back = by_turn(values, found, len(acted))
    assert back.shape == (len(acted), max(1, *map(len, acted), 0))
    assert back[found.episode, found.turn].tolist() == values.tolist()
    assert (back != 0).sum(1).tolist() == list(map(len, acted))


def test_a_table_without_turns_is_answered_by_a_sentence():
    with pytest.raises(ValueError, match=r"needs turns.*agent\(worlds=\.\.\.\)"):
        flat(replace(table([[]], [1.0]), acted=None))
