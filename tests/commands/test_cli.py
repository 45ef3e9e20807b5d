"""The front door: help, versions, lists, and a doctor that notices a broken contract."""

import os
import signal
import subprocess
import sys

import pytest

from commandline import environment, refusal, run
from posttrain import __version__
from posttrain.catalog import RECIPES
from posttrain.cli import COMMANDS, main
from posttrain.rl.engines import trl

HEAVY = "{'torch', 'numpy', 'transformers', 'trl', 'tyro', 'rich'} & set(sys.modules)"


def python(code: str):
    """Run a program and return what it printed."""
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("flag", ["--help", "-h", "--version"])
def test_help_and_version_import_nothing_heavy(flag):
    seen = python(f"import sys; from posttrain.cli import main; main([{flag!r}]); print({HEAVY})")
    assert seen.returncode == 0
    assert seen.stderr == ""
    assert seen.stdout.endswith("set()\n")


def test_help_names_every_command(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command} " in shown


def test_no_arguments_at_all_is_a_request_for_help(capsys):
    main([])
    assert "usage: posttrain COMMAND" in capsys.readouterr().out


def test_version_is_the_package_s(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"


def test_import_is_silent_and_light():
    seen = python(f"import posttrain, sys; print({HEAVY})")
    assert (seen.returncode, seen.stdout, seen.stderr) == (0, "set()\n", "")


def test_importing_the_methods_needs_torch_alone():
    seen = python("import posttrain.rl, sys; print({'transformers', 'trl', 'tyro'} & set(sys.modules))")
    assert (seen.returncode, seen.stdout, seen.stderr) == (0, "set()\n", "")


def test_module_and_script_are_the_same_program():
    assert run("--version").stdout == f"{__version__}\n"


def test_an_unknown_command_lists_the_commands(capfd):
    said = refusal(capfd, "trian")
    assert "'trian'" in said
    assert all(command in said for command in COMMANDS)


def helped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command's `--help` shows; it ends with exit code 0."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_train_help_lists_the_recipes(capsys):
    main(["train", "--help"])
    shown = capsys.readouterr().out
    for recipe in RECIPES:
        assert f"\n  {recipe} " in shown
    assert "torchrun" in shown


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_help(capsys, recipe):
    shown = helped(capsys, "train", recipe, "--help")
    for flag in ("--model", "--dataset", "--task", "--verifier", "--steps", "--resume", "--trl", "--columns.prompt"):
        assert flag in shown


def test_rlad_s_help_has_the_paper_s_parameters(capsys):
    shown = helped(capsys, "train", "rlad", "--help")
    assert "arXiv:2602.22495" in shown
    for flag in ("--teacher", "--alpha", "--clamp", "--clip-high", "--grpo.spread"):
        assert flag in shown


def test_what_is_no_text_has_no_flag(capsys):
    """How critiques are asked for is an object with functions."""
    shown = helped(capsys, "train", "second_order", "--help")
    assert "--critiques" in shown
    assert "--critique-form" not in shown


def test_compare_help(capsys):
    shown = helped(capsys, "compare", "--help")
    for flag in ("--out", "--seeds", "--noise", "--workers"):
        assert flag in shown


def test_zoo_lists_the_shipped_models(capsys):
    main(["zoo", "list"])
    shown = capsys.readouterr().out
    assert "kk/student" in shown
    assert "kk/teacher" in shown
    assert "M parameters" in shown


def test_zoo_knows_what_it_does_not_know(capfd):
    assert "zoo list" in refusal(capfd, "zoo", "burn")


@pytest.mark.parametrize(
    "arguments", [["train", "rlad"], ["train", "rlad", "--alpha", "half"], ["compare"], ["compare", "grpo", "--sides"]]
)
def test_flags_that_do_not_parse_exit_with_2(capfd, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "Traceback" not in capfd.readouterr().err


def test_doctor_finds_a_healthy_engine(capsys):
    main(["doctor"])
    shown = capsys.readouterr().out
    for word in ("torch", "trl", "extras", "contract holds"):
        assert word in shown


@pytest.mark.parametrize(
    ("contract", "complaint"),
    [
        ({"_calculate_prizes": ("inputs",)}, "GRPOTrainer has no method _calculate_prizes"),
        ({"_compute_loss": ("model", "outputs")}, "GRPOTrainer._compute_loss has no parameter outputs"),
    ],
)
def test_doctor_names_what_the_engine_lacks(capsys, monkeypatch, contract, complaint):
    monkeypatch.setattr(trl, "CONTRACT", contract)
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    assert stopped.value.code == 1
    shown = capsys.readouterr().out
    assert "contract broken" in shown
    assert complaint in shown


def test_an_interrupt_is_not_a_traceback(capfd, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("posttrain.cli._run", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    assert stopped.value.code == 130
    assert capfd.readouterr().err == "posttrain: stopped\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["doctor"], ["guard", "egress", "schema"]])
def test_who_stops_reading_ends_it_quietly(arguments):
    """As `posttrain ... | head` does, here with a reader that is gone before the first byte."""
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "posttrain", *arguments], env=environment(), stdout=write, stderr=subprocess.PIPE
    )  # fmt: skip
    os.close(write)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_missing_extra_gives_the_line_that_installs_it(capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert "pip install 'posttrain[cli]'" in refusal(capfd, "zoo", "list")
