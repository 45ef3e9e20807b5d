"""`posttrain bench egress` from its flags to its files."""

import json
import socket

import pytest

from posttrain.bench.egress.score import SCRIPTED
from posttrain.commands.bench import main

GRID = """
name = "tiny"
trials = 1
benign = 1
[[blocks]]
name = "cut"
cuts = ["whole", "even"]
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(GRID)
    return path


def test_it_prints_the_grid_and_the_tables_and_writes_the_result_and_the_picture(grid, tmp_path, capfd):
    flags = ["egress", "--grid", str(grid), "--out", str(tmp_path / "out"), "--defences", "none", "stack"]
    main(flags)
    said = capfd.readouterr().err
    assert "grid tiny: 2 attacks x 1 trials" in said
    assert SCRIPTED in said
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["rows"]["none"]["unknown"]["leak"]["all"]["mean"] == 1
    assert result["rows"]["stack"]["unknown"]["contact"]["mean"] == 0
    assert (tmp_path / "out" / "result.png").is_file()
    lines = (tmp_path / "out" / "runs.jsonl").read_text()
    main(flags)
    assert (tmp_path / "out" / "runs.jsonl").read_text() == lines, "nothing is run twice"


def test_when_every_run_broke_the_reasons_are_said_and_the_exit_code_is_1(grid, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    grid.write_text(GRID.replace("benign = 1", "benign = 0").replace('["whole", "even"]', '["even"]'))
    flags = ["egress", "--grid", str(grid), "--out", str(tmp_path / "out"), "--defences", "none", "stack"]
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        model = ["--model", "openai:x", "--base-url", f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"]
        with pytest.raises(SystemExit) as ended:
            main([*flags, *model])
    assert str(ended.value).startswith("posttrain: all 2 runs broke")
    said = capfd.readouterr().err
    assert said.count("broken under none, stack: ") == 1
    assert "leaks to" not in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["runs.jsonl"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["garak"], "there is no bench 'garak'; write posttrain bench egress"),
        (["egress", "--grid", "nowhere.toml"], "no grid 'nowhere.toml'"),
        (["egress", "--defences", "prayer"], "no defence 'prayer'"),
        (["egress", "--trials", "0"], "trials: 0 must be at least 1"),
        (["egress", "--model", "qwen"], "write openai:NAME"),
    ],
)
def test_what_it_cannot_do_it_says_in_a_sentence(flags, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        main(flags)
    assert not list(tmp_path.iterdir())
