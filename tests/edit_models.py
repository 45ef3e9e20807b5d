"""Tiny random models of real architectures, and anchors in letters."""

import torch
import transformers as tf

import tiny
from posttrain.edit.anchors import Anchors, Prompt, paired

SHAPE = {
    "vocab_size": 24, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "pad_token_id": 20, "eos_token_id": 21,
    "bos_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip
FAMILIES = {
    "llama": (tf.LlamaConfig, tf.LlamaForCausalLM, {}),
    "qwen2": (tf.Qwen2Config, tf.Qwen2ForCausalLM, {}),
    "qwen3": (tf.Qwen3Config, tf.Qwen3ForCausalLM, {"head_dim": 12}),
    "mistral": (tf.MistralConfig, tf.MistralForCausalLM, {"sliding_window": None}),
    "gemma": (tf.GemmaConfig, tf.GemmaForCausalLM, {"head_dim": 12}),
    "phi3": (tf.Phi3Config, tf.Phi3ForCausalLM, {}),
}
LETTERS = "abcdefghijklmnopqrst"


def model(family="llama", seed=0, dtype=torch.float32, **more):
    """Random weights, large enough that units differ."""
    torch.manual_seed(seed)
    config, kind, own = FAMILIES[family]
    built = kind(config(**SHAPE | own | more)).eval()
    for name, weight in built.named_parameters():
        if weight.ndim == 2 and "embed" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    return built.to(dtype)


def tokenizer(chat=True):
    return tiny.tokenizer(chat=chat)


def text(draw, first, length):
    """Letters, of which the first says the language and the second the kind."""
    return first + "".join(LETTERS[int(i)] for i in torch.randint(0, 16, (length,), generator=draw))


def anchors(many=12, languages=("bn", "he"), seed=0, harmless_in=("en", "bn", "he")) -> Anchors:
    """Harmful prompts end in r, harmless ones in s; the last letter but one is the language."""
    draw = torch.Generator().manual_seed(seed)
    prompts = []
    for kind, sign in (("harmful", "r"), ("harmless", "s")):
        for number in range(many):
            body = text(draw, "", 1 + number % 5)
            for letter, language in zip("qpo", ("en", *languages), strict=False):
                if kind == "harmful" or language in harmless_in:
                    prompts.append(Prompt(f"{kind} {number}", language, kind, body + letter + sign))
    return paired(prompts)
