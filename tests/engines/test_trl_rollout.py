"""A recipe's own rollout under TRL: what is asked, what it is scored with, and through what it samples."""

import asyncio
import math
from types import SimpleNamespace

import pytest
import torch

import tiny
from engines import runs
from posttrain.rl import Score, ceeh, grpo, second_order, upskill
from posttrain.rl.engines import scoring
from posttrain.rl.engines.trl import PREFIX, RecipeTrainer
from posttrain.rl.upskill import skill_information

PROMPTS = ["abc", "k", "lmnopq"]


def skilled(**given):
    """Two skills, named by the first letter of a prompt."""
    return upskill(**(runs.SKILLS | given))


class Keeping(RecipeTrainer):
    """Keeps the rows of the last generation and their batch."""

    def _generate_and_score_completions(self, inputs):
        self.batch = super()._generate_and_score_completions(inputs)
        return self.batch

    def _log_rows(self, found):
        self.kept = list(found)
        super()._log_rows(found)


def alone(model, prompt_ids, ids, temperature):
    """(T,) log-probabilities of a completion from one row without padding."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 : -1]
    return (logits / temperature).log_softmax(-1)[torch.arange(len(ids)), ids]


def expected_scores(row, skills, temperature):
    """(N, T) by hand, under the weights before training."""
    model, tokenizer = tiny.model(0, scale=3.0), tiny.tokenizer()
    prompts = [tokenizer(f"{z}{row.prompt}")["input_ids"] for z in range(1, skills + 1)]
    return torch.stack([alone(model, prompt, row.ids, temperature) for prompt in prompts])


def test_rows_are_scored_under_every_skill_at_the_sampling_temperature(tmp_path):
    kept = runs.trained(tmp_path, skilled(skills=4), cls=Keeping, temperature=0.7, max_steps=1)
    assert len({len(row.ids) for row in kept.kept}) > 1, "all completions have one length, so nothing is padded"
    batch = kept.batch[f"{PREFIX}score.skills"]
    assert batch.shape == (8, 4, kept.batch["completion_ids"].shape[1])
    information = []
    for row, padded in zip(kept.kept, batch, strict=True):
        expected = expected_scores(row, 4, 0.7)
        torch.testing.assert_close(row.scores["skills"], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(padded[:, : len(row.ids)], row.scores["skills"])
        assert (padded[:, len(row.ids) :] == 0).all()
        information.append(skill_information(expected, torch.tensor(row.skill), torch.ones(len(row.ids))).item())
    assert max(map(abs, information)) > 0.1
    logged = runs.history(kept, "skill/information_token")
    assert logged == pytest.approx([sum(information) / 8], abs=1e-5)


def test_the_reward_is_the_task_s_and_the_information_s(tmp_path):
    kept = runs.trained(tmp_path, skilled(weight=0.5, cap=2.0), cls=Keeping, max_steps=1)
    terms = [
        0.5 * min(max(skill_information(expected_scores(row, 2, 1.0), torch.tensor(row.skill),
                                        torch.ones(len(row.ids))).item(), -2.0), 2.0)
        for row in kept.kept
    ]  # fmt: skip
    rewards = torch.tensor(tiny.early_letters([row.completion for row in kept.kept])) + torch.tensor(terms)
    groups = rewards.view(2, 4)
    expected = (groups - groups.mean(1, keepdim=True)) / groups.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(kept.batch["advantages"], expected.flatten(), atol=1e-4, rtol=1e-4)
    assert runs.history(kept, "rewards/recipe/mean") == pytest.approx([sum(terms) / 8], abs=1e-5)


def test_a_skill_follows_from_the_place_of_a_row(tmp_path):
    trained = runs.trained(tmp_path, skilled(), cls=runs.Recording, max_steps=2)
    for generation in trained.generations:
        assert generation.skills == [1, 2] * 4
        assert [prompt[0] for prompt, _ in generation.answers] == [0, 1] * 4


def test_one_skill_is_grpo_to_the_bit(tmp_path):
    plain = runs.trained(tmp_path / "plain", grpo(), max_steps=4)
    one = runs.trained(tmp_path / "one", skilled(skills=1), max_steps=4)
    clocks = ("time", "runtime", "per_second", "profiling")
    metrics = [
        [{k: v for k, v in line.items() if not any(c in k for c in clocks)} for line in t.state.log_history]
        for t in (plain, one)
    ]
    assert metrics[0] == metrics[1]
    assert torch.equal(runs.parameters(one), runs.parameters(plain))


def test_a_model_that_ignores_the_skill_earns_nothing(tmp_path):
    """Without attention a token depends on the one before it alone, and the skill is never that one."""
    model = tiny.model(0, scale=3.0)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.self_attn.o_proj.weight.requires_grad_(False)
    trained = runs.trained(tmp_path, skilled(), model=model, max_steps=2)
    for name in ("rewards/recipe/mean", "skill/information_token", "skill/information_sequence"):
        assert runs.history(trained, name) == pytest.approx([0.0, 0.0], abs=1e-5)
    assert runs.history(trained, "skill/clipped") == [0.0, 0.0]
    assert min(runs.history(trained, "grad_norm")) > 1e-3, "the task's own reward trains on"


def test_messages_name_the_skill_in_the_user_s_turn(tmp_path):
    """`s` before the user, the skill's letter, three letters of a question, `t` before the answer."""
    trained = runs.trained(
        tmp_path, skilled(), cls=runs.Recording, rewards=runs.at_least_two, chat=True, max_steps=2
    )  # fmt: skip
    s, t = tiny.LETTERS.index("s"), tiny.LETTERS.index("t")
    prompts = [prompt for generation in trained.generations for prompt, _ in generation.answers]
    assert [(len(p), p[0], p[1], p[-1]) for p in prompts] == [(6, s, z, t) for z in (0, 1)] * 8
    assert any(runs.history(trained, "skill/information_token"))


def test_evaluation_rolls_out_too(tmp_path):
    trained = runs.trained(tmp_path, skilled(), max_steps=1, per_device_eval_batch_size=8)
    state = dict(trained.method_state)
    found = trained.evaluate(tiny.dataset(4))
    assert math.isfinite(found["eval_skill/information_token"])
    assert trained.method_state == state


def test_a_rollout_of_the_user_s_beside_the_recipe_s_is_an_error(tmp_path):
    def own(prompts, trainer):
        raise AssertionError("never called")

    def build(recipe):
        return RecipeTrainer(
            tiny.model(0), tiny.early_letters, runs.config(tmp_path), recipe=recipe, rollout_func=own,
            train_dataset=tiny.dataset(), processing_class=tiny.tokenizer(),
        )  # fmt: skip

    with pytest.raises(ValueError, match="upskill samples in its own way; leave rollout_func out"):
        build(skilled())
    assert build(ceeh(kl_beta=0)).rollout_func is own


# -- through vLLM -----------------------------------------------------------------------------------------------------


class Engine:
    """What TRL's vLLM client offers, with the letters `ab` and an end as every completion, or with some in turn."""

    max_completion_length = 8

    def __init__(self, fails=False, letters=((0, 1, 21),)):
        self.calls, self.fails, self.letters, self.synced = [], fails, letters, 0

    def sync_weights(self):
        self.synced += 1

    def generate(self, prompts, images, num_generations, **_):
        self.calls.append((prompts, images, num_generations, self.max_completion_length))
        if self.fails:
            raise RuntimeError("the server is gone")
        ids = [list(self.letters[i % len(self.letters)])[: self.max_completion_length] for i in range(len(prompts))]
        return prompts, ids, [[[-0.5, -2.0]] * len(row) for row in ids], None


def through(engine, folder, recipe, **overrides):
    """A trainer that samples with the engine; vLLM itself is not there."""
    built = runs.trainer(folder, recipe, cls=Keeping, **overrides)
    built.use_vllm, built.vllm_generation, built._last_loaded_step = True, engine, -1
    built.vllm_importance_sampling_correction = False
    return built


def test_the_sampler_asks_vllm_for_one_completion_a_prompt(tmp_path):
    """In server mode TRL keeps every n-th prompt, so n must be 1 however large a group is."""
    engine = Engine()
    sampler = through(engine, tmp_path, grpo()).hook_sampler
    prompts = [[1, 2], [3], [1, 2]]
    whole = asyncio.run(sampler(prompts))
    short = asyncio.run(sampler(prompts[:1], max_tokens=2, temperature=1.0))
    assert engine.calls == [(prompts, None, 1, 8), (prompts[:1], None, 1, 2)]
    assert engine.max_completion_length == 8
    assert [(s.ids, s.logps, s.finish) for s in whole] == [([0, 1, 21], [-0.5] * 3, "stop")] * 3
    assert [(s.ids, s.finish) for s in short] == [([0, 1], "length")]
    assert asyncio.run(sampler([])) == []
    assert len(engine.calls) == 2
    with pytest.raises(ValueError, match=r"temperature=0\.3 differs from the run's"):
        asyncio.run(sampler(prompts, temperature=0.3))


def test_a_log_probability_that_vllm_lost_is_nan(monkeypatch, tmp_path):
    engine = Engine()
    monkeypatch.setattr(engine, "generate", lambda **_: ([], [[3, 21]], [[[-0.5], [None]]], None))
    (sample,) = asyncio.run(through(engine, tmp_path, grpo()).hook_sampler([[1]]))
    assert sample.logps == pytest.approx([-0.5, math.nan], nan_ok=True)


def test_an_empty_completion_of_vllm_has_no_end(monkeypatch, tmp_path):
    engine = Engine()
    monkeypatch.setattr(engine, "generate", lambda **_: ([], [[]], [[]], None))
    (sample,) = asyncio.run(through(engine, tmp_path, grpo()).hook_sampler([[1]]))
    assert (sample.ids, sample.finish) == ([], "length")


def test_the_length_is_restored_when_vllm_fails(tmp_path):
    engine = Engine(fails=True)
    with pytest.raises(RuntimeError, match="the server is gone"):
        asyncio.run(through(engine, tmp_path, grpo()).hook_sampler([[1]], max_tokens=2))
    assert engine.max_completion_length == 8


def test_a_rollout_through_vllm_trains_on_what_vllm_sampled(tmp_path):
    engine = Engine()
    trained = through(engine, tmp_path, skilled(), max_steps=1)
    trained.train()
    ((prompts, _, number, _),) = engine.calls
    assert (len(prompts), number, engine.synced) == (8, 1, 1)
    assert [prompt[0] for prompt in prompts] == [0, 1] * 4
    assert [row.ids for row in trained.kept] == [[0, 1, 21]] * 8
    assert torch.equal(trained.batch["sampling_per_token_logps"], torch.full((8, 3), -0.5))


def test_extra_rows_through_vllm_train_too(tmp_path):
    """Critiques are asked of vLLM after the answers; their sampling log-probabilities are the policy's own."""
    engine = Engine(letters=[[0, 1, 21], [5, 6, 21]])
    method = second_order(**runs.CRITIQUES)
    trained = through(engine, tmp_path, method, rewards=runs.at_least_two, max_steps=1, max_grad_norm=0.0)
    trained.train()
    (answers, *_), (critiques, _, number, _) = engine.calls
    assert (len(answers), len(critiques), number) == (8, 6, 1)
    assert trained.batch["sampling_per_token_logps"].shape == (14, 3)
    assert torch.equal(trained.batch["sampling_per_token_logps"][:8], torch.full((8, 3), -0.5))
    model = tiny.model(0, scale=3.0)
    for place, (prompt, ids) in enumerate(zip(critiques, [[0, 1, 21], [5, 6, 21]] * 3, strict=True), start=8):
        found = trained.batch["sampling_per_token_logps"][place]
        torch.testing.assert_close(found, alone(model, prompt, ids, 1.0), atol=1e-5, rtol=0)


# -- what hooks sample with -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    """In process, in a run whose completions have eight tokens."""
    return runs.trainer(tmp_path_factory.mktemp("sampler"), grpo()).hook_sampler


def test_the_sampler_takes_its_own_length_and_temperature(sampler):
    """At a temperature near 0 the likeliest token of every step is sampled."""
    model = sampler.trainer.model
    prompts = [sampler.encode(prompt) for prompt in PROMPTS]
    for prompt, sample in zip(prompts, asyncio.run(sampler(prompts, max_tokens=3, temperature=1e-4)), strict=True):
        ids = list(prompt)
        for token in sample.ids:
            assert token == model(torch.tensor([ids])).logits[0, -1].argmax().item()
            ids.append(token)
        assert len(sample.ids) == 3 or sample.ids[-1] == len(tiny.LETTERS) + 1
    assert max(len(s.ids) for s in asyncio.run(sampler(prompts * 8))) == 8


def test_ids_are_encoded_as_they_are_and_decoded_without_the_end(sampler):
    assert sampler.encode("abc") == [0, 1, 2] == sampler.encode([0, 1, 2])
    assert sampler.decode([0, 1, 2, len(tiny.LETTERS) + 1]) == "abc"


@pytest.mark.parametrize("chat", [False, True])
def test_prompts_are_encoded_as_the_engine_encodes_them(tmp_path, chat):
    """TRL's own generation against the sampler, for text and for messages."""
    trained = runs.trained(tmp_path, grpo(), cls=runs.Recording, rewards=runs.at_least_two, chat=chat, max_steps=1)
    known = [trained.hook_sampler.encode(prompt) for prompt in trained.train_dataset["prompt"]]
    assert len(known[0]) == (5 if chat else 3)
    assert all(prompt in known for prompt, _ in trained.generations[0].answers)


def test_a_judged_completion_has_the_task_s_verdict(sampler):
    assert asyncio.run(sampler.judge(["0", "5", "0"], ["fgh", "abc", "klm"])) == [0.0, 1.0, 0.0]
    assert asyncio.run(sampler.judge([], [])) == []
    with pytest.raises(ValueError, match="no row with the id 'gone'"):
        asyncio.run(sampler.judge(["gone"], ["a"]))


def test_a_sampled_padding_token_is_a_token_and_the_first_end_ends(monkeypatch, sampler):
    pad, end = len(tiny.LETTERS), len(tiny.LETTERS) + 1
    tail = torch.tensor([[0, pad, 1, end, 2, 3], [pad, pad, 0, 1, 2, 3]])
    model = sampler.trainer.model
    monkeypatch.setattr(
        model, "generate", lambda input_ids, **_: torch.cat([input_ids, tail], dim=1), raising=True
    )  # fmt: skip
    first, second = asyncio.run(sampler([[5], [6, 7]]))
    assert (first.ids, first.finish) == ([0, pad, 1, end], "stop")
    assert (second.ids, second.finish) == ([pad, pad, 0, 1, 2, 3], "length")


def test_a_batch_with_unequal_numbers_of_prompts_is_refused(tmp_path):
    built = runs.trainer(tmp_path, grpo())
    score = Score("odd", prompts_of_row=lambda row: [[0]] * row.number)
    rows = [SimpleNamespace(number=1), SimpleNamespace(number=2)]
    with pytest.raises(ValueError, match=r"'odd' gave \[1, 2\] prompts per row; give every row equally many"):
        scoring.under_prompts(built, score, rows, {})
