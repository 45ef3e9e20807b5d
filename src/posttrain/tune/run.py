"""One tuning run under TRL: from a model and rows to a folder with a log, checkpoints and what was trained.

out/settings.json   what the run is of
out/log.jsonl       one line per logged step
out/checkpoint-N/   to go on from
out/adapter/        LoRA, as PEFT loads it; or
out/model/          the whole model, of which only values differ
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.extras import need
from posttrain.files import whole_folder, write_json
from posttrain.tune.few_shot import FewShot
from posttrain.tune.values import ValueOnly


@dataclass(frozen=True)
class TuneRun:
    """How long and how to train."""

    epochs: float = 5.0
    """Passes over the rows (the paper's LLM runs)."""
    steps: int = 0
    """Optimiser steps instead; 0 for the epochs."""
    learning_rate: float = 1e-4
    """Peak; the paper does not give its own."""
    schedule: str = "cosine"
    """Of the learning rate, by its name in transformers."""
    batch: int = 16
    """Rows per step, of all processes together."""
    micro_batch: int = 4
    """Rows per forward pass; a divisor of a process's part of the batch."""
    max_length: int = 2048
    """Longest row in tokens, with its examples."""
    weight_decay: float = 0.0
    """AdamW's decoupled decay."""
    seed: int = 0
    """Of the data order and the adapter."""
    save_every: int = 50
    """Steps between checkpoints, of which the last two are kept; 0 for none."""
    cpu: bool = False
    """Stay on the CPU even where there is an accelerator."""

    def __post_init__(self) -> None:
        if not self.epochs > 0 or self.steps < 0 or self.save_every < 0:
            raise ValueError("epochs must be above 0, steps and save_every not negative.")
        if self.batch < 1 or self.micro_batch < 1 or self.batch % min(self.micro_batch, self.batch):
            raise ValueError(f"micro_batch={self.micro_batch} must divide batch={self.batch}.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0.")
        if self.max_length < 2:
            raise ValueError(f"max_length={self.max_length} must be at least 2 tokens.")


def processes(*, cpu: bool) -> Any:
    """Which of the processes this is, before a model is put on its device."""
    import torch

    return need("accelerate").PartialState(cpu=cpu or not torch.accelerator.is_available())


def load_model(name: str, *, cpu: bool) -> Any:
    """A decoder, in float32 on the CPU and as it is stored on an accelerator."""
    import torch

    from posttrain.projections import loading

    if cpu or not torch.accelerator.is_available():
        return loading.load_model(name, dtype=torch.float32)
    return loading.load_model(name, device=torch.accelerator.current_accelerator())


def stored_type(name: str) -> Any:
    """The type that a model's weights are stored in, as its config says; None if it does not."""
    return need("transformers").AutoConfig.from_pretrained(name).get_text_config().dtype


def begin(out: Path, settings: Mapping[str, Any], *, resume: bool, main: bool = True) -> None:
    """Write what a run is of, or compare it with what the folder is of.

    Args:
        out: Folder.
        settings: What decides the outcome; as JSON has it.
        resume: Whether the folder's run goes on.
        main: Whether this process writes.

    Raises:
        ValueError: The folder's run was started with other settings.
    """
    path = out / "settings.json"
    if resume and path.is_file():
        held = json.loads(path.read_text(encoding="utf-8"))
        for name, value in settings.items():
            if held.get(name) != value:
                raise ValueError(
                    f"{out} is of a run with another {name} ({held.get(name)} there, {value} here); go on with the "
                    "same, or choose another --out."
                )
    elif main:
        write_json(path, dict(settings))


def trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    config: TuneRun,
    *,
    value_only: ValueOnly,
    few_shot: FewShot,
    callbacks: Sequence[Any] = (),
) -> Any:
    """A `ValueOnlyTrainer`, ready to train.

    Args:
        model: See `load_model`.
        tokenizer: Its.
        rows: See `posttrain.tune.data.read`.
        out: Folder.
        config: How long and how.
        value_only: What is trained.
        few_shot: The auxiliary loss.
        callbacks: Of transformers.
    """
    from posttrain.tune.trainer import ValueOnlyTrainer

    built = ValueOnlyTrainer(
        model,
        _sft_config(out, config, accelerated=str(model.device) != "cpu"),
        value_only=value_only,
        few_shot=few_shot,
        train_dataset=need("datasets").Dataset.from_list([dict(row) for row in rows]),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    built.remove_callback(need("transformers").PrinterCallback)
    _check_lengths(built.train_dataset, config.max_length)
    return built


def _check_lengths(rows: Any, most: int) -> None:
    """Raise on a row that does not fit; the engine would cut it, or leave it out."""
    for column, what in (("input_ids", ""), ("few_shot_input_ids", " with its examples")):
        for place, ids in enumerate(rows[column] if column in rows.column_names else ()):
            if len(ids) > most:
                raise ValueError(
                    f"Row {place} has {len(ids)} tokens{what}, and max_length is {most}; raise it, shorten the row, or "
                    "lower the shots."
                )


def last_checkpoint(out: Path) -> str | None:
    """The newest checkpoint of a folder; None if there is none."""
    found = [path for path in out.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return str(max(found, key=lambda path: int(path.name.rpartition("-")[2]))) if found else None


def save(built: Any, out: Path, what: Literal["adapter", "model"], dtype: Any = None) -> Path:
    """Write what was trained, whole or not at all; a model ends the training. Every process calls it.

    Args:
        built: The trainer.
        out: Folder.
        what: Its folder in it.
        dtype: Of a model's weights; None leaves them as they are.
    """
    from posttrain.rl import run as rl_run

    final = out / what
    if what == "adapter":
        return rl_run.save(built, final)
    if built.accelerator.is_main_process:
        with whole_folder(final, need("safetensors").SafetensorError) as made:
            merged = built.merged()
            (merged if dtype is None else merged.to(dtype)).save_pretrained(made)
            built.processing_class.save_pretrained(made)
            shutil.rmtree(final, ignore_errors=True)
    built.accelerator.wait_for_everyone()
    return final


def split(config: TuneRun, processes: int) -> tuple[int, int]:
    """Rows per forward pass of each process, and how many of these make a step.

    Raises:
        ValueError: The batch cannot be shared so.
    """
    share, rest = divmod(config.batch, processes)
    micro = min(config.micro_batch, share)
    if rest or share % micro:
        raise ValueError(
            f"batch={config.batch} cannot be shared by {processes} processes in passes of {config.micro_batch} rows; "
            f"use a multiple of {processes * config.micro_batch}."
        )
    return micro, share // micro


def _sft_config(out: Path, config: TuneRun, *, accelerated: bool) -> Any:
    """TRL's config; every value that a run depends on is written out."""
    micro, accumulation = split(config, need("accelerate").PartialState().num_processes)
    return need("trl").SFTConfig(
        str(out),
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        weight_decay=config.weight_decay,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        max_length=None,
        packing=False,
        seed=config.seed,
        use_cpu=not accelerated,
        bf16=accelerated,
        gradient_checkpointing=accelerated,
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or 500,
        save_total_limit=2,
        save_only_model=False,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )


def steps(built: Any) -> int:
    """Optimiser steps that a trainer will make."""
    if built.args.max_steps > 0:
        return built.args.max_steps
    batches = len(built.get_train_dataloader())
    per_epoch = max(1, -(-batches // built.args.gradient_accumulation_steps))
    return math.ceil(per_epoch * built.args.num_train_epochs)
