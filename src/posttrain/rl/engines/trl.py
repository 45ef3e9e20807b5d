"""TRL 1.16: `GRPOTrainer(...)` becomes `RecipeTrainer(recipe=rlad(teacher=...), ...)`.

It calls `super()` and edits tensors. Credit replaces the advantages of the dict that
`_generate_and_score_completions` returns and adds the scores; anchor and shape replace `old_per_token_logps` and
`advantages` when `_compute_loss` makes its first forward, so the student runs once; the penalty is added to the
loss. The names it relies on are listed in `CONTRACT` and checked by `posttrain doctor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Sampler as IndexSampler
from trl import GRPOConfig, GRPOTrainer

from posttrain.rl.batch import Live, Row, Table
from posttrain.rl.engines import resume, teachers, trl_config
from posttrain.rl.loss import measure, surrogate, without_unscored
from posttrain.rl.math import Normalizer, aggregate
from posttrain.rl.recipe import Recipe
from posttrain.tasks.dataset import prompt_id

CONTRACT = {
    "_generate_and_score_completions": ("inputs",),
    "_calculate_rewards": ("inputs", "prompts", "completions", "completion_ids_list"),
    "_compute_loss": ("model", "inputs"),
    "_get_per_token_logps_and_entropies": (
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
    ),
    "_get_train_sampler": ("dataset",),
    "_save_checkpoint": ("model", "trial"),
    "_load_optimizer_and_scheduler": ("checkpoint",),
}
"""Method of GRPOTrainer to the parameters it is called with."""

ATTRIBUTES = (
    "_logs", "_metrics", "_step", "current_gradient_accumulation_steps", "eos_token_ids", "num_generations",
    "num_generations_eval", "num_iterations", "off_policy_mask_threshold", "reward_func_names", "reward_funcs",
    "reward_processing_classes", "reward_weights", "temperature",
)  # fmt: skip
"""What a trainer must have once it trains."""

KEYS = {
    "prompt_ids": ("B", "P"), "prompt_mask": ("B", "P"), "completion_ids": ("B", "C"), "completion_mask": ("B", "C"),
    "advantages": ("B",), "num_items_in_batch": (),
}  # fmt: skip
"""What `_generate_and_score_completions` returns, with its shape; `old_per_token_logps` (B, C) where it is needed."""

PREFIX = "posttrain."


class RecipeTrainer(GRPOTrainer):
    """TRL's GRPO trainer under a recipe; every other argument as TRL documents it.

    A reward function called `correct` gives the recipe's `correct` column (give it weight 0 to keep it out of the
    reward); without one a completion is correct if its reward is above 0. A row that misses a reward of non-zero
    weight is unscored: it takes no part and is counted.

    Args:
        model: As in TRL.
        reward_funcs: As in TRL.
        args: As in TRL; it must not contradict the recipe.
        recipe: What to train with.
        **kwargs: The rest of TRL's arguments.
    """

    if TYPE_CHECKING:  # attributes that the engine declares optional or types too narrowly
        accelerator: Any
        args: Any
        model: Any
        processing_class: Any
        reward_processing_classes: Any

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *,
        recipe: Recipe,
        **kwargs: Any,
    ) -> None:
        if recipe.fills("rollout"):
            raise ValueError(
                f"{recipe.owner('rollout').name} samples in its own way, which this engine cannot yet drive."
            )
        if any(score.model is None or score.prompt_of_row for score in recipe.scores()):
            raise ValueError("This engine scores rows under another model, not under another prompt.")
        teachers.check_references(recipe.scores())
        self.notes = teachers.check_vocabularies(recipe.scores(), model, kwargs.get("processing_class"))
        args = args if args is not None else GRPOConfig("posttrain-out")
        self.recipe, args, self.sources = trl_config.resolve(recipe, args)
        self.method_state = self.recipe.initial_state()
        self.sampler: resume.ReplayingSampler | None = None
        self._live_inputs: dict[str, Any] | None = None
        self._live: Live | None = None
        super().__init__(model, reward_funcs=reward_funcs, args=args, **kwargs)
        if recipe.fills("reward"):
            self._append_reward(self._method_rewards)
        self.teachers = teachers.load(recipe.scores(), self)
        self.add_callback(resume.BoundaryCallback(self))

    # -- what the recipe sets, for people -----------------------------------------------------------------------

    def describe(self) -> str:
        """One line per setting: its value and where it comes from."""
        body = [f"  {s['name']:<22} {s['value']:<24} {s['source']}" for s in self.settings()]
        return "\n".join([f"recipe {self.recipe.name}", *body, *(f"  note: {note}" for note in self.notes)])

    def settings(self) -> list[dict[str, str]]:
        """Name, value and source of everything that decides what is trained."""
        chosen = {name: (sourced.value, sourced.source) for name, sourced in self.sources.items()}
        lines = [(name, *chosen.get(name, (value, source))) for name, value, source in self.recipe.describe()]
        lines += [
            (name, getattr(self.args, name), "GRPOConfig")
            for name in trl_config.PRINTED
            if name in trl_config.ALWAYS or trl_config.is_changed(self.args, name)
        ]
        lines.append(("processes", self.accelerator.num_processes, "launcher"))
        return [{"name": name, "value": _short(value), "source": source} for name, value, source in lines]

    def train(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any
    ) -> Any:
        """Train; `resume_from_checkpoint=True` takes the newest complete checkpoint, or starts if there is none."""
        self.accelerator.print(self.describe())
        if resume_from_checkpoint is True:
            found = resume.to_resume(Path(str(self.args.output_dir)), self.accelerator.num_processes)
            resume_from_checkpoint = str(found) if found else None
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    # -- once per generation ------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        rewards: Any = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        for name, column in zip(self.reward_func_names, rewards.unbind(1), strict=True):
            if bool(column.isinf().any()):
                raise ValueError(
                    f"The reward function {name!r} returned an infinite reward; return a finite one, or None where "
                    "there is none."
                )
        self._rewards: Tensor = rewards
        self._lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=rewards.device)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        out = super()._generate_and_score_completions(inputs)
        training = self.model.training
        table = self._table(inputs, out, training)
        credit = self.recipe.credit(table, self.method_state)
        if training:
            self.method_state = credit.state
        rows = len(inputs)
        local = slice(self.accelerator.process_index * rows, (self.accelerator.process_index + 1) * rows)
        out["advantages"] = credit.advantages[local].to(out["advantages"].dtype)
        for name, column in credit.columns.items():
            out[f"{PREFIX}column.{name}"] = column[local]
        if self.teachers and ("num_images" in out or "pixel_values" in out):
            raise ValueError(
                "The teacher is scored on text alone, but the batch has images; train those without a teacher."
            )
        for score in self.recipe.scores():
            out[f"{PREFIX}score.{score.name}"] = self._score(self.teachers[score.name], out)
        if not bool(table.scored.all()):
            self._drop_unscored(out)
        self._log_generation(table, credit.advantages, credit.metrics)
        return out

    def _table(self, inputs: list[dict[str, Any]], out: Mapping[str, Any], training: bool) -> Table:
        """The rows of all ranks, in the order of the gathered rewards."""
        weights = self.reward_weights.to(self._rewards.device)
        required = torch.where(weights == 0, torch.zeros_like(self._rewards), self._rewards * weights)
        rewards = required.sum(dim=1)
        if "correct" in self.reward_func_names:
            correct = self._rewards[:, self.reward_func_names.index("correct")]
        else:
            correct = torch.where(rewards.isnan(), rewards, (rewards > 0).to(rewards.dtype))
        size: Any = self.num_generations if training else self.num_generations_eval
        return Table(
            rewards=rewards,
            group=torch.arange(len(rewards), device=rewards.device) // size,
            correct=correct,
            prompt_key=gather_object([_key(row) for row in inputs]),
            length=self.accelerator.gather(self._lengths),
            step=self.state.global_step,
            total_steps=self.state.max_steps,
            training=training,
        )

    @torch.no_grad()
    def _score(self, model: Any, out: Mapping[str, Any]) -> Tensor:
        """(B, C) log-probabilities of the completions under `model`, scored in row chunks by the fused head."""
        ids = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
        mask = torch.cat([out["prompt_mask"], out["completion_mask"]], dim=1)
        args = self.args
        chunk = args.per_device_train_batch_size if self.model.training else args.per_device_eval_batch_size
        completion = out["completion_ids"].size(1)
        return super()._get_per_token_logps_and_entropies(model, ids, mask, completion, batch_size=chunk)[0]

    def _drop_unscored(self, out: dict[str, Any]) -> None:
        """Mask the rows without a reward and count the trained tokens anew."""
        scored = out[f"{PREFIX}column.scored"].to(out["completion_mask"].dtype).unsqueeze(1)
        tool_mask = out.get("tool_mask", torch.ones_like(out["completion_mask"]))
        out["tool_mask"] = tool_mask * scored
        out["num_items_in_batch"] = self.accelerator.gather(_loss_mask(out).sum()).sum()

    def _log_generation(self, table: Table, advantages: Tensor, metrics: Mapping[str, float]) -> None:
        """Put the advantages that are trained into the completions table, and the counts into the metrics."""
        shown = self._logs["advantages"]
        for _ in range(min(len(shown), len(advantages))):
            shown.pop()
        shown.extend(advantages.tolist())
        log = self._metrics["train" if table.training else "eval"]
        log["unscored"].append(1 - table.scored.float().mean().item())
        log["correct"].append(torch.nanmean(table.correct).item())
        for name, value in metrics.items():
            log[name].append(value)

    # -- once per micro-batch -----------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._live_inputs, self._live = dict(inputs), None
        try:
            loss = super()._compute_loss(model, self._live_inputs)
        finally:
            self._live_inputs = None
        live: Live | None = self._live
        self._live = None
        penalty = None if live is None else self.recipe.penalty(live)
        if live is None or penalty is None:
            return loss
        aggregation = self.recipe.settings.aggregation or "sequence"
        return loss + aggregate(penalty, live.mask, aggregation, self._normalizer(live.mask, inputs))

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        out = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        inputs = self._live_inputs
        if inputs is not None and self._live is None:
            self._live = live = without_unscored(self._make_live(out[0], out[1], inputs))
            inputs["advantages"] = advantages = self.recipe.shape(live)
            inputs["old_per_token_logps"] = anchor = self.recipe.anchor(live)
            if self.off_policy_mask_threshold is not None:
                inputs.setdefault("sampling_per_token_logps", live.logp_old)
            self._log_live(live, advantages, anchor)
        return out

    def _make_live(self, logp: Tensor, entropy: Tensor | None, inputs: Mapping[str, Any]) -> Live:
        """The hooks' view of TRL's micro-batch."""
        advantages, mask = inputs["advantages"], _loss_mask(inputs)
        eos = torch.tensor(self.eos_token_ids, device=logp.device)
        old = inputs.get("old_per_token_logps")
        return Live(
            logp=logp,
            logp_old=logp.detach() if old is None else old,
            mask=mask.to(logp.dtype),
            advantages=(advantages.unsqueeze(1) if advantages.dim() == 1 else advantages).expand_as(logp),
            entropy=entropy,
            logp_ref=inputs.get("ref_per_token_logps"),
            scores=_strip(inputs, f"{PREFIX}score."),
            columns=_strip(inputs, f"{PREFIX}column."),
            is_end=torch.isin(inputs["completion_ids"], eos) & mask.bool(),
            step=self.state.global_step,
            total_steps=self.state.max_steps,
        )

    def _normalizer(self, mask: Tensor, inputs: Mapping[str, Any]) -> Normalizer:
        """TRL's divisors: an optimiser step is a mean over its micro-batches and ranks."""
        accumulation = self.current_gradient_accumulation_steps if self.model.training else 1
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        if self.model.training:
            tokens = tokens * accumulation / self.args.steps_per_generation
        return Normalizer(rows=float(mask.shape[0] * accumulation), tokens=tokens)

    @torch.no_grad()
    def _log_live(self, live: Live, advantages: Tensor, anchor: Tensor) -> None:
        """Log the recipe's token means over all ranks, in one reduction; a mean of no tokens is not logged."""
        vetoed = surrogate(self.recipe.settings, live.logp - anchor, advantages).vetoed
        means = measure(self.recipe, live, advantages, vetoed)
        sums = torch.stack([torch.stack([m.total.float(), m.count.float()]) for m in means.values()])
        log = self._metrics["train" if self.model.training else "eval"]
        for name, (total, count) in zip(means, self.accelerator.reduce(sums).tolist(), strict=True):
            if count:
                log[name].append(total / count)

    # -- checkpoints --------------------------------------------------------------------------------------------

    @property
    def at_boundary(self) -> bool:
        """Whether the completions of the current generation are used up."""
        return self._step % (self.args.steps_per_generation * self.num_iterations) == 0

    def _get_train_sampler(self, dataset: Any = None) -> IndexSampler:
        stock: Any = super()._get_train_sampler(dataset)
        self.sampler = resume.ReplayingSampler(
            stock.data_source,
            stock.mini_repeat_count,
            stock.batch_size,
            stock.repeat_count,
            stock.shuffle,
            stock.seed,
        )
        return self.sampler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        with resume.writing_checkpoint(folder):
            if self.args.should_save:
                state = {"methods": self.method_state, "boundary": self.at_boundary, **self._identity()}
                resume.write_state(folder, state)
            super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        saved = resume.read_state(Path(checkpoint))
        ours = self._identity()
        if saved["recipe"] != ours["recipe"]:
            raise ValueError(
                f"{checkpoint} was trained with {saved['recipe']}, not with {self.recipe.name}; "
                "resume with the same recipe, or start from the model in it."
            )
        for name, value in ours["settings"].items():
            if saved["settings"].get(name) != value:
                raise ValueError(
                    f"{checkpoint} was trained with {name}={saved['settings'].get(name)}, not {value}; "
                    "resume with the same settings, or start from the model in it."
                )
        if not saved["boundary"]:
            self.notes.append(f"{checkpoint} ended inside a generation window; its unused completions are lost.")
        self.method_state = saved["methods"]

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that resumes it; a teacher may have moved."""
        settings: dict[str, str] = {}
        for s in self.settings():
            if s["name"] not in ("teacher", "processes"):
                settings[s["name"]] = ", ".join(filter(None, [settings.get(s["name"]), s["value"]]))
        return {"recipe": self.recipe.name, "settings": settings}

    # -- rewards of methods -------------------------------------------------------------------------------------

    def _append_reward(self, function: Any) -> None:
        """One more reward function, of weight 1."""
        self.reward_funcs.append(function)
        self.reward_func_names.append("recipe")
        self.reward_processing_classes.append(None)
        self.reward_weights = torch.cat([self.reward_weights, torch.ones(1)])

    def _method_rewards(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[list[int]],
        **columns: Any,
    ) -> list[float]:
        per_row = {name: values for name, values in columns.items() if isinstance(values, list)}
        rows = [
            Row([], ids, -1, {name: values[i] for name, values in per_row.items()}, prompt, completion)
            for i, (prompt, completion, ids) in enumerate(zip(prompts, completions, completion_ids, strict=True))
        ]
        return asyncio.run(self.recipe.reward(rows))


def _loss_mask(batch: Mapping[str, Any]) -> Tensor:
    """(B, C) 1 on the tokens that are trained."""
    return batch["completion_mask"] * batch["tool_mask"] if "tool_mask" in batch else batch["completion_mask"]


def _strip(inputs: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in inputs.items() if key.startswith(prefix)}


def _key(row: Mapping[str, Any]) -> str:
    """A stable id of a data row: its `id`, or a hash of its prompt."""
    if row.get("id") is not None:
        return str(row["id"])
    return prompt_id(row.get("prompt", ""))


def _short(value: Any) -> str:
    """A value in at most 24 characters or so; a module is named by its class."""
    return type(value).__name__ if isinstance(value, torch.nn.Module) else str(value)
