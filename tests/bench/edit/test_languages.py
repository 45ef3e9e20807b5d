"""The tiny model of four languages: its prompts, and what a run measures."""

import random

import pytest
import torch

from posttrain.bench.edit.languages import (
    REFUSE,
    Languages,
    as_anchors,
    drawn,
    lesson,
    run,
    spoken,
)
from posttrain.bench.edit.languages_picture import picture
from posttrain.bench.trials import summary
from posttrain.edit.safety import edit_safety

SMALL = Languages(width=32, units=48, layers=2, steps=60, safety_steps=20, batch=64, anchors=24, tests=40)


@pytest.fixture(scope="module")
def found():
    return run(3, SMALL)


def test_a_prompt_by_hand():
    """Language 1's tokens begin at 2 + 12 + 20: names after its 12 numbers. 9 + 5 is 2 modulo 12, token 2 + 2."""
    asked = spoken(Languages(), *(torch.tensor([value]) for value in (1, 3, 9, 5)))
    assert asked.ids.tolist() == [[34 + 12 + 3, 34 + 9, 34 + 5, 0]]
    assert asked.right.tolist() == [4]


def test_only_language_0_is_taught_to_refuse():
    torch.manual_seed(0)
    setup = Languages()
    ids, aims = lesson(setup, True)
    first = 2 + setup.numbers
    harmful = ids[:, 1] - first < setup.harmful
    assert int(ids[:, :3].max()) < first + setup.numbers + setup.names
    assert bool((aims[harmful] == REFUSE).all())
    assert bool((aims[~harmful] != REFUSE).all())
    assert 0.3 < float(harmful.double().mean()) < 0.7
    assert bool((lesson(setup, False)[1] != REFUSE).all())


def test_row_i_is_the_same_prompt_in_every_language():
    setup = Languages()
    asked = drawn(setup, [(a, b) for a in range(12) for b in range(6)], 30, random.Random(0))
    for kind, each in asked.items():
        for language, found in enumerate(each):
            start = 2 + setup.numbers + language * (setup.numbers + setup.names)
            assert torch.equal(found.ids[:, :3] - start, each[0].ids[:, :3] - 2 - setup.numbers)
            assert torch.equal(found.right, each[0].right)
            assert bool(((found.ids[:, 1] - start < setup.harmful) == (kind == "harmful")).all())
    anchors = as_anchors(setup, asked)
    assert anchors.languages == ("1", "2", "3")
    assert len(anchors.harmful["2"]) == 30
    assert anchors.notes == []


def test_every_arm_has_the_same_measures(found, tmp_path):
    names = {arm: list(measured) for arm, measured in found.items() if arm != "layer"}
    assert {"none", "edit", "gamma 0", "random units", "all units", "hard projector", "scale x3"} <= set(names)
    assert "edit, as by default" in names
    assert {f"edit, layer {layer}" for layer in range(2)} <= set(names)
    assert len({tuple(each) for each in names.values()}) == 1
    assert all(0 <= value <= 1 for arm, each in found.items() if arm != "layer" for value in each.values())
    taken = int(found["layer"]["taken on held-out anchors"])
    assert found["edit"] == found[f"edit, layer {taken}"]
    result = summary([{"seed": seed, "arms": found} for seed in (0, 1)], title="", says="")
    assert picture(result, tmp_path / "p.png").stat().st_size > 0


def test_where_the_default_edit_is_refused_the_model_stays_as_it_is(monkeypatch):
    def refuses(model, tokenizer, anchors, config=None, **options):
        if config is None:
            raise ValueError("Nothing keeps leakage within 0.3.")
        return edit_safety(model, tokenizer, anchors, config, **options)

    monkeypatch.setattr("posttrain.bench.edit.languages.edit_safety", refuses)
    found = run(3, SMALL)
    assert found["layer"]["refused by default"] == 1.0
    assert found["edit, as by default"] == found["none"]


def test_a_seed_is_a_run(found):
    before = torch.random.get_rng_state()
    assert run(3, SMALL) == found
    assert torch.equal(torch.random.get_rng_state(), before)
