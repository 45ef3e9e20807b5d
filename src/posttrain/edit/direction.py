"""Whether an edit leaves English as safe as it was. It prevents mistakes, not misuse: who swaps the anchors passes it.

Two things are looked at on English anchors, before and after: by how much the edited units rise on harmful prompts over
harmless ones, and how far apart the two kinds are along a linear probe where the model's head reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from posttrain.edit.anchors import Anchors
from posttrain.edit.capture import END, capture, encode, longest
from posttrain.edit.change import Change
from posttrain.edit.in_place import applied
from posttrain.edit.units import probe

if TYPE_CHECKING:
    from posttrain.edit.safety import SafetyEdit


def check(
    model: Any, tokenizer: Any, anchors: Anchors, changes: Sequence[Change], config: SafetyEdit
) -> dict[str, float]:
    """What is left of the difference between harmful and harmless prompts in English, 1 for all; empty if not asked.

    Raises:
        ValueError: Less is left than `config.keep_rise` and `config.keep_probe` ask for.
    """
    if config.keep_rise == config.keep_probe == 0:
        return {}
    kinds = [encode(tokenizer, found[anchors.english], longest(model)) for found in (anchors.harmful, anchors.harmless)]

    def ends() -> list[Tensor]:
        options: dict[str, Any] = {"position": config.position, "batch": config.batch}
        return [capture(model, prompts, [END], **options)[END].double() for prompts in kinds]

    before = ends()
    with applied(model, changes):
        after = ends()
    found = {"rise": min(change.measured.english for change in changes), "probe": kept(before, after)}
    for name, least, what in (
        ("rise", config.keep_rise, "its units rise by on harmful prompts"),
        ("probe", config.keep_probe, "a probe tells harmful prompts by"),
    ):
        if least and not found[name] >= least:
            raise ValueError(
                f"The edit makes {anchors.english!r} less safe: {found[name]:.0%} is left of what {what}, and "
                f"keep_{name} asks for {least:.0%}; raise gamma, hold these prompts still with protect_english, or "
                "choose another layer."
            )
    return found


def kept(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """The share of the way from harmless to harmful prompts that is left, along a probe of the states before.

    Args:
        before: States on harmful prompts, (N, d), and on harmless ones, (M, d).
        after: The same, after the edit.
    """
    spread = torch.cat(list(before)).std(0)
    way = probe(before[0], before[1], 1.0) / spread.clamp(min=max(1e-6 * float(spread.mean()), 1e-300))
    apart = [float((harmful.mean(0) - harmless.mean(0)) @ way) for harmful, harmless in (before, after)]
    return apart[1] / apart[0] if apart[0] else 1.0
