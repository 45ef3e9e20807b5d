"""Short training runs that several tests share, alone or under torchrun."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer

import tiny
from posttrain.rl import Recipe, engine_default, grpo, kdrl, opd, rlad
from posttrain.rl.engines.trl import RecipeTrainer

Teacher = Callable[[], Any]


def config(folder: Path, **overrides: Any) -> GRPOConfig:
    """Eight rows a micro-batch, groups of four, a log line at every step."""
    values: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 20,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "seed": 3,
    }
    return GRPOConfig(str(folder), **(values | overrides))


def trainer(
    folder: Path,
    recipe: Recipe | None,
    *,
    cls: type = RecipeTrainer,
    rewards: Any = tiny.early_letters,
    **overrides: Any,
) -> GRPOTrainer:
    """A trainer on a tiny random model; stock TRL if there is no recipe."""
    extra = {"recipe": recipe} if recipe is not None else {}
    return (GRPOTrainer if recipe is None else cls)(
        tiny.model(0, scale=3.0),
        rewards,
        config(folder, **overrides),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        **extra,
    )


def trained(folder: Path, recipe: Recipe | None, **kwargs: Any) -> GRPOTrainer:
    """The trainer after training; built and trained in one go, because it seeds torch when it is built."""
    built = trainer(folder, recipe, **kwargs)
    built.train()
    return built


def history(trained: GRPOTrainer, key: str) -> list[float]:
    """The values logged under `key`, in order."""
    return [line[key] for line in trained.state.log_history if key in line]


def parameters_of(model: torch.nn.Module) -> torch.Tensor:
    """A copy of all weights in one vector."""
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def parameters(trained: GRPOTrainer) -> torch.Tensor:
    """The trained weights in one vector."""
    return parameters_of(trained.model)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "engine_default": lambda: engine_default(),
    "grpo": lambda: grpo(),
    "rlad": lambda: rlad(teacher=tiny.model(7, scale=3.0)),
    "kdrl": lambda: kdrl(teacher=tiny.model(7, scale=3.0), beta=0.2),
    "opd": lambda: opd(teacher=tiny.model(7, scale=3.0)),
}


def main(name: str, folder: str, overrides: str) -> None:
    """Train under torchrun and let rank 0 write what it saw."""
    recipe = None if name == "stock" else RECIPES[name]()
    trained = trainer(Path(folder), recipe, **json.loads(overrides))
    assert trained.accelerator.num_processes == 2, "this test needs two processes"
    trained.train()
    if trained.accelerator.is_main_process:
        torch.save(
            {"grad_norm": history(trained, "grad_norm"), "parameters": parameters(trained)}, Path(folder) / "seen.pt"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
