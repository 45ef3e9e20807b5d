"""Tiny trained models that ship with the package, so that a method can be tried offline in minutes on a CPU.

    AutoModelForCausalLM.from_pretrained(path("kk/student"))

Each is a directory of weights, tokenizer and `card.json`: what the model scores and how to remake it.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Where the shipped models are."""


def names() -> list[str]:
    """The shipped models, such as `kk/student`."""
    return sorted(card.parent.relative_to(WEIGHTS).as_posix() for card in WEIGHTS.glob("*/*/card.json"))


def path(name: str) -> Path:
    """The directory of a shipped model, to pass to `from_pretrained`.

    Raises:
        ValueError: There is no such model.
    """
    if name not in names():
        raise ValueError(f"name is {name!r}; expected one of: {', '.join(names())}")
    return WEIGHTS / name
