"""`posttrain edit`: from files to a folder and back, and what users get wrong."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

import edit_models
import tiny
from commandline import refusal, write_rows
from posttrain.chat import ChatError, TransformersChat
from posttrain.cli import main


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model and anchors on disk."""
    folder = tmp_path_factory.mktemp("edit")
    edit_models.model("phi3", dtype=torch.bfloat16).save_pretrained(folder / "model")
    tiny.tokenizer(chat=True).save_pretrained(folder / "model")
    found = edit_models.anchors(20)
    few = edit_models.anchors(3)
    write_rows(
        folder / "few.jsonl",
        [p._asdict() for kind in (few.harmful, few.harmless) for each in kind.values() for p in each],
    )
    write_rows(
        folder / "a.jsonl",
        [p._asdict() for kind in (found.harmful, found.harmless) for each in kind.values() for p in each],
    )
    return folder


def flags(made, out, *more, **overrides):
    given = {
        "--model": made / "model",
        "--anchors": made / "a.jsonl",
        "--out": out,
        "--layers": 1,
        "--gammas": 1,
        "--keep-rise": 0,
        "--keep-probe": 0,
    }
    given |= {f"--{name}": value for name, value in overrides.items()}
    return ["edit", "safety", *(str(x) for pair in given.items() for x in pair), *map(str, more)]


def test_an_edited_model_is_undone_bit_for_bit(made, tmp_path, capfd):
    out = tmp_path / "edited"
    main(flags(made, out))
    said = capfd.readouterr()
    assert "layer 1 gate" in said.err
    before, after = (load_file(folder / "model.safetensors") for folder in (made / "model", out))
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "model.layers.1.mlp.gate_up_proj.weight"
    ]
    (out / "mine.txt").write_text("x")
    main(["edit", "undo", str(out)])
    restored = load_file(out / "model.safetensors")
    assert all(torch.equal(before[name], restored[name]) for name in before)
    left = {path.name for path in out.iterdir()}
    assert left == {path.name for path in (made / "model").iterdir()} | {"mine.txt"}
    assert "There is no" in refusal(capfd, "edit", "undo", out)


def test_an_adapter_is_written(made, tmp_path):
    main(flags(made, tmp_path / "lora", "--as", "lora"))
    assert {path.name for path in (tmp_path / "lora").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "report.json",
        "README.md",
        "spectrum.png",
    }
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(made / "model")


def test_an_edited_model_is_not_edited_again(made, tmp_path, capfd):
    main(flags(made, tmp_path / "once"))
    capfd.readouterr()
    said = refusal(capfd, *flags(made, tmp_path / "twice", model=tmp_path / "once"))
    assert "is an edited model; undo it first" in said
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model": "./nowhere"}, ["./nowhere", "does not exist"]),
        ({"anchors": "nowhere.jsonl"}, ["nowhere.jsonl does not exist"]),
        ({"english": "fr"}, ["no harmful prompt in 'fr'", "en, bn, he"]),
        ({"layers": 9}, ["layers=[9]", "0 to 2"]),
        ({"ranks": 0}, ["ranks=(0,)", "at least 1"]),
        ({"languages": "ja"}, ["no harmful prompts in ja"]),
        ({"held-out": 2}, ["held_out=2.0"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_option_is_one_sentence_and_nothing_is_written(made, tmp_path, capfd, overrides, words):
    said = refusal(capfd, *flags(made, tmp_path / "out", **overrides))
    for word in words:
        assert word in said
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(made, tmp_path, capfd):
    (tmp_path / "x").write_text("mine")
    assert "not empty" in refusal(capfd, *flags(made, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_help_and_unknown_commands(capfd):
    main(["edit"])
    assert "undo FOLDER" in capfd.readouterr().out
    assert "safety, undo, measure" in refusal(capfd, "edit", "redo")


def measuring(made, out, **more):
    given = {"--model": made / "model", "--max-tokens": 2, "--out": out} | {f"--{k}": v for k, v in more.items()}
    return ["edit", "measure", *(str(each) for pair in given.items() for each in pair)]


def test_attacks_are_measured_once(made, tmp_path, capfd, monkeypatch):
    """The guard is the tiny model itself, which says neither safe nor unsafe: nothing is judged, and that is shown."""
    asked = []
    monkeypatch.setattr(TransformersChat, "__call__", heard(TransformersChat.__call__, asked))
    flags = measuring(made, tmp_path / "m", prompts=made / "few.jsonl", guard=made / "model")
    main(flags)
    said = capfd.readouterr().err
    assert "unjudged" in said
    assert "bn" in said
    result = json.loads((tmp_path / "m" / "result.json").read_text())
    assert result["attacks"]["bn"]["unjudged"] == 6
    assert len(result["verdicts"]) == 18
    assert (tmp_path / "m" / "result.png").stat().st_size > 0
    many = len(asked)
    assert many > 18
    main(flags)
    assert len(asked) == many, "replies that are there are not asked for again"
    os.utime(made / "model" / "config.json")
    main(flags)
    assert len(asked) == 2 * many, "a folder that was written since holds another model"


def heard(call, into):
    async def told(self, messages, **options):
        into.append(messages)
        return await call(self, messages, **options)

    return told


def test_replies_that_came_before_a_failure_are_kept(made, tmp_path, capfd, monkeypatch):
    call, asked = TransformersChat.__call__, []

    async def breaks(self, messages, **options):
        if len(asked) == 7:
            raise ChatError("the server is gone")
        asked.append(messages)
        return await call(self, messages, **options)

    monkeypatch.setattr(TransformersChat, "__call__", breaks)
    flags = measuring(made, tmp_path / "m", prompts=made / "few.jsonl", guard=made / "model")
    with pytest.raises(SystemExit) as stopped:
        main(flags)
    assert stopped.value.code == 2
    assert capfd.readouterr().err.endswith("posttrain: the server is gone\n")
    monkeypatch.setattr(TransformersChat, "__call__", heard(call, asked))
    main(flags)
    first, again = [str(each) for each in asked[:7]], [str(each) for each in asked[7:]]
    assert not {*first} & {*again}


def test_sums_are_measured(made, tmp_path, capfd):
    (tmp_path / "mgsm_bn.tsv").write_text("abc\t3\n")
    main(measuring(made, tmp_path / "m", mgsm=tmp_path / "mgsm_bn.tsv"))
    assert "MGSM" in capfd.readouterr().err
    assert (tmp_path / "m" / "result.png").stat().st_size > 0
    assert "nothing to measure" in refusal(capfd, "edit", "measure", "--model", made / "model")
    assert "go together" in refusal(capfd, "edit", "measure", "--model", made / "model", "--prompts", made / "a.jsonl")
