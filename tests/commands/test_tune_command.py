"""`posttrain tune`: value-only with its report, arms, coverage, and one sentence for bad input."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import commandline
import decoders
import tiny
from posttrain.commands.tune import main
from posttrain.projections import attention
from posttrain.tune.coverage import COVERED, REFUSED
from posttrain.tune.run import TuneRun, split

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


def value_only_flags(folder, out, *more):
    flags = ["--model", folder / "model", "--dataset", folder / "train.jsonl", "--out", out, "--cpu", "--rank", 4,
             "--steps", 4, "--batch", 4, "--micro-batch", 2, "--learning-rate", 1e-2, "--separator", "b"]  # fmt: skip
    return [str(each) for each in [*flags, *more]]


def value_only(folder, out, *more):
    main(["value-only", *value_only_flags(folder, out, *more)])


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


def test_a_run_goes_on_only_as_what_it_was(folder, tmp_path):
    out = tmp_path / "out"
    value_only(folder, out, "--save-every", 2)
    written = (out / "adapter/adapter_model.safetensors").read_bytes()
    for more, name in (
        (["--rank", 8], "values"),
        (["--dataset", folder / "test.jsonl"], "dataset"),
        (["--steps", 6], "steps"),
    ):
        with pytest.raises(ValueError, match=f"is of a run with another {name} .* go on with the same"):
            value_only(folder, out, "--resume", *more)
    assert (out / "adapter/adapter_model.safetensors").read_bytes() == written


def test_a_run_without_checkpoints_is_not_trained_over(folder, tmp_path, capfd):
    out = tmp_path / "out"
    value_only(folder, out, "--save-every", 0)
    with pytest.raises(ValueError, match="has ended and kept no checkpoint"):
        value_only(folder, out, "--resume", "--save-every", 0)
    shutil.rmtree(out / "adapter")
    value_only(folder, out, "--resume", "--save-every", 0)
    assert "has no checkpoint yet: it starts from the first step" in capfd.readouterr().err
    assert (out / "adapter").is_dir()


def test_a_model_is_saved_in_the_type_that_it_came_in(folder, tmp_path):
    source = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.bfloat16).save_pretrained(source)
    tiny.tokenizer().save_pretrained(source)
    for update in ("lora", "full"):
        value_only(folder, tmp_path / update, "--model", source, "--save", "model", "--update", update)
        before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (source, tmp_path / update / "model"))
        assert after.dtype == torch.bfloat16
        for each in attention(after):
            assert torch.equal(each.weight(before), each.weight(after)) == (each.part != "v")


def test_two_processes_write_one_adapter(folder, tmp_path):
    """The same training as in one process; each file is written once."""
    test = ["--test", folder / "test.jsonl", "--report-shots", 0, "--steps", 3]
    value_only(folder, tmp_path / "one", *test)
    flags = value_only_flags(folder, tmp_path / "two", *test)
    commandline.done("tune", "value-only", *flags, processes=2)
    one, two = (load_file(tmp_path / name / "adapter/adapter_model.safetensors") for name in ("one", "two"))
    assert list(one) == list(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1])
    for first, second in zip(*(map(json.loads, log) for log in logs), strict=True):
        if "zero_shot_loss" in first:
            assert second["zero_shot_loss"] == pytest.approx(first["zero_shot_loss"], rel=1e-4)


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
    other = {
        "dataset": ["--dataset", folder / "test.jsonl"],
        "report_shots": ["--report-shots", 0],
        "few_shot": ["--shots", 3],
    }
    for name, more in other.items():
        with pytest.raises(ValueError, match=f"runs of another {name}"):
            main([str(flag) for flag in [*flags, *more]])


@pytest.mark.parametrize(
    ("test", "more", "match"),
    [
        ([("else", 4)], [], "No task of --test .else. is one of the data set's .own."),
        ([("own", 1)], [], "'own' has one row in --test"),
        ([("own", 8)], ["--report-shots", 0, 4], "'own' has 3 other rows to draw examples from, and 4"),
        ([("own", 8)], ["--few-shot-weight", "linear", "--shots", 20], "and 20 examples are needed"),
    ],
)
def test_arms_are_told_before_anything_is_trained(folder, tmp_path, monkeypatch, test, more, match):
    monkeypatch.setattr("posttrain.tune.run.trainer", None)
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for task, n in test for row in rows(0, n, [task])))
    flags = ["arms", "--model", folder / "model", "--dataset", folder / "train.jsonl", "--test", path, "--cpu",
             "--out", tmp_path / "arms", "--rank", 8, "--arms", "v", "q k", *more]  # fmt: skip
    with pytest.raises(ValueError, match=match):
        main([str(flag) for flag in flags])


def test_arms_choose_their_own_rates(capsys):
    with pytest.raises(SystemExit):
        main(["arms", "--help"])
    shown = capsys.readouterr().out
    assert "--learning-rates" in shown
    assert not {"--learning-rate", "--seed", "--save-every"} & {*shown.split()}


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
        (["--opposite", "nowhere"], "no row of --test is of this task; it has "),
        (["--chat", "True"], "has none"),
        (["--columns.answer", "reply"], "no column 'reply'"),
        (["--layers", "7"], "from 0 to 1"),
        (["--max-length", "2"], r"Row \d+ has \d+ tokens, and max_length is 2; raise it"),
        (["--test", "TRAIN", "--opposite", "own"], "the data set has this task, so it is a target"),
        (["--test", "TRAIN", "--report-shots", "30"], "'own' has 11 other rows"),
        (["--few-shot-weight", "linear", "--shots", "99"], "'own' has 11 rows with other prompts"),
    ],
)
def test_bad_input(folder, tmp_path, more, match):
    with pytest.raises(ValueError, match=match):
        value_only(folder, tmp_path / "out", *(folder / "train.jsonl" if each == "TRAIN" else each for each in more))


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "expected"),
    [(16, 4, 1, (4, 4)), (16, 4, 2, (4, 2)), (4, 8, 2, (2, 1)), (6, 3, 2, (3, 1))],
)
def test_a_batch_is_shared(batch, micro, processes, expected):
    assert split(TuneRun(batch=batch, micro_batch=micro), processes) == expected


@pytest.mark.parametrize(("batch", "micro", "processes"), [(4, 2, 3), (12, 4, 2), (1, 1, 2)])
def test_a_batch_that_cannot_be_shared_is_told(batch, micro, processes):
    with pytest.raises(ValueError, match=f"by {processes} processes .* a multiple of {processes * micro}"):
        split(TuneRun(batch=batch, micro_batch=micro), processes)


def test_the_docs_have_the_same_table():
    page = (Path(__file__).parents[2] / "docs/value-only.md").read_text()
    for family in COVERED:
        assert f"| {family.name} | {family.models} |" in page
        assert f"| {family.layout} |" in page
    for row in REFUSED:
        assert "| " + " | ".join(row) + " |" in page
