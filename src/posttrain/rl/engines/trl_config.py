"""What a recipe sets in TRL's `GRPOConfig`, and what the user set there.

A value that the user changed stands wherever the recipe has no opinion; where both have one and they differ, it
is an error.
"""

from __future__ import annotations

import copy
from dataclasses import MISSING, fields, replace
from typing import Any

from trl import GRPOConfig

from posttrain.rl.grpo import EngineDefault
from posttrain.rl.recipe import Recipe, Sourced

LOSS_TYPES = {"sequence": "grpo", "token": "dapo"}
FIELDS = {"clip_low": "epsilon", "clip_high": "epsilon_high", "dual_clip": "delta", "kl_beta": "beta"}


ALWAYS = ("num_generations", "num_iterations", "temperature")
PRINTED = (
    *ALWAYS, "use_bias_correction_kl", "entropy_coef", "use_adaptive_entropy", "top_entropy_quantile",
    "off_policy_mask_threshold", "mask_truncated_completions", "cast_lm_head_to_fp32",
)  # fmt: skip
"""TRL's own fields that change what is trained: printed always, or when they differ from TRL's default."""


class ConfigClash(ValueError):
    """The recipe and the user's GRPOConfig want different values."""


def check_episodes(args: Any) -> None:
    """Reject what episodes of different lengths do not work with."""
    if args.mask_truncated_completions:
        raise ValueError(
            "mask_truncated_completions=True would leave out every episode that does not end on an end token; "
            "set it to False."
        )
    if args.use_vllm and (args.vllm_mode == "server" or args.vllm_tensor_parallel_size > 1):
        raise ValueError(
            "Episodes end at different times, so processes ask for different numbers of actions, which vLLM's server "
            "mode and tensor parallelism do not allow; use vllm_mode='colocate' and vllm_tensor_parallel_size=1."
        )


def resolve(recipe: Recipe, args: GRPOConfig) -> tuple[Recipe, GRPOConfig, dict[str, Sourced]]:
    """The recipe and the config with one set of values, and where each setting comes from.

    Both arguments are left as they are.
    """
    users, sources = _from_user(args), dict(recipe.sources)
    for name, value in users.items():
        sourced = sources[name]
        if sourced.value == value:
            continue
        if sourced.source != "grpo default":
            raise ConfigClash(
                f"{sourced.source} sets {name}={sourced.value}, but GRPOConfig sets "
                f"{'loss_type' if name == 'aggregation' else FIELDS[name]}={_as_trl(name, value)}; "
                f"remove it there, or pass {name} to the recipe."
            )
        sources[name] = Sourced(value, "GRPOConfig")
    values = {name: sourced.value for name, sourced in sources.items()}
    weak = {name: values[name] for name in values if sources[name].source == "GRPOConfig"}
    resolved = replace(recipe, base=replace(recipe.base, **weak))
    return resolved, _configured(args, values, keeps_kl=_keeps_kl(resolved)), sources


def is_changed(args: GRPOConfig, name: str) -> bool:
    """Whether a field differs from TRL's default."""
    return any(f.name == name and getattr(args, name) != f.default for f in fields(args) if f.default is not MISSING)


def _keeps_kl(recipe: Recipe) -> bool:
    """Whether TRL's importance-corrected KL stays: it is TRL's own, and wrong against another anchor."""
    return isinstance(recipe.base, EngineDefault) and not recipe.fills("anchor")


def _from_user(args: GRPOConfig) -> dict[str, Any]:
    """The recipe settings that the user changed from TRL's defaults, in the recipe's terms."""
    changed = {f.name for f in fields(args) if is_changed(args, f.name)}
    users = {name: getattr(args, field) for name, field in FIELDS.items() if field in changed}
    if "epsilon" in changed and "epsilon_high" not in changed:
        users["clip_high"] = args.epsilon
    if "loss_type" in changed:
        names = {trl: ours for ours, trl in LOSS_TYPES.items()}
        if args.loss_type not in names:
            raise ConfigClash(
                f"GRPOConfig sets loss_type={args.loss_type!r}, which no recipe has; use 'grpo' (mean per completion) "
                "or 'dapo' (mean over tokens), or train without a recipe."
            )
        users["aggregation"] = names[args.loss_type]
    if args.importance_sampling_level != "token":
        raise ConfigClash(
            f"GRPOConfig sets importance_sampling_level={args.importance_sampling_level!r}, but a recipe's ratio is "
            "per token; remove it."
        )
    for name in ("scale_rewards", "multi_objective_aggregation"):
        if name in changed:
            raise ConfigClash(
                f"GRPOConfig sets {name}={getattr(args, name)!r}, but a recipe computes the advantages itself; "
                "remove it, and choose with grpo(spread=...)."
            )
    return users


def _as_trl(name: str, value: Any) -> Any:
    """A setting's value as GRPOConfig spells it."""
    if name == "aggregation":
        return LOSS_TYPES[value]
    return (value or None) if name == "dual_clip" else value


def _configured(args: GRPOConfig, values: dict[str, Any], *, keeps_kl: bool) -> GRPOConfig:
    """A copy of `args` with the recipe's values written out; no engine default is inherited."""
    args = copy.copy(args)
    for name, field in FIELDS.items():
        setattr(args, field, _as_trl(name, values[name]))
    args.loss_type = _as_trl("aggregation", values["aggregation"])
    args.use_bias_correction_kl = args.use_bias_correction_kl and keeps_kl
    return args
