"""A teacher that misreads a share of the puzzles: the roles in the statements, and nothing else."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain import zoo
from posttrain.bench.corrupt import corrupt_teacher, swap_roles
from posttrain.tasks.knights_knaves import NAMES, puzzles

TOKENIZER = AutoTokenizer.from_pretrained(zoo.path("kk/teacher"))


def parts(tokenizer=TOKENIZER):
    """The swap table and the ids that mark a prompt."""
    vocabulary = tokenizer.get_vocab()
    swap = torch.arange(len(vocabulary))
    for letter in NAMES:
        swap[[vocabulary[letter], vocabulary[letter.lower()]]] = torch.tensor(
            [vocabulary[letter.lower()], vocabulary[letter]]
        )
    return swap, vocabulary["?"], vocabulary[":"], tokenizer.pad_token_id


def encode(texts: list[str], pad: int = 0) -> torch.Tensor:
    """(B, L) ids, padded on the left by at least `pad`."""
    rows = [TOKENIZER(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, rows)) + pad
    return torch.tensor([[TOKENIZER.pad_token_id] * (width - len(row)) + row for row in rows])


def text(ids: torch.Tensor) -> str:
    return TOKENIZER.decode(ids[ids != TOKENIZER.pad_token_id])


def prompts(n: int, people: int = 3) -> list[str]:
    return [row["prompt"] for row in puzzles(n, people=people, seed=0)]


def test_roles_in_the_statements_are_swapped_and_speakers_and_completion_are_not():
    ids = encode(["A:b;B:|AB?AB-Ab++=Ab"])
    assert text(swap_roles(ids, *parts(), 1.0)[0]) == "A:B;B:|ab?AB-Ab++=Ab"
    assert torch.equal(swap_roles(ids, *parts(), 0.0), ids)


@pytest.mark.parametrize("people", [2, 3])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_about_the_share_of_the_prompts_is_misread_and_the_rest_is_untouched(share, people):
    ids = encode(prompts(150 if people == 2 else 300, people))
    changed = (swap_roles(ids, *parts(), share) != ids).any(1)
    assert changed.float().mean().item() == pytest.approx(share, abs=0.08)


def test_it_is_the_same_prompts_every_time_whatever_the_padding_the_completion_or_the_company():
    ids = encode(prompts(60))
    chosen = (swap_roles(ids, *parts(), 0.3) != ids).any(1)
    padded = encode(prompts(60), pad=7)
    assert torch.equal((swap_roles(padded, *parts(), 0.3) != padded).any(1), chosen)
    completed = encode([prompt + "ABC-ABc" for prompt in prompts(60)])
    assert torch.equal((swap_roles(completed, *parts(), 0.3) != completed).any(1), chosen)
    alone = torch.cat([(swap_roles(row[None], *parts(), 0.3) != row[None]).any(1) for row in ids])
    assert torch.equal(alone, chosen)


def test_more_noise_contains_less_noise():
    ids = encode(prompts(100))
    few, many = ((swap_roles(ids, *parts(), share) != ids).any(1) for share in (0.2, 0.5))
    assert (many | ~few).all()


@torch.no_grad()
def test_the_model_sees_the_misread_prompt_and_leaves_other_rows_bit_identical():
    clean = AutoModelForCausalLM.from_pretrained(zoo.path("kk/teacher")).eval()
    noisy = corrupt_teacher(AutoModelForCausalLM.from_pretrained(zoo.path("kk/teacher")).eval(), TOKENIZER, 0.4)
    ids = encode([prompt + "ABC-" for prompt in prompts(24)])
    mask = (ids != TOKENIZER.pad_token_id).long()
    misread = swap_roles(ids, *parts(), 0.4)
    chosen = (misread != ids).any(1)
    assert 0 < chosen.sum() < 24
    seen, expected = noisy(ids, attention_mask=mask).logits, clean(ids, attention_mask=mask).logits
    assert torch.equal(seen[~chosen], expected[~chosen])
    assert torch.equal(seen[chosen], clean(misread, attention_mask=mask).logits[chosen])
    assert torch.equal(noisy(input_ids=ids, attention_mask=mask).logits, seen)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="give a number from 0 to 1"):
        corrupt_teacher(None, TOKENIZER, share)
