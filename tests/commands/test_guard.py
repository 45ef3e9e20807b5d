"""`posttrain guard egress`: its commands, and what they say when they cannot."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from commandline import LIMITED, environment, refusal, sentence
from posttrain.cli import main
from posttrain.commands import guard
from posttrain.guard.egress import sandbox
from posttrain.guard.egress.facts import Facts
from posttrain.guard.egress.replay import Line
from posttrain.guard.verdict import Finding, Verdict

POLICY = """
[destinations]
allow = ["api.test", "127.0.0.1:{port}"]
schemes = ["https", "http"]
networks = ["127.0.0.0/8"]
{more}
"""


@pytest.fixture
def policy(tmp_path):
    """A policy file."""

    def write(more: str = "", port: int = 1, name: str = "egress.toml") -> Path:
        (tmp_path / name).write_text(POLICY.format(more=more, port=port))
        return tmp_path / name

    return write


def start(*arguments: object, **options) -> subprocess.Popen:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "posttrain", "guard", "egress", *map(str, arguments)],
        env=environment(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def lines(process: subprocess.Popen, count: int) -> dict[str, str]:
    """The first lines that a server prints, by their first word."""
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(count)]
    assert all(said), process.communicate()[1]
    return dict(line.strip().split(maxsplit=1) for line in said)


def ask(port: str, request: str) -> str:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def get(url: str, session: str = "default") -> str:
    user = base64.b64encode(f"{session}:".encode()).decode()
    lines = (f"Host: {url.split('/')[2]}", f"Proxy-Authorization: Basic {user}", "Connection: close")
    return "\r\n".join((f"GET {url} HTTP/1.1", *lines, "", ""))


def test_help(capsys):
    for arguments in ([], ["--help"], ["egress"], ["egress", "--help"]):
        main(["guard", *arguments])
        assert capsys.readouterr().out == f"{guard.USAGE}\n"


@pytest.mark.parametrize("command", ["serve", "run", "check", "replay"])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main(["guard", "egress", command, "--help"])
    assert stopped.value.code == 0
    assert "--policy" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    heavy = {"torch", "numpy", "pydantic", "httpx2", "h11", "publicsuffixlist"}
    code = "import sys; from posttrain.cli import main; main(['guard', 'egress', '--help']); "
    code += f"print(sys.modules.keys() & {heavy})"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert seen.stdout.splitlines()[-1] == "set()", seen.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ingress"], "guard ingress is not understood"),
        (["egress", "open"], "guard egress open is not understood"),
        (["egress", "serve", "--policy", "nowhere.toml"], "There is no policy at nowhere.toml"),
        (["egress", "run", "--policy", "nowhere.toml", "--", "true"], "There is no policy at nowhere.toml"),
        (["egress", "replay", "nowhere.jsonl", "--policy", "{policy}"], "There is no log at nowhere.jsonl"),
        (["egress", "run", "--policy", "{policy}"], "write it after --"),
        (["egress", "run", "--policy", "{policy}", "--"], "write it after --"),
        (["egress", "run", "--policy", "{policy}", "--", "no-such-program"], "no program 'no-such-program'"),
        (["egress", "check", "--policy", "{policy}"], "no URL to check"),
        (["egress", "serve", "--policy", "{policy}", "--host", "0.0.0.0"], "--token-env"),
        (
            ["egress", "serve", "--policy", "{policy}", "--host", "192.0.2.1", "--token-env", "HOME"],
            "an address of this",
        ),
        (
            ["egress", "serve", "--policy", "{policy}", "--port", "99999"],
            "port=99999 is no port; one lies between",
        ),
        (["egress", "serve", "--policy", "{policy}", "--port", "-1"], "port=-1 is no port"),
        (["egress", "schema", "foo"], "guard egress schema takes nothing (given: foo)"),
        (["egress", "serve", "--policy", "{policy}", "--host", "here"], "is no address"),
        (["egress", "serve", "--policy", "{policy}", "--token-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE"),
        (["egress", "serve", "--policy", "{policy}", "--log", "/dev/null/log"], "a file is in this one's place"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capfd, policy, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refusal(capfd, "guard", *(each.format(policy=policy()) for each in arguments))


def test_a_port_that_is_taken(policy, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("serve", "--policy", policy(), "--port", port, cwd=tmp_path)
        out, err = process.communicate(timeout=60)
    assert out == ""
    assert f"127.0.0.1:{port} cannot be listened on (Address already in use); choose another port" in sentence(
        process.returncode, err
    )


def test_serve_says_what_it_does_and_stops_when_it_is_told(policy, tmp_path):
    process = start("serve", "--policy", policy(), "--port", 0, "--judge-socket", "judge.sock", cwd=tmp_path)
    said = lines(process, 6)
    assert said["log"] == "egress-log.jsonl"
    assert "judge.sock" in said["sees"]
    assert said["add-on"].startswith("EGRESS_JUDGE=judge.sock mitmdump -s /")
    assert f"--mode upstream:{said['proxy']}" in said["add-on"]
    assert "mode enforce" in said["policy"]
    assert ask(said["proxy"].rpartition(":")[2], get("http://evil.test/")).startswith("HTTP/1.1 403")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    denied, told = out.splitlines()
    assert (process.returncode, denied, err) == (0, "denied by destinations.unknown: 1", "")
    assert told.startswith("session default: 0 requests let out; at most 0 bits to allowed hosts")
    log = [json.loads(line) for line in (tmp_path / "egress-log.jsonl").read_text().splitlines()]
    assert [record["sent"] for record in log if "facts" in record] == [False]
    assert not (tmp_path / "judge.sock").exists()


def test_serve_without_the_add_on_says_what_it_cannot_see_and_takes_a_token(policy, tmp_path, monkeypatch):
    monkeypatch.setenv("EGRESS_TOKEN", "let me in")
    process = start("serve", "--policy", policy(), "--port", 0, "--token-env", "EGRESS_TOKEN", cwd=tmp_path)
    said = lines(process, 5)
    assert said["sees"].startswith("of HTTPS the host alone")
    assert "whom a client chooses" in said["account"]
    assert ask(said["proxy"].rpartition(":")[2], get("http://api.test/")).startswith("HTTP/1.1 407")
    process.send_signal(signal.SIGINT)
    assert (process.wait(timeout=60), process.communicate()[1]) == (0, "")


def test_a_full_disk_is_said_once_and_nothing_is_forwarded(policy, tmp_path):
    """The system lets no file grow beyond 700 bytes: enough for the first line, not for many requests.

    The request that would be allowed has the longest line of all, by the name of its session.
    """
    with socket.create_server(("127.0.0.1", 0)) as origin:
        origin.settimeout(0.1)
        port = origin.getsockname()[1]
        serve = ["guard", "egress", "serve", "--policy", policy(port=port), "--port", "0"]
        process = subprocess.Popen(
            [sys.executable, "-c", LIMITED, "700", *serve],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
        proxy = lines(process, 5)["proxy"].rpartition(":")[2]
        statuses = [ask(proxy, get("http://evil.test/")).split()[1] for _ in range(4)]
        assert statuses == sorted(statuses)
        assert statuses[-1] == "503"
        assert ask(proxy, get(f"http://127.0.0.1:{port}/", "s" * 128)).startswith("HTTP/1.1 503")
        with pytest.raises(TimeoutError):
            origin.accept()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert err.count("\n") == 1
    assert "egress-log.jsonl could not be written (File too large)" in err


@pytest.mark.skipif(bool(sandbox.why_not()), reason="this machine allows no user namespaces")
def test_run_gives_the_command_s_code(policy, tmp_path):
    process = start("run", "--policy", policy(), "--", "sh", "-c", "echo $HTTPS_PROXY; exit 9", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (9, "http://127.0.0.1:8899\n")
    assert "of HTTPS the host alone" in err
    assert "NOT HELD" not in err


def test_run_without_a_namespace_is_loud(policy, tmp_path):
    process = start("run", "--policy", policy(), "--no-namespace", "--", "sh", "-c", "kill -KILL $$", cwd=tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert "NOT HELD" in err


def test_check_judges_and_sends_nothing(capsys, policy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["guard", "egress", "check", "--policy", str(policy()), "https://api.test/v1"])
    assert capsys.readouterr().out == "https://api.test/v1  allowed; its addresses are checked when it is sent\n"
    with pytest.raises(SystemExit) as stopped:
        main(["guard", "egress", "check", "https://api.test/", "https://evil.test/", "x", "--policy", str(policy())])
    assert stopped.value.code == 1
    allowed, unknown, none = capsys.readouterr().out.splitlines()
    assert "  allowed" in allowed
    assert "deny by destinations.unknown" in unknown
    assert "deny by destinations" in none
    assert os.listdir(tmp_path) == ["egress.toml"]


def test_check_gives_each_url_an_account_of_its_own(capsys, policy, monkeypatch):
    monkeypatch.setenv("KEY", "k7Qw2ZrT9xBv4NmLp8Ys3DfG")
    more = '[[secrets]]\nid = "key"\nenv = "KEY"'
    parts = ["https://api.test/k7Qw2Z", "https://api.test/rT9xBv"]
    main(["guard", "egress", "check", *parts, "--policy", str(policy(more))])
    out = capsys.readouterr().out
    assert out.count("allowed") == 2
    assert "https://api.test/<secret:key>" in out
    assert "k7Qw2Z" not in out


def test_replay_counts_what_would_be_stopped(capsys, policy, tmp_path):
    process = start("serve", "--policy", policy(), "--port", 0, cwd=tmp_path)
    proxy = lines(process, 5)["proxy"].rpartition(":")[2]
    for url in ("http://127.0.0.1:1/", "http://127.0.0.1:1/", "http://evil.test/"):
        ask(proxy, get(url))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    log = tmp_path / "egress-log.jsonl"
    stricter = tmp_path / "stricter.toml"
    stricter.write_text('[destinations]\nallow = ["api.test"]\n')
    main(["guard", "egress", "replay", str(log), "--policy", str(stricter)])
    out = capsys.readouterr().out
    assert "2 were sent, 0 would be; 2 no longer, 0 newly." in out
    assert "denied by destinations.unknown  3" in out
    assert "no longer sent, 2 x GET 127.0.0.1 (session default): deny by destinations.unknown" in out


def line(rule: str = "", host: str = "a.test", mode: Literal["enforce", "report"] = "enforce") -> Line:
    """A request of a log, and what another policy has against it."""
    findings = (Finding("deny", rule, "So it is."),) if rule else ()
    return Line(Facts("s", "https", host, 443, method="GET"), True, Verdict(findings, mode=mode))


def test_replay_prints_no_row_twice():
    """What would be sent is printed without the rule that `report` notes, so the rule makes no rows of its own."""
    noted = [line(rule, mode="report") for rule in ("a.rule", "b.rule", "")]
    assert [(first, count) for first, count in guard._alike(noted)] == [(noted[0], 3)]
    denied = [line("a.rule"), line("b.rule"), line("a.rule"), line("a.rule", "b.test")]
    assert [count for _, count in guard._alike(denied)] == [2, 1, 1]


def test_replay_of_an_empty_log_says_that_it_is_empty(capsys, policy, tmp_path):
    (tmp_path / "log.jsonl").touch()
    main(["guard", "egress", "replay", str(tmp_path / "log.jsonl"), "--policy", str(policy())])
    assert capsys.readouterr().out == f"{tmp_path}/log.jsonl is empty: it holds no request to judge again.\n"


def test_schema_is_json_with_every_table(capsys):
    main(["guard", "egress", "schema"])
    assert {"destinations", "secrets", "session", "limits"} <= set(json.loads(capsys.readouterr().out)["properties"])


def test_the_limit_of_open_files_is_raised_or_named(capsys, monkeypatch):
    limits = {"now": (100, 1000)}
    monkeypatch.setattr(guard.resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(guard.resource, "setrlimit", lambda _, pair: limits.update(now=pair))
    guard.room_for(18)
    assert limits["now"] == (100, 1000)
    guard.room_for(100)
    assert limits["now"] == (264, 1000)
    assert capsys.readouterr().err == ""
    guard.room_for(5000)
    assert limits["now"] == (1000, 1000)
    assert "enough for 468 clients, not for the 5000" in capsys.readouterr().err
