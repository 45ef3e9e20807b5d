"""The files of a tiny model: a tokenizer of characters, a Qwen3 with random weights, saving, loading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)


@dataclass(frozen=True)
class Size:
    """The shape of a model."""

    layers: int = 2
    """Transformer blocks."""
    width: int = 128
    """Size of the residual stream."""
    heads: int = 4
    """Attention heads, each of `width / heads`."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}; it must be at least 1")
        if self.heads < 1:
            raise ValueError(f"heads is {self.heads}; it must be at least 1")
        if self.width % (2 * self.heads):
            raise ValueError(f"width is {self.width}; use a multiple of {2 * self.heads}, twice the heads")


SMALL = Size()
"""430 thousand weights at a vocabulary of 20 to 30."""


def make_tokenizer(tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    """`<pad>` (0), `<eos>` (1) and the given tokens; text made of them round-trips exactly.

    Args:
        tokens: Single characters and, if need be, longer texts; the longest that fits is taken.
    """
    vocabulary = {token: index for index, token in enumerate(("<pad>", "<eos>", *tokens))}
    longer = sorted((re.escape(token) for token in tokens if len(token) > 1), key=len, reverse=True)
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("|".join([*longer, "."])), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_model(vocabulary: int, size: Size, *, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights in float32; torch's random state is left as it was."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=size.width,
        intermediate_size=3 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=size.width // size.heads,
        max_position_embeddings=512,
        initializer_range=0.05,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, directory: Path, *, max_new_tokens: int) -> None:
    """Write float16 weights whose `config.json` asks for float32, so that a plain load is ready to train."""
    model.half()
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=max_new_tokens,
    )
    model.save_pretrained(directory)
    model.config.dtype = torch.float32
    model.config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "model.safetensors").chmod(0o644)


def load(directory: Path) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase]:
    """A saved model in float32 and its tokenizer."""
    return Qwen3ForCausalLM.from_pretrained(directory, dtype=torch.float32), AutoTokenizer.from_pretrained(directory)
