"""Episodes under TRL: the loop takes the same steps, however the batch is cut and on however many processes."""

import pytest
import torch
from datasets import Dataset

import tiny
from engines import runs
from engines.lights import HURT, FragileLights, lights, remembering
from engines.test_trl_agreement import Replaying, split
from posttrain.rl import ceeh, entropy_bonus, gigpo, grpo, hgpo
from posttrain.rl.agent import environment
from posttrain.rl.engines import loop, resume, trl_config
from posttrain.rl.engines.trl import RecipeTrainer
from posttrain.rl.turns import tokens_of

CASES = {
    "window hgpo": lambda: lights("window") | hgpo(kl_beta=0),
    "window grpo": lambda: lights("window") | grpo(),
    "window gigpo token mean": lambda: grpo(aggregation="token") | lights("window") | gigpo(kl_beta=0),
    "window ceeh": lambda: lights("window") | ceeh(kl_beta=0),
    "window broken hgpo": lambda: lights("window", FragileLights) | hgpo(kl_beta=0),
    "empo2 on": lambda: remembering(with_memory=0),
    "empo2 on_tips": lambda: remembering(with_memory=1, off_policy=0),
    "empo2 off": lambda: remembering(with_memory=1, off_policy=1),
    "empo2 off, no_tips": lambda: remembering(with_memory=1, off_policy=1, old="no_tips", write="template"),
    "empo2 off hgpo": lambda: remembering(with_memory=1, off_policy=1, floor=0.05) | hgpo(kl_beta=0),
    "full hgpo": lambda: lights("full") | hgpo(kl_beta=0),
    "full grpo": lambda: lights("full") | grpo(),
    "full gigpo token mean": lambda: grpo(aggregation="token") | lights("full") | gigpo(kl_beta=0),
    "full broken hgpo": lambda: lights("full", FragileLights) | hgpo(kl_beta=0),
}
runs.RECIPES.update(CASES)


def both(row):
    """What the environment gives and what TRL's reward function gives, which reads a row's ids as text."""
    return environment(row) + runs.at_least_two(tiny.tokenizer().batch_decode([row.ids], skip_special_tokens=True))[0]


def in_the_loop(case, sampled, generations, prompts, inner):
    """The weights after the same steps on the same samples, with plain logits."""
    policy = Replaying(tiny.model(0, scale=3.0), sampled)
    before = runs.parameters_of(policy.model)
    said = list(
        loop.train(
            CASES[case](), policy, tiny.rows(prompts), both, steps=generations, group_size=4, inner_steps=inner,
            max_tokens=5, optimizer=torch.optim.SGD(policy.parameters(), lr=0.05),
        )
    )  # fmt: skip
    assert policy.played == []
    return before, runs.parameters_of(policy.model), said


def same(before, ours, theirs):
    moved = ours - before
    assert moved.abs().max() > 1e-4, "nothing was trained"
    torch.testing.assert_close(theirs - before, moved, atol=2e-6, rtol=1e-3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("accumulation", "inner"), [(1, 1), (4, 2)])
def test_trl_and_the_loop_take_the_same_steps(tmp_path, case, accumulation, inner):
    trained = runs.trained(
        tmp_path, CASES[case](), cls=runs.Recording, rewards=runs.at_least_two, **split(accumulation, inner, 2)
    )
    sampled = [row for generation in trained.generations for row in generation.sampled]
    before, ours, said = in_the_loop(case, sampled, 2, 2 * accumulation, inner)
    same(before, ours, runs.parameters(trained))
    for line, mine in zip(trained.state.log_history, said, strict=False):
        for name in mine.keys() - {"step", "reward", "agent/world_share"}:
            assert accumulation > 1 or line[name] == pytest.approx(mine[name], abs=1e-5, rel=1e-4), name


@pytest.mark.parametrize("case", ["window hgpo", "window gigpo token mean", "full hgpo"])
def test_how_a_generation_is_cut_does_not_change_the_step(tmp_path, case):
    """Eight episodes in one, two or four micro-batches; the rows of a window are no multiple of any."""
    found = {}
    for parts in (1, 2, 4):
        options = split(1, 1, 1) | {"per_device_train_batch_size": 8 // parts, "gradient_accumulation_steps": parts}
        built = runs.trainer(tmp_path / str(parts), CASES[case](), cls=runs.Recording, **options)
        before = runs.parameters(built)
        built.train()
        (generation,) = built.generations
        assert generation.sizes[0] % parts == 0
        found[parts] = (runs.parameters(built) - before, generation)
    assert found[1][0].abs().max() > 1e-4
    for parts in (2, 4):
        assert found[parts][1].sampled == found[1][1].sampled
        torch.testing.assert_close(found[parts][0], found[1][0], atol=2e-7, rtol=1e-3)


LAUNCHED = (
    "empo2 off",
    "window hgpo",
    "window gigpo token mean",
    "window broken hgpo",
    "full hgpo",
    "full broken hgpo",
)


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Two processes, all cases in one launch; their episodes have different lengths."""
    shape = split(2, 2, 2, processes=2)
    return runs.several(
        tmp_path_factory.mktemp("agents"), {case: (case, shape) for case in LAUNCHED}, "engines.test_trl_agents"
    )


@pytest.mark.parametrize("case", LAUNCHED)
def test_two_processes_and_the_loop_take_the_same_steps(launched, case):
    seen = launched[case]
    sampled = [row for generation in seen["generations"] for row in generation.sampled]
    before, ours, _ = in_the_loop(case, sampled, 2, 4, 2)
    same(before, ours, seen["parameters"])
    assert seen["sums"][0] == seen["sums"][1]
    assert seen["states"][0] == seen["states"][1]
    for generation in seen["generations"]:
        assert generation.sizes[0] == generation.sizes[1]
        assert generation.items == [sum(generation.trained)] * 2


@pytest.mark.parametrize("form", ["window", "full"])
def test_only_sampled_tokens_are_trained_and_all_of_them(tmp_path, form):
    trained = runs.trained(tmp_path, CASES[f"{form} hgpo"](), cls=runs.Recording, **split(1, 1, 1))
    (generation,) = trained.generations
    assert generation.trained == [sum(len(ids) for _, ids in generation.sampled)]
    assert generation.items == generation.trained


@pytest.mark.parametrize("form", ["window", "full"])
def test_a_world_that_fails_costs_its_own_episodes_only(tmp_path, form):
    """Task 1 is one of eight; its four episodes are dropped, are counted, and train nothing."""
    options = split(4, 1, 1) | {"per_device_train_batch_size": 8}
    trained = runs.trained(tmp_path, CASES[f"{form} broken hgpo"](), cls=runs.Recording, **options)
    rows = [row for row in trained._rolled if row.task["id"] == HURT]
    assert len(rows) == 4
    assert all(row.notes["failure"] == "RuntimeError: the lights went out" for row in rows)
    assert runs.history(trained, "agent/dropped") == [pytest.approx(4 / 32)]
    assert runs.history(trained, "unscored") == [pytest.approx(4 / 32)]
    kept = sum(tokens_of(row) for row in trained._rolled if row.task["id"] != HURT)
    assert trained.generations[0].trained == [kept]


def test_an_agent_needs_no_other_reward(tmp_path):
    trained = runs.trained(tmp_path, CASES["window hgpo"](), rewards=None, **split(1, 1, 2))
    assert len(runs.history(trained, "rewards/environment/mean")) == 2
    assert runs.history(trained, "correct") == runs.history(trained, "agent/won")


@pytest.mark.parametrize("case", ["window ceeh", "empo2 off"])
def test_an_agent_resumes_as_if_it_had_not_been_killed(tmp_path, case):
    shape = split(1, 1, 4) | {"save_strategy": "steps", "save_steps": 2, "prompts": 12}
    whole = runs.trained(tmp_path / "whole", CASES[case](), **shape)
    resumed = runs.trainer(tmp_path / "whole", CASES[case](), **shape)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert torch.equal(runs.parameters(resumed), runs.parameters(whole))
    assert resumed.method_state == whole.method_state


@pytest.mark.parametrize("form", ["window", "full"])
@pytest.mark.parametrize("mean", ["sequence", "token"])
def test_a_reference_and_a_penalty_weigh_the_same_however_a_generation_is_cut(tmp_path, form, mean):
    found, model = [], tiny.saved(tmp_path / "model", 0, scale=3.0)
    for parts in (1, 4):
        recipe = grpo(aggregation=mean, kl_beta=0.3) | lights(form) | entropy_bonus(weight=0.05)
        options = split(1, 1, 2) | {"per_device_train_batch_size": 8 // parts, "gradient_accumulation_steps": parts}
        built = runs.trainer(tmp_path / str(parts), recipe, model=model, **options)
        before = runs.parameters(built)
        built.train()
        assert runs.history(built, "kl")[-1] > 0
        found.append(runs.parameters(built) - before)
    assert found[0].abs().max() > 1e-4
    torch.testing.assert_close(found[1], found[0], atol=5e-7, rtol=1e-3)


def test_a_memory_that_a_crash_cut_short_is_passed_over_and_named(tmp_path):
    shape = split(1, 1, 4) | {"save_strategy": "steps", "save_steps": 2, "prompts": 12}
    whole = runs.trained(tmp_path, CASES["empo2 off"](), **shape)
    last = tmp_path / "checkpoint-4" / resume.STATE_FILE
    assert len(last.read_text()) > 200
    last.write_text(last.read_text()[:-100])
    assert resume.to_resume(tmp_path, 1) == tmp_path / "checkpoint-2"
    with pytest.raises(ValueError, match=r"cut short or damaged"):
        runs.trainer(tmp_path, CASES["empo2 off"](), **shape).train(resume_from_checkpoint=str(last.parent))
    again = runs.trainer(tmp_path, CASES["empo2 off"](), **shape)
    again.train(resume_from_checkpoint=True)
    assert again.method_state == whole.method_state


def test_tasks_that_are_remembered_need_ids(tmp_path):
    rows = [{"prompt": row["prompt"]} for row in tiny.rows(4)]
    with pytest.raises(ValueError, match="has no column `id`"):
        RecipeTrainer(
            tiny.model(0), None, runs.config(tmp_path), recipe=CASES["empo2 off"](),
            train_dataset=Dataset.from_list(rows), processing_class=tiny.tokenizer(),
        )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"vllm_mode": "server"}, {"vllm_mode": "colocate", "vllm_tensor_parallel_size": 2}]
)
def test_unequal_numbers_of_episodes_and_vllm_s_shared_calls_do_not_go_together(tmp_path, options):
    args = runs.config(tmp_path, **options)
    args.use_vllm = True
    with pytest.raises(ValueError, match="use vllm_mode='colocate' and vllm_tensor_parallel_size=1"):
        trl_config.check_episodes(args)


def test_evaluation_plays_episodes_too(tmp_path):
    built = runs.trained(tmp_path, CASES["window hgpo"](), **split(2, 1, 1), per_device_eval_batch_size=8)
    found = built.evaluate(tiny.dataset(4))
    assert 0 <= found["eval_agent/won"] <= 1


def test_leaving_out_cut_off_rows_would_leave_out_episodes(tmp_path):
    with pytest.raises(ValueError, match="set it to False"):
        runs.trainer(tmp_path, CASES["full hgpo"](), mask_truncated_completions=True)


if __name__ == "__main__":
    import sys

    runs.main(*sys.argv[1:])
