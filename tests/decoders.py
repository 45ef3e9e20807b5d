"""Tiny decoders of many families with random weights, built from configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as t

VOCAB = 32
IDS = {"bos_token_id": 1, "eos_token_id": VOCAB - 1, "pad_token_id": VOCAB - 2}
PLAIN = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    **IDS,
}
GROUPED = {**PLAIN, "num_key_value_heads": 2, "head_dim": 8}
GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **IDS}
FALCON = {**PLAIN, "alibi": False, "bias": True}
LATENT = {
    **PLAIN,
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "q_lora_rank": 24,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
}
DBRX = {
    "vocab_size": VOCAB, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
    "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 2, "moe_top_k": 1, "hidden_size": 32},
    **IDS,
}  # fmt: skip

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: t.LlamaConfig(**GROUPED, attention_bias=True),
    "qwen2": lambda: t.Qwen2Config(**{**GROUPED, "head_dim": 8}),
    "qwen3": lambda: t.Qwen3Config(**{**GROUPED, "head_dim": 12}),
    "mistral": lambda: t.MistralConfig(**GROUPED, sliding_window=8),
    "gemma": lambda: t.GemmaConfig(**GROUPED),
    "gemma2": lambda: t.Gemma2Config(**GROUPED, sliding_window=8),
    "gemma3": lambda: t.Gemma3TextConfig(**GROUPED, sliding_window=8),
    "olmo2": lambda: t.Olmo2Config(**GROUPED),
    "gpt2": lambda: t.GPT2Config(**GPT2),
    "gpt_neox": lambda: t.GPTNeoXConfig(**PLAIN),
    "falcon new": lambda: t.FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "falcon multi-query": lambda: t.FalconConfig(**FALCON, multi_query=True, new_decoder_architecture=False),
    "falcon by head": lambda: t.FalconConfig(
        **{**FALCON, "alibi": True}, multi_query=False, new_decoder_architecture=False
    ),
    "bloom": lambda: t.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4, **IDS),
    "phi3": lambda: t.Phi3Config(**{**GROUPED}),
    "mpt": lambda: t.MptConfig(vocab_size=VOCAB, d_model=32, n_heads=4, n_layers=2, max_seq_len=64, **IDS),
    "deepseek_v3": lambda: t.DeepseekV3Config(**LATENT),
    "deepseek_v2": lambda: t.DeepseekV2Config(**{**LATENT, "q_lora_rank": None}),
    "phi": lambda: t.PhiConfig(**PLAIN),
    "glm": lambda: t.GlmConfig(**GROUPED),
    "gptj": lambda: t.GPTJConfig(**GPT2, rotary_dim=4),
    "opt": lambda: t.OPTConfig(
        **{**PLAIN, "ffn_dim": 48, "word_embed_proj_dim": 32}
    ),
    "gpt_bigcode": lambda: t.GPTBigCodeConfig(**GPT2, multi_query=True),
    "gpt_bigcode by head": lambda: t.GPTBigCodeConfig(**GPT2, multi_query=False),
    "codegen": lambda: t.CodeGenConfig(**GPT2, n_ctx=64, rotary_dim=4),
    "persimmon": lambda: t.PersimmonConfig(**PLAIN),
    "dbrx": lambda: t.DbrxConfig(**DBRX),
    "mixtral": lambda: t.MixtralConfig(**GROUPED, num_local_experts=2),
}  # fmt: skip
"""Name to a config."""

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "qwen3_next": (
        lambda: t.Qwen3NextConfig(**{**GROUPED, "layer_types": ["linear_attention", "full_attention"]}, num_experts=0),
        "linear_attention",
    ),
    "mamba": (lambda: t.MambaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, **IDS), "linear_attention"),
    "falcon_h1": (lambda: t.FalconH1Config(**GROUPED, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8), "hybrid"),
    "gemma4 keys as values": (
        lambda: t.Gemma4TextConfig(
            **GROUPED, global_head_dim=8, num_global_key_value_heads=2, attention_k_eq_v=True,
            layer_types=["sliding_attention", "full_attention"], hidden_size_per_layer_input=0,
        ),
        "attention_k_eq_v",
    ),
    "gemma3n shared": (
        lambda: t.Gemma3nTextConfig(
            **{**GROUPED, "num_hidden_layers": 4, "intermediate_size": [48] * 4}, num_kv_shared_layers=2,
            vocab_size_per_layer_input=VOCAB, hidden_size_per_layer_input=8, sliding_window=8,
            layer_types=["sliding_attention", "full_attention"] * 2, activation_sparsity_pattern=[0.0] * 4,
            altup_num_inputs=2, laurel_rank=4,
        ),
        "num_kv_shared_layers",
    ),
}  # fmt: skip
"""Name to a config whose attention cannot be taken apart, and what the sentence names."""


def build(name: str, *, seed: int = 0, scale: float = 1.0) -> Any:
    """A model of a family; its biases are random too."""
    return of_config(CONFIGS[name](), seed=seed, scale=scale)


def of_config(config: Any, *, seed: int = 0, scale: float = 1.0) -> Any:
    """A model of a config, in float32."""
    torch.manual_seed(seed)
    model = t.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.05)
            elif parameter.ndim > 1:
                parameter.mul_(scale)
    return model.eval()
