"""One training run under TRL: from a model, rows and a recipe to a folder with a log, checkpoints and the model.

output_dir/log.jsonl       one line per logged step
output_dir/settings.json   every setting with its source
output_dir/checkpoint-N/   at generation boundaries
output_dir/model/          what was trained
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.extras import need
from posttrain.files import write_json, writing
from posttrain.rl.recipe import Recipe
from posttrain.tasks.verdict import Verifier
from posttrain.values import check_group_size


@dataclass(frozen=True)
class RunConfig:
    """How long and how to train. What the loss is belongs to the recipe."""

    output_dir: Path = Path("runs/train")
    """Folder for the log, the checkpoints and the model."""
    steps: int = 100
    """Optimiser steps."""
    learning_rate: float = 1e-6
    """Peak learning rate (1e-6 in RLAD, for billions of parameters)."""
    schedule: str = "constant"
    """Learning rate schedule, by its name in transformers."""
    prompts: int = 8
    """Prompts per generation, over all processes (RLAD: 32). Without vLLM all their completions are sampled at once."""
    group_size: int = 8
    """Completions per prompt."""
    inner_steps: int = 1
    """Passes over the completions of one generation."""
    slices: int = 1
    """Optimiser steps per pass, each on its share of the completions."""
    micro_batch: int = 8
    """Completions per forward pass and process, of the student and of the teacher; 0 takes them all at once."""
    max_completion: int = 2048
    """Longest completion in tokens."""
    temperature: float = 1.0
    """Of the sampling; all log-probabilities are taken at it."""
    seed: int = 0
    """Of the data order and the sampling."""
    save_every: int = 50
    """Optimiser steps between checkpoints; 0 for none but the final model."""
    resume: bool = False
    """Go on from the newest complete checkpoint in `output_dir`."""
    lora_rank: int = 0
    """Train a LoRA adapter of this rank instead of all weights; 0 for all weights."""
    lora_alpha: int = 0
    """LoRA's scale, over its rank; 0 for twice the rank."""
    vllm: bool = False
    """Generate with vLLM, as TRL does it."""
    cpu: bool = False
    """Stay on the CPU even where there is an accelerator."""
    trl: Mapping[str, Any] = field(default_factory=dict)
    """Any other field of TRL's GRPOConfig."""

    def __post_init__(self) -> None:
        check_group_size(self.group_size)
        for name in ("steps", "prompts", "inner_steps", "slices", "max_completion"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("micro_batch", "save_every", "lora_rank", "lora_alpha"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative.")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} must be above 0; sampling needs some.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0.")

    def split(self, processes: int) -> tuple[int, int]:
        """Rows per forward pass, and passes per optimiser step, on each process.

        Raises:
            ValueError: The rows of a generation do not divide.
        """
        rows = self.prompts * self.group_size
        local, rest = divmod(rows, processes)
        if rest:
            raise ValueError(f"{rows} completions per generation do not divide among {processes} processes.")
        share, rest = divmod(local, self.slices)
        if rest:
            raise ValueError(
                f"slices={self.slices} does not divide the {local} completions a process has per generation."
            )
        micro = min(self.micro_batch or share, share)
        if share % micro:
            raise ValueError(f"micro_batch={micro} does not divide the {share} completions of an optimiser step.")
        return micro, share // micro


def trainer(
    recipe: Recipe,
    model: Any,
    rows: Sequence[Mapping[str, Any]],
    verify: Verifier | None,
    config: RunConfig,
    *,
    callbacks: Sequence[Any] = (),
    processing_class: Any = None,
) -> Any:
    """A `RecipeTrainer` for `config`, ready to train.

    Args:
        recipe: What to train with.
        model: A path, a hub id or a module.
        rows: Each with `prompt`, `answer` and `id`.
        verify: Judges a completion against the row's answer; None where a world judges episodes.
        config: How long and how.
        callbacks: transformers callbacks.
        processing_class: The tokenizer; None loads the model's.
    """
    datasets, trl = need("datasets"), need("trl")
    from posttrain.rl.engines import teachers
    from posttrain.rl.engines.rewards import from_verifier
    from posttrain.rl.engines.trl import RecipeTrainer

    teachers.check_reference(model, "the model to train")
    if len(rows) < config.prompts:
        raise ValueError(
            f"{len(rows)} rows are fewer than the {config.prompts} prompts of one generation; lower prompts."
        )
    old = next((path for name in ("checkpoint-*", "log.jsonl", "model") for path in config.output_dir.glob(name)), None)
    if old is not None and not config.resume:
        raise ValueError(f"{old} is of an earlier run; go on with --resume, or choose another --output-dir.")
    functions, weights = from_verifier(verify) if verify is not None else (None, None)
    built = RecipeTrainer(
        model if not isinstance(model, Path) else str(model),
        functions,
        _grpo_config(trl.GRPOConfig, config, weights),
        recipe=recipe,
        train_dataset=datasets.Dataset.from_list([dict(row) for row in rows], on_mixed_types="use_json"),
        processing_class=processing_class,
        callbacks=list(callbacks),
        peft_config=_lora(config.lora_rank, config.lora_alpha),
    )
    built.remove_callback(need("transformers").PrinterCallback)
    return built


def run(built: Any, config: RunConfig) -> Path:
    """Train and save; returns the folder of the trained model."""
    if built.accelerator.is_main_process:
        ours = [{"name": k, "value": str(v), "source": "posttrain"} for k, v in vars(config).items()]
        found = {"recipe": built.recipe.name, "notes": built.notes, "settings": [*built.settings(), *ours]}
        write_json(config.output_dir / "settings.json", found)
    built.train(resume_from_checkpoint=config.resume)
    return save(built, config.output_dir / "model")


def quiet() -> None:
    """Keep transformers' deprecation warnings, log lines and bars off the terminal, which has bars of its own."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging = need("transformers").logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def save(built: Any, final: Path) -> Path:
    """Save the model beside `final` and put it in place; every process calls it."""
    partial = final.with_name(f".{final.name}.part")
    try:
        with writing(final, need("safetensors").SafetensorError):
            built.save_model(str(partial))
            built.accelerator.wait_for_everyone()
            if built.accelerator.is_main_process:
                shutil.rmtree(final, ignore_errors=True)
                partial.replace(final)
    finally:
        if built.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
    return final


def _grpo_config(cls: Callable[..., Any], config: RunConfig, weights: list[float] | None) -> Any:
    """TRL's config; every value that a run depends on is written out."""
    from accelerate import PartialState

    on_cpu = config.cpu or not _has_accelerator()
    state = PartialState(cpu=on_cpu)
    micro, accumulation = config.split(state.num_processes)
    ours: dict[str, Any] = {
        "output_dir": str(config.output_dir),
        "max_steps": config.steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "steps_per_generation": accumulation * config.slices,
        "num_generations": config.group_size,
        "num_iterations": config.inner_steps,
        "max_completion_length": config.max_completion,
        "temperature": config.temperature,
        "seed": config.seed,
        "reward_weights": weights,
        "use_vllm": config.vllm,
        "save_strategy": "steps" if config.save_every else "no",
        "save_steps": config.save_every or 500,
    }
    for name, value in config.trl.items():
        if name in ours:
            raise ValueError(
                f"--trl {name} {value}: posttrain sets it itself, from its own options, to {ours[name]}; "
                "leave it out and use those."
            )
    defaults = {
        "use_cpu": on_cpu,
        "bf16": not on_cpu,
        "ddp_backend": "gloo" if on_cpu and state.num_processes > 1 else None,
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
    }
    return cls(**ours, **(defaults | dict(config.trl)))


def _has_accelerator() -> bool:
    """Whether torch sees any device besides the CPU."""
    import torch

    return torch.accelerator.is_available()


def _lora(rank: int, alpha: int) -> Any:
    """A LoRA over all linear layers, or None."""
    if not rank:
        return None
    return need("peft").LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules="all-linear")
