"""The claims' cells on the real result of a small grid."""

import asyncio

import pytest

from posttrain.bench.claims import CLAIMS, EXPERIMENTS
from posttrain.bench.egress.grid import grid
from posttrain.bench.egress.run import run_grid
from posttrain.bench.egress.score import score


@pytest.fixture(scope="module", params=["paper", "default"])
def result(request, tmp_path_factory):
    from dataclasses import replace

    from posttrain.bench.claims.egress import DEFENCES

    small = replace(grid(request.param), trials=1, benign=1, defences=DEFENCES)
    runs = asyncio.run(run_grid(small, tmp_path_factory.mktemp(request.param)))
    return score(small, runs, "scripted", scripted=True)


def test_every_cell_and_section_can_be_written(result):
    name = f"egress-{result['grid']['name']}"
    mine = [claim for claim in CLAIMS if claim.experiment == name]
    cells = {claim.test: claim.measured(result) for claim in mine}
    assert all(cells.values())
    lines = EXPERIMENTS[name].section(result)
    assert "Scripted agent" in lines[0]
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(result["attacks"])
    if name == "egress-paper":
        assert "1.000 against 0.263 (73.7% less), Leak@all 1.000" in cells.values()
        assert "body 1.000, title 1.000, description 1.000, anchor 1.000" in cells.values()
