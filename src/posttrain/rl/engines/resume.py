"""A killed TRL run resumes as if it had not been killed.

Stock TRL forgets two things: the sampler's generator starts over, so a run resumed in its second epoch sees the
first epoch's order, and a checkpoint inside a generation window loses the completions of that window. Here the
sampler replays its permutations, and checkpoints move to the next generation boundary.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer.utils import RepeatSampler

from posttrain.files import WriteError, write_whole, writing

STATE_FILE = "posttrain.json"


class ReplayingSampler(RepeatSampler):
    """TRL's sampler, whose order depends only on the seed and the epoch."""

    epoch: int = 0

    def __iter__(self) -> Iterator[int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.shuffle and self.seed is not None:
            self.generator.manual_seed(self.seed)
            for _ in range(self.epoch):
                torch.randperm(self.num_samples, generator=self.generator)
        yield from super().__iter__()


class BoundaryCallback(TrainerCallback):
    """Tells the sampler its epoch, and holds a checkpoint back until the generation window is used up.

    It logs at every checkpoint, so that no average spans one.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.owed = False

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Replay the permutations of the epochs before this one."""
        if self.trainer.sampler is not None:
            self.trainer.sampler.epoch = int((state.epoch or 0.0) + 1e-6)

    def on_step_end(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Save at a boundary or at the very end, never in between."""
        self.owed = self.owed or control.should_save
        last = state.global_step >= state.max_steps or control.should_training_stop
        control.should_save = self.owed and (last or self.trainer.at_boundary)
        if control.should_save:
            self.owed = False
            control.should_log = True
        return control


@contextmanager
def writing_checkpoint(folder: Path) -> Iterator[None]:
    """Leave no half-written checkpoint behind, and make what a full disk raises inside one sentence.

    safetensors and torch.save have errors of their own for it; the second is a plain RuntimeError.
    """
    try:
        with writing(folder, SafetensorError):
            try:
                yield
            except RuntimeError as error:
                if "PytorchStreamWriter" not in str(error) and "inline_container" not in str(error):
                    raise
                raise OSError(str(error).splitlines()[0]) from error
    except WriteError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_state(checkpoint: Path, state: dict[str, Any]) -> None:
    """Put `state` (JSON values) into a checkpoint, whole or not at all."""
    write_whole(checkpoint / STATE_FILE, json.dumps(state))


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The state of a checkpoint; a sentence if it has none."""
    path = checkpoint / STATE_FILE
    if not path.is_file():
        raise ValueError(f"{checkpoint} has no {STATE_FILE}: it was not written by RecipeTrainer, or only in part.")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is cut short or damaged ({error}); resume from an earlier checkpoint, or start from its model."
        ) from error


def to_resume(folder: Path, processes: int) -> Path | None:
    """The checkpoint to go on from; None where there is none, a sentence where there are only unusable ones."""
    found = last_checkpoint(folder, processes)
    if found is None and any(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")):
        raise ValueError(
            f"{folder} has checkpoints, but none is complete for {processes} process(es); resume with as many "
            "processes as before, or start anew in another folder."
        )
    return found


def last_checkpoint(folder: Path, processes: int = 1) -> Path | None:
    """The newest complete checkpoint; one that a kill left half-written is passed over."""
    found = [p for p in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if p.name.rsplit("-", 1)[1].isdigit()]
    for path in sorted(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), reverse=True):
        if _is_complete(path, processes):
            return path
    return None


def _is_complete(checkpoint: Path, processes: int) -> bool:
    """Whether the engine's last file and the methods' state are whole, and every process wrote its own."""
    ranks = [f"rng_state_{rank}.pth" for rank in range(processes)] if processes > 1 else ["rng_state.pth"]
    if not all((checkpoint / name).is_file() for name in [STATE_FILE, *ranks]):
        return False
    try:
        for name in ("trainer_state.json", STATE_FILE):
            json.loads((checkpoint / name).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return True
