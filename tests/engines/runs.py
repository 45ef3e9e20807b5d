"""Short training runs that several tests share, alone or under torchrun."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer

import tiny
from posttrain.rl import Recipe, engine_default, grpo, kdrl, opd, rlad
from posttrain.rl.engines.trl import RecipeTrainer


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


def at_least_two(completions, **_):
    """1 for two early letters or more."""
    return [float(sum(c in "abcde" for c in text) >= 2) for text in completions]


class Recording(RecipeTrainer):
    """Keeps the rows that all processes generated, in the order of the groups."""

    def _generate_and_score_completions(self, inputs):
        out = super()._generate_and_score_completions(inputs)
        rows = [
            (p[m.bool()].tolist(), c[n.bool()].tolist())
            for p, m, c, n in zip(
                out["prompt_ids"], out["prompt_mask"], out["completion_ids"], out["completion_mask"], strict=True
            )
        ]
        self.rows = gather_object(rows)
        return out


def teacher() -> Any:
    """A model that disagrees with the student beyond RLAD's clamp on many tokens."""
    return tiny.model(7, scale=3.0)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "engine_default": lambda: engine_default(),
    "grpo": lambda: grpo(),
    "rlad": lambda: rlad(teacher()),
    "kdrl": lambda: kdrl(teacher(), beta=0.2),
    "opd": lambda: opd(teacher()),
}


def main(name: str, folder: str, overrides: str) -> None:
    """Train under torchrun and let rank 0 write what it saw."""
    options = json.loads(overrides)
    resumed = options.pop("resume", False)
    recipe = None if name == "stock" else RECIPES[name]()
    built = trainer(Path(folder), recipe, cls=Recording, rewards=at_least_two, **options)
    assert built.accelerator.num_processes == 2, "this test needs two processes"
    built.train(resume_from_checkpoint=resumed)
    if built.accelerator.is_main_process:
        seen = {
            "grad_norm": history(built, "grad_norm"),
            "parameters": parameters(built),
            "rows": getattr(built, "rows", []),
            "log": built.state.log_history,
        }
        torch.save(seen, Path(folder) / "seen.pt")


def two_processes(folder: Path, name: str, **overrides: Any) -> dict[str, Any]:
    """Train under torchrun with two ranks on the CPU; what rank 0 saw."""
    folder.mkdir(exist_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    options = json.dumps({"ddp_backend": "gloo", **overrides})
    done = subprocess.run(
        [*command, str(Path(__file__)), name, str(folder), options],
        env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "seen.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
