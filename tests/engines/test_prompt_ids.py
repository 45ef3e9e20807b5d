"""By what a prompt is remembered: its id, or a hash of it; never one id for two prompts."""

import pytest
from datasets import Dataset, IterableDataset

import tiny
from engines import runs
from posttrain.rl import ceeh, grpo
from posttrain.rl.engines.prompt_ids import PromptIds, key_of
from posttrain.rl.engines.trl import RecipeTrainer
from posttrain.tasks.dataset import prompt_id

CHAT = [{"role": "user", "content": "one and one?"}]


def test_the_id_of_the_data_set_is_the_key():
    assert key_of({"id": 7, "prompt": "one and one?"}) == "7"
    assert key_of({"id": "seven", "prompt": CHAT}) == "seven"


@pytest.mark.parametrize("prompt", ["one and one?", CHAT], ids=["text", "messages"])
def test_a_row_without_an_id_gets_a_hash_of_its_prompt(prompt):
    key = key_of({"prompt": prompt, "answer": "2"})
    assert key == key_of({"prompt": prompt, "id": None}) == prompt_id(prompt)
    assert key != key_of({"prompt": "two and two?"})


def rows(*pairs):
    return Dataset.from_list([{"id": key, "prompt": prompt, "answer": "x"} for key, prompt in pairs])


def test_one_id_for_two_prompts_is_an_error():
    with pytest.raises(ValueError, match=r"The id 'a' stands for two different prompts.*give each prompt its own id"):
        PromptIds(rows(("a", "1?"), ("b", "2?"), ("a", "3?"))).check()


def test_repeated_rows_are_told():
    assert PromptIds(rows(("a", "1?"), ("b", "2?"), ("a", "1?"), ("a", "1?"))).check() == [
        "2 rows repeat the prompt of another row and share its history."
    ]
    assert PromptIds(rows(("a", "1?"), ("b", "2?"))).check() == []
    assert PromptIds(rows(("a", "1?"), ("b", "1?"))).check() == [], "two ids, two histories"


def test_the_same_without_a_column_of_ids():
    found = PromptIds(Dataset.from_list([{"prompt": "1?"}, {"prompt": "2?"}, {"prompt": "1?"}]))
    assert found.check() == ["1 rows repeat the prompt of another row and share its history."]
    assert found.row(prompt_id("1?")) == {"prompt": "1?"}
    assert found.places == {prompt_id("1?"): 0, prompt_id("2?"): 1}


def test_a_row_is_found_by_its_id():
    found = PromptIds(rows(("a", "1?"), ("b", "2?")))
    assert found.row("b") == {"id": "b", "prompt": "2?", "answer": "x"}
    with pytest.raises(ValueError, match="no row with the id 'c'; resume with the data set of the checkpoint"):
        found.row("c")


def test_a_stream_has_ids_but_no_rows_to_look_up():
    found = PromptIds(IterableDataset.from_generator(lambda: iter([{"prompt": "1?"}])))
    assert found.check() == []
    with pytest.raises(ValueError, match="a streamed data set cannot do; load it whole"):
        found.row("a")


def trainer(folder, recipe, data):
    return RecipeTrainer(
        tiny.model(0), tiny.early_letters, runs.config(folder), recipe=recipe, train_dataset=Dataset.from_list(data),
        processing_class=tiny.tokenizer(),
    )  # fmt: skip


def test_only_a_recipe_that_remembers_prompts_minds(tmp_path):
    mixed = [*tiny.rows(4), {"prompt": "another", "id": "0"}]
    with pytest.raises(ValueError, match="The id '0' stands for two different prompts"):
        trainer(tmp_path, ceeh(kl_beta=0), mixed)
    trainer(tmp_path, grpo(), mixed)
    repeated = trainer(tmp_path, ceeh(kl_beta=0), [*tiny.rows(4), *tiny.rows(1)])
    assert "1 rows repeat the prompt of another row and share its history." in repeated.describe()


def test_what_a_method_remembers_is_under_the_ids(tmp_path):
    """With ids those of the data set, without them the hashes; as text and as messages."""
    named = runs.trained(tmp_path / "a", ceeh(kl_beta=0), max_steps=6)
    assert set(named.method_state["ceeh"]["accuracy"]) == {row["id"] for row in tiny.rows(12)}
    hashed = trainer(tmp_path / "b", ceeh(kl_beta=0), [{"prompt": row["prompt"]} for row in tiny.rows(4)])
    hashed.train()
    assert set(hashed.method_state["ceeh"]["accuracy"]) == {prompt_id(row["prompt"]) for row in tiny.rows(4)}
