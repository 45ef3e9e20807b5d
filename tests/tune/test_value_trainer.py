"""The trainer under TRL: its loss against a slow reference, its schedule, resuming, and what it refuses."""

import pytest
import torch
from datasets import Dataset
from torch.nn import functional
from trl import SFTConfig, SFTTrainer

import decoders
import tiny
from posttrain.commands import doctor
from posttrain.projections import attention
from posttrain.tune import FewShot, ValueOnly, ValueOnlyTrainer
from posttrain.tune.trainer import ATTRIBUTES, CONTRACT

L = tiny.LETTERS
FEW = FewShot(shots=2, separator="b")


def rows(n=12, tasks="ab"):
    """Questions of two letters, answers of one or two."""
    return [
        {
            "prompt": L[i % 20] + L[(3 * i + 1) % 20],
            "completion": L[(7 * i) % 20] * (1 + i % 2),
            "task": tasks[i % len(tasks)],
        }
        for i in range(n)
    ]


def config(out, **options):
    plain = {
        "max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1, "report_to": [],
        "use_cpu": True, "bf16": False, "disable_tqdm": True, "save_strategy": "no", "gradient_checkpointing": False,
        "weight_decay": 0.1,
    }  # fmt: skip
    return SFTConfig(str(out), **(plain | options))


def built(
    out, family="llama", *, data=None, few_shot=FEW, value_only=None, cls=ValueOnlyTrainer, options=None, **kwargs
):
    own = {"few_shot": few_shot, "value_only": value_only or ValueOnly(rank=4)} if cls is ValueOnlyTrainer else {}
    return cls(
        decoders.build(family, scale=5),
        config(out, **(options or {})),
        train_dataset=Dataset.from_list(data or rows()),
        processing_class=tiny.tokenizer(),
        **own,
        **kwargs,
    )


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_trainer_that_cannot_be_made_leaves_the_model_plain(tmp_path, family):
    model = decoders.build(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyError):
        ValueOnlyTrainer(
            model,
            config(tmp_path, dataset_text_field="none"),
            train_dataset=Dataset.from_list([{"words": "abc"}] * 4),
            processing_class=tiny.tokenizer(),
            value_only=ValueOnly(update="full"),
        )
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def history(trainer, *names):
    return [[line.get(name) for name in names] for line in trainer.state.log_history if "loss" in line]


def test_contract():
    assert doctor.lacking(SFTTrainer, CONTRACT) == []


def test_doctor_names_what_the_engine_lacks(monkeypatch):
    monkeypatch.setitem(CONTRACT, "_prepare_rows", ())
    monkeypatch.setitem(CONTRACT, "compute_loss", ("model", "rows"))
    assert doctor.trl_contract() == [
        "SFTTrainer.compute_loss has no parameter rows",
        "SFTTrainer has no method _prepare_rows",
    ]


def test_attributes(tmp_path):
    trainer = built(tmp_path)
    trainer.train()
    assert not [name for name in ATTRIBUTES if not hasattr(trainer, name)]


def answer_loss(model, rows, prompts):
    """Mean cross-entropy over the tokens of the answers, each with its end, one row at a time."""
    tokenizer, total, count = tiny.tokenizer(), 0.0, 0
    for row, prompt in zip(rows, prompts, strict=True):
        before = tokenizer(prompt)["input_ids"]
        ids = torch.tensor([before + tokenizer(row["completion"] + "<eos>")["input_ids"]])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, len(before) - 1 : -1]
        total += float(functional.cross_entropy(scores, ids[0, len(before) :], reduction="sum"))
        count += ids.shape[1] - len(before)
    return total / count


def test_the_loss_is_that_of_the_answers_alone_and_after_examples(tmp_path):
    """One step on all rows: 1 * loss of the answers + 1 * loss of the same answers after their examples."""
    data = rows(6)
    for row, other in zip(data, reversed(data), strict=True):
        row["few_shot_prompt"] = other["prompt"] + other["completion"] + "b" + row["prompt"]
    trainer = built(tmp_path, data=data, options={"max_steps": 3, "per_device_train_batch_size": 6})
    model = decoders.build("llama", scale=5)
    alone = answer_loss(model, data, [row["prompt"] for row in data])
    after = answer_loss(model, data, [row["few_shot_prompt"] for row in data])
    trainer.train()
    first = history(trainer, "zero_shot_loss", "few_shot_loss", "loss", "few_shot_weight")[0]
    assert first == pytest.approx([alone, after, alone + after, 1.0], rel=1e-4)
    assert abs(alone - after) > 1e-3


def test_the_weight_falls_from_one_to_zero_and_then_there_are_no_examples(tmp_path):
    trainer = built(tmp_path, options={"max_steps": 5})
    trainer.train()
    found = history(trainer, "few_shot_weight", "few_shot_loss")
    assert [weight for weight, _ in found] == [1, 0.75, 0.5, 0.25, 0]
    assert [loss is not None for _, loss in found] == [True] * 4 + [False]


@pytest.mark.parametrize(
    "few_shot", [None, FewShot(initial=0, shots=2), FewShot(weight=lambda step, total: 0.0, shots=2)]
)
def test_without_weight_it_is_trls_own_training(tmp_path, few_shot):
    trainer = built(tmp_path / "ours", few_shot=few_shot)
    trainer.train()
    projections = attention(decoders.build("llama"))
    plain = built(tmp_path / "trl", cls=SFTTrainer, peft_config=ValueOnly(rank=4).lora(projections))
    plain.train()
    assert history(trainer, "loss", "entropy", "num_tokens") == history(plain, "loss", "entropy", "num_tokens")


def test_splitting_a_step_does_not_change_it(tmp_path):
    whole = built(tmp_path / "a", options={"per_device_train_batch_size": 4})
    split = built(tmp_path / "b", options={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4})
    whole.train()
    split.train()
    names = ("loss", "zero_shot_loss")
    for one, other in zip(history(whole, *names), history(split, *names), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize(("family", "update"), [("llama", "lora"), ("gpt2", "lora"), ("gpt2", "full")])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, family, update):
    options = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "per_device_train_batch_size": 6}
    value_only = ValueOnly(update=update, rank=4)
    straight = built(tmp_path, family, value_only=value_only, options=options)
    straight.train()
    resumed = built(tmp_path, family, value_only=value_only, options=options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    names = ("step", "loss", "few_shot_weight", "few_shot_loss", "learning_rate")
    assert history(resumed, *names) == history(straight, *names)
    merged, whole = resumed.merged().state_dict(), straight.merged().state_dict()
    assert all(torch.equal(merged[name], value) for name, value in whole.items())


@pytest.mark.parametrize(("family", "update"), [("llama", "full"), ("bloom", "lora"), ("bloom", "full")])
def test_the_merged_model_differs_in_values_alone(tmp_path, family, update):
    trainer = built(tmp_path, family, value_only=ValueOnly(update=update, rank=4))
    before = decoders.build(family, scale=5)
    trainer.train()
    merged = trainer.merged()
    for each in attention(merged):
        same = torch.equal(each.weight(merged), each.weight(before))
        assert same == (each.part != "v")
    values = {f"{each.module}.weight" for each in attention(merged) if each.part == "v"}
    for name, value in before.state_dict().items():
        assert name in values or torch.equal(merged.state_dict()[name], value)


def test_an_evaluation_is_without_examples(tmp_path):
    data = rows(6)
    trainer = built(tmp_path, data=data, eval_dataset=Dataset.from_list(data))
    loss = trainer.evaluate()["eval_loss"]
    model = decoders.build("llama", scale=5)
    assert loss == pytest.approx(answer_loss(model, data, [row["prompt"] for row in data]), rel=1e-3)


def test_examples_of_chats_are_earlier_turns(tmp_path):
    data = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["completion"]}],
            "task": "a",
        }
        for row in rows(6)
    ]
    trainer = ValueOnlyTrainer(
        decoders.build("llama"),
        config(tmp_path),
        few_shot=FewShot(shots=1),
        value_only=ValueOnly(rank=2),
        train_dataset=Dataset.from_list(data),
        processing_class=tiny.tokenizer(chat=True),
    )
    row = trainer.train_dataset[0]
    assert len(row["few_shot_input_ids"]) > len(row["input_ids"]) + 3
    end = len(row["input_ids"])
    assert row["few_shot_input_ids"][-end:] == row["input_ids"]
    trainer.train()


def test_only_values_are_trained_and_confined(tmp_path):
    trainer = built(tmp_path, "gpt2")
    trained = [name for name, each in trainer.model.named_parameters() if each.requires_grad]
    assert {name.split(".lora_")[0] for name in trained} == {
        f"base_model.model.transformer.h.{i}.attn.c_attn" for i in range(2)
    }
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    trainer.model.get_base_model().transformer.h[0].attn.c_attn.lora_B["default"].weight.data[0] = 1
    with pytest.raises(ValueError, match="rows that are not of v"):
        trainer.save_model(str(tmp_path / "spoilt"))


def with_column(text):
    return [{**row, "few_shot_prompt": text(row)} for row in rows()]


@pytest.mark.parametrize(
    ("data", "few_shot", "options", "match"),
    [
        ([{"text": "abc"}] * 4, FEW, {}, "no column 'prompt'"),
        (rows(), FEW, {"packing": True}, "packing=False"),
        (rows(4), FEW, {}, "task 'a' has 1 rows with other prompts than row 0, and 2"),
        (rows(), FEW, {"max_length": 8}, r"Row \d+ has \d+ tokens with its examples, and max_length is 8"),
        (with_column(lambda row: "ab" + row["prompt"]), FEW, {"max_length": 7}, None),
    ],
)  # fmt: skip
def test_data_that_will_not_do(tmp_path, data, few_shot, options, match):
    if match is None:
        built(tmp_path, data=data, few_shot=few_shot, options=options)
        return
    with pytest.raises(ValueError, match=match):
        built(tmp_path, data=data, few_shot=few_shot, options=options)


def test_answers_that_are_cut_short_are_refused(tmp_path):
    data = [{**row, "few_shot_prompt": row["prompt"]} for row in rows()]
    for row in data:
        row["completion"] = row["completion"] * 3
        row["prompt"] = row["prompt"] * 4
    with pytest.raises(ValueError, match=r"tokens of answer alone and \d+ after"):
        built(tmp_path, data=data, options={"max_length": 9})


def test_a_stream_has_no_rows_to_draw_from(tmp_path):
    with pytest.raises(ValueError, match="IterableDataset"):
        ValueOnlyTrainer(
            decoders.build("llama"), config(tmp_path), few_shot=FEW,
            train_dataset=Dataset.from_list(rows()).to_iterable_dataset(), processing_class=tiny.tokenizer(),
        )  # fmt: skip


def test_two_adapters_are_refused(tmp_path):
    projections = attention(decoders.build("llama"))
    with pytest.raises(ValueError, match="leave peft_config out"):
        built(tmp_path, peft_config=ValueOnly(rank=2).lora(projections))


def test_a_model_can_be_given_by_its_folder(tmp_path):
    decoders.build("llama").save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    trainer = ValueOnlyTrainer(
        str(tmp_path / "model"), config(tmp_path), value_only=ValueOnly(rank=2), few_shot=FEW,
        train_dataset=Dataset.from_list(rows()),
    )  # fmt: skip
    trainer.train()
    assert len(history(trainer, "loss")) == 4


def test_any_adapter_can_have_the_few_shot_loss(tmp_path):
    import peft

    trainer = ValueOnlyTrainer(
        decoders.build("llama"), config(tmp_path), value_only=None, few_shot=FEW,
        peft_config=peft.LoraConfig(target_modules=["q_proj"], r=2), train_dataset=Dataset.from_list(rows()),
        processing_class=tiny.tokenizer(),
    )  # fmt: skip
    trainer.train()
    assert history(trainer, "few_shot_weight")[0] == [1.0]
