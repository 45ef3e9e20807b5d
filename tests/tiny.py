"""Tiny models, tokenizers and rewards that tests build by code."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

LETTERS = "abcdefghijklmnopqrst"


def tokenizer(letters: str = LETTERS) -> PreTrainedTokenizerFast:
    """One letter is one token; then `<pad>` and `<eos>`."""
    vocab = {token: i for i, token in enumerate([*letters, "<pad>", "<eos>"])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>")


def model(seed: int = 0, *, vocab: int = len(LETTERS) + 2, hidden: int = 32, layers: int = 2, scale: float = 1.0):
    """A random Qwen3; `scale` sharpens its head, so that two seeds disagree."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=hidden // 2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        eos_token_id=vocab - 1,
        pad_token_id=vocab - 2,
        bos_token_id=None,
    )
    built = Qwen3ForCausalLM(config)
    built.lm_head.weight.data.mul_(scale)
    return built


def saved(folder: Path, seed: int = 0, **kwargs) -> str:
    """A tiny model with its tokenizer on disk; the path."""
    model(seed, **kwargs).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def rows(n: int = 12) -> list[dict]:
    """Prompts of three letters."""
    return [{"prompt": LETTERS[i] + LETTERS[(3 * i + 1) % 20] + LETTERS[(7 * i) % 20], "id": str(i)} for i in range(n)]


def dataset(n: int = 12):
    """The rows as TRL wants them."""
    from datasets import Dataset

    return Dataset.from_list(rows(n))


def early_letters(completions, **_):
    """The share of letters before `f`: mixed in almost every group of a random model."""
    return [sum(c in "abcde" for c in text) / 8 for text in completions]
