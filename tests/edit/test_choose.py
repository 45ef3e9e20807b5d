"""Choosing: every cell beside a direct computation, and the rule by which one is taken."""

import math
from functools import cache

import pytest
import torch

from edit_models import anchors, model, tokenizer
from posttrain.edit.anchors import AnchorError
from posttrain.edit.capture import capture, encode
from posttrain.edit.choose import Cell, best
from posttrain.edit.ridge import low_rank_ridge
from posttrain.edit.safety import SafetyEdit, edit_safety
from posttrain.edit.units import safety_units
from posttrain.projections import gated

GRID = {
    "gammas": (0.1, 1.0),
    "protect_english": False,
    "ranks": (1, 4),
    "leakage": 5.0,
    "keep_rise": 0.0,
    "keep_probe": 0.0,
}


def rms(rows):
    return float(rows.square().sum(1).mean().sqrt())


@pytest.mark.parametrize("many", [4, 30])  # as rows, and as sums
def test_every_cell_is_a_direct_solve_on_one_part_measured_on_the_other(many):
    built, chosen = model(dtype=torch.float64), anchors(many)
    config = SafetyEdit(layers=(0, 1), held_out=0.5, **GRID)
    edit = edit_safety(built, tokenizer(), chosen, config)
    fit, held = chosen.split(0.5)

    @cache
    def rows(part, kind, languages, name):
        prompts = [p for language in languages for p in getattr(part, kind)[language]]
        return capture(built, encode(tokenizer(), prompts), [name])[name]

    assert len(edit.search) == 2 * 2 * 2
    for cell in edit.search:
        left, leaked, units = [], [], 0
        for projection in [p for p in gated(built) if p.layer == cell["layer"]]:
            name, weight, languages = projection.module, projection.weight(built), chosen.languages
            english = [rows(part, "harmful", ("en",), name).repeat(2, 1) for part in (fit, held)]
            low = [rows(part, "harmful", languages, name) for part in (fit, held)]
            safe = [rows(part, "harmless", ("en", *languages), name) for part in (fit, held)]
            outputs = [rows(fit, kind, ("en",), name) @ weight.T for kind in ("harmful", "harmless")]
            index = safety_units(*outputs).chosen
            if not len(index):
                continue
            columns = weight[index].T
            gaps = [(e - x) @ columns for e, x in zip(english, low, strict=True)]
            delta = low_rank_ridge(low[0], safe[0], gaps[0], gamma=cell["gamma"], rank=cell["rank"])
            left.append(float((low[1] @ delta - gaps[1]).norm() / gaps[1].norm()))
            leaked.append(rms(safe[1] @ delta) / rms(gaps[1]))
            units += len(index)
        assert cell["units"] == units
        assert cell["remaining"] == pytest.approx(math.hypot(*left) / len(left) ** 0.5, rel=1e-6)
        assert cell["leakage"] == pytest.approx(math.hypot(*leaked) / len(leaked) ** 0.5, rel=1e-6)


def test_auto_takes_the_best_cell_and_solves_it_on_all_anchors():
    built, chosen = model(), anchors(60)
    edit = edit_safety(built, tokenizer(), chosen, SafetyEdit(**GRID))
    least = min(edit.search, key=lambda cell: cell["remaining"])
    taken = {"layers": (least["layer"],), "gammas": (least["gamma"],), "ranks": (least["rank"],)}
    named = edit_safety(built, tokenizer(), chosen, SafetyEdit(**GRID | taken))
    assert {cell["layer"] for cell in edit.search} == {0, 1, 2}
    for one, other in zip(edit.changes, named.changes, strict=True):
        assert torch.equal(one.delta, other.delta)


def test_layers_that_are_read_in_parts_give_the_same():
    built, chosen = model(), anchors(60)
    plain, parts = (edit_safety(built, tokenizer(), chosen, SafetyEdit(memory=m, **GRID)) for m in (2.0, 1e-9))
    assert plain.search == parts.search


def cells(*pairs):
    return [Cell(number, 1.0, 4, 3, left, leak) for number, (left, leak) in enumerate(pairs)]


def test_the_best_is_within_the_bound():
    assert best(cells((0.3, 0.5), (0.6, 0.05), (0.7, 0.01)), 0.1).layer == 1
    assert best(cells((0.3, 0.5), (0.6, 0.05)), 1.0).layer == 0
    same = [Cell(0, 1.0, rank, 3, 0.5, 0.0) for rank in (8, 2)]
    assert best(same, 0.1).rank == 2


def test_nothing_to_take(monkeypatch):
    with pytest.raises(ValueError, match=r"Nothing keeps leakage within 0.1: layer 1, .* nearest with 0\.200"):
        best(cells((0.3, 0.5), (0.6, 0.2)), 0.1)
    monkeypatch.setattr("posttrain.edit.choose.grid", lambda *args: cells((1.2, 0.01), (1.1, 0.02)))
    with pytest.raises(ValueError, match=r"no layer's edit closes the gap on held-out anchors \(layer 1 leaves 1\.100"):
        edit_safety(model(), tokenizer(), anchors(8), SafetyEdit())
    monkeypatch.undo()
    with pytest.raises(AnchorError, match=r"too few to hold a share of 0\.25 out"):
        edit_safety(model(), tokenizer(), anchors(3), SafetyEdit())
