"""An edited model as a folder: what is beside the weights, what is said of them, and what undoing leaves."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from edit_models import anchors, model, tokenizer
from posttrain.edit import folder
from posttrain.edit.safety import SafetyEdit, edit_safety
from posttrain.projections.loading import load_model

CONFIG = SafetyEdit(layers=(0, 2), gammas=(1.0,), keep_rise=0.0, keep_probe=0.0)


def source(path, dtype=torch.float32):
    model(dtype=dtype).save_pretrained(path)
    tokenizer().save_pretrained(path)
    (path / "notes.txt").write_text("as it was")
    return path


def edited(path, config=CONFIG):
    built, words = load_model(str(path)), AutoTokenizer.from_pretrained(path)
    return built, words, edit_safety(built, words, anchors(20), config)


def files(path):
    return {each.name: each.read_bytes() for each in path.iterdir()}


def test_what_lies_beside_the_weights_is_copied_byte_by_byte(tmp_path):
    before = source(tmp_path / "m")
    (before / "tokenizer.json").write_text((before / "tokenizer.json").read_text() + "\n")
    folder.save(*edited(before), tmp_path / "edited")
    found = files(tmp_path / "edited")
    for name, written in files(before).items():
        if name not in ("model.safetensors", "config.json", "generation_config.json"):
            assert found[name] == written, name


def test_weights_that_are_loaded_in_another_type_are_told(tmp_path):
    before = source(tmp_path / "m", torch.bfloat16)
    stored = load_file(before / "model.safetensors")
    stored["model.norm.weight"] = stored["model.norm.weight"].float()
    save_file(stored, before / "model.safetensors", metadata={"format": "pt"})
    notes = folder.save(*edited(before), tmp_path / "edited")["notes"]
    assert [note for note in notes if "1 weights that were stored in F32 are in BF16" in note]
    assert not folder._cast(source(tmp_path / "plain"), tmp_path / "plain")


def test_rounding_that_takes_much_is_told(tmp_path):
    before = source(tmp_path / "m", torch.bfloat16)
    faint = folder.save(*edited(before, SafetyEdit(layers=(1,), gammas=(3e6,), keep_rise=0.0)), tmp_path / "faint")
    plain = folder.save(*edited(before), tmp_path / "plain")
    assert any("Rounding to the type of the weights took" in note for note in faint["notes"])
    assert "keep the adapter instead" in (tmp_path / "faint" / "README.md").read_text()
    assert not any("Rounding" in note for note in plain["notes"])


def test_undoing_leaves_no_other_weights(tmp_path):
    before = source(tmp_path / "m")
    out = tmp_path / "edited"
    folder.save(*edited(before), out)
    AutoModelForCausalLM.from_pretrained(out).save_pretrained(out, max_shard_size="10KB")
    (out / "model.safetensors").unlink(missing_ok=True)
    assert (out / "model.safetensors.index.json").is_file()
    folder.undo_folder(out)
    assert {name for name in files(out) if "safetensors" in name} == {"model.safetensors"}
    first, second = (load_file(path / "model.safetensors") for path in (before, out))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_that_cannot_be_replaced_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is the current folder"):
        folder.check_free(tmp_path)


def test_a_link_to_an_empty_folder_is_filled(tmp_path):
    before = source(tmp_path / "m")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    folder.save(*edited(before), tmp_path / "link")
    assert (tmp_path / "real" / "undo.safetensors").is_file()
    assert (tmp_path / "link").is_symlink()


def test_what_a_killed_run_left_is_removed(tmp_path):
    before = source(tmp_path / "m")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    pids = (gone.stdout.strip(), os.getpid(), os.getppid())  # the second: of an earlier process with the same number
    dead, earlier, alive = (tmp_path / f".edited.{pid}.part" for pid in pids)
    for left in (dead, earlier, alive):
        left.mkdir()
        (left / "model.safetensors").write_text("half")
    folder.save(*edited(before), tmp_path / "edited")
    assert not dead.exists()
    assert not earlier.exists()
    assert alive.exists()
