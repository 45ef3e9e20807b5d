"""Models are refused before they are loaded where nothing could be done with them."""

import json

import pytest
import torch
import transformers as tf

from edit_models import model
from posttrain.projections import loading


def test_a_model_is_loaded_in_the_type_that_is_asked_for(tmp_path):
    model(dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert loading.load_model(str(tmp_path)).dtype == torch.bfloat16
    assert loading.load_model(str(tmp_path), dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("kind", ["bitsandbytes", "gptq", "awq"])
def test_quantised_weights_are_refused_before_a_package_is_asked_for(tmp_path, kind):
    model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": kind, "load_in_4bit": True, "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"quantised \\({kind}\\)"):
        loading.load_model(str(tmp_path))


def test_an_encoder_is_one_sentence(tmp_path):
    tf.T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8, vocab_size=10).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^This model \(t5\) has an encoder; only decoders are supported.$"):
        loading.load_model(str(tmp_path))


def test_a_damaged_file_is_named(tmp_path):
    model().save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"weights of .* cannot be read .*; a file is damaged"):
        loading.load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["foo", "cuda:99"])
def test_a_device_that_is_not_there_is_told(name):
    with pytest.raises(ValueError, match=f"device '{name}' cannot be used here"):
        loading.device(name)
    assert loading.device("cpu").type == "cpu"
