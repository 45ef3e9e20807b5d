"""A comparison whose task measures more at the end: what is summarised, shown and drawn, also where a measure lacks."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from posttrain.bench import compare, report
from posttrain.bench.claims import page
from posttrain.bench.claims.claim import Experiment
from posttrain.files import append_line, write_json

ARMS = ("grpo", "ceeh", "length_penalty")
SEEDS = (10, 11, 12)
PRECISION = {"grpo": {10: 0.5, 12: 0.7}, "ceeh": {11: 0.9, 12: 0.8}, "length_penalty": {11: 0.25}}
"""A share without a denominator on some of the seeds, such as the precision where nothing is called right."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Logs of three finished arms on three seeds, as runs write them."""
    out = tmp_path_factory.mktemp("report")
    config = made()
    write_json(out / "shared.json", config.shared())
    write_json(out / "measured.json", {"commit": "abc", "date": "today", "machine": "here"})
    for job in compare.plan(config, out):
        accuracy = 0.5 + 0.1 * ARMS.index(job.arm)
        precise = {"precision": PRECISION[job.arm][job.seed]} if job.seed in PRECISION[job.arm] else {}
        for step in range(5):
            curves = {"completions/mean_length": 10.0 - step, "entropy": 1.0}
            append_line(job.log, {"step": step, "reward": 0.5, "correct": accuracy, **curves})
            append_line(job.log, {"step": step, "eval": {"accuracy": {"easy": accuracy, "hard": accuracy / 2}}})
        append_line(job.log, {"step": 4, "measured": {"hard length": 20.0 + job.seed, **precise}})
        append_line(job.log, {"step": 4, "done": True, "seconds": 1.0, "tokens": 100})
    return out


def made() -> compare.CompareConfig:
    return compare.CompareConfig(arms=ARMS, task="chain", seeds=3, steps=4, eval_every=1, eval_rows=8)


@pytest.fixture(scope="module")
def result(folder) -> dict:
    return json.loads(json.dumps(compare.summarise(made(), folder)))


def test_a_measure_is_taken_over_the_seeds_that_have_it(result):
    for arm, by_seed in PRECISION.items():
        found = result["arms"][arm]["measured"]["precision"]
        assert found["seeds"] == list(by_seed)
        assert found["by_seed"] == list(by_seed.values())
        assert found["n"] == len(by_seed)
        assert found["mean"] == pytest.approx(sum(by_seed.values()) / len(by_seed))
        assert result["arms"][arm]["measured"]["hard length"]["n"] == 3


def test_a_measure_is_paired_over_the_seeds_that_both_arms_have(result):
    """ceeh and grpo share seed 12: 0.8 - 0.7. length_penalty and grpo share none."""
    gap = result["arms"]["ceeh"]["measured"]["precision"]["minus_first"]
    assert (gap["mean"], gap["n"], gap["wins"]) == (pytest.approx(0.1), 1, 1)
    assert "minus_first" not in result["arms"]["length_penalty"]["measured"]["precision"]
    assert result["arms"]["grpo"]["measured"]["precision"]["minus_first"]["mean"] == 0


def test_the_tables_show_every_measure(result):
    console = Console(width=200, file=io.StringIO())
    for table in report.tables(result):
        console.print(table)
    shown = console.file.getvalue()
    for text in ("hard length", "31.0 ±1.0", "precision", "0.600 ±0.100", "0.250"):
        assert text in shown


def test_the_picture_has_a_panel_for_every_measure_and_curve(result, tmp_path, monkeypatch):
    import matplotlib.figure

    titles = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig",
        lambda self, *a, **k: (titles.extend(axis.get_title(loc="left") for axis in self.axes), save(self, *a, **k))[1],
    )  # fmt: skip
    path = report.picture(result, tmp_path / "result.png", title="made up")
    assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    assert {"Precision", "Hard length", *result["curves"].values()} <= set(titles)


def test_the_page_of_claims_shows_every_measure(result, tmp_path):
    write_json(tmp_path / "made-up.json", result)
    experiments = {"made-up": Experiment("Made up", made())}
    text = page.render(experiments, (), (), tmp_path, tmp_path / "claims.md").read_text()
    assert "| arm | hard length | precision |" in text
    assert "| `length_penalty` | 31.0 [30.0, 32.0] | 0.250 [0.250, 0.250] |" in text


def test_the_legend_has_as_many_columns_as_its_labels_leave_room_for():
    """Eight characters go to a mark; a column is as wide as its longest label."""
    assert report.legend_columns(["a" * 20] * 10) == 5
    assert report.legend_columns(["a" * 20] * 3) == 3
    assert report.legend_columns(["a" * 60] * 6) == 2
    assert report.legend_columns(["a" * 100, *["b"] * 4]) == 5
    assert report.legend_columns(["a" * 300] * 2) == 1
