"""Which families value-only tuning covers, where their values are, and what is refused."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """Models of one layout."""

    name: str
    models: str
    module: str
    """That holds the values."""
    layout: str
    """Of its outputs."""


COVERED = (
    Family(
        "separate",
        "Llama, Qwen2, Qwen2.5, Qwen3, Mistral, Mixtral, Gemma, Gemma 2, Gemma 3, OLMo 2, GLM, Phi-1 and 2, GPT-J, OPT",
        "v_proj",
        "all of it; a PEFT target",
    ),
    Family("GPT-2", "GPT-2", "c_attn (Conv1D, stored in x out)", "q, k, v in three blocks"),
    Family("GPT-NeoX", "GPT-NeoX, Pythia", "query_key_value", "head by head q, k, v"),
    Family("Bloom", "Bloom", "query_key_value", "head by head q, k, v"),
    Family("Persimmon", "Persimmon", "query_key_value", "head by head q, k, v"),
    Family("Falcon, new decoder", "Falcon-40B, 180B", "query_key_value", "group by group its queries, one k, one v"),
    Family("Falcon, multi-query", "Falcon-7B", "query_key_value", "all queries, one k, one v"),
    Family("Falcon, by head", "Falcon-RW", "query_key_value", "head by head q, k, v"),
    Family("Phi-3", "Phi-3, Phi-3.5, Phi-4", "qkv_proj", "blocks of q, k, v, with fewer heads of k and v"),
    Family("MPT", "MPT", "Wqkv", "q, k, v in three blocks"),
    Family("GPT-BigCode", "StarCoder, SantaCoder", "c_attn", "all queries, one k, one v; or head by head"),
    Family("CodeGen", "CodeGen", "qkv_proj", "four parts of q, v, k, in this order"),
    Family("DBRX", "DBRX", "Wqkv", "blocks of q, k, v, with fewer heads of k and v"),
    Family("latent (MLA)", "DeepSeek-V2, DeepSeek-V3", "kv_b_proj", "head by head its key without position, then v"),
)

REFUSED = (
    ("keys that are also the values", "Gemma 4 with attention_k_eq_v", "a change of the values moves the attention"),
    ("keys and values of another layer", "Gemma 3n, Gemma 4 with num_kv_shared_layers", "a layer has none of its own"),
    (
        "linear attention, state-space and convolution layers",
        "Qwen3-Next, Qwen3.5, Mamba, Jamba, Falcon-H1, LFM2, RWKV",
        "no values apart from keys; give the layers with attention in `layers`",
    ),
    ("queries with a gate", "Qwen3-Next's attention layers", "q is not q alone"),
    ("a second attention", "GPT-2 with cross-attention", "which of the two is not said"),
    ("encoders", "T5, BART", "only decoders are read"),
    ("quantised weights", "bitsandbytes, GPTQ, AWQ, FP8", "they cannot be changed in place"),
    ("tied weights between layers", "one weight under two names", "one layer's change would be another's"),
    ("any other layout", "for instance DeepSeek-V4, OpenAI's first GPT", "the sentence names the modules found"),
)
"""What, for instance, and why."""
