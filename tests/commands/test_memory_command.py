"""`posttrain memory`: its commands, and what they say when they cannot."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from commandline import environment, refusal, run, sentence
from posttrain.cli import main
from posttrain.commands import memory
from posttrain.commands.evidence import visible
from posttrain.memory import Memory, Turn

LOG = (
    ("take brass key", "Taken. You hold the brass key."),
    ("go east", "The vault room. The vault is locked."),
    ("unlock vault with brass key", "You unlock the vault."),
    ("open vault", "The vault is open. [bold red]x[/] \x1b[31m\u202e"),
)


@pytest.fixture
def where(tmp_path) -> Path:
    with Memory(tmp_path / "agent.db") as made:
        made.add_many([Turn("game", n, *texts) for n, texts in enumerate(LOG)])
    return tmp_path / "agent.db"


def said(capsys, *arguments: object) -> str:
    """What a command prints."""
    capsys.readouterr()
    main(["memory", *map(str, arguments)])
    found = capsys.readouterr()
    assert found.err == ""
    return found.out


def fields(capsys, *arguments: object):
    """The same, as JSON."""
    return json.loads(said(capsys, *arguments, "--json"))


def test_help(capsys):
    for arguments in ([], ["--help"], ["-h"]):
        main(["memory", *arguments])
        assert capsys.readouterr().out == f"{memory.USAGE}\n"
    for command in memory.COMMANDS:
        assert f"\n  {command} WHERE" in memory.USAGE


@pytest.mark.parametrize("command", memory.COMMANDS)
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main(["memory", command, "--help"])
    assert stopped.value.code == 0
    assert "WHERE" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["serve", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    heavy = {"torch", "numpy", "apsw", "psycopg", "pydantic", "mcp", "starlette", "snowballstemmer"}
    code = "import sys; from posttrain.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += f"print(sys.modules.keys() & {heavy})"
    seen = subprocess.run(
        [sys.executable, "-c", code, "memory", *arguments], capture_output=True, text=True, env=environment()
    )
    assert seen.stdout.splitlines()[-1] == "set()", seen.stderr


def test_add_makes_a_file_and_says_what_became_of_the_turn(capsys, tmp_path):
    where = tmp_path / "new.db"
    add = ("add", where, "r", 0, "--action", "go", "--observation", "a room")
    assert said(capsys, *add) == "added\n"
    assert said(capsys, *add, "--durability", "power") == "same\n"
    assert said(capsys, "add", where, "r", 1, "--key", "k") == "added\n"
    assert said(capsys, "add", where, "r", 1, "--key", "k") == "same\n"
    assert "another content" in refusal(capsys, "memory", "add", where, "r", 0, "--action", "come")
    with Memory(where) as made:
        assert made.view("r").between(0, 9) == [Turn("r", 0, "go", "a room"), Turn("r", 1, "", "")]


def test_observations_come_from_files_and_from_standard_input_whatever_they_hold(capsys, tmp_path):
    where, odd = tmp_path / "new.db", b"bytes \xff\x00\r\n that are no text \xc3\xa9"
    (tmp_path / "seen.bin").write_bytes(odd)
    said(capsys, "add", where, "r", 0, "--observation-file", tmp_path / "seen.bin")
    command = [sys.executable, "-m", "posttrain", "memory", "add", where, "r", "1", "--observation-file", "-"]
    subprocess.run(command, input=odd, env=environment(), check=True, capture_output=True)
    with Memory(where) as made:
        for turn in made.view("r").between(0, 1):
            assert turn.observation.encode("utf-8", "surrogateescape") == odd
    (evidence,) = fields(capsys, "scan", where, "r", "that are no text", "--as-of", 0)["evidence"]
    assert evidence["spans"][0]["text"] == "bytes \ufffd\x00\r\n that are no text é"


def test_a_disk_that_is_full_is_said_and_nothing_of_the_turn_is_kept(where, tmp_path):
    (tmp_path / "seen.txt").write_text("x" * 3_000_000)
    ended = run("memory", "add", where, "game", 4, "--observation-file", tmp_path / "seen.txt", file_limit=1_000_000)
    assert "agent.db could not be written" in sentence(ended.returncode, ended.stderr)
    with Memory(where) as made:
        assert made.view("game").lengths().turn.tolist() == [0, 1, 2, 3]
        assert made.check() == []


def test_vectors_are_made_with_the_turns_or_later_by_work(capsys, where, tmp_path):
    assert said(capsys, "work", where, "--embedder", "lexical", "--limit", 3) == "3 turns done, 0 failed\n"
    assert said(capsys, "work", where, "--embedder", "lexical") == "1 turn done, 0 failed\n"
    assert said(capsys, "add", where, "game", 4, "--action", "wait", "--embedder", "lexical") == "added\n"
    assert said(capsys, "work", where, "--embedder", "lexical") == "0 turns done, 0 failed\n"
    said(capsys, "export", where, tmp_path / "all.jsonl")
    said(capsys, "import", tmp_path / "copy.db", tmp_path / "all.jsonl", "--embedder", "lexical")
    for path in (where, tmp_path / "copy.db"):
        with Memory(path) as made:
            assert made.view("game").vectors("lexical-512")[0].tolist() == [0, 1, 2, 3, 4]
    assert fields(capsys, "ask", where, "game", "unlocking the vaults", "--embedder", "lexical")["evidence"]


def test_work_that_failed_is_told(capsys, where, monkeypatch):
    def broken(texts):
        raise ValueError("no numbers today")

    monkeypatch.setattr("posttrain.memory.embedders.LEXICAL", broken)
    with pytest.raises(SystemExit) as stopped:
        main(["memory", "work", str(where), "--embedder", "lexical"])
    assert stopped.value.code == 1
    printed = capsys.readouterr().out
    assert "no numbers today" in printed
    assert printed.endswith("0 turns done, 4 failed\n")


def test_ask(capsys, where):
    question = "Which earlier step made opening the vault possible?"
    found = fields(capsys, "ask", where, "game", question, "--turns", 3)
    assert 2 in [each["turn"] for each in found["evidence"]]
    assert len(found["evidence"]) == 3
    assert found["explained"] == {}
    shown = said(capsys, "ask", where, "game", question, "--explain", "--tokens", 500)
    assert "unlock vault with brass key" in " ".join(shown.split())
    assert "plan: {" in shown
    assert "No evidence: " in said(capsys, "ask", where, "game", "Where is the submarine?")
    early = [each["turn"] for each in fields(capsys, "ask", where, "game", "vault", "--as-of", 1)["evidence"]]
    assert 1 in early
    assert max(early) == 1


def test_what_a_log_says_does_nothing_to_the_terminal(capsys, where):
    shown = said(capsys, "scan", where, "game", "The vault is open")
    assert r"[bold red]x[/] \x1b[31m\u202e" in " ".join(shown.split())
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert visible("a\tb\r\n\x9b\u2066\ud800é😀") == "a\\tb\\r\n\\x9b\\u2066\\ud800é😀"


def test_timeline_why_and_scan(capsys, where):
    versions = fields(capsys, "timeline", where, "game", "vault", "--attribute", "state")["findings"]
    assert [each["value"]["value"] for each in versions] == ["locked", "unlocked", "open"]
    assert "the state of vault is locked" in said(capsys, "timeline", where, "game", "vault", "--as-of", 1)
    assert fields(capsys, "why", where, "game", 3)["findings"][0]["value"] == [0, 2, 3]
    one = fields(capsys, "why", where, "game", 3, "--hops", 1, "--entity", "vault")
    assert one["findings"][0]["value"] == [2, 3]
    assert fields(capsys, "scan", where, "game", '{"verb": "open"}')["findings"][0]["value"] == 1
    assert "3 turns of the whole log." in said(capsys, "scan", where, "game", "vault")


def test_runs(capsys, where):
    with Memory(where) as made:
        made.add("a\n\x1b[1mb", 0)
    assert said(capsys, "runs", where) == "a\\n\\x1b[1mb\ngame\n"
    assert fields(capsys, "runs", where) == ["a\n\x1b[1mb", "game"]


def test_export_and_import(capsys, where, tmp_path):
    with Memory(where) as made:
        made.add("other", 0, action="wait")
    assert said(capsys, "export", where, tmp_path / "all.jsonl") == f"5 turns in {tmp_path / 'all.jsonl'}\n"
    assert said(capsys, "export", where, tmp_path / "one.jsonl", "--run", "other").startswith("1 turn in ")
    assert said(capsys, "import", tmp_path / "b.db", tmp_path / "one.jsonl") == "1 added\n"
    assert said(capsys, "import", tmp_path / "b.db", tmp_path / "all.jsonl") == "4 added, 1 same\n"
    for name in ("game", "other"):
        with Memory(where) as a, Memory(tmp_path / "b.db") as b:
            assert a.view(name).between(0, 9) == b.view(name).between(0, 9)
    (tmp_path / "cut.jsonl").write_text((tmp_path / "all.jsonl").read_text()[:-20])
    assert "cut.jsonl" in refusal(capsys, "memory", "import", tmp_path / "c.db", tmp_path / "cut.jsonl")


def test_rebuild_and_check(capsys, where):
    before = fields(capsys, "ask", where, "game", "Where is the vault?", "--explain")
    assert said(capsys, "rebuild", where) == "rebuilt\n"
    assert said(capsys, "rebuild", where, "--run", "game") == "rebuilt\n"
    assert fields(capsys, "ask", where, "game", "Where is the vault?", "--explain") == before
    assert said(capsys, "check", where) == "turns and indexes agree\n"
    apsw = pytest.importorskip("apsw")
    connection = apsw.Connection(str(where))
    connection.execute("DELETE FROM fresh")
    connection.close()
    with pytest.raises(SystemExit) as stopped:
        main(["memory", "check", str(where)])
    assert stopped.value.code == 1
    assert "run 'game'" in capsys.readouterr().out
    assert said(capsys, "rebuild", where) == "rebuilt\n"
    assert said(capsys, "check", where) == "turns and indexes agree\n"


def test_erase_says_what_it_would_do_and_does_it_when_told(capsys, where):
    assert refusal(capsys, "memory", "erase", where, "game").startswith("4 turns of run 'game' would be erased")
    assert refusal(capsys, "memory", "erase", where, "game", "--turns", 1).startswith("1 turn of run 'game' would be")
    assert "has no turn 9" in refusal(capsys, "memory", "erase", where, "game", "--turns", 1, 9, "--yes")
    assert fields(capsys, "scan", where, "game", "vault")["findings"][0]["value"] == 3
    assert said(capsys, "erase", where, "game", "--turns", 1, 2, "--yes") == "2 turns erased\n"
    assert fields(capsys, "scan", where, "game", "vault")["findings"][1]["value"] == [3]
    assert b"unlock vault" not in where.read_bytes()
    assert said(capsys, "erase", where, "game", "--yes") == "2 turns erased\n"
    assert said(capsys, "runs", where) == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["forget"], "memory forget is not understood"),
        (["runs", "none.db"], "There is no memory at none.db"),
        (["ask", "none.db", "r", "q"], "There is no memory at none.db"),
        (["erase", "none.db", "r", "--yes"], "There is no memory at none.db"),
        (["ask", "{where}", "none", "q"], "There is no run 'none' in this memory"),
        (["ask", "{where}", "game", "q", "--turns", "0"], "turns=0 leaves no room"),
        (["why", "{where}", "game", "3", "--hops", "0"], "hops=0 must lie between"),
        (["scan", "{where}", "game", '{{"drop": 1}}'], "The query has the key 'drop'"),
        (["add", "{where}", "game", "-1"], "turn=-1 must be a whole number"),
        (["add", "{where}", "g", "0", "--observation", "x", "--observation-file", "y"], "not by both"),
        (["add", "{where}", "g", "0", "--observation-file", "none.txt"], "There is no observation at none.txt"),
        (["add", "nowhere/a.db", "g", "0"], "its folder is not there"),
        (["add", "text.txt", "g", "0"], "text.txt is no SQLite database"),
        (["import", "{where}", "none.jsonl"], "There is no file at none.jsonl"),
        (["import", "{where}", "text.txt"], "text.txt"),
        (["export", "{where}", "out.jsonl", "--run", "none"], "There is no run 'none'"),
        (["export", "{where}", "/dev/null/out.jsonl"], "a file is in this one's place"),
        (["rebuild", "{where}", "--run", "none"], "There is no run 'none'"),
        (["serve", "{where}", "--port", "99999"], "port=99999 is no port"),
        (["serve", "{where}", "--host", "0.0.0.0"], "set a token"),
        (["serve", "{where}", "--host", "here"], "is no address"),
        (["serve", "{where}", "--host", "192.0.2.1", "--token-env", "HOME"], "an address of this machine"),
        (["serve", "{where}", "--token-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE"),
        (["serve", "{where}", "--rights", "none.toml"], "There is no rights file at none.toml"),
        (["serve", "{where}", "--rights", "text.txt"], "text.txt is no TOML"),
        (["serve", "{where}", "--rights", "none.toml", "--read-only"], "--rights says it all"),
        (["serve", "{where}", "--stdio", "--token-env", "HOME"], "leave out --token-env"),
        (["serve", "{where}", "--origins", "localhost"], "is no origin"),
        (["serve", "{where}", "--limit-mib", "0"], "--limit-mib 0"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capfd, where, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("[[ this is neither TOML nor a database, nor an export of one\n" * 100)
    assert words in refusal(capfd, "memory", *(each.format(where=where) for each in arguments))
    assert not Path("none.db").exists()


@pytest.mark.parametrize(
    "arguments", [["runs"], ["ask", "game", "vault"], ["serve", "--port", "0"], ["serve", "--stdio"]]
)
def test_a_database_of_a_newer_version(capfd, where, arguments):
    apsw = pytest.importorskip("apsw")
    connection = apsw.Connection(str(where))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = where.read_bytes()
    said = refusal(capfd, "memory", arguments[0], where, *arguments[1:])
    assert "was written by a newer posttrain (version 99" in said
    assert where.read_bytes() == before


def test_a_port_that_is_taken(where):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "posttrain", "memory", "serve", where, "--port", str(port)]
        ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert ended.stdout == ""
    assert f"127.0.0.1:{port} cannot be listened on (Address already in use); choose another port" in sentence(
        ended.returncode, ended.stderr
    )


def get(url: str, token: str) -> object:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


RIGHTS = """
[[token]]
name = "game"
env = "GAME_TOKEN"
runs = ["game"]
write = false

[[token]]
name = "all"
env = "ALL_TOKEN"
prefixes = [""]
"""


def test_serve_says_what_it_does_takes_tokens_and_stops_when_it_is_told(where, tmp_path):
    (tmp_path / "rights.toml").write_text(RIGHTS)
    with Memory(where) as made:
        made.add("other", 0)
    process = subprocess.Popen(
        [sys.executable, "-m", "posttrain", "memory", "serve", where, "--port", "0", "--rights", "rights.toml"],
        env=environment(GAME_TOKEN="one", ALL_TOKEN="two"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    lines = dict(process.stdout.readline().strip().split(maxsplit=1) for _ in range(4))
    assert lines["memory"] == str(where)
    assert lines["tokens"] == "rights.toml"
    assert lines["mcp"] == lines["json"].replace("/v1/", "/mcp")
    assert get(f"{lines['json']}runs", "one") == {"runs": ["game"]}
    assert get(f"{lines['json']}runs", "two") == {"runs": ["game", "other"]}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(f"{lines['json']}runs", "three")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert not Path(f"{where}-wal").exists()


def test_a_password_is_not_shown():
    assert memory._shown("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert memory._shown("postgresql://host/db?user=me&password=secret") == "postgresql://host/db?user=me&password=***"
    assert memory._shown("agent.db") == "agent.db"
