"""The command line as its users meet it: in a process of its own, or called and watched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.cli import main

LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from posttrain.cli import main
main()
"""
"""The command line on a disk that takes no file of more than `limit` bytes."""


def environment(**more: str) -> dict[str, str]:
    """One thread, no network, errors as sentences."""
    kept = {name: value for name, value in os.environ.items() if name != "POSTTRAIN_TRACEBACK"}
    return kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | more


def run(*arguments: object, cwd: Path | None = None, file_limit: int | None = None, processes: int = 1):
    """`posttrain ARGUMENTS...` in a process of its own."""
    start = [sys.executable, "-m", "posttrain"]
    if file_limit is not None:
        start = [sys.executable, "-c", LIMITED, str(file_limit)]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
        start = [sys.executable, *launcher, "-m", "posttrain"]
    return subprocess.run(
        [*start, *map(str, arguments)],
        cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def done(*arguments: object, **kwargs):
    """The same, and it must succeed."""
    finished = run(*arguments, **kwargs)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished


def refusal(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command line says when it refuses: one line on stderr, exit code 2."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return sentence(stopped.value.code, capfd.readouterr().err)


def sentence(code: object, stderr: str) -> str:
    """The one sentence of an error, without the prefix."""
    assert code == 2, stderr
    assert "Traceback" not in stderr
    assert stderr.startswith("posttrain: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1, stderr
    return stderr.removeprefix("posttrain: ").strip()


def write_rows(path: Path, rows: list) -> Path:
    """Rows as JSON Lines; a text is a line as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
