"""The numeric check of value slices: a wrong one is caught, whatever is wrong with it."""

from dataclasses import replace

import pytest
import torch

import decoders
from posttrain.projections import attention, check_value_rows

FUSED = (
    "gpt2", "gpt_neox", "falcon new", "falcon multi-query", "falcon by head", "bloom", "phi3", "mpt", "gpt_bigcode",
    "codegen", "persimmon", "dbrx", "deepseek_v3",
)  # fmt: skip


def with_values(projections, rows):
    """The same with other rows for v in the last layer."""
    last = max(each.layer for each in projections)
    return [replace(each, rows=rows(each)) if each.part == "v" and each.layer == last else each for each in projections]


def part(projections, name):
    return next(each.rows for each in reversed(projections) if each.part == name)


def caught(name, rows, match, **kwargs):
    model = decoders.build(name, **kwargs)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    projections = attention(model)
    with pytest.raises(ValueError, match=match):
        check_value_rows(model, with_values(projections, lambda v: rows(v, projections, model)))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", FUSED)
def test_keys_in_place_of_values_are_caught(name):
    caught(name, lambda v, all_, model: part(all_, "k"), r"Layer 1: .*attention probabilities change")


@pytest.mark.parametrize("name", FUSED)
def test_one_key_among_the_values_is_caught(name):
    caught(
        name,
        lambda v, all_, model: torch.cat([v.rows, part(all_, "k")[:1]]).sort().values,
        r"Layer 1: .*attention probabilities change",
    )


@pytest.mark.parametrize("name", FUSED)
def test_one_missing_value_is_caught(name):
    caught(name, lambda v, all_, model: v.rows[1:], r"Layer 1: outputs of the values are missing")


@pytest.mark.parametrize("name", ["gpt_neox", "bloom", "falcon new"])
def test_the_layout_of_another_family_is_caught(name):
    """Three blocks, as GPT-2 has them, where q, k and v go head by head."""
    caught(name, lambda v, all_, model: torch.arange(v.outputs(model) - len(v.rows), v.outputs(model)), "Layer 1")


def test_it_works_in_half_precision():
    for name in ("llama", "gpt2"):
        model = decoders.build(name).to(torch.bfloat16)
        check_value_rows(model, attention(model))
        wrong = with_values(attention(model), lambda v: v.rows[1:])
        with pytest.raises(ValueError, match="missing"):
            check_value_rows(model, wrong)


def test_dropout_and_training_do_not_matter():
    config = decoders.CONFIGS["gpt2"]()
    config.attn_pdrop = config.resid_pdrop = 0.5
    model = decoders.of_config(config).train()
    check_value_rows(model, attention(model))
    assert model.training
    assert model.transformer.h[0].attn.attn_dropout.training
    assert model.config._attn_implementation == "sdpa"


def test_it_needs_v_and_o():
    model = decoders.build("llama")
    projections = attention(model)
    with pytest.raises(ValueError, match="no values among"):
        check_value_rows(model, [each for each in projections if each.part != "v"])
    with pytest.raises(ValueError, match="Layer 0 has v but no o"):
        check_value_rows(model, [each for each in projections if each.part != "o"])
