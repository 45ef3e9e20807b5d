"""`posttrain bench agentdojo` from its flags to its files."""

import json

import pytest

pytest.importorskip("agentdojo")

from posttrain.bench.egress.score import SCRIPTED
from posttrain.commands.bench import main


def test_it_prints_the_tables_and_writes_the_rows_the_result_and_the_picture(tmp_path, capfd):
    out = tmp_path / "out"
    flags = ["agentdojo", "--suite", "slack", "--user-tasks", "user_task_0", "user_task_1", "--out", str(out)]
    main(flags)
    said = capfd.readouterr()
    assert said.out == "", "some of AgentDojo's checkers print"
    assert SCRIPTED in said.err
    assert "0 is safe" in said.err
    result = json.loads((out / "result.json").read_text())
    assert {name: row["attacked"]["carried_out"]["mean"] for name, row in result["rows"].items()} == {
        "none": 1, "egress allowlist": 0.4, "egress provenance": 0.6,
    }  # fmt: skip
    assert result["rows"]["egress allowlist"]["attacked"]["web"]["mean"] == 0
    assert (result["scripted"], result["errors"], result["attack"]) == (True, 0, "important_instructions")
    assert (out / "result.png").is_file()
    lines = (out / "rows.jsonl").read_text()
    main(flags)
    assert (out / "rows.jsonl").read_text() == lines, "nothing is run twice"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["agentdojo", "--suite", "mail"], "no suite 'mail'"),
        (["agentdojo", "--version", "2"], "no benchmark version '2'"),
        (["agentdojo", "--defences", "prayer"], "no defence for suite slack 'prayer'"),
        (["agentdojo", "--model", "qwen"], "write openai:NAME"),
        (["dojo"], "there is no bench 'dojo'; write posttrain bench egress or agentdojo"),
    ],
)
def test_what_it_cannot_do_it_says_in_a_sentence(flags, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        main(flags)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", [[], ["--help"]])
def test_help_names_both_benches(capsys, flags):
    main(flags)
    said = capsys.readouterr().out
    assert "\n  egress " in said
    assert "\n  agentdojo " in said
