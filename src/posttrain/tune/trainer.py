"""TRL 1.16: `SFTTrainer(...)` becomes `ValueOnlyTrainer(...)`, which trains values alone, with the few-shot loss.

It calls `super()` and edits tensors. The data set is prepared twice by TRL's own `_prepare_dataset`, with the prompt
alone and with the prompt after examples, and joined row by row; the collator pads both with TRL's collator;
`compute_loss` is TRL's on the first, plus lambda_t times TRL's on the second. The names it relies on are in `CONTRACT`.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from trl import SFTConfig, SFTTrainer
from trl.trainer.utils import create_model_from_path

from posttrain.projections import attention, check_value_rows
from posttrain.tune.few_shot import COLUMN, FewShot, with_examples
from posttrain.tune.rows import check_confined, chosen_rows, close_rows, confine, merge, open_rows
from posttrain.tune.values import ValueOnly

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTRACT = {
    "_prepare_dataset": ("dataset", "processing_class", "args", "packing", "formatting_func", "dataset_name"),
    "_set_signature_columns_if_needed": (),
    "compute_loss": ("model", "inputs", "return_outputs", "num_items_in_batch"),
}
"""Method of SFTTrainer to the parameters it is called with."""

ATTRIBUTES = (
    "_metrics", "_signature_columns", "_total_train_tokens", "accelerator", "current_gradient_accumulation_steps",
    "data_collator", "is_fsdp_enabled", "state",
)  # fmt: skip
"""What a trainer must have once it trains."""

PREFIX, ROW = "few_shot_", "posttrain_row"
IDS, LABELS = f"{PREFIX}input_ids", f"{PREFIX}labels"
IGNORED = -100


class ValueOnlyTrainer(SFTTrainer):
    """TRL's SFT trainer for the values of a decoder, with the auxiliary few-shot loss.

    The data set has `prompt` and `completion` (texts or messages); a column `few_shot_prompt` holds a row's prompt with
    examples before it, and is made from other rows of the same `task` or `subject` where it is missing. The loss of an
    evaluation is that without examples.

    Args:
        model: A path, a hub id or a model of transformers, without an adapter.
        args: As in TRL; without packing.
        value_only: How the values are trained; None trains what `peft_config` or the model's own flags say.
        few_shot: The auxiliary loss, `FewShot()` as in the paper; None leaves it out.
        train_dataset: As in TRL, a `Dataset`.
        **kwargs: The rest of TRL's arguments.
    """

    if TYPE_CHECKING:  # attributes that the engine declares optional or types too narrowly
        args: Any
        model: Any

    def __init__(
        self,
        model: Any,
        args: SFTConfig | None = None,
        *,
        value_only: ValueOnly | None = ValueOnly(),  # noqa: B008
        few_shot: FewShot | None = None,
        train_dataset: Any = None,
        **kwargs: Any,
    ) -> None:
        args = args if args is not None else SFTConfig("posttrain-out")
        self.value_only, self.few_shot = value_only, few_shot or FewShot(weight="none")
        if self.few_shot.weight != "none":
            train_dataset = _checked(train_dataset, args, self.few_shot)
        if value_only is not None:
            if kwargs.get("peft_config") is not None:
                raise ValueError("value_only makes the adapter itself; leave peft_config out, or set value_only=None.")
            if isinstance(model, str):
                options: Any = args.model_init_kwargs or {}
                model = create_model_from_path(model, **options)
                args = copy.copy(args)
                args.model_init_kwargs = None
            self.projections = attention(model, value_only.layers)
            check_value_rows(model, self.projections)
            if value_only.update == "lora":
                kwargs["peft_config"] = value_only.lora(self.projections)
            else:
                open_rows(model, self.projections, value_only.parts)
        with ExitStack() as undo:
            if value_only is not None and value_only.update == "full":
                undo.callback(close_rows, model, self.projections, value_only.parts)
            super().__init__(model, args=args, train_dataset=train_dataset, **kwargs)
            if value_only is not None:
                self._confine(value_only)
            undo.pop_all()
        if self.few_shot.weight != "none":
            self.data_collator = _Both(self.data_collator)

    def _confine(self, value_only: ValueOnly) -> None:
        """Keep what is no value at zero, where it is in one module with the values."""
        sizes = {each.module: each.outputs(self._plain()) for each in self.projections}
        chosen = chosen_rows(self.projections, value_only.parts)
        fused = any(len(rows.index) < sizes[name] for name, rows in chosen.items())
        plugin = getattr(self.accelerator.state, "deepspeed_plugin", None)
        if fused and (self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3)):
            raise ValueError(
                "The values of this model are rows of a fused module, which FSDP and DeepSpeed's ZeRO stage 3 cut up; "
                "train without FSDP and with ZeRO stage 2 at most."
            )
        if value_only.update == "lora":
            confine(self.model, self.projections, value_only.parts)

    def _plain(self) -> nn.Module:
        """The model without adapter around it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def merged(self) -> Any:
        """The trained model without adapter; only values differ from what was given. Training ends with it."""
        if self.value_only is None:
            return self.model.merge_and_unload() if hasattr(self.model, "merge_and_unload") else self.model
        if self.value_only.update == "full":
            return close_rows(self.model, self.projections, self.value_only.parts)
        return merge(self.model, self.projections, self.value_only.parts)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As TRL; an adapter that reached beyond the values is not saved."""
        if self.value_only is not None and self.value_only.update == "lora":
            check_confined(self.model, self.projections, self.value_only.parts)
        super().save_model(output_dir, _internal_call)

    # -- the data set, with and without examples ------------------------------------------------------------------

    def _prepare_dataset(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        dataset: Any,
        processing_class: Any,
        args: SFTConfig,
        packing: bool,
        formatting_func: Callable[[dict[str, Any]], str] | None,
        dataset_name: str,
    ) -> Any:
        """Rows of tokens without examples, joined by those with examples where it is the data set to train on."""
        given = (processing_class, args, packing, formatting_func, dataset_name)
        if self.few_shot.weight == "none" or dataset_name != "train":
            return super()._prepare_dataset(dataset, *given)
        dataset = dataset.add_column(ROW, list(range(len(dataset))))
        alone = super()._prepare_dataset(dataset.remove_columns(COLUMN), *given)
        whole = copy.copy(args)
        whole.max_length, whole.shuffle_dataset = None, False
        shown = dataset.remove_columns("prompt").rename_column(COLUMN, "prompt")
        after = super()._prepare_dataset(shown, processing_class, whole, packing, formatting_func, dataset_name)
        return _joined(alone, after, args.max_length)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        missing = [name for name in (IDS, LABELS) if name not in (self._signature_columns or ())]
        if self.few_shot.weight != "none":
            self._signature_columns = [*(self._signature_columns or ()), *missing]

    # -- the loss -------------------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """L_ZS + lambda_t L_FS; without lambda_t, and in an evaluation, L_ZS."""
        after = {name.removeprefix(PREFIX): inputs.pop(name) for name in [*inputs] if name.startswith(PREFIX)}
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not after or not self.model.training or return_outputs:
            return loss
        weight = self.few_shot.at(self.state.global_step, self.state.max_steps)
        self._note("zero_shot_loss", loss, num_items_in_batch)
        self._metrics["train"]["few_shot_weight"].append(weight)
        if weight == 0:
            return loss
        with self._aside():
            examples: Tensor = super().compute_loss(model, after, False, num_items_in_batch)
        self._note("few_shot_loss", examples, num_items_in_batch)
        return loss + weight * examples

    def _note(self, name: str, loss: Tensor, items: Any) -> None:
        """Log a part of the loss, as a mean over the tokens of a step, of all processes."""
        parts = self.current_gradient_accumulation_steps if items is not None else 1
        everywhere: Any = self.accelerator.gather(loss.detach().reshape(1))
        self._metrics["train"][name].append(float(everywhere.mean()) * parts)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Keep the engine's measures to those without examples."""
        kept, tokens = self._metrics["train"], self._total_train_tokens
        self._metrics["train"] = defaultdict(list)
        try:
            yield
        finally:
            self._metrics["train"], self._total_train_tokens = kept, tokens


class _Both:
    """A collator of rows that have tokens with and without examples."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = self.inner([{name: value for name, value in row.items() if name not in (IDS, LABELS)} for row in rows])
        if all(IDS in row for row in rows):
            after = self.inner([{"input_ids": row[IDS], "labels": row[LABELS]} for row in rows])
            batch.update({f"{PREFIX}{name}": value for name, value in after.items()})
        return batch


def _checked(dataset: Any, args: SFTConfig, few_shot: FewShot) -> Any:
    """The data set with a column of prompts after examples, or a sentence why it cannot have one."""
    from datasets import Dataset

    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"The few-shot loss draws examples from the whole data set, but it is a {type(dataset).__name__}; give a "
            "datasets.Dataset, or few_shot=FewShot(weight='none')."
        )
    absent = [name for name in ("prompt", "completion") if name not in dataset.column_names]
    if absent:
        raise ValueError(
            f"The data set has no column {absent[0]!r} (it has {', '.join(dataset.column_names)}); the few-shot loss "
            "needs prompt and completion."
        )
    if args.packing or args.completion_only_loss is False:
        raise ValueError(
            "The few-shot loss is that of a row's own answer; set packing=False and leave completion_only_loss out."
        )
    if COLUMN in dataset.column_names:
        return dataset
    used = [name for name in ("prompt", "completion", *few_shot.by) if name in dataset.column_names]
    rows: list[Any] = list(dataset.select_columns(used))
    return dataset.add_column(COLUMN, with_examples(rows, few_shot))


def _joined(alone: Any, after: Any, longest: int | None) -> Any:
    """Rows with the tokens of both; the answers must be whole in both."""
    places = alone[ROW]
    for place, labels in zip(places, alone["labels"], strict=True):
        own, ids = _trained(labels), after[place]["input_ids"]
        if longest is not None and len(ids) > longest:
            raise ValueError(
                f"Row {place} has {len(ids)} tokens with its examples, and max_length is {longest}; raise max_length, "
                "or lower the shots."
            )
        if own != _trained(after[place]["labels"]):
            raise ValueError(
                f"Row {place} has {own} tokens of answer alone and {_trained(after[place]['labels'])} after its "
                "examples; both prompts must end in the same way, and max_length must leave room for the answer."
            )
    chosen = after.select(places)
    return alone.add_column(IDS, chosen["input_ids"][:]).add_column(LABELS, chosen["labels"][:])


def _trained(labels: Sequence[int]) -> int:
    return sum(label != IGNORED for label in labels)
