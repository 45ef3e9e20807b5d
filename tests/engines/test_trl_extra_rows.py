"""Rows that a method adds under TRL: they join the batch, count once, and what fills them up trains nothing."""

import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch
from peft import LoraConfig

import tiny
from engines import runs
from engines.test_trl_agreement import Replaying
from posttrain.rl import Credit, Live, Method, Row, Table, grpo, policy_loss, second_order, upskill
from posttrain.rl.engines import gathered, rows
from posttrain.rl.engines.trl import PREFIX, RecipeTrainer

PAIRS = {"critiques": 3, "critique_form": tiny.Letters()}
"""Four prompts have at most four pairs, with twelve critiques."""


@dataclass(frozen=True)
class Rewarded(Method):
    """The reward is the advantage, so that a mean over rows is no zero sum."""

    name = "rewarded"

    def credit(self, table, state):
        return Credit(table.rewards)


class Keeping(RecipeTrainer):
    """Keeps the generations, and each micro-batch with its loss and the weights it was taken at."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.batches, self.seen, self.tables = [], [], []

    def _generate_and_score_completions(self, inputs):
        self.batches.append(super()._generate_and_score_completions(inputs))
        return self.batches[-1]

    def _log_generation(self, table, advantages, metrics):
        self.tables.append(table)
        super()._log_generation(table, advantages, metrics)

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.seen.append((dict(inputs), loss.item(), copy.deepcopy(self.model.state_dict())))
        return loss

    def gradient(self, batch) -> torch.Tensor:
        """The gradient of a micro-batch in one vector."""
        self.model.train()
        self.model.zero_grad()
        super()._compute_loss(self.model, dict(batch)).backward()
        return torch.cat([p.grad.flatten().clone() for p in self.model.parameters()])


def uneven(folder, *parts, **overrides):
    """Sixteen answers and five extra rows in two micro-batches: 21 rows are filled up to 22."""
    recipe = grpo(**overrides.pop("base", {})) | runs.Uneven()
    for part in parts:
        recipe = recipe | part
    split = {"gradient_accumulation_steps": 2, "max_steps": 1} | overrides
    return runs.trained(folder, recipe, cls=Keeping, **split)


def real_rows(batch):
    """The rows of a batch with a completion, and their places."""
    places = [i for i, mask in enumerate(batch["completion_mask"]) if mask.any()]
    found = [
        Row(
            batch["prompt_ids"][i][batch["prompt_mask"][i].bool()].tolist(),
            batch["completion_ids"][i][batch["completion_mask"][i].bool()].tolist(),
            0,
        )
        for i in places
    ]
    return found, places


def test_answers_and_extra_rows_are_one_batch_that_divides(tmp_path):
    kept = uneven(tmp_path)
    (batch,) = kept.batches
    assert len(batch["prompt_ids"]) == 22
    found, places = real_rows(batch)
    assert places == list(range(21))
    letters = [tiny.tokenizer().decode(row.prompt_ids) for row in found[16:]]
    assert letters == ["abcde", "bcde", "cde", "de", "e"]
    assert max(len(row.ids) for row in found[16:]) == 3
    assert batch["num_items_in_batch"] == sum(len(row.ids) for row in found)
    assert batch["advantages"][21] == 0
    (table,) = kept.tables
    assert table.answers.tolist() == [True] * 16 + [False] * 5
    assert table.rewards[16:].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert table.correct[16:].isnan().all()
    assert not set(table.group[:16].tolist()) & set(table.group[16:].tolist())
    assert runs.history(kept, "unscored") == [0.0]


def test_a_mean_over_rows_is_one_over_the_real_rows(tmp_path):
    """On policy the ratio is 1 and the loss minus the mean advantage: over 21 rows, not 22."""
    kept = uneven(tmp_path, Rewarded())
    rewards = kept.tables[0].rewards
    assert sum(loss for _, loss, _ in kept.seen) == pytest.approx(-rewards.sum().item() / 21, rel=1e-5)


@pytest.mark.parametrize("aggregation", ["sequence", "token"])
def test_the_second_step_on_two_micro_batches_is_the_reference_loss_on_the_real_rows(tmp_path, aggregation):
    """With a KL to the reference, which filling rows must not thin out."""
    student = tiny.saved(tmp_path / "student", 0, scale=3.0)
    base = {"aggregation": aggregation, "kl_beta": 0.5}
    kept = uneven(tmp_path / "run", Rewarded(), base=base, num_iterations=2, max_steps=2, model=student)
    second = kept.seen[2:]
    assert len(second) == 2
    found = sum(loss for _, loss, _ in second)

    found_rows, places = real_rows(kept.batches[0])
    policy, start = Replaying(tiny.model(0)), Replaying(tiny.model(0, scale=3.0))
    policy.model.load_state_dict(second[0][2])
    with torch.no_grad():
        old = start.score(found_rows)[0]
        logp, entropy, mask = policy.score(found_rows)
    assert (logp - old).abs().max() > 0.1, "the first step moved nothing"
    advantages = kept.tables[0].rewards[torch.tensor(places)].unsqueeze(1).expand_as(logp)
    live = Live(logp, old, mask, advantages, entropy, logp_ref=old)
    assert found == pytest.approx(policy_loss(kept.recipe, live).value.item(), abs=1e-5)


def test_a_row_that_fills_up_trains_nothing(tmp_path):
    kept = uneven(tmp_path, base={"clip_high": 0.28}, learning_rate=1e-9)
    (batch,) = [b for b, _, _ in kept.seen if (b["completion_mask"].sum(1) == 0).any()]
    filled = batch["completion_mask"].sum(1) == 0
    assert filled.sum() == 1
    before = kept.gradient(batch)
    assert before.abs().max() > 1e-4
    other = dict(batch, **{key: batch[key].clone() for key in ("prompt_ids", "completion_ids")})
    for key in ("prompt_ids", "completion_ids"):
        other[key][filled] = (other[key][filled] + 5) % 20
    torch.testing.assert_close(kept.gradient(other), before, atol=1e-7, rtol=1e-5)


def test_the_completions_table_shows_the_advantages_of_the_answers(tmp_path):
    kept = uneven(tmp_path)
    shown, answers = list(kept._logs["advantages"]), kept.batches[0]["advantages"][:16]
    assert shown == pytest.approx(answers.tolist())
    assert len(kept._logs["completion"]) == 16


# -- critiques --------------------------------------------------------------------------------------------------------


def always_right(completions, **_):
    """Graded rewards above 0, so that no group has a wrong answer."""
    return [1 + r for r in tiny.early_letters(completions)]


def test_without_a_pair_it_is_grpo_to_the_bit(tmp_path):
    """An empty cache adds no row; the KL to the reference is the same for both."""
    student = tiny.saved(tmp_path / "student", 0, scale=3.0)
    split = {
        "rewards": always_right, "max_steps": 4, "gradient_accumulation_steps": 2, "num_iterations": 2,
        "model": student,
    }  # fmt: skip
    plain = runs.trained(tmp_path / "plain", grpo(kl_beta=0.01), **split)
    ours = runs.trained(tmp_path / "ours", second_order(kl_beta=0.01, **PAIRS), **split)
    assert runs.history(ours, "critique/pairs") == [0.0] * 2
    assert min(runs.history(plain, "grad_norm")) > 1e-3
    for name in ("loss", "grad_norm", "kl", "reward"):
        assert runs.history(ours, name) == runs.history(plain, name)
    assert torch.equal(runs.parameters(ours), runs.parameters(plain))


@pytest.mark.parametrize(("accumulation", "per_generation"), [(1, 2), (2, 4), (1, 3)])
def test_a_generation_with_critiques_may_serve_several_steps_and_passes(tmp_path, accumulation, per_generation):
    """An odd number of critiques is filled up to what the steps of a generation divide."""
    kept = runs.trained(
        tmp_path, second_order(kl_beta=0, **PAIRS), cls=Keeping, rewards=runs.at_least_two,
        gradient_accumulation_steps=accumulation, steps_per_generation=per_generation, num_iterations=2, max_steps=8,
    )  # fmt: skip
    assert any(runs.history(kept, "critique/pairs"))
    for batch in kept.batches:
        assert len(batch["prompt_ids"]) % per_generation == 0
    assert all(torch.isfinite(torch.tensor(runs.history(kept, "loss"))))
    assert runs.parameters(kept).isfinite().all()
    critiques = [(b[f"{PREFIX}scale"], b) for b in kept.batches if f"{PREFIX}scale" in b]
    for scale, batch in critiques:
        assert scale == len(batch["prompt_ids"]) / len(real_rows(batch)[1])


def test_critiques_of_messages_are_messages(tmp_path):
    """A critique's prompt is one turn of the user: `s`, the question, `q`, the answer that is judged, `t`."""
    trained = runs.trained(
        tmp_path, second_order(kl_beta=0, **PAIRS), cls=runs.Recording, rewards=runs.at_least_two, chat=True,
        max_steps=3,
    )  # fmt: skip
    q, s, t = (tiny.LETTERS.index(letter) for letter in "qst")
    prompts = [prompt for generation in trained.generations for prompt, _ in generation.extra]
    assert prompts
    for prompt in prompts:
        assert (prompt[0], prompt[4], prompt[-1]) == (s, q, t)
        assert len(prompt) <= 6 + 8


def test_attempts_to_mend_an_answer_are_judged_by_the_task(tmp_path):
    trained = runs.trained(
        tmp_path, second_order(kl_beta=0, denoise=2, **PAIRS), rewards=runs.at_least_two, max_steps=3
    )  # fmt: skip
    assert sum(runs.history(trained, "critique/repaired")) > 0
    assert all(0 <= share <= 1 for share in runs.history(trained, "critique/repaired"))


def test_evaluation_samples_no_critique(tmp_path):
    trained = runs.trainer(
        tmp_path, second_order(kl_beta=0, **PAIRS), cls=Keeping, rewards=runs.at_least_two,
        per_device_eval_batch_size=8, max_steps=1,
    )  # fmt: skip
    trained.evaluate(tiny.dataset(4))
    assert trained.method_state == trained.recipe.initial_state()
    assert all(len(batch["prompt_ids"]) == 8 for batch in trained.batches)


def test_extra_rows_and_vllm_s_correction_do_not_go_together(tmp_path):
    with pytest.raises(
        ValueError, match=r"second_order makes rows of its own.*vllm_importance_sampling_correction=False"
    ):
        runs.trainer(tmp_path, second_order(kl_beta=0), use_vllm=True)


def test_the_reference_of_an_adapter_is_the_model_without_it(tmp_path):
    """The KL of extra rows is taken against the weights before training, also in later generations."""
    kept = runs.trained(
        tmp_path, grpo(kl_beta=0.1) | runs.Uneven(), cls=Keeping, max_steps=2, learning_rate=0.1,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"),
    )  # fmt: skip
    start, batch = Replaying(tiny.model(0, scale=3.0)), kept.batches[1]
    found, places = real_rows(batch)
    assert len(found) == 13
    with torch.no_grad():
        logp, _, mask = start.score(found)
    reference = batch["ref_per_token_logps"][torch.tensor(places), : logp.shape[1]]
    torch.testing.assert_close(reference * mask, logp, atol=1e-5, rtol=0)
    assert runs.history(kept, "kl")[1] > 1e-4


def test_what_a_batch_holds_beyond_text_is_named():
    extra = rows.to_batch([Row([1], [2, 3], 0, extra=True)], 0, "cpu")
    with pytest.raises(ValueError, match="holds pixel_values, which rows that a method makes do not have"):
        rows.merge({**extra, "pixel_values": torch.zeros(1, 3)}, extra, 0, PREFIX)


def test_a_row_that_was_cut_off_is_not_trained_where_the_user_wants_that():
    """Ends 8 and 9: the first row has one, the second is cut off, the third is empty."""
    found = rows.to_batch([Row([1], [2, 8], 0), Row([1], [8, 3], 0), Row([1], [], 0)], 9, "cpu", {8, 9})
    assert found["completion_mask"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert rows.to_batch([Row([1], [8, 3], 0)], 9, "cpu")["completion_mask"].tolist() == [[1, 1]]


@dataclass(frozen=True)
class Ended(runs.Uneven):
    """Of the five rows the second and the fourth reach their end token."""

    name = "ended"

    async def extend(self, table, state, sampler):
        made = await super().extend(table, state, sampler)
        return [replace(row, ids=[0, len(tiny.LETTERS) + 1] if i % 2 else [0, 1]) for i, row in enumerate(made)]


@pytest.mark.parametrize("masked", [True, False])
def test_extra_rows_without_an_end_are_masked_when_trl_masks_the_answers(tmp_path, masked):
    kept = runs.trained(
        tmp_path, grpo() | Ended(), cls=Keeping, mask_truncated_completions=masked, max_steps=1,
        per_device_train_batch_size=16,
    )  # fmt: skip
    (batch,) = kept.batches
    lengths = batch["completion_mask"].sum(1)
    assert lengths[16:21].tolist() == ([0, 2, 0, 2, 0] if masked else [2] * 5)
    assert batch["num_items_in_batch"] == lengths.sum()
    assert bool((lengths[:16] == 0).any()) == masked


class Sharded(RecipeTrainer):
    """Under FSDP, as far as anything asks."""

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        self.is_fsdp_enabled = True


@pytest.mark.parametrize(
    ("recipe", "name"), [(lambda: grpo() | runs.Uneven(), "uneven"), (lambda: upskill(kl_beta=0), "upskill")]
)
def test_a_model_in_shards_has_no_rows_of_a_recipe_s_own(tmp_path, recipe, name):
    split = {"num_generations": 5, "per_device_train_batch_size": 10}
    with pytest.raises(ValueError, match=rf"{name} samples in its own way.*without FSDP.*stage 2"):
        runs.trainer(tmp_path, recipe(), cls=Sharded, **split)
    runs.trainer(tmp_path, grpo(), cls=Sharded, **split)


@pytest.mark.parametrize("bonus", [{"entropy_coef": 0.1}, {"use_adaptive_entropy": True}])
def test_trl_s_own_bonus_and_extra_rows_do_not_go_together(tmp_path, bonus):
    with pytest.raises(ValueError, match=r"uneven adds rows of its own.*set entropy_coef=0.*entropy_bonus"):
        runs.trainer(tmp_path, grpo() | runs.Uneven(), **bonus)
    runs.trainer(tmp_path, grpo(), **bonus)


def test_what_other_processes_get_of_a_row_is_what_the_table_takes():
    """A table of two answers, with and without texts; the full row and the light one give the same."""
    answers = Table(
        torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), torch.tensor([1.0, 0.0]), ["a", "a"], torch.tensor([3, 4])
    )
    made = [
        Row([1, 2], [3, 4, 5], 7, {"id": "b", "text": "long"}, "question", "words", [-1.0] * 3, extra=True,
            notes={"place": 1}, scores={"s": torch.zeros(1, 3)}),
        Row([1], [3], 8, prompt="question", completion="word", extra=True, joins=0),
    ]  # fmt: skip
    for table in (answers, replace(answers, prompts=["q", "q"], completions=["x", "y"])):
        found, counts = gathered.with_extra(table, made, [0.5, math.nan])
        expected = table.with_extra(made, [0.5, math.nan])
        assert counts == [2]
        for one, other in zip(vars(found).values(), vars(expected).values(), strict=True):
            if isinstance(one, torch.Tensor):
                torch.testing.assert_close(one, other, equal_nan=True)
            else:
                assert one == other
    assert expected.prompt_key == ["a", "a", "b", "extra 8"]
    assert expected.group.tolist() == [0, 0, 1, 0]


def test_merging_pads_prompts_on_the_left_and_completions_on_the_right():
    pad = 9
    long, short = (rows.to_batch([row], pad, "cpu") for row in (Row([1, 2, 3], [4], 0), Row([5], [6, 7], 0)))
    long |= {"tool_mask": torch.ones(1, 1), f"{PREFIX}score.s": torch.full((1, 2, 1), -0.5)}
    merged = rows.merge(long, short, pad, PREFIX)
    assert merged["prompt_ids"].tolist() == [[1, 2, 3], [pad, pad, 5]]
    assert merged["prompt_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert merged["completion_ids"].tolist() == [[4, pad], [6, 7]]
    assert merged["completion_mask"].tolist() == [[1, 0], [1, 1]]
    assert merged["tool_mask"].tolist() == [[1, 1], [1, 1]]
    assert merged[f"{PREFIX}score.s"].tolist() == [[[-0.5, 0], [-0.5, 0]], [[0, 0], [0, 0]]]
    filled = rows.fill_up(merged, 4)
    assert filled["prompt_ids"].tolist() == [[1, 2, 3], [pad, pad, 5], [1, 2, 3], [1, 2, 3]]
    assert filled["completion_mask"].tolist() == [[1, 0], [1, 1], [0, 0], [0, 0]]
