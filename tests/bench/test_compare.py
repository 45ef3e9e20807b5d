"""A tiny comparison of shipped models: what it writes, that it is fair, and that it survives a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from commandline import environment
from posttrain.bench import compare, job
from posttrain.cli import main
from posttrain.files import read_lines
from posttrain.rl.engines.trl import RecipeTrainer

ARMS = ["grpo", "rlad:alpha=0.3"]
SIZE = ["--steps", 4, "--seeds", 2, "--eval-rows", 8, "--eval-every", 2, "--prompts", 2, "--group-size", 4]


@dataclass(frozen=True)
class Finished:
    """A comparison that was killed with kill -9 after its first run and then taken up again."""

    folder: Path
    flags: list[str]
    done_before: dict[str, tuple[bytes, int]]
    orphans: int


def logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/seed-*.jsonl"))


def session_of(pid: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for(condition, seconds: float):
    """Poll until `condition()` is true; its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    folder = tmp_path_factory.mktemp("bench") / "out"
    flags = [str(x) for x in ("compare", *ARMS, *SIZE, "--workers", 1, "--out", folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "posttrain", *flags], env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert wait_for(lambda: [log for log in logs(folder) if compare.is_done(log)], 120), "no run was finished"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not session_of(process.pid), 5)
    orphans = session_of(process.pid)
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    before = {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in logs(folder) if compare.is_done(p)}
    assert 1 <= len(before) < 4
    main(flags)
    return Finished(folder, flags, before, len(orphans))


def test_a_killed_comparison_leaves_no_worker_behind(finished):
    assert finished.orphans == 0


def test_only_what_was_missing_is_done_again(finished):
    assert len(logs(finished.folder)) == 4
    assert all(compare.is_done(log) for log in logs(finished.folder))
    for path, (content, touched) in finished.done_before.items():
        assert Path(path).read_bytes() == content
        assert Path(path).stat().st_mtime_ns == touched


def test_a_finished_comparison_only_summarises(finished):
    before = {p: p.stat().st_mtime_ns for p in logs(finished.folder)}
    main(finished.flags)
    assert {p: p.stat().st_mtime_ns for p in logs(finished.folder)} == before


def test_the_result_says_what_was_measured_where_and_how_often(finished):
    result = json.loads((finished.folder / "result.json").read_text())
    for key in ("commit", "date", "machine", "torch", "trl", "transformers"):
        assert result[key]
    assert result["seeds"] == [10, 11]
    assert result["n"] == 2
    assert result["first"] == "grpo"
    assert result["config"]["arms"] == list(result["arms"]) == ARMS
    assert {"task", "steps", "learning_rate", "prompts", "group_size", "inner_steps", "noise"} <= set(result["config"])
    for arm in result["arms"].values():
        for key in ("auc", "final", "final_teacher_kl", "auc_minus_first", "final_minus_first"):
            assert set(arm[key]) >= {"mean", "low", "high", "n"}
            assert arm[key]["n"] == 2
            assert arm[key]["low"] <= arm[key]["mean"] <= arm[key]["high"]
        assert arm["steps"] == [0, 2, 4]
        assert [len(curve) for curve in arm["curves"]] == [3, 3]
        assert len(arm["auc_by_seed"]) == len(arm["final_by_seed"]) == 2
        assert set(arm["final_by_group"]) == {"2 people", "3 people"}
        assert arm["tokens"] > 0
        assert arm["seconds"] > 0
    first = result["arms"]["grpo"]
    assert (first["auc_minus_first"]["mean"], first["auc_minus_first"]["wins"]) == (0, 0)
    assert [curve[0] for curve in first["curves"]] == [curve[0] for curve in result["arms"][ARMS[1]]["curves"]]


def test_the_picture_is_whole(finished):
    assert (finished.folder / "result.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    assert sorted(p.name for p in finished.folder.iterdir() if p.is_file()) == [
        "measured.json", "result.json", "result.png", "shared.json",
    ]  # fmt: skip


def one(tmp_path: Path, arm: str, name: str, **overrides) -> list[dict]:
    """One run in this process; its log without clocks."""
    config = compare.CompareConfig((arm,), steps=3, eval_rows=8, eval_every=3, prompts=2, group_size=4, **overrides)
    log = tmp_path / f"{name}.jsonl"
    job.run(job.Job(arm=arm, seed=10, log=log, **config.shared()))
    clocks = ("time", "runtime", "per_second", "seconds", "profiling")
    return [{k: v for k, v in line.items() if not any(c in k for c in clocks)} for line in read_lines(log)]


def test_the_same_seed_twice_gives_the_same_run(tmp_path):
    assert one(tmp_path, "rlad", "a") == one(tmp_path, "rlad", "b")


def test_all_arms_see_the_same_prompts(tmp_path, monkeypatch):
    plain, seen = RecipeTrainer._generate_and_score_completions, []

    def watched(self, inputs):
        if self.model.training:
            seen.append([row["prompt"] for row in inputs])
        return plain(self, inputs)

    monkeypatch.setattr(RecipeTrainer, "_generate_and_score_completions", watched)
    prompts = {}
    for arm in ("grpo", "rlad", "kdrl:beta=0.2"):
        one(tmp_path, arm, arm.replace(":", "+"))
        prompts[arm] = list(seen)
        seen.clear()
    assert prompts["grpo"] == prompts["rlad"] == prompts["kdrl:beta=0.2"]
    assert len({prompt for batch in prompts["grpo"] for prompt in batch}) > 2


def test_a_noisy_teacher_changes_the_run_and_only_where_there_is_one(tmp_path):
    def learning(lines):
        return [line for line in lines if "reward" in line]

    clean, noisy = (learning(one(tmp_path, "rlad", f"n{share}", noise=share)) for share in (0.0, 1.0))
    assert clean[0]["reward"] == noisy[0]["reward"]
    assert clean[0]["teacher/kl"] != noisy[0]["teacher/kl"]
    alone = [learning(one(tmp_path, "grpo", f"g{share}", noise=share)) for share in (0.0, 1.0)]
    assert alone[0] == alone[1]


def test_a_full_disk_leaves_the_old_result(finished, capsys):
    import resource

    before = {p.name: p.read_bytes() for p in finished.folder.iterdir() if p.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, name in ((1000, "result.json"), (20_000, "result.png")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(SystemExit) as stopped:
                main(finished.flags)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert stopped.value.code == 2
        assert f"{name} could not be written (File too large); free some space" in capsys.readouterr().err
        after = {p.name: p.read_bytes() for p in finished.folder.iterdir() if p.is_file()}
        assert after.keys() == before.keys()
        assert after["result.png"] == before["result.png"]
        assert json.loads(after["result.json"])["n"] == 2
