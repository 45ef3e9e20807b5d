"""`posttrain bench agentdojo` from its flags to its files."""

import json
import socket

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
        (["agentdojo", "--defences", "prayer"], "no defence 'prayer' for suite slack"),
        (["agentdojo", "--user-tasks", "nope"], "no user task 'nope' in suite slack; choose among user_task_0"),
        (["agentdojo", "--injection-tasks", "nope"], "no injection task 'nope' in suite slack"),
        (["agentdojo", "--model", "qwen"], "write openai:NAME"),
        (["dojo"], "there is no bench 'dojo'; write posttrain bench egress or agentdojo"),
    ],
)
def test_what_it_cannot_do_it_says_in_a_sentence(flags, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        main(flags)
    assert not list(tmp_path.iterdir())


def test_a_suite_in_which_no_defence_has_something_to_guard_says_so(tmp_path, capfd):
    tasks = ("--user-tasks", "user_task_0", "--injection-tasks", "injection_task_0")
    main(["agentdojo", "--suite", "banking", *tasks, "--out", str(tmp_path)])
    said = " ".join(capfd.readouterr().err.split())
    assert "not run: egress allowlist, egress provenance; suite banking has no tools that they guard" in said
    main(["agentdojo", "--suite", "banking", *tasks, "--out", str(tmp_path), "--defences", "none"])
    assert "not run" not in capfd.readouterr().err


def test_when_every_run_broke_the_reason_is_said_and_the_exit_code_is_1(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    flags = ["--user-tasks", "user_task_0", "--injection-tasks", "injection_task_1", "--defences", "none"]
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        model = ["--model", "openai:x", "--base-url", f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"]
        with pytest.raises(SystemExit) as ended:
            main(["agentdojo", *flags, *model, "--out", str(tmp_path)])
    assert str(ended.value).startswith("posttrain: all 2 runs broke")
    assert "broken under none: " in capfd.readouterr().err
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("flags", [[], ["--help"]])
def test_help_names_both_benches(capsys, flags):
    main(flags)
    said = capsys.readouterr().out
    assert "\n  egress " in said
    assert "\n  agentdojo " in said
