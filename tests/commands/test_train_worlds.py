"""`posttrain train` in a world: the corridor, with the model that walks it at random."""

import json

import pytest

from posttrain import zoo
from posttrain.cli import main
from posttrain.commands.worlds import WorldOptions, played
from posttrain.files import read_lines

MODEL = str(zoo.path("corridor/start"))
SHORT = [
    "--model", MODEL, "--task", "corridor", "--world.games", "8", "--world.no-list-actions", "--cpu", "--save-every",
    "0", "--prompts", "4", "--group-size", "4", "--steps", "2", "--micro-batch", "16", "--learning-rate", "1e-3",
]  # fmt: skip
AGENT = ["--agent.turns", "12", "--agent.turn-tokens", "2"]


def trained(recipe: str, folder, *flags: str) -> tuple[list[dict], dict]:
    """The log and the settings of a short run."""
    main(["train", recipe, *SHORT, *flags, "--output-dir", str(folder)])
    return list(read_lines(folder / "log.jsonl")), json.loads((folder / "settings.json").read_text())


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("hgpo", ["--kl-beta", "0", "--agent.form", "full", *AGENT]),
        ("grpo", AGENT),
        ("empo2", ["--turns", "12", "--turn-tokens", "2", "--write", "template", "--with-memory", "1"]),
    ],
)
def test_a_world_is_trained_in(recipe, flags, tmp_path):
    lines, settings = trained(recipe, tmp_path / "run", *flags)
    steps = [line for line in lines if "agent/won" in line]
    assert len(steps) == 2
    assert all(0 < line["agent/turns"] <= 12 for line in steps)
    assert all(line["rewards/environment/mean"] == pytest.approx(10 * line["agent/won"]) for line in steps)
    assert settings["recipe"] == (recipe if recipe == "empo2" else "agent|hgpo" if recipe == "hgpo" else "agent")
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_credit_by_turns_needs_a_world(tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "a", "answer": "b"}) + "\n")
    with pytest.raises(SystemExit):
        main(
            ["train", "hgpo", "--model", MODEL, "--dataset", str(data), "--cpu", "--output-dir", str(tmp_path / "run")]
        )
    assert "or --task a world" in capsys.readouterr().err


@pytest.mark.parametrize("world", ["twc", "alfworld"])
def test_games_that_are_files_need_their_folder(world):
    with pytest.raises(ValueError, match=r"say where they are with --world\.folder"):
        played(world, WorldOptions())


@pytest.mark.parametrize("name", ["games", "repeat"])
def test_numbers_of_games_are_positive(name):
    with pytest.raises(ValueError, match=f"--world.{name} 0 must be at least 1"):
        WorldOptions(**{name: 0})
