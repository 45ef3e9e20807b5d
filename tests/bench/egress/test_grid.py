"""The grid as data: what the presets hold, and what a wrong one is told."""

from typing import get_args

import pytest

from posttrain.bench.egress.grid import PRESETS, Block, Grid, grid
from posttrain.bench.egress.orders import Delivery, Style
from posttrain.bench.egress.pages import Surface
from posttrain.bench.egress.shapes import Channel, Cut, Encoding
from posttrain.guard.policy import fingerprint, parse


def test_the_papers_grid_is_480_runs_of_four_surfaces_in_cells_of_30_and_says_that_it_is_reconstructed():
    paper = grid("paper")
    assert len(paper.attacks) * paper.trials == 480
    assert {attack.surface for attack in paper.attacks} == {"body", "title", "description", "anchor"}
    assert (paper.trials, len(paper.blocks)) == (30, 4)
    assert "reconstructed" in str(paper)


def test_the_default_grid_has_everything_at_least_once():
    attacks = grid("default").attacks
    assert {attack.surface for attack in attacks} == set(get_args(Surface))
    assert {attack.style for attack in attacks} == set(get_args(Style))
    assert {attack.delivery for attack in attacks} == set(get_args(Delivery))
    assert {attack.plan.cut for attack in attacks} == set(get_args(Cut))
    assert {attack.plan.encoding for attack in attacks} == set(get_args(Encoding))
    assert {attack.plan.channel for attack in attacks} == set(get_args(Channel))


@pytest.mark.parametrize("name", PRESETS)
def test_it_prints_every_block(name):
    text = str(grid(name))
    assert all(block.name in text for block in grid(name).blocks)


def test_a_block_is_all_combinations_named_by_what_varies():
    block = Block("b", surfaces=("title", "body"), cuts=("even",), parts=(2, 3))
    assert [attack.label for attack in block.attacks()] == ["b: title 2", "b: title 3", "b: body 2", "b: body 3"]
    assert [attack.label for attack in Block("alone").attacks()] == ["alone"]


def test_defences_meet_the_same_seeds_and_attacks_meet_different_ones():
    first, second, *_ = grid("paper").attacks
    assert first.seed(0, 1) == first.seed(0, 1)
    assert len({first.seed(0, 1), second.seed(0, 1), first.seed(0, 2), first.seed(1, 1)}) == 4


def test_a_file_is_a_grid_too(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[blocks]]\nname = "b"\nsurfaces = ["title"]\n')
    assert grid(str(path)) == Grid("mine", (Block("b", ("title",)),))


HEAD = 'name = "x"\n'
BLOCK = '[[blocks]]\nname = "b"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEAD + "trails = 3\n" + BLOCK, r"line 2: there is no key 'trails'"),
        (HEAD + BLOCK + 'surfaces = ["titel"]\n', r"line 4: blocks.0.surfaces.0: .*'titel'"),
        (HEAD + BLOCK + 'encodings = ["gzip"]\nchannels = ["label"]\n', "cannot be in a hostname"),
        (HEAD + BLOCK + 'deliveries = ["relay"]\nchannels = ["label"]\n', "cannot carry a label"),
        (HEAD + BLOCK + BLOCK, "two attacks are called 'b'"),
        (HEAD + BLOCK + 'surfaces = ["title", "title"]\n', "two attacks are called 'b: title'"),
        (HEAD + "blocks = []\n", "there is no attack in it"),
        (
            HEAD + 'defences = ["prayer"]\n' + BLOCK,
            "there is no defence 'prayer'; the defences are 'none', 'output scan'",
        ),
        (HEAD + "obedience = 1.5\n" + BLOCK, "between 0 and 1"),
        (HEAD + "secret = 5\n" + BLOCK, "at least 8 characters"),
        (HEAD + "trials = 0\n" + BLOCK, "line 2: trials: 0 must be at least 1"),
        (HEAD + "benign = -1\n" + BLOCK, "line 2: benign: -1 must be at least 0"),
        (HEAD + "k = [0]\n" + BLOCK, "must hold numbers of at least 1"),
        (HEAD + BLOCK + "parts = [1]\n", "at least 2"),
        (HEAD + BLOCK + "parts = [40]\n", "more parts than the secret has characters"),
    ],
)
def test_a_wrong_grid_is_told_what_is_wrong(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse(Grid, text, "grid.toml")


def test_no_such_grid():
    with pytest.raises(ValueError, match=r"no grid 'papre'; use default, paper, or a TOML file"):
        grid("papre")


def test_a_change_anywhere_changes_the_fingerprint():
    one, other = Grid("x", (Block("b"),)), Grid("x", (Block("b", cuts=("even",)),))
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(Grid("x", (Block("b"),)))
