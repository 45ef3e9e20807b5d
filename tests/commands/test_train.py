"""`posttrain train` in this process: what it does around the training."""

from accelerate import PartialState

import tiny
from commandline import write_rows
from posttrain.cli import main


def test_processes_part_once_everything_is_saved(tmp_path, monkeypatch):
    """A process group that is still there at exit can abort a process that has done its work."""
    student = tiny.saved(tmp_path / "student")
    rows = write_rows(tmp_path / "rows.jsonl", [{**row, "answer": "a"} for row in tiny.rows(2)])
    out, seen = tmp_path / "out", []
    monkeypatch.setattr(
        PartialState, "destroy_process_group", lambda _: seen.append((out / "model/config.json").is_file())
    )  # fmt: skip
    main([str(x) for x in (
        "train", "grpo", "--model", student, "--dataset", rows, "--output-dir", out, "--steps", 1, "--prompts", 1,
        "--group-size", 2, "--max-completion", 2,
    )])  # fmt: skip
    assert seen == [True]
