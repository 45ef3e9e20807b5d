"""`posttrain bench value-only`: every world from the command line on small settings, resumed, and wrong flags."""

import json

import pytest

from commandline import refusal
from posttrain.bench.value_only import curves, linear, softmax, softmax_picture
from posttrain.bench.value_only.transformer import Shape
from posttrain.cli import main

TINY = linear.Linear(d=2, batch=8, pretrain_steps=3, tune_steps=3, random_tasks=2)


def bench(*arguments):
    main(["bench", "value-only", *map(str, arguments)])


def rows(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.fixture
def small(monkeypatch):
    """The experiments in a second or so."""
    tiny = Shape(width=32, layers=1, heads=2)
    made = softmax.Softmax(shape=tiny, batch=4, pretrain_steps=3, tune_batch=4, tune_steps=3, look_every=2, prompts=8)
    monkeypatch.setattr(linear, "Linear", lambda: TINY)
    monkeypatch.setattr(softmax, "Softmax", lambda shape: made)
    monkeypatch.setattr(curves, "SAMPLED", (0, 5, 20))
    monkeypatch.setattr(curves.measured, "__defaults__", (None, 1000))


def test_the_closed_forms_are_drawn_by_one_command(small, tmp_path, capsys):
    bench("--out", tmp_path)
    assert "2.4375" in capsys.readouterr().err
    assert json.loads((tmp_path / "result.json").read_text())["world"] == "theory"
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_bench_goes_on(small, tmp_path):
    bench("--world", "linear", "--seeds", 1, "--out", tmp_path)
    first = rows(tmp_path)
    bench("--world", "linear", "--seeds", 2, "--out", tmp_path)
    assert rows(tmp_path)[:2] == first
    assert [row["seed"] for row in rows(tmp_path)[1:]] == [10, 11]
    assert json.loads((tmp_path / "result.json").read_text())["n"] == 2


def test_the_softmax_model_and_its_rates(small, tmp_path, monkeypatch):
    for name in ("picture", "rates"):
        monkeypatch.setattr(softmax_picture, name, lambda _, path: path)
    bench("--world", "softmax", "--seeds", 2, "--out", tmp_path / "runs")
    assert list(json.loads((tmp_path / "runs/result.json").read_text())["arms"]) == [softmax.NONE, *softmax.ARMS]
    bench("--world", "softmax", "--tune", tmp_path / "rates.json", "--out", tmp_path / "rates")
    record = json.loads((tmp_path / "rates.json").read_text())
    assert set(record["chosen"]) == set(softmax.ARMS)
    assert set(record["chosen"].values()) <= set(softmax.GRID)
    assert [row["seed"] for row in rows(tmp_path / "rates")[1:]] == [0, 1, 2]


def test_rows_of_another_world_are_refused(small, tmp_path, capfd):
    bench("--world", "linear", "--seeds", 1, "--out", tmp_path)
    assert "rows of another" in refusal(capfd, "bench", "value-only", "--world", "softmax", "--out", str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--seeds", "0"], "seeds=0"),
        (["--world", "linear", "--no-start-token"], "--world softmax"),
        (["--tune", "x.json"], "--world softmax"),
    ],
)
def test_wrong_flags_are_refused(flags, says, capfd):
    with pytest.raises(SystemExit) as stopped:
        bench(*flags)
    assert stopped.value.code == 2
    assert says in " ".join(capfd.readouterr().err.split())
