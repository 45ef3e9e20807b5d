"""What is measured of a model that samples, on a shipped start model and few prompts, against one row at a time."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain import zoo
from posttrain.bench.measures import attempt, entropy
from posttrain.tasks.chain import MAX_TOKENS, chain_verdict, chains
from posttrain.tasks.evaluate import complete

ROWS = chains(3, seed=1, level="easy", split="eval")


@pytest.fixture(scope="module")
def start():
    path = zoo.path("chain/start")
    return AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def test_every_row_is_attempted_k_times_and_judged_by_its_own_answer(start):
    found = attempt(*start, ROWS, chain_verdict, k=2, max_tokens=MAX_TOKENS, chunk=4)
    assert [len(texts) for texts in found.texts] == [2] * 3
    expected = [
        [chain_verdict(text, row["answer"]).correct for text in texts]
        for texts, row in zip(found.texts, ROWS, strict=True)
    ]
    assert found.correct == expected
    assert found.accuracy == pytest.approx(sum(map(sum, expected)) / 6)
    assert found.accuracy > 0
    assert len({text for texts in found.texts for text in texts}) > 3


def test_length_entropy_and_truncation_are_those_of_each_completion_alone(start):
    """The longest is cut off, the shortest ends; padding on either side counts for nothing."""
    model, tokenizer = start
    whole = attempt(model, tokenizer, ROWS, chain_verdict, k=1, max_tokens=MAX_TOKENS)
    limit = max(len(text) for (text,) in whole.texts) - 1  # a character is a token
    found = attempt(model, tokenizer, ROWS, chain_verdict, k=1, max_tokens=limit)
    lengths, entropies, ended = [], [], []
    for (text,), row in zip(found.texts, ROWS, strict=True):
        prompt, ids = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (row["prompt"], text))
        ended.append(len(ids) < limit)
        ids = [*ids, tokenizer.eos_token_id][:limit]
        with torch.no_grad():
            logp = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        lengths.append(len(ids))
        entropies.append(-(logp.exp() * logp).sum().item())
    assert {True, False} == set(ended)
    assert found.length == pytest.approx(sum(lengths) / 3)
    assert found.entropy == pytest.approx(sum(entropies) / sum(lengths), abs=1e-5)
    assert found.truncated == pytest.approx(1 - sum(ended) / 3)


def test_the_entropy_of_a_row_does_not_depend_on_its_company(start):
    model, tokenizer = start
    prompts = [row["prompt"] for row in ROWS]
    together = complete(model, tokenizer, prompts, max_new_tokens=8)
    found = entropy(model, together)
    assert found.shape == (3, 8)
    for row, prompt in zip(found, prompts, strict=True):
        alone = complete(model, tokenizer, [prompt], max_new_tokens=8)
        tokens = int(alone.attention[0, alone.prompt_width :].sum())
        torch.testing.assert_close(row[:tokens], entropy(model, alone)[0, :tokens], atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_attempts_and_the_outside_is_left_alone(start):
    before = torch.random.get_rng_state()
    one, two, other = (attempt(*start, ROWS, chain_verdict, k=2, max_tokens=20, seed=seed) for seed in (0, 0, 1))
    assert one == two
    assert one.texts != other.texts
    assert torch.equal(torch.random.get_rng_state(), before)
