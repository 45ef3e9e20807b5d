"""The policy over admissible commands, and an agent that learns a corridor with it."""

import asyncio
import math

import pytest
import torch

from posttrain.rl import Row, agent, hgpo
from posttrain.rl.agent import environment
from posttrain.rl.command_policy import CommandPolicy
from posttrain.rl.engines.loop import train
from posttrain.tasks.worlds.corridor import FORWARD, LEFT, LOOK, RIGHT, TURN, Corridor, corridors
from posttrain.tasks.worlds.crowd import Crowd
from posttrain.tasks.worlds.view import Past, TextView

PAST = [Past("You see a red lamp.", FORWARD), Past("A bare corridor.", FORWARD)]


def prompt(actions=(LEFT, RIGHT), past=PAST, seen="A junction."):
    return TextView().window("Reach the garden.", past, seen, actions)


def policy(seed=0, *, fresh=False):
    """With random last weights, unless `fresh`: these are 0 at first."""
    built = CommandPolicy(width=8, buckets=512, seed=seed)
    if not fresh:
        with torch.no_grad():
            built.head[2].weight.normal_(generator=torch.Generator().manual_seed(seed))
    return built


def sample(policy, prompts, seed=0, temperature=1.0):
    ids = [policy.encode(text) for text in prompts]
    return ids, asyncio.run(policy.sample(ids, max_tokens=1, temperature=temperature, seed=seed))


def probabilities(policy, actions, **more):
    """Of each command of a prompt, by name."""
    ids = policy.encode(prompt(actions, **more))
    rows = [Row(ids, policy.encode(prompt([action]))[-1:], 0) for action in actions]
    with torch.no_grad():
        found = policy.score(rows)[0].exp().squeeze(1).tolist()
    return dict(zip(actions, found, strict=True))


def test_at_first_all_commands_are_equally_likely():
    for actions in ([LEFT], [LEFT, RIGHT], [LEFT, RIGHT, LOOK, FORWARD, "turn to stone"]):
        found = probabilities(policy(fresh=True), actions)
        assert list(found.values()) == pytest.approx([1 / len(actions)] * len(actions))


def test_probabilities_add_up_and_differ():
    found = list(probabilities(policy(), [LEFT, RIGHT, LOOK, FORWARD]).values())
    assert sum(found) == pytest.approx(1)
    assert max(found) > min(found) + 0.01


def test_the_order_of_the_commands_does_not_matter():
    one, other = ([LEFT, RIGHT, LOOK, FORWARD], [LOOK, FORWARD, RIGHT, LEFT])
    assert probabilities(policy(), one) == pytest.approx(probabilities(policy(), other))


def test_the_past_and_its_order_do_matter():
    told = [PAST, PAST[::-1], [], [Past("You see a blue lamp.", FORWARD), PAST[1]]]
    found = [probabilities(policy(), [LEFT, RIGHT], past=past)[LEFT] for past in told]
    assert len({round(value, 4) for value in found}) == len(told)


def test_only_commands_of_the_prompt_are_sampled_and_all_of_them():
    built = policy(fresh=True)
    lists = [[LEFT, RIGHT], [FORWARD, LOOK, "wait"], ["sing"]]
    prompts = [prompt(actions) for actions in lists * 60]
    _, samples = sample(built, prompts)
    said = [built.decode(found.ids) for found in samples]
    for i, actions in enumerate(lists):
        assert set(said[i::3]) == set(actions)
    assert {found.finish for found in samples} == {"stop"}


def test_the_same_seed_gives_the_same_samples():
    prompts = [prompt()] * 40
    first, again, other = (sample(policy(), prompts, seed)[1] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_scores_agree_with_the_log_probabilities_of_sampling():
    built = policy()
    prompts = [
        prompt(actions, seen=seen) for actions in ([LEFT, RIGHT], [FORWARD, LOOK, "wait"]) for seen in ("a", "b")
    ]
    ids, samples = sample(built, prompts * 5)
    logp, entropy, mask = built.score([Row(p, s.ids, 0) for p, s in zip(ids, samples, strict=True)])
    assert logp.shape == entropy.shape == mask.shape == (20, 1)
    torch.testing.assert_close(logp.squeeze(1), torch.tensor([s.logps[0] for s in samples]))
    assert mask.all()


def test_the_entropy_is_of_the_prompts_commands():
    built = policy()
    found = list(probabilities(built, [LEFT, RIGHT, LOOK]).values())
    ids = built.encode(prompt([LEFT, RIGHT, LOOK]))
    entropy = built.score([Row(ids, ids[-1:], 0), Row(built.encode(prompt([LEFT])), [0], 0)])[1]
    assert entropy[0].item() == pytest.approx(-sum(p * math.log(p) for p in found), abs=1e-6)
    assert entropy[1].item() == 0


def test_a_low_temperature_samples_the_likeliest_command():
    built = policy()
    found = probabilities(built, [LEFT, RIGHT, LOOK, FORWARD])
    _, samples = sample(built, [prompt([LEFT, RIGHT, LOOK, FORWARD])] * 20, temperature=1e-4)
    assert {built.decode(s.ids) for s in samples} == {max(found, key=found.get)}


def test_a_gradient_reaches_every_weight_and_raises_what_is_wanted():
    built = policy()
    ids = built.encode(prompt())
    logp, entropy, _ = built.score([Row(ids, ids[-1:], 0)])
    (logp + 0.1 * entropy).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in built.head.parameters() if weight.dim() > 1)
    assert built.words.weight.grad.any()
    with torch.no_grad():
        for weight in built.parameters():
            weight += 0.01 * weight.grad
    assert built.score([Row(ids, ids[-1:], 0)])[0] > logp


def test_nobody_to_ask_is_nobody_sampled():
    assert sample(policy(), [])[1] == []


@pytest.mark.parametrize("text", ["", "A junction.\n> ", TextView(list_actions=False).window("t", PAST, "a", [LEFT])])
def test_a_prompt_without_a_list_is_answered_by_a_sentence(text):
    with pytest.raises(ValueError, match=r"lists no admissible actions.*TextView\(list_actions=True\)"):
        policy().encode(text)


def test_an_episode_that_failed_before_its_first_prompt_disturbs_no_score():
    """Its row is one token after one token, and neither is a command."""
    built = policy()
    ids = built.encode(prompt())
    good, failed = Row(ids, ids[-1:], 0), Row([0], [0], 0, turn_of=[-1])
    alone = built.score([good])
    among = built.score([failed, good])
    torch.testing.assert_close([x[1:] for x in among], list(alone))
    assert all(torch.isfinite(x).all() for x in (*among, *policy().score([failed])))
    among[0].sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in built.parameters())


def test_the_seed_is_of_the_weights():
    first, again, other = (CommandPolicy(width=4, seed=seed).words.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_torchs_own_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    sample(CommandPolicy(width=4, seed=7), [prompt()])
    assert torch.equal(torch.get_rng_state(), before)


# -- end to end ---------------------------------------------------------------------------------------------------


class Trapdoor(Corridor):
    """One lamp's corridor cannot be entered, another's swallows who turns left."""

    def reset(self, task):
        if task["lamps"] == "green":
            raise RuntimeError("no way in")
        return super().reset(task)

    def step(self, action):
        if self._lamps == ["red"] and action == LEFT:
            raise RuntimeError("a trapdoor")
        return super().step(action)


def learn(world, gap, steps, **options):
    """The metrics of an agent that sees as many turns as lie between a lamp and its junction; one row per lamp."""
    rows = corridors(len(TURN), seed=0, legs=1, gap=gap)
    learner = CommandPolicy(width=32, buckets=1024)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    recipe = agent(worlds=Crowd(world, threads=1), window=gap + 1, turns=gap + 4, **options)
    return list(
        train(
            recipe | hgpo(depth=gap + 1, kl_beta=0.0), learner, rows, environment, steps=steps,
            group_size=8, optimizer=optimizer,
        )
    )  # fmt: skip


@pytest.mark.parametrize(("gap", "steps"), [(0, 40), (1, 80)])
def test_an_agent_learns_which_lamp_means_which_turn(gap, steps):
    """All junctions look alike, so at first every other turn is right."""
    history = learn(Corridor, gap, steps)
    early, late = (sum(m["agent/won"] for m in part) / 5 for part in (history[:5], history[-5:]))
    assert late > early + 0.25
    assert late > 0.9
    assert history[-1]["agent/turns"] < history[0]["agent/turns"]
    assert all(metrics["unscored"] == metrics["agent/dropped"] == 0 for metrics in history)


def test_training_goes_on_where_worlds_fail():
    """The green ones, a quarter, always; of the red ones those whose agent turns left."""
    for metrics in learn(Trapdoor, 0, 4):
        assert 1 / 4 <= metrics["agent/dropped"] <= 1 / 2
        assert metrics["unscored"] == pytest.approx(metrics["agent/dropped"])
        assert math.isfinite(metrics["reward"])


def test_the_same_seed_gives_the_same_run():
    first, again = learn(Corridor, 0, 3), learn(Corridor, 0, 3)
    for metrics in (*first, *again):
        metrics.pop("agent/world_share")
    assert first == again
