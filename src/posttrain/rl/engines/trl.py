"""TRL 1.16: `GRPOTrainer(...)` becomes `RecipeTrainer(recipe=rlad(teacher=...), ...)`.

It calls `super()` and edits tensors. A recipe's rollout is TRL's `rollout_func`. Credit replaces the advantages of the
dict that `_generate_and_score_completions` returns; the rows of `extend` and the scores join it. Anchor and shape
replace `old_per_token_logps` and `advantages` when `_compute_loss` makes its first forward, so the student runs once;
the penalty is added to the loss. The names it relies on are listed in `CONTRACT` and checked by `posttrain doctor`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler as IndexSampler
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import use_adapter

from posttrain.rl.agent import environment
from posttrain.rl.batch import Live, Row, Table, Task
from posttrain.rl.engines import gathered, resume, rewards, rows, scoring, teachers, trl_config
from posttrain.rl.engines.prompt_ids import PromptIds, key_of
from posttrain.rl.engines.rewards import text_of
from posttrain.rl.engines.run_async import run_async
from posttrain.rl.engines.sampling import TRLSampler
from posttrain.rl.loss import measure, row_means, surrogate, without_unscored
from posttrain.rl.math import Normalizer, aggregate, positive
from posttrain.rl.recipe import Recipe
from posttrain.rl.turns import swapped, tokens_of, trained, unrolled
from posttrain.tasks.worlds.view import TextView

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
    "_logs", "_metrics", "_step", "_tokenizer", "chat_template", "chat_template_kwargs",
    "current_gradient_accumulation_steps", "eos_token_ids", "generation_config", "generation_kwargs", "model_wrapped",
    "num_generations", "num_generations_eval", "num_iterations", "off_policy_mask_threshold", "ref_model",
    "reward_func_names", "reward_weights", "rollout_func", "temperature", "use_vllm",
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
        models = [score for score in recipe.scores() if score.model is not None]
        teachers.check_references(models)
        self.notes = teachers.check_vocabularies(models, model, kwargs.get("processing_class"))
        args = args if args is not None else GRPOConfig("posttrain-out")
        self.recipe, args, self.sources = trl_config.resolve(recipe, args)
        if args.num_generations is not None:
            self.recipe.check_group_size(args.num_generations)
        self.notes += self.recipe.check()
        self.method_state = self.recipe.initial_state()
        self.sampler: resume.ReplayingSampler | None = None
        self._live_inputs: dict[str, Any] | None = None
        self._live: Live | None = None
        self._said_none = False
        makes = [recipe.owner("rollout")] * recipe.episodic + [recipe.owner("extend")] * recipe.fills("extend")
        if makes and args.use_vllm and args.vllm_importance_sampling_correction:
            raise ValueError(
                f"{makes[0].name} makes rows of its own, for which TRL's correction of vLLM's log-probabilities is not "
                "made; set vllm_importance_sampling_correction=False."
            )
        if recipe.episodic:
            trl_config.check_episodes(args)
            reward_funcs, args = rewards.with_environment(reward_funcs, args)
            if isinstance(classes := kwargs.get("reward_processing_classes"), list):
                kwargs["reward_processing_classes"] = [None, *classes]
        if recipe.fills("rollout"):
            if kwargs.get("rollout_func") is not None:
                raise ValueError(f"{recipe.owner('rollout').name} samples in its own way; leave rollout_func out.")
            kwargs["rollout_func"] = self._rollout
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            super().__init__(model, reward_funcs=reward_funcs, args=args, **kwargs)
        self.hook_sampler = TRLSampler(self)
        plain = isinstance(getattr(recipe.owner("rollout"), "view", None), TextView)
        if plain and getattr(self.processing_class, "chat_template", None):
            self.notes.append("Prompts are plain text, and this model has a chat template; view=ChatView() uses it.")
        self.teachers = teachers.load(models, self)
        self.prompts = PromptIds(self.train_dataset)
        if self.method_state:
            self.notes += self.prompts.check()
            if recipe.episodic:
                self.prompts.check_given(self.recipe.name)
        self._check_rows()
        self.add_callback(resume.BoundaryCallback(self))

    def _check_rows(self) -> None:
        """Reject what a recipe's own rollout or extra rows do not work with."""
        plugin = getattr(self.accelerator.state, "deepspeed_plugin", None)
        own = [self.recipe.owner(hook).name for hook in ("rollout", "extend") if self.recipe.fills(hook)]
        if own and (self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3)):
            raise ValueError(
                f"{own[0]} samples in its own way, which needs the whole model on every process; train without FSDP "
                "and with DeepSpeed's ZeRO stage 2 at most."
            )
        if self.recipe.fills("extend") and (self._entropy_bonus_enabled or self.aux_loss_enabled):
            raise ValueError(
                f"{self.recipe.owner('extend').name} adds rows of its own, among which TRL's entropy bonus and the "
                "load-balancing loss of a mixture of experts would be weighted wrongly; set entropy_coef=0, "
                "use_adaptive_entropy=False and router_aux_loss_coef=0 (the recipe entropy_bonus weights its term "
                "rightly)."
            )

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

    @property
    def pad_id(self) -> int:
        """The padding token, also of a processor's tokenizer."""
        tokenizer: Any = self._tokenizer
        return tokenizer.pad_token_id

    def _rollout(self, prompts: Sequence[Any], _trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: one row per prompt of this process."""
        first, size = self._places()
        tasks = [
            Task(prompt, (first + i) // size, first + i, row, key_of(row))
            for i, (prompt, row) in enumerate(zip(prompts, self._inputs, strict=True))
        ]
        owner = self.recipe.owner("rollout")
        self._rolled = run_async(owner.rollout(tasks, self.hook_sampler, self.method_state.get(owner.name)))
        return {
            "prompt_ids": [row.prompt_ids for row in self._rolled],
            "completion_ids": [row.ids for row in self._rolled],
            "logprobs": [list(row.logps) for row in self._rolled] if self.use_vllm else None,
            **self._of_episodes(),
        }

    def _of_episodes(self) -> dict[str, Any]:
        """What the rollout says besides, where its rows are episodes."""
        if not self.recipe.episodic:
            return {}
        return {
            "env_mask": [trained(row) for row in self._rolled],
            rewards.ENVIRONMENT: [environment(row) for row in self._rolled],
        }

    def _places(self) -> tuple[int, int]:
        """The place of this process's first row among those of all, and the rows of a group."""
        size: Any = self.num_generations if self.model.training else self.num_generations_eval
        return self.accelerator.process_index * len(self._inputs), size

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        found: Any = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        for name, column in zip(self.reward_func_names, found.unbind(1), strict=True):
            if bool(column.isinf().any()):
                raise ValueError(
                    f"The reward function {name!r} returned an infinite reward; return a finite one, or None where "
                    "there is none."
                )
        self._rewards: Tensor = found
        self._completions = [text_of(completion) for completion in completions]
        self._completion_ids: list[list[int]] = completion_ids_list
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._inputs, self._rolled = inputs, []
        out: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.teachers and ("num_images" in out or "pixel_values" in out):
            raise ValueError(
                "The teacher is scored on text alone, but the batch has images; train those without a teacher."
            )
        training, rank = self.model.training, self.accelerator.process_index
        answers = self._answers(out)
        found = unrolled(answers)
        if self.recipe.episodic and any(row.by_turn for row in answers):
            out = self._by_turn(out, found.rows)
        found = found._replace(rows=self._score_prompts(found.rows, out))
        answers = answers if self.recipe.episodic else found.rows
        table = self._table(answers, training)
        extra: list[Row] = []
        counts = [0] * self.accelerator.num_processes
        if training and self.recipe.fills("extend"):
            owner = self.recipe.owner("extend")
            extra = run_async(owner.extend(table, self.method_state.get(owner.name), self.hook_sampler))
            table, counts = gathered.with_extra(table, extra, run_async(self.recipe.reward(extra)))
            self._count_extra(owner.name, extra)
        credit = self.recipe.credit(table, self.method_state)
        metrics = dict(credit.metrics)
        if training:
            self.method_state, remembered = self.recipe.remember(table, self.method_state)
            metrics.update(remembered)
        if any(counts) or self.recipe.episodic:
            out = self._join(out, extra)
        shape = (len(out["prompt_ids"]), out["completion_ids"].size(1))
        own = {name: gathered.own(c, found, len(inputs), counts, rank, shape) for name, c in credit.columns.items()}
        out["advantages"] = gathered.own(credit.advantages, found, len(inputs), counts, rank, shape).float()
        if self.recipe.episodic:
            own["swapped"] = functional.pad(swapped(found.rows), (0, shape[0] - len(found.rows))).to(
                own["scored"].device
            )
        out.update({f"{PREFIX}column.{name}": column for name, column in own.items()})
        for score in self.recipe.scores():
            if score.prompts_of_row is None:
                out[f"{PREFIX}score.{score.name}"] = scoring.under_model(self, self.teachers[score.name], out)
        if any(counts) or self.recipe.episodic or not bool(table.scored.all()):
            self._drop_unscored(out)
        self._log_rows([*answers, *extra])
        self._log_generation(table, credit.advantages, metrics)
        return out

    def _answers(self, out: Mapping[str, Any]) -> list[Row]:
        """The answers of this process as rows."""
        first, size = self._places()
        rolled = self._rolled or [
            Row(ids[mask.bool()].tolist(), completion, (first + i) // size, task, task.get("prompt"))
            for i, (ids, mask, completion, task) in enumerate(
                zip(out["prompt_ids"], out["prompt_mask"], self._completion_ids, self._inputs, strict=True)
            )
        ]
        return [replace(row, completion=text) for row, text in zip(rolled, self._completions, strict=True)]

    def _score_prompts(self, answers: list[Row], out: dict[str, Any]) -> list[Row]:
        """The rows with their log-probabilities under other prompts, which also join the batch."""
        for score in self.recipe.scores():
            if score.prompts_of_row is not None:
                found = scoring.under_prompts(self, score, answers, out)
                out[f"{PREFIX}score.{score.name}"] = found
                answers = [row.with_score(score.name, v) for row, v in zip(answers, found, strict=True)]
        return answers

    def _table(self, answers: Sequence[Row], training: bool) -> Table:
        """The answers of all ranks, in the order of the gathered rewards."""
        given, correct = self._judged(self._rewards)
        gather: Any = self.accelerator.gather
        device = given.device
        if self.recipe.episodic and "correct" not in self.reward_func_names:
            correct = gather(torch.tensor([row.verdict for row in answers], dtype=given.dtype, device=device))
        if self.recipe.fills("reward"):
            own = torch.tensor(run_async(self.recipe.reward(answers)), dtype=given.dtype, device=device)
            terms = gather(own)
            self._log_recipe_reward(terms, training)
            given = given + terms
        _, size = self._places()
        rolls, reads = self.recipe.fills("rollout"), self.recipe.reads_text
        acted = [[turn.acted for turn in row.turns] for row in answers]
        return Table(
            rewards=given,
            group=torch.arange(len(given), device=device) // size,
            correct=correct,
            prompt_key=gather_object([key_of(row) for row in self._inputs]),
            length=gather(torch.tensor([tokens_of(row) for row in answers], device=device)),
            step=self.state.global_step,
            total_steps=self.state.max_steps,
            training=training,
            ranks=self.accelerator.num_processes,
            skill=gather(torch.tensor([row.skill for row in answers], device=device)) if rolls else None,
            notes=gather_object([row.notes for row in answers]) if rolls else None,
            acted=gather_object(acted) if self.recipe.episodic else None,
            prompts=gather_object([row["prompt"] for row in self._inputs]) if reads else None,
            completions=gather_object([row.completion for row in answers]) if reads else None,
        )

    def _judged(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) rewards and (B,) verdicts from the columns (B, functions) of the reward functions."""
        weights = self.reward_weights.to(found.device)
        total = torch.where(weights == 0, torch.zeros_like(found), found * weights).sum(dim=1)
        if "correct" in self.reward_func_names:
            return total, found[:, self.reward_func_names.index("correct")]
        return total, positive(total)

    def verdicts(self, inputs: Any, prompts: Any, completions: Any, completion_ids: Any) -> Tensor:
        """(B,) verdicts of the reward functions on completions of all ranks, which give equally many."""
        return self._judged(super()._calculate_rewards(inputs, prompts, completions, completion_ids))[1]

    def stock_logps(self, model: Any, ids: Tensor, mask: Tensor, width: int, chunk: int) -> Tensor:
        """(B, C) log-probabilities of the last `width` ids, by TRL's own pass in row chunks."""
        return super()._get_per_token_logps_and_entropies(model, ids, mask, width, batch_size=chunk)[0]

    def _by_turn(self, out: dict[str, Any], turns: Sequence[Row]) -> dict[str, Any]:
        """The batch with a row per turn in place of a row per episode."""
        batch = rows.to_batch(turns, self.pad_id, self.accelerator.device)
        if "sampling_per_token_logps" in out and all(len(row.logps) == len(row.ids) for row in turns):
            batch["sampling_per_token_logps"] = rows.sampled_logps(turns, self.accelerator.device)
        self._add_logps(batch, out)
        tokens = [int(b["prompt_mask"].sum() + b["completion_mask"].sum()) for b in (batch, out)]
        self.state.num_input_tokens_seen += sum(gather_object([tokens[0] - tokens[1]]))
        return rows.replaced(out, batch, PREFIX)

    def _join(self, out: dict[str, Any], extra: Sequence[Row]) -> dict[str, Any]:
        """The batch with this rank's extra rows, filled up to a number that all ranks share and that divides.

        TRL's mean over rows would count the filling, so the loss is scaled by all rows over real rows.
        """
        if extra:
            ends = {*self.eos_token_ids, self.pad_id} if self.mask_truncated_completions else None
            batch = rows.to_batch(extra, self.pad_id, self.accelerator.device, ends)
            self._add_logps(batch, out)
            out = rows.merge(out, batch, self.pad_id, PREFIX)
        parts = self.args.steps_per_generation if self.model.training else 1
        real = gather_object([len(out["prompt_ids"])])
        size = -(-max(real) // parts) * parts
        out = rows.fill_up(out, size)
        out[f"{PREFIX}scale"] = torch.tensor(size * len(real) / sum(real), device=self.accelerator.device)
        return out

    @torch.no_grad()
    def _add_logps(self, batch: dict[str, Tensor], out: Mapping[str, Any]) -> None:
        """The log-probabilities under the old, the sampling and the reference policy, where the answers have them."""
        names = ("old_per_token_logps", "sampling_per_token_logps")
        if own := [name for name in names if name in out and name not in batch]:
            batch.update(dict.fromkeys(own, scoring.under_model(self, self.model, batch)))
        if "ref_per_token_logps" not in out:
            return
        if self.ref_model is not None:
            batch["ref_per_token_logps"] = scoring.under_model(self, self.ref_model, batch)
            return
        model = self.accelerator.unwrap_model(self.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            batch["ref_per_token_logps"] = scoring.under_model(self, self.model, batch)

    def _count_extra(self, name: str, extra: Sequence[Row]) -> None:
        """Count the tokens of the extra rows, and say the first time that there are none."""
        tokens = gather_object([len(row.prompt_ids) + len(row.ids) for row in extra])
        self.state.num_input_tokens_seen += sum(tokens)
        if not tokens and not self._said_none:
            self._said_none = True
            self.accelerator.print(
                f"step {self.state.global_step}: {name} has no rows to add, so this step trains on answers only; "
                "later ones are counted in the log."
            )

    def _drop_unscored(self, out: dict[str, Any]) -> None:
        """Mask the rows without a reward and count the trained tokens anew."""
        scored = out[f"{PREFIX}column.scored"].to(out["completion_mask"].dtype).unsqueeze(1)
        tool_mask = out.get("tool_mask", torch.ones_like(out["completion_mask"]))
        out["tool_mask"] = tool_mask * scored
        out["num_items_in_batch"] = self.accelerator.gather(_loss_mask(out).sum()).sum()

    def _log_recipe_reward(self, terms: Tensor, training: bool) -> None:
        """The methods' own reward beside those of the reward functions."""
        log = self._metrics["train" if training else "eval"]
        log["rewards/recipe/mean"].append(torch.nanmean(terms).item())
        self._logs["rewards"]["recipe"].extend(terms.tolist())

    def _log_rows(self, found: Sequence[Row]) -> None:
        """Log the recipe's row means over all ranks."""
        log = self._metrics["train" if self.model.training else "eval"]
        told = gather_object([self.recipe.diagnose_rows(found)])
        for name, mean in row_means(told).items():
            log[name].append(mean)

    def _log_generation(self, table: Table, advantages: Tensor, metrics: Mapping[str, float]) -> None:
        """Put the answers' advantages that are trained into the completions table, and the counts into the metrics."""
        shown, of_answers = self._logs["advantages"], advantages[table.answers]
        if advantages.dim() == 2:  # over the turns that an episode has
            turns = of_answers.new_tensor([max(len(acted), 1) for acted in table.acted or ()])
            of_answers = of_answers.sum(dim=1) / turns
        own = of_answers.tolist()
        for _ in range(min(len(shown), len(own))):
            shown.pop()
        shown.extend(own)
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
        aggregation = self.recipe.settings.aggregation or "sequence"
        if live is not None and penalty is not None:
            loss = loss + aggregate(penalty, live.mask, aggregation, self._normalizer(live.mask, inputs))
        if aggregation == "sequence" and f"{PREFIX}scale" in inputs:
            loss = loss * inputs[f"{PREFIX}scale"]
        return loss

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
        for part in self.recipe.parts:
            if part.name in saved["methods"] and self.prompts.sized:
                part.check_state(saved["methods"][part.name], self.prompts.places)
        self.method_state = saved["methods"]

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that resumes it; a teacher may have moved."""
        settings: dict[str, str] = {}
        for s in self.settings():
            if s["name"] not in ("teacher", "processes"):
                settings[s["name"]] = ", ".join(filter(None, [settings.get(s["name"]), s["value"]]))
        return {"recipe": self.recipe.name, "settings": settings}


def _loss_mask(batch: Mapping[str, Any]) -> Tensor:
    """(B, C) 1 on the tokens that are trained."""
    return batch["completion_mask"] * batch["tool_mask"] if "tool_mask" in batch else batch["completion_mask"]


def _strip(inputs: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in inputs.items() if key.startswith(prefix)}


def _short(value: Any) -> str:
    """A value as text that is the same in every process; what is neither plain nor a dataclass, by its class."""
    plain = value is None or isinstance(value, str | int | float | Path | tuple | list) or is_dataclass(value)
    return str(value) if plain else type(value).__name__
