"""Files are whole or not there, and a log loses nothing but a line that was cut short."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.files import WriteError, append_line, read_lines, rewrite_lines, whole, write_json, write_whole, writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def limited(code: str, *arguments: object, limit: int = 1000) -> subprocess.CompletedProcess[str]:
    """Run a program on a disk that takes no file of more than `limit` bytes."""
    start = f"import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    imports = "from pathlib import Path\nfrom posttrain.files import *\n"
    return subprocess.run(
        [sys.executable, "-c", start + imports + code, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_json_is_written_whole_with_its_folders(tmp_path):
    path = write_json(tmp_path / "a/b/result.json", {"x": [1, 2.5]})
    assert json.loads(path.read_text()) == {"x": [1, 2.5]}
    assert names(path.parent) == ["result.json"]


def test_what_cannot_be_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "r.json", {"x": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "r.json", {"x": object()})
    assert json.loads((tmp_path / "r.json").read_text()) == {"x": 1}
    assert names(tmp_path) == ["r.json"]


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / "r.txt", "old")

    def interrupted() -> None:
        with whole(tmp_path / "r.txt") as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "r.txt").read_text() == "old"
    assert names(tmp_path) == ["r.txt"]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path):
    write_whole(tmp_path / "r.txt", "old")
    failed = limited("write_whole(Path(sys.argv[1]), 'x' * 5000)", tmp_path / "r.txt")
    assert failed.stderr.splitlines()[-1] == (
        f"posttrain.files.WriteError: {tmp_path}/r.txt could not be written (File too large); "
        "free some space or choose another folder."
    )
    assert (tmp_path / "r.txt").read_text() == "old"
    assert names(tmp_path) == ["r.txt"]


def test_a_log_line_that_does_not_fit_is_taken_back(tmp_path):
    code = "for i in range(100): append_line(Path(sys.argv[1]), {'step': i, 'text': 'y' * 200})"
    failed = limited(code, tmp_path / "log.jsonl")
    assert "log.jsonl could not be written (File too large)" in failed.stderr
    text = (tmp_path / "log.jsonl").read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [0, 1, 2, 3]
    assert text.endswith("\n")


def test_a_log_grows_line_by_line(tmp_path):
    for step in range(3):
        append_line(tmp_path / "deep/log.jsonl", {"step": step, "name": "é"})
    assert [line["step"] for line in read_lines(tmp_path / "deep/log.jsonl")] == [0, 1, 2]


def test_a_last_line_that_a_kill_cut_short_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "rew')
    assert [line["step"] for line in read_lines(path)] == [1, 2]


def test_there_is_nothing_in_a_log_that_is_not_there(tmp_path):
    assert list(read_lines(tmp_path / "none.jsonl")) == []


def test_a_log_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    rewrite_lines(path, list(read_lines(path))[:1])
    assert path.read_text() == '{"step": 1}\n'


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(WriteError, match=r"taken/r\.json could not be written \((Not a directory|File exists)\)"):
        write_json(tmp_path / "taken/r.json", {})


def test_errors_of_libraries_are_translated_once(tmp_path):
    full = r"^a could not be written \(No space left on device\); free some space"
    with pytest.raises(WriteError, match=full), writing(Path("b")), writing(Path("a")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for code, advice in ((errno.EISDIR, "name"), (errno.ENOENT, "there"), (errno.EACCES, "may write")):
        with pytest.raises(WriteError, match=advice) as error, writing(Path("a")):
            raise OSError(code, os.strerror(code))
        assert "space" not in str(error.value)
    with pytest.raises(WriteError, match=r"a could not be written \(first\)"), writing(Path("a"), RuntimeError):
        raise RuntimeError("first\nsecond")
    with pytest.raises(RuntimeError, match=r"^mine$"), writing(Path("a")):
        raise RuntimeError("mine")
