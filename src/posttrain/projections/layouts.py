"""How modules that hold q, k and v together order their outputs.

Each layout is a map from the config to the outputs of each part; it is known by the class of the attention, because
one name (`qkv_proj`, `query_key_value`, `Wqkv`, `c_attn`) stands for different orders in different models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Rows = Mapping[str, Tensor]


class Fused(NamedTuple):
    """A layout of q, k and v in one module."""

    module: str
    """The fused module's name within the attention."""
    out: str
    """The output projection's."""
    rows: Callable[[Any], Rows]
    """Config to the outputs of q, k and v, (m,) int64 each, rising."""


def blocks(q: int, k: int, v: int) -> Rows:
    """All of q, then all of k, then all of v."""
    q_rows, k_rows, v_rows = torch.arange(q + k + v).split([q, k, v])
    return {"q": q_rows, "k": k_rows, "v": v_rows}


def thirds(config: Any) -> Rows:
    """Three blocks of the hidden size: GPT-2, MPT."""
    return blocks(config.hidden_size, config.hidden_size, config.hidden_size)


def grouped(config: Any) -> Rows:
    """Heads of queries, then fewer heads of keys and of values: Phi-3."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kv = config.num_key_value_heads * head
    return blocks(config.num_attention_heads * head, kv, kv)


def per_head(config: Any) -> Rows:
    """Head by head its query, key and value: GPT-NeoX, Bloom, Persimmon."""
    return per_group(config.hidden_size, config.num_attention_heads, config.num_attention_heads)


def per_group(hidden: int, heads: int, groups: int) -> Rows:
    """Group by group its heads of queries, then one head of keys and one of values.

    Args:
        hidden: d.
        heads: Of queries, each of d / heads outputs.
        groups: Heads of keys.
    """
    head, each = hidden // heads, heads // groups
    places = torch.arange(groups * (each + 2) * head).view(groups, each + 2, head)
    return {"q": places[:, :-2].flatten(), "k": places[:, -2].flatten(), "v": places[:, -1].flatten()}


def falcon(config: Any) -> Rows:
    """Falcon's three: groups (new decoder), one head of keys for all (multi-query), or head by head."""
    if config.new_decoder_architecture:
        return per_group(config.hidden_size, config.num_attention_heads, config.num_kv_heads)
    if config.multi_query:
        return per_group(config.hidden_size, config.num_attention_heads, 1)
    return per_head(config)


def bigcode(config: Any) -> Rows:
    """GPT-BigCode's two: one head of keys for all, or head by head."""
    if config.multi_query:
        return per_group(config.hidden_size, config.num_attention_heads, 1)
    return per_head(config)


def codegen(config: Any) -> Rows:
    """CodeGen: in each of four parts query, value, key, in this order."""
    parts = torch.arange(3 * config.hidden_size).view(4, 3, -1)
    return {"q": parts[:, 0].flatten(), "v": parts[:, 1].flatten(), "k": parts[:, 2].flatten()}


def dbrx(config: Any) -> Rows:
    """DBRX: blocks, with the heads of keys in a config of their own."""
    kv = config.attn_config.kv_n_heads * (config.d_model // config.n_heads)
    return blocks(config.d_model, kv, kv)


def latent(config: Any) -> Rows:
    """The outputs of `kv_b_proj` in latent attention (MLA): head by head its key without position, then its value."""
    key, value = config.qk_nope_head_dim, config.v_head_dim
    places = torch.arange(config.num_attention_heads * (key + value)).view(config.num_attention_heads, key + value)
    return {"k": places[:, :key].flatten(), "v": places[:, key:].flatten()}


FUSED = {
    "GPT2Attention": Fused("c_attn", "c_proj", thirds),
    "GPTNeoXAttention": Fused("query_key_value", "dense", per_head),
    "GPTNeoXJapaneseAttention": Fused("query_key_value", "dense", per_head),
    "BloomAttention": Fused("query_key_value", "dense", per_head),
    "PersimmonAttention": Fused("query_key_value", "dense", per_head),
    "FalconAttention": Fused("query_key_value", "dense", falcon),
    "Phi3Attention": Fused("qkv_proj", "o_proj", grouped),
    "Phi4MultimodalAttention": Fused("qkv_proj", "o_proj", grouped),
    "MptAttention": Fused("Wqkv", "out_proj", thirds),
    "GPTBigCodeAttention": Fused("c_attn", "c_proj", bigcode),
    "CodeGenAttention": Fused("qkv_proj", "out_proj", codegen),
    "DbrxAttention": Fused("Wqkv", "out_proj", dbrx),
}
"""The attention's class to its layout."""
