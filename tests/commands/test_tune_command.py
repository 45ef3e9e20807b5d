"""`posttrain tune`: value-only with its report, arms, coverage, and one sentence for bad input."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import decoders
import tiny
from posttrain.commands.tune import main
from posttrain.projections import attention
from posttrain.tune.coverage import COVERED, REFUSED

L = tiny.LETTERS


def rows(low, high, tasks):
    return [
        {"prompt": L[i % 16] + L[3 * i % 16], "completion": L[(i + k) % 16], "task": task}
        for i in range(low, high)
        for k, task in enumerate(tasks)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tune")
    decoders.build("bloom", scale=3).save_pretrained(path / "model")
    tiny.tokenizer().save_pretrained(path / "model")
    for name, data in (("train", rows(0, 12, ["own"])), ("test", rows(12, 20, ["own", "else", "swapped"]))):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    return path


def value_only(folder, out, *more):
    flags = ["--model", folder / "model", "--dataset", folder / "train.jsonl", "--out", out, "--cpu", "--rank", 4,
             "--steps", 4, "--batch", 4, "--micro-batch", 2, "--learning-rate", 1e-2, "--separator", "b"]  # fmt: skip
    main(["value-only", *map(str, [*flags, *more])])


def test_value_only_end_to_end(folder, tmp_path, capfd):
    out = tmp_path / "out"
    test = ["--test", folder / "test.jsonl", "--opposite", "swapped", "--report-shots", 0, 2]
    value_only(folder, out, *test, "--few-shot-weight", "linear", "--shots", 2, "--save", "model")
    shown = capfd.readouterr().err
    assert "own (target)" in shown
    assert "else (unrelated)" in shown
    result = json.loads((out / "result.json").read_text())
    assert {task: of["kind"] for task, of in result["tasks"].items()} == {
        "own": "target", "swapped": "opposite", "else": "unrelated",
    }  # fmt: skip
    assert (out / "result.png").read_bytes().startswith(b"\x89PNG")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["few_shot_weight"] for line in log if "loss" in line] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (folder / "model", out / "model"))
    for each in attention(after):
        assert torch.equal(each.weight(before), each.weight(after)) == (each.part != "v")


def test_an_adapter_is_written_and_an_earlier_run_is_not_overwritten(folder, tmp_path):
    from peft import PeftModel

    value_only(folder, tmp_path / "out", "--save-every", 2)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "model"), tmp_path / "out/adapter")
    with pytest.raises(ValueError, match="earlier run; go on with --resume"):
        value_only(folder, tmp_path / "out")
    (tmp_path / "out/adapter/adapter_config.json").unlink()
    value_only(folder, tmp_path / "out", "--resume")
    assert (tmp_path / "out/adapter/adapter_config.json").is_file()


def test_arms_end_to_end(folder, tmp_path, capfd):
    flags = ["arms", "--model", folder / "model", "--dataset", folder / "train.jsonl", "--test", folder / "test.jsonl",
             "--out", tmp_path / "arms", "--cpu", "--rank", 8, "--steps", 2, "--batch", 4, "--learning-rates", 1e-3,
             1e-2, "--choosing", 0, "--measuring", 10, 11, "--arms", "v", "q k", "--report-shots", 0, 2,
             "--separator", "b"]  # fmt: skip
    main([str(flag) for flag in flags])
    result = json.loads((tmp_path / "arms/result.json").read_text())
    assert set(result["arms"]) == {"v", "q k"}
    assert [of["measured"]["target, 0 shots"]["n"] for of in result["arms"].values()] == [2, 2]
    lines = (tmp_path / "arms/runs.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 2 * (2 + 2)
    assert not (tmp_path / "arms/run").exists()
    assert "q k" in capfd.readouterr().err
    main([str(flag) for flag in flags])
    assert (tmp_path / "arms/runs.jsonl").read_text().splitlines() == lines


def test_coverage(capsys):
    main(["coverage"])
    shown = capsys.readouterr().out
    assert all(family.name.split(",")[0].split()[0] in shown for family in COVERED)
    assert "refused" in shown


def test_help(capsys):
    main([])
    assert "value-only" in capsys.readouterr().out


def test_an_unknown_command_is_refused():
    with pytest.raises(ValueError, match="no tuning 'grow'"):
        main(["grow"])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [([], "--test is needed"), (["--test", "t", "--arms", "q w"], "is no subset of q k v o")],
)
def test_arms_that_cannot_be(capfd, more, sentence):
    with pytest.raises(SystemExit):
        main(["arms", "--model", "m", "--dataset", "d.jsonl", *more])
    assert sentence in " ".join(capfd.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--opposite", "nowhere"], "no row of --test is of this task"),
        (["--chat", "True"], "has none"),
        (["--columns.answer", "reply"], "no column 'reply'"),
        (["--layers", "7"], "from 0 to 1"),
        (["--few-shot-weight", "linear", "--shots", "99"], "'own' has 12 rows"),
    ],
)
def test_bad_input(folder, tmp_path, more, match):
    with pytest.raises(ValueError, match=match):
        value_only(folder, tmp_path / "out", *more)


def test_the_docs_have_the_same_table():
    page = (Path(__file__).parents[2] / "docs/value-only.md").read_text()
    for family in COVERED:
        assert f"| {family.name} | {family.models} |" in page
        assert f"| {family.layout} |" in page
    for row in REFUSED:
        assert "| " + " | ".join(row) + " |" in page
