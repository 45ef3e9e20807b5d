"""The corridor: what its rule promises, what it hides, and what it repeats."""

import itertools
import re

import pytest

from posttrain.tasks.worlds.corridor import (
    FORWARD,
    LEFT,
    LOOK,
    REWARD,
    RIGHT,
    TOKENS,
    TURN,
    Corridor,
    corridors,
)
from posttrain.tasks.worlds.view import TextView

SHAPES = [(legs, gap, aliased) for legs in (1, 2, 3) for gap in (0, 1, 3) for aliased in (True, False)]
every_shape = pytest.mark.parametrize(("legs", "gap", "aliased"), SHAPES)


def rows(legs, gap, aliased, n=None, **more):
    return corridors(n or min(legs, 2), seed=0, legs=legs, gap=gap, aliased=aliased, **more)


def told(world):
    """What the agent sees, what the credit sees, and what can be done."""
    return world.state_key(), world.actions()


def by_the_rule(task):
    """The steps of an agent that remembers the last lamp, from what it sees alone."""
    world = Corridor()
    seen, steps, lamp = world.reset(task), [], ""
    while not steps or not steps[-1].done:
        words = seen.replace(",", "").replace(".", "").split()
        lamp = next((word for word in words if word in TURN), lamp)
        action = TURN[lamp] if world.actions() == [LEFT, RIGHT] else FORWARD
        steps.append(world.step(action))
        seen = steps[-1].observation
    return steps


@every_shape
def test_the_rule_leads_to_the_garden_on_the_shortest_way(legs, gap, aliased):
    for task in rows(legs, gap, aliased):
        steps = by_the_rule(task)
        assert len(steps) == legs * (gap + 2)
        assert steps[-1] == ("A garden.", REWARD, True, True)


@every_shape
def test_there_is_one_reward_and_it_is_in_the_garden(legs, gap, aliased):
    for task in rows(legs, gap, aliased):
        assert [(step.reward, step.done, step.won) for step in by_the_rule(task)][:-1] == (
            [(0.0, False, False)] * (legs * (gap + 2) - 1)
        )
    assert REWARD == 10


def places(task):
    """The observation at each place of each leg, by the rule."""
    world = Corridor()
    seen = world.reset(task)
    for lamp in task["lamps"].split():
        leg = [seen]
        for _ in range(task["gap"] + 1):
            seen = world.step(FORWARD).observation
            leg.append(seen)
        assert world.actions() == [LEFT, RIGHT]
        yield lamp, leg
        seen = world.step(TURN[lamp]).observation


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_junctions_look_alike_exactly_if_they_are_aliased(gap):
    for aliased in (True, False):
        legs = [leg for task in rows(3, gap, aliased, n=5) for leg in places(task)]
        junctions = {leg[-1] for _, leg in legs}
        assert (len(junctions) == 1) == aliased
        assert {leg[0] for lamp, leg in legs if lamp == "red"}.isdisjoint(leg[0] for lamp, leg in legs if lamp != "red")


def test_without_aliasing_every_place_tells_the_right_turn():
    """No observation is seen before two different right turns, and none twice on one way."""
    turns = {}
    for task in rows(2, 2, False, n=9):
        seen = [(observation, TURN[lamp]) for lamp, leg in places(task) for observation in leg]
        assert len(dict(seen)) == len(seen)
        for observation, turn in seen:
            assert turns.setdefault(observation, turn) == turn


@every_shape
def test_the_state_is_what_is_seen(legs, gap, aliased):
    for task in rows(legs, gap, aliased):
        world = Corridor()
        assert world.reset(task) == world.state_key()
        for action in (FORWARD, LOOK, FORWARD):
            if action in world.actions():
                assert world.step(action).observation == world.state_key()


@every_shape
def test_a_wrong_turn_leads_back_to_the_lamp_of_its_leg(legs, gap, aliased):
    (task, *_) = rows(legs, gap, aliased)
    world = Corridor()
    lamp_of_leg = world.reset(task)
    for lamp in task["lamps"].split():
        for turn in ({LEFT, RIGHT} - {TURN[lamp]}).pop(), TURN[lamp]:
            for _ in range(gap + 1):
                world.step(FORWARD)
            step = world.step(turn)
            if turn != TURN[lamp]:
                assert step == (lamp_of_leg, 0.0, False, False)
        lamp_of_leg = step.observation
    assert step.won


@every_shape
@pytest.mark.parametrize("action", ["", "fly", "Go forward", LEFT, FORWARD])
def test_an_inadmissible_action_changes_nothing(legs, gap, aliased, action):
    (task, *_) = rows(legs, gap, aliased)
    world = Corridor()
    world.reset(task)
    for _ in range(gap + 2):
        before = told(world)
        if action not in before[1]:
            step = world.step(action)
            assert step == (f"You cannot do that here. {before[0]}", 0.0, False, False)
            assert told(world) == before
        if FORWARD in before[1]:
            world.step(FORWARD)


def test_looking_around_changes_nothing():
    (task, *_) = rows(1, 1, True)
    world = Corridor()
    seen = world.reset(task)
    before = told(world)
    assert world.step(LOOK) == (seen, 0.0, False, False)
    assert told(world) == before


def test_a_reset_forgets_the_episode_before():
    first, second = rows(2, 0, True)
    used, fresh = Corridor(), Corridor()
    used.reset(first)
    used.step(FORWARD)
    assert used.reset(second) == fresh.reset(second)
    assert [used.step(FORWARD), used.actions()] == [fresh.step(FORWARD), fresh.actions()]


def test_the_same_seed_gives_the_same_rows():
    arguments = {"legs": 3, "gap": 2, "split": "eval"}
    assert corridors(9, seed=4, **arguments) == corridors(9, seed=4, **arguments)
    assert corridors(9, seed=4, **arguments) != corridors(9, seed=5, **arguments)
    assert corridors(9, seed=4, **arguments)[:5] == corridors(5, seed=4, **arguments)


def everything(split):
    """All corridors of a split; how many there are is said by the error."""
    with pytest.raises(ValueError, match="were found") as caught:
        corridors(65, seed=0, split=split)
    n = int(re.search(r"only (\d+)", str(caught.value))[1])
    return {row["lamps"] for row in corridors(n, seed=0, split=split)}


def test_no_corridor_is_in_both_splits_and_together_they_are_all():
    train, held_out = everything("train"), everything("eval")
    assert not train & held_out
    assert train | held_out == {" ".join(lamps) for lamps in itertools.product(TURN, repeat=3)}


def test_ids_are_of_the_corridor_as_it_is_told():
    """Another gap or other junctions are another task."""
    ways = [
        row
        for gap in (0, 1)
        for aliased in (True, False)
        for row in corridors(4, seed=0, legs=2, gap=gap, aliased=aliased)
    ]
    assert len({row["id"] for row in ways}) == len(ways) == 16


def test_the_prompt_does_not_say_the_lamps():
    assert not any(lamp in row["prompt"] for row in corridors(4, seed=0) for lamp in TURN)


@every_shape
def test_all_that_a_model_reads_and_writes_is_made_of_the_listed_tokens(legs, gap, aliased):
    pieces = re.compile("|".join(map(re.escape, sorted(TOKENS, key=len, reverse=True))))
    for task in rows(legs, gap, aliased):
        world = Corridor()
        dialogue = TextView(list_actions=False).opening(task["prompt"], world.reset(task), [])
        for action in (LOOK, LEFT, *[FORWARD, LEFT, RIGHT] * (legs * (gap + 2))):
            step = world.step(action)
            dialogue += action + TextView(list_actions=False).then(step.observation, [])
            if step.done:
                break
        assert "".join(pieces.findall(dialogue)) == dialogue


@pytest.mark.parametrize("shape", [{"legs": 0}, {"gap": -1}])
def test_a_corridor_has_a_leg_and_no_negative_gap(shape):
    with pytest.raises(ValueError, match="must be at least 1 and gap="):
        corridors(1, seed=0, **shape)
