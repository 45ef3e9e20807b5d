"""A disk that fills up while a run writes: one sentence, and nothing half-written is left behind.

The system's limit on file sizes makes writing fail for real, at the size that each test needs.
"""

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

import tiny
from commandline import run, write_rows
from posttrain.cli import main
from posttrain.commands.show import run_picture
from posttrain.files import WriteError


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.saved(folder / "student", 0, scale=3.0)
    tiny.saved(folder / "teacher", 7, scale=3.0)
    write_rows(folder / "rows.jsonl", [{**row, "answer": "a"} for row in tiny.rows(4)])
    return folder


@pytest.fixture(scope="module")
def weights(models) -> int:
    """Bytes of a saved model; the optimiser's file is about twice as large."""
    return (models / "student/model.safetensors").stat().st_size


def flags(models: Path, out: Path, *more: object) -> list[object]:
    return [
        "train", "rlad", "--model", models / "student", "--teacher", models / "teacher", "--dataset",
        models / "rows.jsonl", "--output-dir", out, "--prompts", 2, "--group-size", 2, "--max-completion", 4, *more,
    ]  # fmt: skip


@contextmanager
def disk(limit: int):
    """No file may grow beyond `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def done(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def refused(capsys, *arguments: object, limit: int) -> str:
    """The last line of a run that failed as it should; before it there may be progress."""
    capsys.readouterr()
    with disk(limit), pytest.raises(SystemExit) as stopped:
        done(*arguments)
    return last_line(stopped.value.code, capsys.readouterr().err)


def last_line(code: object, stderr: str) -> str:
    assert code == 2, stderr
    assert "Traceback" not in stderr
    said = stderr.splitlines()
    assert [line.startswith("posttrain: ") for line in said].count(True) == 1
    assert said[-1].endswith("free some space or choose another folder.")
    return said[-1]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_settings(models, tmp_path, capsys):
    assert "settings.json could not be written (File too large)" in refused(
        capsys, *flags(models, tmp_path / "out", "--steps", 2), limit=300
    )
    assert files(tmp_path) == {}


def test_log_in_a_process_of_its_own(models, tmp_path):
    failed = run(*flags(models, tmp_path / "out", "--steps", 12), file_limit=6000)
    assert "log.jsonl could not be written (File too large)" in last_line(failed.returncode, failed.stderr)
    left = files(tmp_path / "out")
    assert set(left) == {"settings.json", "log.jsonl"}
    steps = [json.loads(line)["step"] for line in left["log.jsonl"].splitlines()]
    assert 0 < len(steps) < 12
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("share", [0.5, 1.5], ids=["the model's file", "the optimiser's file"])
def test_checkpoint(models, weights, tmp_path, capsys, share):
    out, save = tmp_path / "out", ("--save-every", 1)
    done(*flags(models, out, "--steps", 2, *save))
    before = {name: value for name, value in files(out).items() if name.startswith(("checkpoint", "model"))}
    said = refused(capsys, *flags(models, out, "--steps", 4, *save, "--resume"), limit=int(share * weights))
    assert "out/checkpoint-3 could not be written (" in said
    assert sorted(path.name for path in out.iterdir() if "checkpoint" in path.name) == ["checkpoint-1", "checkpoint-2"]
    assert before.items() <= files(out).items()
    done(*flags(models, out, "--steps", 4, *save, "--resume"))
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(steps)) == [1, 2, 3, 4]
    assert (out / "checkpoint-4/trainer_state.json").is_file()


def test_final_model(models, weights, tmp_path, capsys):
    out = tmp_path / "out"
    done(*flags(models, out, "--steps", 1, "--save-every", 0))
    before = {name: value for name, value in files(out).items() if name.startswith("model")}
    said = refused(
        capsys, *flags(models, out, "--steps", 1, "--seed", 1, "--save-every", 0, "--resume"), limit=weights // 2
    )
    assert "out/model could not be written (" in said
    assert {name: value for name, value in files(out).items() if "model" in name} == before


def test_picture(tmp_path):
    lines = [{"step": i, "reward": i / 9} for i in range(9)]
    run_picture(lines, tmp_path / "curve.png", "a")
    before = files(tmp_path)
    assert len(before["curve.png"]) > 2000
    with disk(2000), pytest.raises(WriteError, match=r"curve\.png could not be written \(File too large\)"):
        run_picture(lines, tmp_path / "curve.png", "another")
    assert files(tmp_path) == before
