"""One tuning run under TRL: from a model and rows to a folder with a log, checkpoints and what was trained.

out/log.jsonl       one line per logged step
out/checkpoint-N/   to go on from
out/adapter/        LoRA, as PEFT loads it; or
out/model/          the whole model, of which only values differ
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.extras import need
from posttrain.files import whole_folder
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
    """Rows per step."""
    micro_batch: int = 4
    """Rows per forward pass; a divisor of the batch."""
    max_length: int = 2048
    """Longest row in tokens, with its examples."""
    weight_decay: float = 0.0
    """AdamW's decoupled decay."""
    seed: int = 0
    """Of the data order and the adapter."""
    save_every: int = 0
    """Steps between checkpoints; 0 for none."""
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


def load_model(name: str, *, cpu: bool) -> Any:
    """A decoder, in float32 on the CPU and in bfloat16 on an accelerator."""
    import torch

    from posttrain.projections import loading

    if cpu or not torch.accelerator.is_available():
        return loading.load_model(name, dtype=torch.float32)
    return loading.load_model(name, dtype=torch.bfloat16, device=torch.accelerator.current_accelerator())


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
    return built


def last_checkpoint(out: Path) -> str | None:
    """The newest checkpoint of a folder; None if there is none."""
    found = [path for path in out.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return str(max(found, key=lambda path: int(path.name.rpartition("-")[2]))) if found else None


def save(built: Any, out: Path, what: Literal["adapter", "model"]) -> Path:
    """Write what was trained, whole or not at all; a model ends the training."""
    final = out / what
    with whole_folder(final, need("safetensors").SafetensorError) as made:
        if what == "adapter":
            built.save_model(str(made))
        else:
            built.merged().save_pretrained(made)
            built.processing_class.save_pretrained(made)
        shutil.rmtree(final, ignore_errors=True)
    return final


def _sft_config(out: Path, config: TuneRun, *, accelerated: bool) -> Any:
    """TRL's config; every value that a run depends on is written out."""
    micro = min(config.micro_batch, config.batch)
    return need("trl").SFTConfig(
        str(out),
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        weight_decay=config.weight_decay,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=config.batch // micro,
        max_length=config.max_length,
        packing=False,
        seed=config.seed,
        use_cpu=not accelerated,
        bf16=accelerated,
        gradient_checkpointing=accelerated,
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or 500,
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
