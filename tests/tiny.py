"""Tiny models, tokenizers and rewards that tests build by code."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

LETTERS = "abcdefghijklmnopqrst"
CHAT = (
    "{% for m in messages %}{{ 's' if m['role'] == 'user' else 'r' }}{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}t{% endif %}"
)
"""A chat template: `s` before what the user says, `r` before anybody else, and `t` before the answer."""


def tokenizer(letters: str = LETTERS, *, chat: bool = False) -> PreTrainedTokenizerFast:
    """One letter is one token; then `<pad>` and `<eos>`. Digits that are no letters read 1 as `a`, 2 as `b`, ...

    Without a space between tokens, so that decoding and encoding again gives the same ids.
    """
    vocab = {token: i for i, token in enumerate([*letters, "<pad>", "<eos>"])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    digits = [d for d in "12345" if d not in letters]
    core.normalizer = normalizers.Sequence([normalizers.Replace(d, letters[int(d) - 1]) for d in digits])
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    built = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>")
    built.chat_template = CHAT if chat else None
    return built


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


def dataset(n: int = 12, *, chat: bool = False):
    """The rows as TRL wants them."""
    from datasets import Dataset

    as_chat = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows(n)]
    return Dataset.from_list(as_chat if chat else rows(n))


@dataclass(frozen=True)
class Letters:
    """Critiques in letters: the question, the response, and a verdict in the first letter; no letter, no verdict."""

    def prompt(self, question, response):
        return self._asked("q", question, response)

    def verdict(self, critique):
        return critique[0] < "k" if critique else None

    def refinement(self, question, response, critique):
        return self._asked("p", question, response + critique)

    def _asked(self, sign, question, text):
        if isinstance(question, str):
            return question + sign + text
        return [{"role": "user", "content": question[-1]["content"] + sign + text}]


def early_letters(completions, **_):
    """The share of letters before `f`: mixed in almost every group of a random model."""
    return [sum(c in "abcde" for c in text) / 8 for text in completions]
