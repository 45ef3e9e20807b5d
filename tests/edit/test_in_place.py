"""In place: nothing but the chosen rows changes, and undoing is exact."""

import copy

import pytest
import torch

from edit_models import FAMILIES, anchors, model, tokenizer
from posttrain.edit.in_place import Undo, applied, apply, undo
from posttrain.edit.safety import SafetyEdit, edit_safety

CONFIG = SafetyEdit(layers=(0, 2), gammas=(1.0,), keep_rise=0.0, keep_probe=0.0)


def edited(family="llama", dtype=torch.float32):
    built = model(family, dtype=dtype)
    return built, edit_safety(built, tokenizer(), anchors(20), CONFIG), copy.deepcopy(built.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_only_the_chosen_rows_change_and_undo_is_exact(family, dtype):
    built, edit, before = edited(family, dtype)
    done = apply(built, edit)
    chosen = {f"{name}.weight": rows for name, rows in done.undo.rows.items()}
    for name, value in built.state_dict().items():
        if name not in chosen:
            assert torch.equal(value, before[name])
            continue
        rest = torch.ones(len(value), dtype=torch.bool)
        rest[chosen[name]] = False
        assert torch.equal(value[rest], before[name][rest])
        assert bool((value[~rest] != before[name][~rest]).any(1).all())
    undo(built, done.undo)
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_what_is_stored_is_the_sum_rounded_once():
    built, edit, before = edited("llama", torch.bfloat16)
    done = apply(built, edit)
    for change in edit.changes:
        name = f"{change.projection.module}.weight"
        old = before[name][change.rows]
        expected = (old.float() + change.delta.T.float()).bfloat16()
        assert torch.equal(built.state_dict()[name][change.rows], expected)
    worst = max(done.rounding.values())
    assert 1e-4 < worst < 0.1
    exact, edit, _ = edited("llama", torch.float32)
    assert max(apply(exact, edit).rounding.values()) < 1e-5


def test_a_record_survives_its_file(tmp_path):
    built, edit, before = edited("phi3", torch.bfloat16)
    apply(built, edit).undo.save(tmp_path / "undo.safetensors")
    undo(built, Undo.load(tmp_path / "undo.safetensors"))
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_an_edit_is_made_once_and_undone_once():
    built, edit, _ = edited()
    done = apply(built, edit)
    with pytest.raises(ValueError, match="made once, in the model that it was solved in"):
        apply(built, edit)
    undo(built, done.undo)
    with pytest.raises(ValueError, match="has been undone"):
        undo(built, done.undo)
    undo(built, done.undo, again=True)
    apply(built, edit)


def test_an_edit_of_another_model_is_refused():
    _, edit, _ = edited()
    with pytest.raises(ValueError, match="is not the one that this edit was solved for"):
        apply(model(seed=1), edit)


def test_a_module_that_is_not_there_is_told_with_the_nearest_names():
    _, edit, _ = edited("phi3")
    with pytest.raises(
        ValueError,
        match=r"no module model\.layers\.0\.mlp\.gate_up_proj.* nearest are model\.layers\.0\.mlp\.gate_proj",
    ):
        apply(model("llama"), edit)


def test_undo_refuses_weights_that_were_changed_since():
    built, edit, _ = edited()
    done = apply(built, edit)
    weight = built.get_submodule(edit.changes[0].projection.module).weight
    with torch.no_grad():
        weight[0, 0] += 1
    changed = copy.deepcopy(built.state_dict())
    with pytest.raises(ValueError, match="is not what the edit left"):
        undo(built, done.undo)
    assert all(torch.equal(value, changed[name]) for name, value in built.state_dict().items())


def test_an_undo_that_was_cut_short_is_gone_on_with():
    built, edit, before = edited()
    done = apply(built, edit)
    name = next(iter(done.undo.rows))
    with torch.no_grad():
        built.get_submodule(name).weight[done.undo.rows[name]] = done.undo.weights[name]
    undo(built, done.undo)
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_a_while_ends_even_by_an_error():
    built, edit, before = edited("phi3")

    def inside():
        with applied(built, edit.changes):
            assert not torch.equal(
                built.model.layers[0].mlp.gate_up_proj.weight, before["model.layers.0.mlp.gate_up_proj.weight"]
            )
            raise KeyError

    with pytest.raises(KeyError):
        inside()
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_files_that_are_no_record(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(ValueError, match=r"There is no .*not an adapter"):
        Undo.load(tmp_path / "undo.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "undo.safetensors")
    with pytest.raises(ValueError, match="no record of an edit"):
        Undo.load(tmp_path / "undo.safetensors")
