"""The log has what was done, whatever happens to the process."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from posttrain.files import WriteError
from posttrain.guard.audit import AuditLog, records


def test_what_was_appended_is_there_in_order(tmp_path):
    path = tmp_path / "a" / "log.jsonl"
    with AuditLog(path) as log:
        for i in range(5):
            log.append({"i": i})
    with AuditLog(path, durability="power") as log:
        log.append({"i": 5})
    assert [record["i"] for record in records(path)] == list(range(6))


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_line_that_a_crash_cut_short_is_taken_off(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    whole = b'{"i":0}\n'
    path.write_bytes(whole + b'{"i":1111}'[:cut])
    assert [record["i"] for record in records(path)] == [0]
    with AuditLog(path) as log:
        log.append({"i": 2})
    assert path.read_bytes() == whole + b'{"i":2}\n'


def test_a_log_of_nothing_but_a_cut_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * (1 << 21))
    with AuditLog(path) as log:
        log.append({"i": 0})
    assert path.read_bytes() == b'{"i":0}\n'


def test_an_edited_line_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"i":0}\nnonsense\n{"i":2}\n')
    with pytest.raises(ValueError, match="line 2 is no JSON"):
        list(records(path))


def test_there_is_one_writer(tmp_path):
    with AuditLog(tmp_path / "log.jsonl"), pytest.raises(WriteError, match="held by another process"):
        AuditLog(tmp_path / "log.jsonl")


def test_a_full_disk_is_an_error_and_leaves_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    with AuditLog(path) as log:
        log.append({"i": 0})
        real = log.file

        class Full:
            def __init__(self, room):
                self.room = room

            def write(self, line):
                if not self.room:
                    raise OSError(28, "No space left on device")
                given, self.room = line[: self.room], self.room - len(line[: self.room])
                return real.write(given)

            def __getattr__(self, name):
                return getattr(real, name)

        log.file = Full(room=4)
        with pytest.raises(WriteError, match="No space left on device"):
            log.append({"i": 1})
        log.file = real
        log.append({"i": 2})
    assert [record["i"] for record in records(path)] == [0, 2]


WRITER = """
import sys
from pathlib import Path
from posttrain.guard.audit import AuditLog
log = AuditLog(Path(sys.argv[1]))
i = 0
while True:
    log.append({"i": i, "text": "x" * (i % 700)})
    print(i, flush=True)
    i += 1
"""


def test_what_a_killed_writer_said_it_wrote_is_there(tmp_path):
    path = tmp_path / "log.jsonl"
    said = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            said.append(int(line))
            if int(line) >= 50:
                break
        time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.wait()
        process.stdout.close()
    written = [record["i"] for record in records(path)]
    assert len(written) >= len(said)
    assert all(json.dumps(i) for i in said)
    starts = [i for i, value in enumerate(written) if value == 0]
    assert len(starts) == 3
    for start, end in zip(starts, [*starts[1:], len(written)], strict=True):
        assert written[start:end] == list(range(end - start))


@pytest.mark.parametrize("line", ["5", "[]", "null", "[" * 100_000])
def test_a_line_that_is_no_record_is_said_with_its_number(line, tmp_path):
    (tmp_path / "log").write_text(f'{{"a": 1}}\n{line}\n')
    with pytest.raises(ValueError, match=r"line 2 is no (record|JSON); was the log edited"):
        list(records(tmp_path / "log"))
