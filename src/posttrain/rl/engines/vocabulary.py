"""Do two models mean the same token by the same id? Checked before a GPU hour is spent.

The token-to-id maps are compared, not the widths of the heads: Qwen's 151,936 and 152,064 rows can agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    eos_token: str | None

    def get_vocab(self) -> dict[str, int]:
        """Token to id, added tokens included."""
        ...


class VocabularyMismatch(ValueError):
    """A teacher's token ids mean other tokens than the student's."""


def check(student: Tokenizer, teacher: Tokenizer, *, name: str) -> list[str]:
    """Raise unless both map every token to the same id.

    Args:
        student: The policy's tokenizer.
        teacher: The scoring model's tokenizer.
        name: What to call the teacher in a message.

    Returns:
        Sentences worth reading, such as differing end tokens.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    if ours != theirs:
        raise VocabularyMismatch(
            f"The teacher {name} maps tokens to other ids than the student ({_first_differences(ours, theirs)}); "
            "use a teacher with the student's tokenizer."
        )
    if student.eos_token != teacher.eos_token:
        return [
            f"The student ends with {student.eos_token!r} and the teacher {name} with {teacher.eos_token!r}: the "
            "teacher may find the student's end token unlikely (see mask_end)."
        ]
    return []


def _first_differences(ours: Mapping[str, int], theirs: Mapping[str, int], most: int = 3) -> str:
    """The first tokens, by id, on which two maps differ."""
    differing = sorted(
        (token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)),
        key=lambda token: (
            min(ours.get(token, theirs.get(token, 0)), theirs.get(token, ours.get(token, 0))),
            token,
        ),
    )
    shown = [f"{token!r}: {ours.get(token, 'none')} and {theirs.get(token, 'none')}" for token in differing[:most]]
    rest = len(differing) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
