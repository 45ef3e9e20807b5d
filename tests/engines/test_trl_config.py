"""What the user's GRPOConfig and the recipe decide between them, and what the trainer does with it."""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

import tiny
from engines import runs
from posttrain.rl import Credit, Memory, Method, engine_default, grpo, kdrl, rlad
from posttrain.rl.engines.trl import RecipeTrainer
from posttrain.rl.engines.trl_config import ConfigClash, resolve
from posttrain.rl.math import group_advantages


def teacher():
    return tiny.model(7, scale=3.0)


def resolved(recipe, folder="unused", **overrides):
    return resolve(recipe, runs.config(folder, **overrides))


def test_the_user_s_value_stands_where_the_recipe_has_no_opinion():
    recipe, args, sources = resolved(
        rlad("t"), beta=0.01, loss_type="grpo", delta=4.0, epsilon=0.2, temperature=0.7, learning_rate=3e-5
    )
    assert recipe.settings.kl_beta == args.beta == 0.01
    assert recipe.settings.dual_clip == args.delta == 4.0
    assert sources["kl_beta"].source == sources["dual_clip"].source == "GRPOConfig"
    assert sources["clip_high"] == (0.28, "rlad")
    assert (args.temperature, args.learning_rate) == (0.7, 3e-5)


def test_every_setting_is_written_out_and_none_inherited():
    _, args, sources = resolved(rlad("t"))
    assert (args.epsilon, args.epsilon_high, args.delta, args.beta, args.loss_type) == (0.2, 0.28, None, 0.0, "grpo")
    assert sources["aggregation"].source == "grpo default"
    _, args, _ = resolved(kdrl("t", beta=0.2))
    assert args.loss_type == "dapo"
    assert args.use_bias_correction_kl is False


def test_epsilon_alone_moves_both_bounds_as_it_does_in_trl():
    recipe, args, _ = resolved(grpo(), epsilon=0.1)
    assert (recipe.settings.clip_low, recipe.settings.clip_high) == (0.1, 0.1) == (args.epsilon, args.epsilon_high)


@pytest.mark.parametrize(
    ("recipe", "given", "words"),
    [
        (lambda: rlad("t"), {"epsilon": 0.1}, "rlad sets clip_low=0.2, but GRPOConfig sets epsilon=0.1"),
        (lambda: rlad("t"), {"epsilon_high": 0.3}, "rlad sets clip_high=0.28, but GRPOConfig sets epsilon_high=0.3"),
        (lambda: grpo(kl_beta=0.1), {"beta": 0.2}, "grpo sets kl_beta=0.1, but GRPOConfig sets beta=0.2"),
        (lambda: grpo(dual_clip=3), {"delta": 4.0}, "grpo sets dual_clip=3, but GRPOConfig sets delta=4.0"),
        (
            lambda: grpo(aggregation="token"),
            {"loss_type": "grpo"},
            "grpo sets aggregation=token, but GRPOConfig sets loss_type=grpo",
        ),
    ],
)  # fmt: skip
def test_two_opinions_are_an_error_that_names_both(recipe, given, words):
    with pytest.raises(ConfigClash, match=words):
        resolved(recipe(), **given)


def test_the_same_opinion_twice_is_none_too_many():
    _, args, sources = resolved(rlad("t"), epsilon=0.2, epsilon_high=0.28)
    assert args.epsilon_high == 0.28
    assert sources["clip_high"].source == "rlad"


@pytest.mark.parametrize("loss_type", ["dr_grpo", "bnpo", "cispo", "nonsense"])
def test_a_loss_that_no_recipe_has_is_refused(loss_type):
    with pytest.raises(ConfigClash, match=f"loss_type='{loss_type}', which no recipe has; use 'grpo'"):
        resolved(grpo(), loss_type=loss_type)


def test_scaling_of_rewards_belongs_to_the_recipe():
    with pytest.raises(ConfigClash, match=r"scale_rewards='none'.*grpo\(spread=\.\.\.\)"):
        resolved(grpo(), scale_rewards="none")


def test_the_user_s_arguments_are_left_alone(tmp_path):
    args = runs.config(tmp_path, beta=0.0)
    before = deepcopy({k: v for k, v in vars(args).items() if k != "distributed_state"})
    recipe = rlad(teacher())
    trainer = RecipeTrainer(
        tiny.model(), tiny.early_letters, args, recipe=recipe,
        train_dataset=Dataset.from_list(tiny.rows()), processing_class=tiny.tokenizer(),
    )  # fmt: skip
    trainer.train()
    assert {k: v for k, v in vars(args).items() if k in before} == before
    assert trainer.args is not args
    assert recipe.base == grpo().base


def test_describe_prints_each_setting_with_its_source(tmp_path):
    shown = runs.trainer(tmp_path, rlad(teacher(), alpha=0.3), delta=4.0).describe()
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines()}
    assert lines["recipe"] == ["rlad"]
    assert lines["alpha"] == ["0.3", "rlad", "given"]
    assert lines["clamp"] == ["1.0", "rlad", "default"]
    assert lines["clip_high"] == ["0.28", "rlad"]
    assert lines["dual_clip"] == ["4.0", "GRPOConfig"]
    assert lines["aggregation"] == ["sequence", "grpo", "default"]
    assert lines["num_generations"] == ["4", "GRPOConfig"]
    assert lines["processes"] == ["1", "launcher"]
    assert lines["teacher"] == ["Qwen3ForCausalLM", "rlad", "given"]
    assert "its vocabulary was not compared" in shown


# -- the columns that methods read -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watching(Method):
    """Keeps the tables it is given, counts its generations, and adds half a point."""

    name = "watching"
    tables: list = field(default_factory=list, compare=False)
    bonus: float | None = None

    def initial_state(self):
        return {"seen": 0}

    def credit(self, table, state):
        self.tables.append(table)
        return Credit(group_advantages(table.rewards, table.group))

    def remember(self, table, state):
        return Memory({"seen": state["seen"] + 1})


@dataclass(frozen=True)
class Bonus(Method):
    """A reward of its own: a tenth per sampled token."""

    name = "bonus"

    async def reward(self, rows):
        assert all(row.prompt and row.completion is not None and "id" in row.task for row in rows)
        return [0.1 * len(row.ids) for row in rows]


def test_a_reward_function_called_correct_gives_the_column_and_not_the_reward(tmp_path):
    def correct(completions, **_):
        return [float("a" in text) for text in completions]

    watching = Watching()
    trained = runs.trained(
        tmp_path, grpo() | watching, rewards=[tiny.early_letters, correct], reward_weights=[1.0, 0.0], max_steps=1
    )
    table, texts = watching.tables[0], list(trained._logs["completion"])
    assert table.correct.tolist() == correct(texts)
    torch.testing.assert_close(table.rewards, torch.tensor(tiny.early_letters(texts)))
    assert table.group.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(set(table.prompt_key)) == 2
    assert runs.history(trained, "correct") == pytest.approx([sum(correct(texts)) / 8])


def test_without_one_a_positive_reward_is_correct(tmp_path):
    watching = Watching()
    runs.trained(tmp_path, grpo() | watching, max_steps=1)
    table = watching.tables[0]
    assert torch.equal(table.correct, (table.rewards > 0).float())


def test_a_method_s_reward_is_added_to_the_user_s(tmp_path):
    watching = Watching()
    trained = runs.trained(tmp_path, grpo() | Bonus() | watching, max_steps=1)
    table, texts = watching.tables[0], list(trained._logs["completion"])
    expected = torch.tensor(tiny.early_letters(texts)) + 0.1 * table.length
    torch.testing.assert_close(table.rewards, expected)


def test_evaluation_works_and_changes_no_state(tmp_path):
    watching = Watching()
    trained = runs.trainer(tmp_path, rlad(teacher()) | watching, per_device_eval_batch_size=8, max_steps=2)
    trained.train()
    state, weights = deepcopy(trained.method_state), runs.parameters(trained)
    found = trained.evaluate(Dataset.from_list(tiny.rows(4)))
    assert state == trained.method_state == {"watching": {"seen": 2}}
    assert [table.training for table in watching.tables].count(True) == 2
    assert not watching.tables[-1].training
    assert torch.equal(runs.parameters(trained), weights)
    for key in ("eval_loss", "eval_reward", "eval_unscored", "eval_correct", "eval_teacher/kl"):
        assert isinstance(found[key], float)


def test_evaluating_in_between_does_not_change_what_is_trained_on(tmp_path):
    plain = runs.trained(tmp_path / "plain", rlad(teacher()), max_steps=3, num_iterations=2)
    watched = runs.trainer(
        tmp_path / "watched", rlad(teacher()), max_steps=3, num_iterations=2, per_device_eval_batch_size=8
    )
    state = torch.get_rng_state()
    watched.evaluate(Dataset.from_list(tiny.rows(4)))
    torch.set_rng_state(state)
    watched.train()
    assert runs.history(watched, "loss") == runs.history(plain, "loss")
    assert torch.equal(runs.parameters(watched), runs.parameters(plain))


# -- adapters, paths and splits ---------------------------------------------------------------------------------------


def adapter(folder: Path, **overrides):
    """RLAD on a LoRA of the tiny model."""
    return RecipeTrainer(
        tiny.model(0, scale=3.0), tiny.early_letters, runs.config(folder, max_steps=6, **overrides),
        recipe=rlad(teacher()), train_dataset=Dataset.from_list(tiny.rows()), processing_class=tiny.tokenizer(),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"),
    )  # fmt: skip


def named(trainer, *, lora: bool) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if ("lora_" in n) == lora}


def test_lora_trains_the_adapter_alone_and_resumes_as_if_never_stopped(tmp_path):
    whole = adapter(tmp_path, save_strategy="steps", save_steps=3)
    base, start = named(whole, lora=False), named(whole, lora=True)
    whole.train()
    assert all(torch.equal(value, base[name]) for name, value in named(whole, lora=False).items())
    assert any(not torch.equal(value, start[name]) for name, value in named(whole, lora=True).items())
    assert min(runs.history(whole, "grad_norm")) > 0
    assert (tmp_path / "checkpoint-3/adapter_model.safetensors").is_file()
    again = adapter(tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert runs.history(again, "grad_norm") == runs.history(whole, "grad_norm")
    ends = named(again, lora=True)
    assert all(torch.equal(value, ends[name]) for name, value in named(whole, lora=True).items())


def test_student_and_teacher_as_paths_train_like_the_modules(tmp_path):
    student, guide = tiny.saved(tmp_path / "s", 0, scale=3.0), tiny.saved(tmp_path / "t", 7, scale=3.0)
    rows = Dataset.from_list(tiny.rows())
    by_path = RecipeTrainer(
        student, tiny.early_letters, runs.config(tmp_path / "a", max_steps=3), recipe=rlad(guide), train_dataset=rows
    )
    by_path.train()
    by_module = runs.trained(tmp_path / "b", rlad(teacher()), max_steps=3)
    assert by_path.notes == []
    assert runs.history(by_path, "teacher/kl") == pytest.approx(runs.history(by_module, "teacher/kl"), rel=1e-5)
    torch.testing.assert_close(runs.parameters(by_path), runs.parameters(by_module), atol=1e-6, rtol=0)


def test_a_reference_kl_of_the_user_s_config_is_trained_and_logged(tmp_path):
    student = tiny.saved(tmp_path / "s", 0, scale=3.0)
    trainer = RecipeTrainer(
        student, tiny.early_letters, runs.config(tmp_path / "a", max_steps=3, beta=0.5, num_iterations=3),
        recipe=rlad(teacher()), train_dataset=Dataset.from_list(tiny.rows()), processing_class=tiny.tokenizer(),
    )  # fmt: skip
    trainer.train()
    kls = runs.history(trainer, "kl")
    assert kls[0] == pytest.approx(0, abs=1e-7)
    assert kls[2] > 0


def test_a_student_from_memory_needs_its_tokenizer(tmp_path):
    with pytest.raises(ValueError, match="pass its tokenizer as processing_class"):
        RecipeTrainer(tiny.model(), tiny.early_letters, runs.config(tmp_path), recipe=rlad(teacher()))


@pytest.mark.parametrize(
    ("accumulation", "per_generation", "inner"), [(1, 2, 1), (2, 4, 1), (2, 2, 2), (1, 3, 2)]
)  # fmt: skip
def test_optimiser_steps_may_share_a_generation_in_any_split(tmp_path, accumulation, per_generation, inner):
    split = {
        "gradient_accumulation_steps": accumulation, "steps_per_generation": per_generation, "num_iterations": inner,
        "max_steps": 6,
    }  # fmt: skip
    stock = runs.trained(tmp_path / "stock", None, **split)
    ours = runs.trained(tmp_path / "ours", engine_default(), **split)
    assert min(runs.history(stock, "grad_norm")) > 1e-4
    assert runs.history(ours, "grad_norm") == pytest.approx(runs.history(stock, "grad_norm"), abs=1e-6, rel=1e-6)
    torch.testing.assert_close(runs.parameters(ours), runs.parameters(stock), atol=1e-6, rtol=0)
