"""The paper-scale recipes say only what the command line understands."""

import subprocess
from pathlib import Path

import pytest

from posttrain.commands import edit, edit_measure, train, tune
from posttrain.commands.parse import parse

SCRIPTS = {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.sh"))}
TRAINED = [name for name in SCRIPTS if name.endswith("-trl")]
FILES = {"DATA": "problems.jsonl", "TEST": "test.jsonl", "TASK": "power-component", "ANCHORS": "anchors.jsonl",
         "ATTACKS": "attacks.jsonl", "MGSM": "mgsm_bn.tsv mgsm_th.tsv"}  # fmt: skip


@pytest.fixture
def said(tmp_path):
    """What a recipe starts: its commands, each a list of words."""
    for name in ("accelerate", "posttrain"):
        launcher = tmp_path / name
        launcher.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\necho\n')
        launcher.chmod(0o755)

    def run(name, *more):
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin", **FILES}
        out = subprocess.check_output(["bash", str(SCRIPTS[name]), *more], env=path, text=True)
        return [command.splitlines() for command in out.split("\n\n") if command]

    return run


@pytest.mark.parametrize("name", TRAINED)
def test_a_recipe_s_flags_are_understood(name, said, monkeypatch):
    ((*words,),) = said(name, "--steps", "7")
    processes = int(words[words.index("--num_processes") + 1])
    command = words[words.index("posttrain") + 1 :]
    assert command[0] == "train"
    seen = []
    monkeypatch.setattr(train, "train", lambda *parts: seen.append(parts))
    train.main(command[1:])
    _, recipe, run, *_ = seen[0]
    assert run.steps == 7, "what the user adds has the last word"
    run.split(1)
    run.split(processes)
    recipe.check_group_size(run.group_size)
    assert recipe.name.replace("_", "-") in name


def test_value_only_s_flags_are_understood(said, monkeypatch):
    ((room, *flags),) = said("value-only-mmlu-qwen2.5-3b", "--learning-rate", "3e-4")
    seen = []
    monkeypatch.setattr(tune, "run", seen.append)
    assert room == "tune"
    tune.main(flags)
    given = seen[0]
    assert (given.run.learning_rate, given.run.epochs, given.rank, given.alpha) == (3e-4, 5.0, 128, 256.0)
    assert given.few_shot().weight == "linear"


def test_an_edit_s_flags_are_understood(said, monkeypatch):
    made, *measured = said("edit-multistrongreject-llama-3.2-1b", "--layers", "3")
    edits, measures = [], []
    monkeypatch.setattr(edit, "run", lambda *parts: edits.append(parts))
    monkeypatch.setitem(edit.COMMANDS, "measure", measures.append)
    for room, *flags in (made, *measured):
        assert room == "edit"
        edit.main(flags)
    files, config = edits[0]
    assert (config.layers, config.ranks, len(config.languages)) == ((3,), (32,), 7)
    assert [flags[flags.index("--model") + 1] for flags in measures] == [files.model, str(files.out)]
    assert all(len(parse(edit_measure.Measure, flags, prog="", description="").mgsm) == 2 for flags in measures)


def test_every_recipe_is_one_of_these():
    assert {*SCRIPTS} - {*TRAINED} == {"value-only-mmlu-qwen2.5-3b", "edit-multistrongreject-llama-3.2-1b"}
