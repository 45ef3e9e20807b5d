"""How hooks sample and ask for verdicts under TRL: through the trainer's own model, template and reward functions."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from trl.models import unwrap_model_for_generation

from posttrain.rl.batch import Sampled
from posttrain.rl.tokens import cut, left_padded

if TYPE_CHECKING:
    from posttrain.rl.engines.trl import RecipeTrainer


class TRLSampler:
    """The `Sampler` that hooks get."""

    def __init__(self, trainer: RecipeTrainer) -> None:
        self.trainer = trainer
        self.rank: int = trainer.accelerator.process_index
        self.ranks: int = trainer.accelerator.num_processes

    @property
    def training(self) -> bool:
        """Whether the trainer trains, rather than evaluates."""
        return self.trainer.model.training

    async def __call__(
        self, prompt_ids: Sequence[list[int]], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> list[Sampled]:
        """One completion per prompt, from vLLM where the trainer uses it."""
        if not prompt_ids:
            return []
        if self.trainer.use_vllm:
            return self._from_vllm(prompt_ids, max_tokens, temperature)
        chosen = {"max_new_tokens": max_tokens, "temperature": temperature}
        return generate(self.trainer, prompt_ids, {k: v for k, v in chosen.items() if v is not None})

    def encode(self, prompt: Any) -> list[int]:
        """Ids as they are, text by the tokenizer, messages through the chat template with a generation prompt."""
        if isinstance(prompt, str):
            return self.trainer.processing_class(text=prompt)["input_ids"]
        if not prompt or isinstance(prompt[0], int):
            return list(prompt)
        chat: Any = self.trainer
        return chat.processing_class.apply_chat_template(
            conversation=prompt,
            chat_template=chat.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **chat.chat_template_kwargs,
        )["input_ids"]

    def encode_all(self, prompts: Sequence[Any]) -> list[list[int]]:
        """`encode` of many prompts, each different one once."""
        known: dict[str, list[int]] = {}
        for prompt in prompts:
            if (key := repr(prompt)) not in known:
                known[key] = self.encode(prompt)
        return [known[repr(prompt)] for prompt in prompts]

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return self.trainer.processing_class.decode(list(ids), skip_special_tokens=True)

    async def judge(self, keys: Sequence[str], completions: Sequence[str]) -> list[float]:
        """The trainer's own reward functions on completions of prompts of the data set."""
        rows = [self.trainer.prompts.row(key) for key in keys]
        most = max(gather_object([len(rows)]))
        if not most:
            return []
        missing = most - len(rows)
        rows += [rows[0] if rows else self.trainer.prompts.dataset[0]] * missing
        texts = [*completions, *[""] * missing]
        prompts = [row["prompt"] for row in rows]
        answers = [
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for text, prompt in zip(texts, prompts, strict=True)
        ]
        ids = [self.trainer.processing_class(text=text)["input_ids"] for text in texts]
        verdicts = self.trainer.verdicts(rows, prompts, answers, ids)
        return verdicts[self.rank * most : self.rank * most + len(keys)].tolist()

    def _from_vllm(
        self, prompt_ids: Sequence[list[int]], max_tokens: int | None, temperature: float | None
    ) -> list[Sampled]:
        """One completion per prompt; `num_generations=1`, because the server keeps only every n-th prompt."""
        engine: Any = self.trainer.vllm_generation
        if temperature not in (None, self.trainer.temperature):
            raise ValueError(
                f"temperature={temperature} differs from the run's, which vLLM here cannot do; leave it out."
            )
        before = engine.max_completion_length
        engine.max_completion_length = max_tokens or before
        try:
            _, ids, logps, _ = engine.generate(prompts=list(prompt_ids), images=None, num_generations=1)
        finally:
            engine.max_completion_length = before
        ends = set(self.trainer.eos_token_ids)
        return [
            Sampled(row, [_number(token[0]) for token in logp], "stop" if ends.intersection(row[-1:]) else "length")
            for row, logp in zip(ids, logps, strict=True)
        ]


def _number(logp: float | None) -> float:
    """A log-probability; NaN for the None that vLLM gives in its place."""
    return math.nan if logp is None else float(logp)


@torch.no_grad()
def generate(trainer: RecipeTrainer, prompt_ids: Sequence[list[int]], chosen: Mapping[str, Any]) -> list[Sampled]:
    """Sample with the policy in process, all prompts in one batch; `chosen` overrides the run's generation settings.

    A completion ends with its first end token. A sampled padding token is a token like any other.
    """
    ids, mask = left_padded(prompt_ids, trainer.pad_id, trainer.accelerator.device)
    config = copy.deepcopy(trainer.generation_config)
    config.update(**chosen)
    with unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
        generation_kwargs={**trainer.generation_kwargs, **chosen},
        gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
    ) as model:
        out: Any = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    ends = set(trainer.eos_token_ids)
    return [cut(row, ends) for row in out[:, ids.shape[1] :].tolist()]
