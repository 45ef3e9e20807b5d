"""A run that was killed goes on as if it had not been."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

import tiny
from engines import runs
from posttrain.rl import Credit, Memory, Method, ceeh, grpo, rlad, second_order
from posttrain.rl.engines import resume
from posttrain.rl.math import group_advantages

STEPS = 20
WINDOW = {"num_iterations": 2, "save_strategy": "steps", "save_steps": 3, "max_steps": STEPS}
"""Twelve prompts, two a step, each used twice: an epoch is 12 steps, and checkpoints are due in mid-window."""


@dataclass(frozen=True)
class Counting(Method):
    """Advantages that depend on how many generations the method has seen."""

    name = "counting"

    def initial_state(self):
        return {"seen": 0}

    def credit(self, table, state):
        grown = group_advantages(table.rewards, table.group) * (1 + 0.2 * state["seen"])
        return Credit(grown, metrics={"seen": float(state["seen"])})

    def remember(self, table, state):
        return Memory({"seen": state["seen"] + 1})


RECIPES = {
    "teacher": lambda: rlad(tiny.model(7, scale=3.0)) | Counting(),
    "history": lambda: ceeh(kl_beta=0) | second_order(**runs.CRITIQUES),
}
"""A teacher in the ratio and a credit with memory; or a history of every prompt and a cache of answers."""


def lines(trained, after: int) -> list[dict]:
    """What was logged after a step, without clocks."""
    clocks = ("time", "runtime", "per_second", "profiling", "flos", "train_loss")
    return [
        {k: v for k, v in line.items() if not any(clock in k for clock in clocks)}
        for line in trained.state.log_history
        if line["step"] > after
    ]


def start(folder: Path, name: str = "teacher", **overrides):
    """A trainer that saves."""
    rewards = runs.at_least_two if name == "history" else tiny.early_letters
    return runs.trainer(folder, RECIPES[name](), rewards=rewards, **(WINDOW | overrides))


class KillAt(TrainerCallback):
    """Ends the process the hard way."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Twenty steps in one go, with each recipe."""
    trained = {}
    for name in RECIPES:
        trained[name] = start(tmp_path_factory.mktemp(name), name)
        trained[name].train()
    return trained


@pytest.fixture(scope="module")
def unbroken(whole):
    """The one with a teacher."""
    return whole["teacher"]


def test_checkpoints_fall_on_generation_boundaries(unbroken):
    found = sorted(int(p.name.split("-")[1]) for p in Path(unbroken.args.output_dir).glob("checkpoint-*"))
    assert found == [4, 6, 10, 12, 16, 18, 20]


@pytest.mark.parametrize("step", [4, 10, 12, 16], ids=["first epoch", "ten", "end of an epoch", "second epoch"])
def test_a_resumed_run_equals_an_unbroken_one(unbroken, step):
    again = start(Path(unbroken.args.output_dir), save_strategy="no")
    again.train(resume_from_checkpoint=str(Path(unbroken.args.output_dir) / f"checkpoint-{step}"))
    assert lines(again, step)[:-1] == lines(unbroken, step)[:-1]
    assert len(lines(again, step)) == STEPS - step + 1
    assert torch.equal(runs.parameters(again), runs.parameters(unbroken))
    assert again.method_state == unbroken.method_state == {"counting": {"seen": STEPS // 2}}


def test_averages_over_several_steps_do_not_span_a_checkpoint(tmp_path):
    whole = start(tmp_path / "whole", logging_steps=5)
    whole.train()
    again = start(tmp_path / "whole", logging_steps=5)
    again.train(resume_from_checkpoint=str(tmp_path / "whole/checkpoint-10"))
    assert [line["step"] for line in lines(again, 10)] == [12, 15, 16, 18, 20, 20]
    assert lines(again, 10)[:-1] == lines(whole, 10)[:-1]
    assert torch.equal(runs.parameters(again), runs.parameters(whole))


@pytest.mark.parametrize("step", [10, 12])
def test_what_methods_remember_survives(whole, step):
    """The second epoch starts at step 12, from where the history decides the length term."""
    unbroken = whole["history"]
    checkpoint = Path(unbroken.args.output_dir) / f"checkpoint-{step}"
    saved = resume.read_state(checkpoint)["methods"]
    assert len(saved["ceeh"]["accuracy"]) == min(step, 12)
    again = start(Path(unbroken.args.output_dir), "history", save_strategy="no")
    again.train(resume_from_checkpoint=str(checkpoint))
    found = lines(again, step)
    assert found[:-1] == lines(unbroken, step)[:-1]
    assert any(line.get("ceeh/hard") for line in found)
    assert any(line.get("ceeh/shortened") for line in found)
    assert any(line.get("critique/pairs") for line in found)
    assert torch.equal(runs.parameters(again), runs.parameters(unbroken))
    assert again.method_state == unbroken.method_state


def test_a_history_of_another_data_set_is_refused(whole, tmp_path):
    data = Dataset.from_list([{**row, "id": f"other {row['id']}"} for row in tiny.rows()])
    other = runs.RecipeTrainer(
        tiny.model(0, scale=3.0), runs.at_least_two, runs.config(tmp_path, **WINDOW), recipe=RECIPES["history"](),
        train_dataset=data, processing_class=tiny.tokenizer(),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"history holds 10 prompts, such as .*, and none of them is among the data"):
        other.train(resume_from_checkpoint=str(Path(whole["history"].args.output_dir) / "checkpoint-10"))


KILLED = [("teacher", 7), ("teacher", 15), ("history", 15)]


@pytest.mark.parametrize(("name", "step"), KILLED, ids=["in mid-window", "second epoch", "with a history"])
def test_kill_9_and_resume(whole, tmp_path, name, step):
    unbroken = whole[name]
    code = (
        f"from engines.test_trl_resume import *; t = start(Path({str(tmp_path)!r}), {name!r}); "
        f"t.add_callback(KillAt({step})); t.train()"
    )
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    died = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    again = start(tmp_path, name)
    again.train(resume_from_checkpoint=True)
    reached = int(resume.last_checkpoint(tmp_path).name.split("-")[1])
    assert reached == STEPS
    kept = max(s for s in (0, 4, 6, 10, 12) if s <= step)
    assert lines(again, kept)[:-1] == lines(unbroken, kept)[:-1]
    assert torch.equal(runs.parameters(again), runs.parameters(unbroken))


def test_a_half_written_checkpoint_is_passed_over(unbroken, tmp_path):
    for step in (4, 6):
        shutil.copytree(Path(unbroken.args.output_dir) / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
    state = tmp_path / "checkpoint-6/trainer_state.json"
    state.write_text(state.read_text()[:50])
    assert resume.last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    (tmp_path / "checkpoint-4/rng_state.pth").unlink()
    assert resume.last_checkpoint(tmp_path) is None


def test_another_recipe_does_not_resume_it(unbroken, tmp_path):
    other = runs.trainer(tmp_path, grpo(), **WINDOW)
    with pytest.raises(ValueError, match=r"was trained with rlad\|counting, not with grpo"):
        other.train(resume_from_checkpoint=str(Path(unbroken.args.output_dir) / "checkpoint-4"))


class Plain:
    """A form that is no dataclass and prints its address."""

    def __init__(self):
        self.form = tiny.Letters()
        self.prompt, self.verdict, self.refinement = self.form.prompt, self.form.verdict, self.form.refinement


def test_an_object_of_the_recipe_is_the_same_in_the_next_process(tmp_path):
    """Two objects of one class stand for a run and the process that resumes it."""
    first, second = (second_order(critique_form=Plain(), critiques=3, kl_beta=0) for _ in range(2))
    saving = {"save_strategy": "steps", "save_steps": 1, "rewards": runs.at_least_two}
    runs.trained(tmp_path, first, max_steps=1, **saving)
    resumed = runs.trainer(tmp_path, second, max_steps=2, **saving)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 2
    assert "Plain" in resumed.describe()
    assert " at 0x" not in resumed.describe()


def test_resume_from_nothing_starts(tmp_path):
    fresh = start(tmp_path, max_steps=2)
    fresh.train(resume_from_checkpoint=True)
    assert fresh.state.global_step == 2


def test_the_sampler_replays_the_permutation_of_its_epoch():
    orders = []
    for epochs in (range(3), [2]):
        sampler = resume.ReplayingSampler(list(range(7)), 2, 3, 2, True, 11)
        for epoch in epochs:
            sampler.epoch = epoch
            orders.append(list(sampler))
    assert orders[2] == orders[3]
    assert orders[0] != orders[1] != orders[2]


def test_two_processes_resume_like_one_that_was_not_killed(tmp_path):
    split = {**WINDOW, "per_device_train_batch_size": 4, "max_steps": 8}
    names = ("rlad", "second_order")
    whole = runs.several(tmp_path / "whole", {name: (name, split) for name in names})
    for name in names:
        shutil.copytree(tmp_path / "whole" / name / "checkpoint-4", tmp_path / "killed" / name / "checkpoint-4")
    again = runs.several(tmp_path / "killed", {name: (name, {**split, "resume": True}) for name in names})
    for name in names:
        norms = [x["grad_norm"] for x in again[name]["log"] if x["step"] > 4 and "grad_norm" in x]
        assert norms == whole[name]["grad_norm"][4:]
        assert torch.equal(again[name]["parameters"], whole[name]["parameters"])
        assert again[name]["states"] == whole[name]["states"]
    assert whole["second_order"]["states"][0]["second_order"]["cache"]


def test_another_number_of_processes_is_told_before_anything_is_lost(tmp_path, unbroken):
    shutil.copytree(Path(unbroken.args.output_dir) / "checkpoint-4", tmp_path / "checkpoint-4")
    with pytest.raises(ValueError, match=r"none is complete for 2 process\(es\)"):
        resume.to_resume(tmp_path, 2)
    assert resume.to_resume(tmp_path, 1) == tmp_path / "checkpoint-4"
    assert resume.to_resume(tmp_path / "empty", 1) is None


def test_other_settings_do_not_resume_it(unbroken, tmp_path):
    other = runs.trainer(tmp_path, rlad(tiny.model(7, scale=3.0), alpha=0.3) | Counting(), **WINDOW)
    with pytest.raises(ValueError, match=r"was trained with alpha=0\.5, not 0\.3"):
        other.train(resume_from_checkpoint=str(Path(unbroken.args.output_dir) / "checkpoint-4"))
