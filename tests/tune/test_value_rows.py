"""Values alone, bit by bit, on many architectures: adapter and full update, trained, merged and written back."""

import peft
import pytest
import torch

import decoders
from posttrain.projections import attention
from posttrain.tune import check_confined, close_rows, confine, merge, open_rows, value_only
from posttrain.tune.rows import chosen_rows

ARCHITECTURES = (
    "gpt2", "gpt_neox", "falcon new", "falcon multi-query", "falcon by head", "bloom", "phi3", "mpt", "llama", "qwen2",
    "qwen3", "mistral", "gemma", "gemma2", "deepseek_v3",
)  # fmt: skip
STEPS = 20


def bits(tensor):
    return (
        tensor.detach().contiguous().view(torch.uint8) if tensor.ndim else tensor.detach().reshape(1).view(torch.uint8)
    )


def with_zeros_of_both_signs(name, dtype=torch.float32):
    """A model in which every sixth weight of every matrix is -0.0 or 0.0."""
    model = decoders.build(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.view(-1)[::12] = -0.0
                parameter.view(-1)[6::12] = 0.0
    return model.to(dtype)


def kept(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def train(model, steps=STEPS, optimiser=torch.optim.AdamW, **options):
    """Steps on random text, with weight decay on everything that is trained."""
    torch.manual_seed(1)
    ids = torch.randint(3, 29, (4, 10))
    trained = [each for each in model.parameters() if each.requires_grad]
    optimiser = optimiser(trained, lr=0.02, weight_decay=0.1, **options)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
    return model.eval()


def differs_in_values_alone(model, before, projections):
    """Every number but the values has the same bits; each layer's values differ."""
    after = model.state_dict()
    assert after.keys() == before.keys()
    values = {f"{each.module}.weight": each for each in projections if each.part == "v"}
    for name, old in before.items():
        if name not in values:
            assert torch.equal(bits(after[name]), bits(old)), name
            continue
        each = values[name]
        dim = 1 if each.transposed else 0
        rest = torch.ones(old.shape[dim], dtype=torch.bool)
        rest[each.rows] = False
        rest = rest.nonzero()[:, 0]
        assert torch.equal(bits(after[name].index_select(dim, rest)), bits(old.index_select(dim, rest))), name
        assert not torch.equal(after[name].index_select(dim, each.rows), old.index_select(dim, each.rows)), name


def adapted(name, *, model=None, **options):
    model = model or decoders.build(name)
    projections = attention(model)
    wrapped = peft.get_peft_model(model, value_only(model, r=4, **options))
    return confine(wrapped, projections), projections


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_adapter_changes_values_alone(name):
    model = with_zeros_of_both_signs(name)
    before = kept(model)
    wrapped, projections = adapted(name, model=model)
    train(wrapped)
    check_confined(wrapped, projections)
    differs_in_values_alone(merge(wrapped, projections), before, projections)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_full_update_changes_values_alone(name):
    model = with_zeros_of_both_signs(name)
    before, projections = kept(model), attention(model)
    train(open_rows(model, projections))
    differs_in_values_alone(close_rows(model, projections), before, projections)


@pytest.mark.parametrize("name", ["gpt2", "phi3", "llama"])
def test_merging_does_not_change_what_the_model_says(name):
    wrapped, projections = adapted(name)
    train(wrapped)
    ids = torch.randint(3, 29, (2, 8))
    with torch.no_grad():
        apart = wrapped(input_ids=ids).logits
        together = merge(wrapped, projections)(input_ids=ids).logits
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_exact_too(name, dtype):
    model = with_zeros_of_both_signs(name, dtype)
    before = kept(model)
    wrapped, projections = adapted(name, model=model)
    with torch.no_grad():
        for layer in wrapped.modules():
            if hasattr(layer, "lora_B"):
                rows = next(each.rows for each in projections if each.part == "v")
                layer.lora_B["default"].weight[rows] = 0.5
    differs_in_values_alone(merge(wrapped, projections), before, projections)


@pytest.mark.parametrize("name", ["gpt2", "bloom", "falcon multi-query"])
@pytest.mark.parametrize(
    ("optimiser", "options"),
    [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {}), (torch.optim.RMSprop, {"momentum": 0.9})],
)
def test_no_optimiser_moves_the_other_rows(name, optimiser, options):
    wrapped, projections = adapted(name)
    train(wrapped, 5, optimiser, **options)
    check_confined(wrapped, projections)
    v = next(each for each in projections if each.part == "v")
    factor = wrapped.get_base_model().get_submodule(v.module).lora_B["default"].weight
    rest = torch.ones(len(factor), dtype=torch.bool)
    rest[v.rows] = False
    assert int((factor[rest] != 0).sum()) == 0
    assert int((factor[v.rows] != 0).any(1).sum()) == len(v.rows)


def test_values_of_a_full_update_are_a_parameter_of_their_own():
    """GPT-2's c_attn has 96 outputs of 32 inputs; its values are 32 of them."""
    model = decoders.build("gpt2")
    projections = attention(model)
    open_rows(model, projections)
    trained = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"transformer.h.{i}.attn.c_attn.parametrizations.weight.0.rows": (32, 32) for i in range(2)}
    with pytest.raises(ValueError, match="already carries"):
        attention(model)


def test_an_adapter_reaches_v_proj_by_its_full_name():
    config = value_only(decoders.build("qwen3"), r=4, layers=[1])
    assert set(config.target_modules) == {"model.layers.1.self_attn.v_proj"}
    assert (config.r, config.lora_alpha, config.fan_in_fan_out) == (4, 8, False)
    assert value_only(decoders.build("gpt2")).fan_in_fan_out


def test_only_the_named_layers_change():
    model = decoders.build("gpt2")
    projections = attention(model, layers=[1])
    wrapped = confine(peft.get_peft_model(model, value_only(model, r=4, layers=[1])), projections)
    before = kept(model)
    train(wrapped, 3)
    changed = [
        name for name, value in wrapped.get_base_model().state_dict().items() if not torch.equal(value, before[name])
    ]
    assert {name.split(".lora_")[0] for name in changed} == {"transformer.h.1.attn.c_attn"}


def test_two_parts_of_a_fused_module():
    model = decoders.build("bloom")
    projections = attention(model)
    from posttrain.tune import low_rank

    wrapped = confine(peft.get_peft_model(model, low_rank(projections, ("k", "v"), rank=4)), projections, ("k", "v"))
    before = kept(model)
    train(wrapped, 3)
    merged = merge(wrapped, projections, ("k", "v"))
    q, k, v, _ = projections[:4]
    weight, old = v.module_of(merged).weight, before["transformer.h.0.self_attention.query_key_value.base_layer.weight"]
    assert torch.equal(weight[q.rows], old[q.rows])
    assert not torch.equal(weight[k.rows], old[k.rows])
    assert not torch.equal(weight[v.rows], old[v.rows])


def test_a_saved_adapter_gives_the_same_model(tmp_path):
    wrapped, projections = adapted("phi3")
    train(wrapped, 3)
    ids = torch.randint(3, 29, (2, 8))
    wrapped.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(decoders.build("phi3"), tmp_path)
    check_confined(loaded, projections)
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, wrapped(input_ids=ids).logits)


def test_a_name_that_carries_no_adapter_names_the_nearest():
    model = decoders.build("llama")
    projections = attention(model)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["k_proj"]))
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.v_proj carries no LoRA.*layers\.0\.self_attn\.k_proj"):
        confine(wrapped, projections)


def test_an_adapter_that_reaches_further_is_refused():
    model = decoders.build("llama")
    projections = attention(model)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["v_proj", "o_proj"]))
    with pytest.raises(ValueError, match=r"o_proj carries an adapter too"):
        confine(wrapped, projections)


def test_merging_does_not_drop_what_another_adapter_has_learnt():
    model = decoders.build("llama")
    projections = attention(model)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["v_proj", "q_proj"]))
    with pytest.raises(ValueError, match=r"q_proj carries an adapter too"):
        merge(wrapped, projections)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
def test_values_in_bfloat16_take_steps_that_it_would_round_away(family):
    """A hundred steps of a thousandth of what bfloat16 can tell; all together can be told."""
    model = decoders.build(family).to(torch.bfloat16)
    projections = attention(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    open_rows(model, projections)
    trained = [each for each in model.parameters() if each.requires_grad]
    assert {each.dtype for each in trained} == {torch.float32}
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for _ in range(100):
        for each in trained:
            each.grad = torch.full_like(each, -1e-3)
        optimizer.step()
    close_rows(model, projections)
    values = chosen_rows(projections)
    for name, value in model.state_dict().items():
        module = name.removesuffix(".weight")
        assert value.dtype == torch.bfloat16
        if module not in values:
            assert torch.equal(value, before[name]), name
            continue
        dim, index = int(values[module].transposed), values[module].index
        moved = (value.double() - before[name].double()).index_select(dim, index)
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1), atol=5e-3, rtol=0)


def test_forms_that_touch_other_rows_are_refused():
    model = decoders.build("gpt2")
    projections = attention(model)
    config = value_only(model, r=4)
    config.use_dora = True
    with pytest.raises(ValueError, match="DoRA"):
        confine(peft.get_peft_model(model, config), projections)
    model = decoders.build("gpt2")
    config = value_only(model, r=4)
    config.init_lora_weights = False
    with pytest.raises(ValueError, match="rows that are not of v"):
        confine(peft.get_peft_model(model, config), projections)


def test_an_adapter_that_was_not_confined_is_not_merged():
    model = decoders.build("gpt2")
    projections = attention(model)
    wrapped = peft.get_peft_model(model, value_only(model, r=4))
    train(wrapped, 2)
    with pytest.raises(ValueError, match="not trained under confine"):
        merge(wrapped, projections)


def test_a_model_without_adapter_is_refused():
    model = decoders.build("llama")
    with pytest.raises(ValueError, match="carries no adapter"):
        confine(model, attention(model))


def test_impossible_settings_are_refused():
    from posttrain.tune import ValueOnly

    for options, match in (
        ({"rank": 0}, "rank=0"), ({"alpha": 0}, "alpha=0"), ({"dropout": 1}, "dropout=1"),
        ({"update": "half"}, "update='half'"), ({"parts": ("w",)}, "parts="), ({"parts": ()}, "parts="),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            ValueOnly(**options)
    with pytest.raises(ValueError, match="None of the projections"):
        open_rows(decoders.build("llama"), [])
