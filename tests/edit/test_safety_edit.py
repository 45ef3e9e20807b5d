"""The edit: beside a slow reference, and what it may and may not do to a model."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from edit_models import FAMILIES, anchors, model, tokenizer
from posttrain.edit.capture import capture, encode
from posttrain.edit.in_place import apply
from posttrain.edit.safety import SafetyEdit, edit_safety
from posttrain.edit.units import UnitRule
from posttrain.projections import gated

FREE = {"gammas": (1.0,), "protect_english": False, "keep_rise": 0.0, "keep_probe": 0.0}


def inputs(built, prompts, name):
    return capture(built, encode(tokenizer(), prompts), [name])[name].double()


def rms(rows):
    """How far a prompt is moved, about."""
    return float(rows.square().sum(1).mean().sqrt())


def by_least_squares(low, safe, gap, gamma, ridge):
    """The full-rank edit as one stacked least-squares problem."""
    gamma = gamma * len(low) / len(safe)
    weight = ridge * (low.square().sum() + gamma * safe.square().sum()) / low.shape[1]
    stacked = torch.cat([low, math.sqrt(gamma) * safe, weight.sqrt() * torch.eye(low.shape[1], dtype=torch.float64)])
    aim = torch.cat([gap, gap.new_zeros(len(stacked) - len(gap), gap.shape[1])])
    return torch.linalg.lstsq(stacked, aim).solution


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("many", [3, 30])  # fewer anchors than inputs, and more
def test_an_edit_is_what_the_equations_say(family, many):
    built, chosen = model(family, dtype=torch.float64), anchors(many, harmless_in=("en", "bn"))
    edit = edit_safety(
        built, tokenizer(), chosen, SafetyEdit(layers=(1,), ridge=0.02, ranks=(1000,), **FREE | {"gammas": (0.5,)})
    )
    assert edit.changes
    for change in edit.changes:
        weight = change.projection.weight(built).double()
        name = change.projection.module
        english, harmless = (inputs(built, each["en"], name) for each in (chosen.harmful, chosen.harmless))
        low = torch.cat([inputs(built, chosen.harmful[language], name) for language in ("bn", "he")])
        safe = torch.cat([harmless, inputs(built, chosen.harmless["bn"], name)])
        outputs = [rows @ weight.T for rows in (english, harmless)]
        rise = outputs[0].mean(0) - outputs[1].mean(0)
        deviation = ((outputs[0].var(0) * (len(english) - 1) + outputs[1].var(0) * (len(harmless) - 1)) / (
            len(english) + len(harmless) - 2)).sqrt()  # fmt: skip
        units = (((rise - rise.mean()) / rise.std(correction=0) > 2) | (rise / deviation > 1)).nonzero()[:, 0]
        assert change.units.tolist() == units.tolist()
        columns = weight[units].T
        gap = torch.cat([english, english]) @ columns - low @ columns
        delta = by_least_squares(low, safe, gap, 0.5, 0.02)
        torch.testing.assert_close(change.delta, delta, rtol=1e-6, atol=1e-8 * float(delta.abs().max()))
        told = change.measured
        assert told.gap == pytest.approx(float(gap.norm()))
        assert told.remaining == pytest.approx(float((low @ delta - gap).norm() / gap.norm()), rel=1e-5)
        assert told.leakage == pytest.approx(rms(safe @ delta) / rms(gap), rel=1e-5)
        assert told.drift == pytest.approx(float((safe @ delta).norm() / (safe @ columns).norm()), rel=1e-5)
        assert told.size == pytest.approx(float(delta.norm() / columns.norm()), rel=1e-5)
        after = float(((english.mean(0) - harmless.mean(0)) @ (columns + delta)).sum())
        assert told.english == pytest.approx(after / float(rise[units].sum()), rel=1e-5)
        by_language = {
            language: rms(rows @ delta) / rms(gap)
            for language, rows in (("en", harmless), ("bn", inputs(built, chosen.harmless["bn"], name)))
        }
        assert told.leakage_by_language == pytest.approx(by_language, rel=1e-5)


def test_rows_that_do_not_fit_are_summed_and_give_the_same_edit():
    built, chosen = model(), anchors(30)
    config = SafetyEdit(layers=(1,), ranks=(2,), **FREE | {"protect_english": True})
    kept = edit_safety(built, tokenizer(), chosen, config)
    summed = edit_safety(built, tokenizer(), chosen, replace(config, memory=1e-9))
    for one, other in zip(summed.changes, kept.changes, strict=True):
        torch.testing.assert_close(one.delta, other.delta, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(one.energy, other.energy, rtol=1e-6, atol=1e-9)
        assert one.measured.remaining == pytest.approx(other.measured.remaining)
    assert not summed.overlap
    assert all(any("span all inputs of layer 1" in note for note in edit.notes) for edit in (summed, kept))
    assert len(kept.overlap) == 2 * 3


def test_the_model_is_as_it_was_while_layers_are_solved_in_turn():
    """The second layer is solved on what the first edit gives it: as if that one had been made before."""
    built, chosen = model(), anchors(30)
    before = copy.deepcopy(built.state_dict())
    both = edit_safety(built, tokenizer(), chosen, SafetyEdit(layers=(2, 0), **FREE))
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert [c.projection.layer for c in both.changes] == sorted(c.projection.layer for c in both.changes)
    first = edit_safety(built, tokenizer(), chosen, SafetyEdit(layers=(0,), **FREE))
    apply(built, first)
    second = edit_safety(built, tokenizer(), chosen, SafetyEdit(layers=(2,), **FREE))
    expected = [*first.changes, *second.changes]
    for one, other in zip(both.changes, expected, strict=True):
        assert one.projection.module == other.projection.module
        torch.testing.assert_close(one.delta, other.delta, rtol=1e-6, atol=1e-9)


def test_the_gap_on_the_anchors_closes_by_what_is_told():
    """After the edit the outputs of the units are nearer to English's, by the share that `remaining` says."""
    built, chosen = model(dtype=torch.float64), anchors(30)
    edit = edit_safety(built, tokenizer(), chosen, SafetyEdit(layers=(1,), **FREE | {"gammas": (0.1,)}))
    apply(built, edit)
    for change in edit.changes:
        columns = change.projection.weight(built)[change.units].T
        old = columns - change.delta
        english = inputs(built, chosen.harmful["en"], change.projection.module)
        low = torch.cat([inputs(built, chosen.harmful[name], change.projection.module) for name in chosen.languages])
        aim = torch.cat([english, english]) @ old
        left = float((low @ columns - aim).norm() / (low @ old - aim).norm())
        assert left == pytest.approx(change.measured.remaining, rel=1e-6)
        assert left < 0.9


def test_few_harmless_prompts_span_nothing():
    edit = edit_safety(model(), tokenizer(), anchors(3), SafetyEdit(layers=(1,), **FREE))
    assert not any("span" in note for note in edit.notes)


def test_parts_and_languages_can_be_fewer():
    built, chosen = model(), anchors(30)
    edit = edit_safety(built, tokenizer(), chosen, SafetyEdit(layers=(1,), parts=("up",), languages=("he",), **FREE))
    assert [change.projection.part for change in edit.changes] == ["up"]
    assert edit.anchors["languages"] == ["he"]
    assert "bn" not in edit.anchors["harmful"]


def test_an_edit_that_weakens_english_is_refused():
    built, chosen = model(), anchors(30)
    loose = {"layers": (1,), "gammas": (0.0,), "ridge": 1e-6}
    with pytest.raises(
        ValueError, match=r"makes 'en' less safe: -?\d+% is left of what its units rise by .* keep_rise asks"
    ):
        edit_safety(built, tokenizer(), chosen, SafetyEdit(keep_rise=0.9, **loose))
    with pytest.raises(ValueError, match=r"is left of what a probe tells .* keep_probe asks for 100%"):
        edit_safety(built, tokenizer(), chosen, SafetyEdit(keep_rise=0.0, keep_probe=1.0, **loose))
    assert edit_safety(built, tokenizer(), chosen, SafetyEdit(keep_rise=0.0, keep_probe=0.0, **loose)).english == {}


def test_what_is_not_asked_for_does_not_refuse(monkeypatch):
    """A probe that tells the kinds apart the other way round has less than nothing left; 0 asks for nothing of it."""
    built, chosen = model(), anchors(30)
    monkeypatch.setattr("posttrain.edit.direction.kept", lambda before, after: -0.5)
    config = SafetyEdit(layers=(1,), gammas=(1.0,), keep_rise=0.01, keep_probe=0.0)
    assert edit_safety(built, tokenizer(), chosen, config).english["probe"] == -0.5
    with pytest.raises(ValueError, match="-50% is left of what a probe tells"):
        edit_safety(built, tokenizer(), chosen, replace(config, keep_probe=0.01))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"layers": 12}, r"layers=12 must be a tuple, such as layers=\(12,\)"),
        ({"layers": "abc"}, "layers='abc' must be a tuple"),
        ({"gammas": 1.0}, r"gammas=1.0 must be a tuple"),
        ({"languages": "bn"}, "languages='bn' must be a tuple"),
        ({"ridge": math.inf}, "ridge=inf must be a finite number"),
    ],
)
def test_settings_that_make_no_sense_are_told_at_once(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        SafetyEdit(**given)


def test_a_weight_that_is_not_finite_is_told_by_its_name():
    built = model()
    with torch.no_grad():
        built.model.layers[1].mlp.gate_proj.weight[3, 0] = math.nan
    with pytest.raises(ValueError, match=r"weight of model\.layers\.1\.mlp\.gate_proj is not finite"):
        edit_safety(built, tokenizer(), anchors(20), SafetyEdit(layers=(1,), **FREE))


def test_holding_english_still_keeps_what_tells_it_apart():
    built, chosen = model(), anchors(30)
    left = [
        min(c.measured.english for c in edit_safety(
            built, tokenizer(), chosen, SafetyEdit(layers=(1,), **FREE | {"protect_english": protect})).changes)
        for protect in (False, True)
    ]  # fmt: skip
    assert left[1] > left[0]
    kept = edit_safety(
        built, tokenizer(), chosen, SafetyEdit(layers=(1,), protect_english=True, gammas=(1e5,), keep_rise=0.9)
    )
    assert kept.english["rise"] == pytest.approx(1, abs=0.01)
    assert kept.english["probe"] == pytest.approx(1, abs=0.01)
    assert any("of the gap" in note for note in kept.notes)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"layers": (7,)}, r"layers=\[7\] must be numbers from 0 to 2"),
        ({"layers": (1,), "units": UnitRule(tau_mag=99, tau_stat=99)}, "No unit of layer 1 rises"),
        ({"units": UnitRule(tau_mag=99, tau_stat=99)}, "No unit of any layer rises"),
        ({"languages": ("ja",)}, "no harmful prompts in ja"),
    ],
)
def test_what_cannot_be_edited_is_told(config, sentence):
    with pytest.raises(ValueError, match=sentence):
        edit_safety(model(), tokenizer(), anchors(12), SafetyEdit(**config, **FREE))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"layers": ()}, "must name at least one layer"),
        ({"layers": (1, 1)}, "each once"),
        ({"parts": ()}, "must be gate, up, or both"),
        ({"parts": ("down",)}, "must be gate, up, or both"),
        ({"position": "first"}, "position='first' is unknown"),
        ({"gammas": ()}, "gammas="),
        ({"gammas": (-1.0,)}, "at least 0"),
        ({"gammas": (math.inf,)}, "finite"),
        ({"ridge": -1.0}, "ridge=-1.0"),
        ({"ranks": (0,)}, "at least 1"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"leakage": 0.0}, "leakage=0.0"),
        ({"keep_rise": -0.1}, r"keep_rise=-0\.1 .* must lie in \[0, 1\]"),
        ({"keep_probe": 1.1}, r"keep_probe=1\.1 must lie"),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_impossible_settings(config, sentence):
    with pytest.raises(ValueError, match=sentence):
        SafetyEdit(**config)


def test_every_family_has_a_gate_and_an_up_in_each_layer():
    for family in FAMILIES:
        assert [(p.layer, p.part) for p in gated(model(family))] == [(i, p) for i in range(3) for p in ("gate", "up")]
