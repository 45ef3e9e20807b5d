"""The adapter: PEFT gives with it what the edit in place gives, and its layout is what vLLM reads."""

import copy
import json

import peft
import pytest
import torch
from safetensors.torch import load_file

from edit_models import FAMILIES, anchors, model, tokenizer
from posttrain.edit.in_place import apply
from posttrain.edit.lora import as_lora
from posttrain.edit.safety import SafetyEdit, edit_safety

IDS = torch.arange(40).view(4, 10) % 20


def written(family, out, config=None, dtype=torch.float32):
    built = model(family, dtype=dtype)
    edit = edit_safety(
        built,
        tokenizer(),
        anchors(20),
        config or SafetyEdit(layers=(0, 2), gammas=(1.0,), ranks=(3,), keep_rise=0.0, keep_probe=0.0),
    )
    return built, edit, as_lora(edit, built, out)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rank", [1, 3, 64])
def test_peft_gives_the_logits_of_the_edit_in_place(family, rank, tmp_path):
    built, edit, out = written(
        family, tmp_path, SafetyEdit(layers=(0, 2), gammas=(1.0,), ranks=(rank,), keep_rise=0.0, keep_probe=0.0)
    )
    with torch.no_grad():
        plain = built(IDS).logits
        adapted = peft.PeftModel.from_pretrained(copy.deepcopy(built), out)(IDS).logits
        apply(built, edit)
        inside = built(IDS).logits
    torch.testing.assert_close(adapted, inside, rtol=1e-5, atol=1e-5)
    assert float((inside - plain).abs().max()) > 1e-2


@pytest.mark.parametrize("family", ["qwen2", "phi3"])
def test_rows_of_b_outside_the_units_are_zero(family, tmp_path):
    _, edit, out = written(family, tmp_path)
    tensors = load_file(out / "adapter_model.safetensors")
    for module in {change.projection.module for change in edit.changes}:
        b = tensors[f"base_model.model.{module}.lora_B.weight"]
        rows = torch.cat([change.rows for change in edit.changes if change.projection.module == module])
        rest = torch.ones(len(b), dtype=torch.bool)
        rest[rows] = False
        assert not b[rest].any()
        assert bool(b[~rest].any(1).all())


@pytest.mark.parametrize("family", ["qwen2", "phi3"])
def test_the_layout_is_what_vllm_documents(family, tmp_path):
    """One rank for all modules, alpha = r, no bias, no further modules, two tensors for each target."""
    built, _, out = written(family, tmp_path)
    config, tensors = (
        json.loads((out / "adapter_config.json").read_text()),
        load_file(out / "adapter_model.safetensors"),
    )
    assert config["peft_type"] == "LORA"
    assert config["r"] == config["lora_alpha"]
    assert (config["bias"], config["modules_to_save"], config["use_dora"], config["use_rslora"]) == (
        "none",
        None,
        False,
        False,
    )
    assert config["rank_pattern"] == config["alpha_pattern"] == {}
    assert set(tensors) == {
        f"base_model.model.{name}.lora_{kind}.weight" for name in config["target_modules"] for kind in "AB"
    }
    for name in config["target_modules"]:
        outputs, width = built.get_submodule(name).weight.shape
        assert tensors[f"base_model.model.{name}.lora_A.weight"].shape == (config["r"], width)
        assert tensors[f"base_model.model.{name}.lora_B.weight"].shape == (outputs, config["r"])
        assert name.rsplit(".", 1)[1] in ("gate_proj", "up_proj", "gate_up_proj")


def test_both_factors_are_about_equally_large(tmp_path):
    """So that neither overflows nor vanishes in half precision."""
    _, _, out = written("llama", tmp_path)
    tensors = load_file(out / "adapter_model.safetensors")
    for name, a in tensors.items():
        if "lora_A" in name:
            b = tensors[name.replace("lora_A", "lora_B")]
            torch.testing.assert_close(a.norm(dim=1), b.norm(dim=0), rtol=1e-4, atol=1e-6)


def test_an_adapter_of_an_edited_model_is_refused(tmp_path):
    built, edit, _ = written("llama", tmp_path / "first")
    apply(built, edit)
    with pytest.raises(ValueError, match="is not the one that this edit was solved for"):
        as_lora(edit, built, tmp_path / "second")
    assert not (tmp_path / "second").exists()
