"""Short training runs that several tests share, alone or under torchrun."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer

import tiny
from posttrain.rl import (
    Method,
    Recipe,
    Row,
    c_rl,
    ceeh,
    engine_default,
    entropy_bonus,
    grpo,
    kdrl,
    opd,
    rlad,
    second_order,
    upskill,
)
from posttrain.rl.engines.sampling import TRLSampler
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
    model: Any = None,
    prompts: int = 12,
    chat: bool = False,
    peft_config: Any = None,
    **overrides: Any,
) -> GRPOTrainer:
    """A trainer on a tiny random model and so many prompts; stock TRL if there is no recipe."""
    extra = {"recipe": recipe} if recipe is not None else {}
    return (GRPOTrainer if recipe is None else cls)(
        model or tiny.model(0, scale=3.0),
        rewards,
        config(folder, **overrides),
        train_dataset=tiny.dataset(prompts, chat=chat),
        processing_class=tiny.tokenizer(chat=chat),
        peft_config=peft_config,
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
    texts = [completion if isinstance(completion, str) else completion[0]["content"] for completion in completions]
    return [float(sum(c in "abcde" for c in text) >= 2) for text in texts]


class Generation(NamedTuple):
    """What all processes trained on, each row as `(prompt ids, ids)`."""

    answers: list[tuple[list[int], list[int]]]
    """In the order of the groups."""
    extra: list[tuple[list[int], list[int]]]
    """In the order of the processes."""
    sampled: list[tuple[list[int], list[int]]]
    """What was sampled, in the order in which one process alone would sample it."""
    skills: list[int]
    """Of the answers that a recipe rolled out."""
    sizes: list[int]
    """Rows in the batch of each process."""
    trained: list[int]
    """Tokens of each process under the loss mask."""
    items: list[float]
    """`num_items_in_batch` of each process."""


class RecordingSampler(TRLSampler):
    """Keeps what all processes sample."""

    async def __call__(self, prompt_ids, **kwargs):
        samples = await super().__call__(prompt_ids, **kwargs)
        now = gather_object([(prompt, sample.ids) for prompt, sample in zip(prompt_ids, samples, strict=True)])
        self.trainer.sampled += now
        return samples


class Recording(RecipeTrainer):
    """Keeps what all processes generated for training."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hook_sampler = RecordingSampler(self)
        self.sampled: list = []
        self.generations: list[Generation] = []

    def _generate_and_score_completions(self, inputs):
        self.sampled = []
        out = super()._generate_and_score_completions(inputs)
        keys = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        rows = [
            (p[m.bool()].tolist(), c[n.bool()].tolist()) for p, m, c, n in zip(*(out[k] for k in keys), strict=True)
        ]
        answers = gather_object(rows[: len(inputs)])
        found = Generation(
            answers=answers,
            extra=gather_object([row for row in rows[len(inputs) :] if row[1]]),
            sampled=self.sampled if self.recipe.fills("rollout") else answers + self.sampled,
            skills=gather_object([row.skill for row in self._rolled]),
            sizes=gather_object([len(rows)]),
            trained=gather_object([int((out["completion_mask"] * out.get("tool_mask", 1)).sum())]),
            items=gather_object([float(out["num_items_in_batch"])]),
        )
        if self.model.training:
            self.generations.append(found)
        return out


@dataclass(frozen=True)
class Uneven(Method):
    """Five rows that answer no task, all but one of them on the last process, with rewards 0, 0.5, 1, ..."""

    name = "uneven"

    async def extend(self, table, state, sampler):
        mine = range(5) if sampler.ranks == 1 else [range(1), range(1, 5)][sampler.rank]
        prompts = [sampler.encode("abcde"[i:]) for i in mine]
        samples = await sampler(prompts, max_tokens=3)
        return [
            Row(prompt, sample.ids, 7, extra=True, notes={"reward": 0.5 * i})
            for i, prompt, sample in zip(mine, prompts, samples, strict=True)
        ]

    async def reward(self, rows):
        return [row.notes["reward"] if row.extra else 0.0 for row in rows]


def teacher() -> Any:
    """A model that disagrees with the student beyond RLAD's clamp on many tokens."""
    return tiny.model(7, scale=3.0)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "engine_default": lambda: engine_default(),
    "grpo": lambda: grpo(),
    "rlad": lambda: rlad(teacher()),
    "kdrl": lambda: kdrl(teacher(), beta=0.2),
    "opd": lambda: opd(teacher()),
    "ceeh": lambda: ceeh(kl_beta=0),
    "ceeh ME": lambda: ceeh(mode="ME", entropy_weight=0.05, kl_beta=0),
    "entropy_bonus": lambda: entropy_bonus(weight=0.05),
    "upskill": lambda: upskill(**SKILLS),
    "second_order": lambda: second_order(**CRITIQUES),
    "second_order one question": lambda: second_order(pairs=2, group="question", **CRITIQUES),
    "second_order denoise": lambda: grpo(spread="none") | second_order(denoise=2, **CRITIQUES),
    "c_rl": lambda: c_rl(**CRITIQUES),
    "uneven": lambda: grpo() | Uneven(),
    "uneven token mean": lambda: grpo(aggregation="token") | Uneven(),
}
SKILLS: dict[str, Any] = {"skills": 2, "template": "{z}{question}", "weight": 5.0, "kl_beta": 0}
CRITIQUES: dict[str, Any] = {"critiques": 3, "critique_form": tiny.Letters(), "kl_beta": 0}


def main(folder: str, jobs: str) -> None:
    """Train under torchrun, one job after the other, and let rank 0 write what it saw."""
    for label, (name, options) in json.loads(jobs).items():
        resumed = options.pop("resume", False)
        recipe = None if name == "stock" else RECIPES[name]()
        built = trainer(Path(folder) / label, recipe, cls=Recording, rewards=at_least_two, **options)
        assert built.accelerator.num_processes == 2, "this test needs two processes"
        built.train(resume_from_checkpoint=resumed)
        seen = {
            "grad_norm": history(built, "grad_norm"),
            "parameters": parameters(built),
            "generations": [tuple(generation) for generation in getattr(built, "generations", [])],
            "states": gather_object([getattr(built, "method_state", None)]),
            "sums": gather_object([parameters(built).double().sum().item()]),
            "log": built.state.log_history,
        }
        if built.accelerator.is_main_process:
            torch.save(seen, Path(folder) / label / "seen.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def two_processes(folder: Path, name: str, **overrides: Any) -> dict[str, Any]:
    """Train under torchrun with two ranks on the CPU; what rank 0 saw."""
    return several(folder, {".": (name, overrides)})["."]


def several(
    folder: Path, jobs: dict[str, tuple[str, dict[str, Any]]], module: str = "engines.runs"
) -> dict[str, dict[str, Any]]:
    """The same for a recipe and overrides by label, all in one launch of a module that calls `main`."""
    folder.mkdir(exist_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    options = json.dumps({label: (name, {"ddp_backend": "gloo", **given}) for label, (name, given) in jobs.items()})
    done = subprocess.run(
        [*command, "-m", module, str(folder), options],
        env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-9000:]
    seen = {label: torch.load(folder / label / "seen.pt") for label in jobs}
    return {label: one | {"generations": [Generation(*g) for g in one["generations"]]} for label, one in seen.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
