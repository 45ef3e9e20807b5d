"""What goes into chosen modules at one token of each prompt, batch by batch.

Only the model without its head is run, and only as deep as the last of the modules; no logits are made and nothing but
the chosen rows is kept. Batches are of prompts of like length, padded on the right, where a causal model does not see
the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from posttrain.edit.anchors import Prompt

Position = Literal["last", "mean"]
POSITIONS = ("last", "mean")
BATCH = 16
END = ""
"""In place of a module: what comes out of the model without its head."""


class Encoded(NamedTuple):
    """A prompt as its model reads it."""

    prompt: Prompt
    ids: Sequence[int]


class Rows(NamedTuple):
    """Of a batch of prompts."""

    places: list[int]
    """Which prompts, by their places in what was given."""
    inputs: dict[str, Tensor]
    """By module, (b, d), on the CPU."""


def longest(model: Any) -> int | None:
    """Tokens that a model takes; None if it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def encode(tokenizer: Any, prompts: Sequence[Prompt], most: int | None = None) -> list[Encoded]:
    """Prompts as user turns of the tokenizer's chat template, up to where the answer begins; plain if it has none.

    Args:
        tokenizer: Of transformers.
        prompts: To encode.
        most: Tokens of a prompt.

    Raises:
        ValueError: A prompt has no token, or too many.
    """
    found = []
    for prompt in prompts:
        if getattr(tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": prompt.text}]
            text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = tokenizer(prompt.text)["input_ids"]
        if not ids:
            raise ValueError(f"Prompt {prompt} has no token; leave it out.")
        if most is not None and len(ids) > most:
            raise ValueError(f"Prompt {prompt} has {len(ids)} tokens, and the model takes {most}; shorten it.")
        found.append(Encoded(prompt, ids))
    return found


def capture(
    model: Any,
    prompts: Sequence[Encoded],
    modules: Sequence[str],
    *,
    position: Position = "last",
    batch: int = BATCH,
) -> dict[str, Tensor]:
    """What goes into modules, (N, d) each, in the order of the prompts.

    Args:
        model: Of transformers.
        prompts: See `encode`.
        modules: Dotted names within the model.
        position: The last token of the prompt, or the mean over its tokens.
        batch: Prompts that are run at a time.

    Raises:
        ValueError: A number is not finite, a prompt is of no use, or a module is not run.
    """
    return joined(stream(model, prompts, modules, position=position, batch=batch), len(prompts))


def joined(batches: Iterator[Rows], many: int) -> dict[str, Tensor]:
    """Batches as a whole, in the order of the prompts."""
    found: dict[str, Tensor] = {}
    for places, inputs in batches:
        for name, rows in inputs.items():
            if name not in found:
                found[name] = rows.new_empty(many, rows.shape[1])
            found[name][places] = rows
    return found


def stream(
    model: Any,
    prompts: Sequence[Encoded],
    modules: Sequence[str],
    *,
    position: Position = "last",
    batch: int = BATCH,
) -> Iterator[Rows]:
    """The same, a batch at a time; nothing is held."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        rows = _run(model, [prompts[i].ids for i in places], modules, position)
        for name, each in rows.items():
            wrong = (~torch.isfinite(each)).any(1).nonzero()
            if len(wrong):
                prompt = prompts[places[int(wrong[0])]].prompt
                raise ValueError(
                    f"The input of {name or 'the head'} is not finite on prompt {prompt}; leave the prompt out, or "
                    "load the model in bfloat16 or float32."
                )
        yield Rows(places, rows)


def pooled(hidden: Tensor, mask: Tensor, position: Position) -> Tensor:
    """One row per prompt, (b, d), whichever side the padding is on.

    Args:
        hidden: (b, T, d).
        mask: (b, T), 1 for a token of the prompt.
        position: Of the row.
    """
    mask = mask.to(hidden.device)
    if position == "last":
        last = mask.shape[1] - 1 - mask.flip(1).long().argmax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    weight = mask.to(torch.promote_types(hidden.dtype, torch.float32))[..., None]
    return (hidden * weight).sum(1) / weight.sum(1)


class _Enough(Exception):
    """Every module has been reached."""


def _run(model: Any, ids: Sequence[Sequence[int]], modules: Sequence[str], position: Position) -> dict[str, Tensor]:
    width = max(map(len, ids))
    device = model.get_input_embeddings().weight.device
    tokens = torch.tensor([[*each, *[0] * (width - len(each))] for each in ids], device=device)
    mask = torch.tensor([[1] * len(each) + [0] * (width - len(each)) for each in ids], device=device)
    found: dict[str, Tensor] = {}
    whole = getattr(model, "hf_device_map", None) is not None

    def hook(name: str) -> Any:
        def keep(_: nn.Module, args: tuple[Any, ...]) -> None:
            found[name] = pooled(args[0].detach(), mask, position)
            if len(found) == len(modules) and not whole:
                raise _Enough

        return keep

    with torch.no_grad(), evaluating(model), ExitStack() as hooks:
        for name in {*modules} - {END}:
            handle = model.get_submodule(name).register_forward_pre_hook(hook(name))
            hooks.callback(handle.remove)
        with suppress(_Enough):
            output = model.get_decoder()(input_ids=tokens, attention_mask=mask, use_cache=False)
            if END in modules:
                found[END] = pooled(output[0].detach(), mask, position)
    unseen = [name for name in modules if name not in found]
    if unseen:
        raise ValueError(f"{unseen[0]} is not run when the model reads a prompt; choose another layer.")
    return {name: rows.cpu() for name, rows in found.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout; every module is left as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
