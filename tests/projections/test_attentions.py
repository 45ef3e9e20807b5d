"""Where q, k, v and o are: the layouts against the models' own arithmetic, and what is refused."""

import pytest
import torch
from torch import nn

import decoders
from posttrain.projections import attention, check_value_rows
from posttrain.projections.layouts import FUSED, blocks, per_group

SEPARATE = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "olmo2", "phi", "glm", "gptj", "opt")
FUSED_FAMILIES = (
    "gpt2", "gpt_neox", "falcon new", "falcon multi-query", "falcon by head", "bloom", "phi3", "mpt", "gpt_bigcode",
    "gpt_bigcode by head", "codegen", "persimmon", "dbrx",
)  # fmt: skip
LATENT = ("deepseek_v2", "deepseek_v3")


@pytest.mark.parametrize("name", decoders.CONFIGS)
def test_values_are_what_attention_takes_for_values(name):
    model = decoders.build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    projections = attention(model)
    check_value_rows(model, projections)
    assert [(each.layer, each.part) for each in projections] == [(i, p) for i in range(2) for p in "qkvo"]
    for key, value in model.state_dict().items():
        assert value.numpy().tobytes() == before[key].numpy().tobytes(), key
    assert not model.training


def test_every_family_is_in_one_list():
    assert {*SEPARATE, *FUSED_FAMILIES, *LATENT, "mixtral"} == set(decoders.CONFIGS)


def test_blocks_by_hand():
    """2 heads of queries and 1 of keys and values, 2 outputs each: q 0-3, k 4-5, v 6-7."""
    rows = blocks(4, 2, 2)
    assert {part: each.tolist() for part, each in rows.items()} == {"q": [0, 1, 2, 3], "k": [4, 5], "v": [6, 7]}


def test_groups_by_hand():
    """Hidden size 8, 4 heads of 2 in 2 groups: each group is two queries (4 outputs), a key (2) and a value (2)."""
    rows = per_group(8, 4, 2)
    assert rows["q"].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert rows["k"].tolist() == [4, 5, 12, 13]
    assert rows["v"].tolist() == [6, 7, 14, 15]


@pytest.mark.parametrize("name", [*SEPARATE, "mixtral"])
def test_separate_projections_are_whole_modules(name):
    model = decoders.build(name)
    for each in attention(model):
        assert each.whole(model)
        assert torch.equal(each.weight(model), each.module_of(model).weight)


@pytest.mark.parametrize("name", FUSED_FAMILIES)
def test_a_fused_module_is_q_k_and_v_once_each(name):
    model = decoders.build(name)
    q, k, v, _ = attention(model)[:4]
    assert q.module == k.module == v.module
    assert torch.cat([q.rows, k.rows, v.rows]).sort().values.tolist() == list(range(v.outputs(model)))
    assert all(torch.equal(each.rows, each.rows.sort().values) for each in (q, k, v))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "phi3"])
def test_a_projection_gives_its_part_of_the_modules_output(name):
    model = decoders.build(name)
    for each in attention(model):
        module, weight, bias = each.module_of(model), each.weight(model), each.bias(model)
        x = torch.randn(5, weight.shape[1])
        mine = x @ weight.T + (0 if bias is None else bias)
        torch.testing.assert_close(mine, module(x)[:, each.rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "bloom", "llama", "deepseek_v3"])
def test_put_changes_its_rows_alone(name):
    model = decoders.build(name)
    each = attention(model)[2]
    before = each.module_of(model).weight.detach().clone()
    each.put(model, each.weight(model) + 1)
    after = each.module_of(model).weight.detach()
    rest = torch.ones(each.outputs(model), dtype=torch.bool)
    rest[each.rows] = False
    dim = 1 if each.transposed else 0
    assert torch.equal(after.index_select(dim, rest.nonzero()[:, 0]), before.index_select(dim, rest.nonzero()[:, 0]))
    torch.testing.assert_close(
        after.index_select(dim, each.rows), before.index_select(dim, each.rows) + 1, rtol=0, atol=1e-6
    )


def test_layers_can_be_chosen():
    model = decoders.build("llama")
    assert {each.layer for each in attention(model, layers=[1])} == {1}
    with pytest.raises(ValueError, match="from 0 to 1"):
        attention(model, layers=[2])


@pytest.mark.parametrize("name", decoders.REFUSED)
def test_what_cannot_be_taken_apart_is_refused_with_the_reason(name):
    config, reason = decoders.REFUSED[name]
    with pytest.raises(ValueError, match=rf"Layer \d .*({reason})"):
        attention(decoders.of_config(config()))


def test_the_full_attention_layers_of_a_hybrid_are_refused_where_queries_carry_a_gate():
    config, _ = decoders.REFUSED["qwen3_next"]
    with pytest.raises(ValueError, match=r"Layer 1 .*a gate"):
        attention(decoders.of_config(config()), layers=[1])


def test_an_unknown_layout_names_what_is_there():
    model = decoders.build("llama")
    for layer in model.model.layers:
        block = layer.self_attn
        block.value_proj = block.v_proj
        block.query_proj = block.q_proj
        del block.v_proj, block.q_proj
    with pytest.raises(ValueError, match=r"Layer 0 .*self_attn\.k_proj.*value_proj.*nearest.*query_proj"):
        attention(model)


def test_a_config_that_does_not_fit_is_refused():
    model = decoders.build("phi3")
    model.config.num_key_value_heads = 4
    with pytest.raises(ValueError, match="64 outputs, but its config describes 96"):
        attention(model)


def test_tied_layers_are_refused():
    model = decoders.build("llama")
    model.model.layers[1].self_attn.v_proj.weight = model.model.layers[0].self_attn.v_proj.weight
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.v_proj\.weight is the same weight as .*layers\.1"):
        attention(model)


def test_tied_embeddings_are_fine():
    config = decoders.CONFIGS["llama"]()
    config.tie_word_embeddings = True
    assert len(attention(decoders.of_config(config))) == 8


def test_quantised_weights_are_refused():
    model = decoders.build("llama")
    model.config.quantization_config = {"quant_method": "gptq", "bits": 4}
    with pytest.raises(ValueError, match=r"quantised \(gptq\)"):
        attention(model)
    del model.config.quantization_config
    proj = model.model.layers[0].self_attn.v_proj
    proj.weight = nn.Parameter(proj.weight.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ValueError, match=r"v_proj has weights of torch.float8_e4m3fn"):
        attention(model)


def test_weights_that_are_not_loaded_are_refused():
    with pytest.raises(ValueError, match="not loaded"):
        attention(decoders.build("llama").to("meta"))


def test_a_replaced_module_is_refused():
    model = decoders.build("llama")
    model.model.layers[0].self_attn.v_proj = nn.Bilinear(32, 1, 16)
    with pytest.raises(ValueError, match="v_proj is a Bilinear, not a linear layer"):
        attention(model)


def test_an_adapter_is_refused():
    import peft

    model = decoders.build("llama")
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["v_proj"]))
    with pytest.raises(ValueError, match="already carries an adapter"):
        attention(model)


def test_a_vision_tower_is_left_alone():
    """Gemma 3 with two vision layers, whose attention has a v_proj too, and two of text."""
    import transformers

    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.Gemma3Config(
        text_config={**decoders.GROUPED, "sliding_window": 8},
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    projections = attention(model)
    check_value_rows(model, projections)
    assert {each.module.partition(".layers.")[0] for each in projections} == {"model.language_model"}


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="no model of transformers"):
        attention(nn.Linear(2, 2))


def test_each_fused_class_is_one_of_the_library():
    import transformers

    for name in FUSED:
        family = {"GPTNeoXJapaneseAttention": "gpt_neox_japanese", "GPTNeoXAttention": "gpt_neox"}.get(name)
        modules = [family] if family else [m for m in dir(transformers.models) if not m.startswith("_")]
        wanted = name.removesuffix("Attention").lower()
        match = [m for m in modules if m.replace("_", "") == wanted] if not family else modules
        assert match, name
        module = __import__(f"transformers.models.{match[0]}.modeling_{match[0]}", fromlist=[name])
        assert hasattr(module, name)
