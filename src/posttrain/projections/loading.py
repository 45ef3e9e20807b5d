"""A decoder from a folder or the hub, refused before it is loaded where its weights cannot be changed."""

from __future__ import annotations

from typing import Any

import torch

from posttrain.extras import need
from posttrain.projections.refuse import check_config


def load_model(name: str, *, dtype: Any = "auto", device: str | torch.device | None = "cpu") -> Any:
    """A causal language model of transformers.

    Args:
        name: A folder or a hub id.
        dtype: Of the weights; `auto` is that of the config.
        device: Where it goes.

    Raises:
        ValueError: Its weights are quantised, or damaged.
    """
    tf = need("transformers")
    check_config(tf.AutoConfig.from_pretrained(name))
    try:
        model = tf.AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    except need("safetensors").SafetensorError as error:
        raise ValueError(f"The weights of {name} cannot be read ({error}); a file is damaged, get it again.") from error
    return model.to(device).eval()


def device(name: str) -> torch.device:
    """A device by its name; `auto` is cuda where there is one, else the CPU.

    Raises:
        ValueError: There is none of that name here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used here ({reason}); use cpu, or leave it out.") from error
    return found
