"""The paper-scale recipes say only what the command line understands."""

import subprocess
from pathlib import Path

import pytest

from posttrain.commands import train

SCRIPTS = sorted((Path(__file__).parents[1] / "recipes").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_recipe_s_flags_are_understood(script, tmp_path, monkeypatch):
    launcher = tmp_path / "accelerate"
    launcher.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    launcher.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DATA": "problems.jsonl", "TASK": "power-component"}
    said = subprocess.check_output(["bash", str(script), "--steps", "7"], env=path, text=True).splitlines()
    processes = int(said[said.index("--num_processes") + 1])
    command = said[said.index("posttrain") + 1 :]
    assert command[0] == "train"
    seen = []
    monkeypatch.setattr(train, "train", lambda *parts: seen.append(parts))
    train.main(command[1:])
    _, recipe, run, *_ = seen[0]
    assert run.steps == 7, "what the user adds has the last word"
    run.split(1)
    run.split(processes)
    recipe.check_group_size(run.group_size)
    assert recipe.name.replace("_", "-") in script.stem
