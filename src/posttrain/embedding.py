"""Vectors of texts, for memories that look for what is alike. Any callable from texts to rows of numbers will do."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Embedder = Callable[[Sequence[str]], np.ndarray]
"""Texts to (texts, dimensions)."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class HashedNGrams:
    """Words and pairs of words, hashed to signed dimensions; of length 1, or 0 for a text without words."""

    dimensions: int = 512
    """Of the vectors."""

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ValueError(f"dimensions={self.dimensions} must be at least 1.")

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, dimensions) in float32."""
        found = [_hashed(text, self.dimensions) for text in texts]
        return np.stack(found) if found else np.zeros((0, self.dimensions), np.float32)


@lru_cache(maxsize=65_536)
def _hashed(text: str, dimensions: int) -> np.ndarray:
    words = _WORD.findall(text.lower())
    vector = np.zeros(dimensions, np.float32)
    for gram in (*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))):
        code = zlib.crc32(gram.encode())
        vector[code % dimensions] += 1.0 if code & 0x8000_0000 else -1.0
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def kept(embed: Embedder, most: int = 65_536) -> Embedder:
    """The same vectors, each text embedded once; all texts that are new in a call are embedded together.

    Args:
        embed: Any embedder.
        most: Vectors that are kept; then all are made anew.
    """
    known: dict[str, np.ndarray] = {}

    def vectors(texts: Sequence[str]) -> np.ndarray:
        if len(known) > most:
            known.clear()
        if fresh := list(dict.fromkeys(text for text in texts if text not in known)):
            known.update(zip(fresh, embed(fresh), strict=True))
        return np.stack([known[text] for text in texts]) if len(texts) else embed([])

    return vectors


kept_of = lru_cache(maxsize=8)(kept)
"""One such function per embedder."""


def cosines(vectors: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N,) cosine of each row (N, D) with a vector (D,); 0 where either has no length."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(other)
    return np.divide(vectors @ other, lengths, out=np.zeros(len(vectors)), where=lengths > 0)
