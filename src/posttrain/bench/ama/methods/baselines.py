"""Baselines that need no model: the last turns, words, characters, and addresses before words."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from posttrain.bench.ama.methods.method import Raw
from posttrain.bench.ama.silver import cited
from posttrain.memory.rows import Turn

Words = Callable[[str], list[str]]
_WORD = re.compile(r"[A-Za-z]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def spaced(text: str) -> list[str]:
    """Lower case, at white space."""
    return text.lower().split()


def code_words(text: str) -> list[str]:
    """Letters and digits apart, camelCase too."""
    return [word.lower() for part in _WORD.findall(text) for word in _CAMEL.split(part)]


def text_of(turn: Turn) -> str:
    """A turn as one text."""
    return f"{turn.action}\n{turn.observation}"


class Last(Raw):
    """The last turns."""

    def retrieve(self, question: str, k: int, tokens: int | None = None) -> list[int]:
        """The last, whatever is asked."""
        return self.fitting(list(reversed(self.turns)), k, tokens)


class Scored(Raw, ABC):
    """Turns by a score; only what scores above zero is evidence."""

    @abstractmethod
    def scores(self, question: str) -> np.ndarray:
        """One for each turn, in order."""

    def ranked(self, question: str) -> list[int]:
        """Turns that score above zero, the best first; of equals the earlier."""
        scores, numbers = self.scores(question), list(self.turns)
        return [numbers[at] for at in np.argsort(-scores, kind="stable").tolist() if scores[at] > 0]

    def retrieve(self, question: str, k: int, tokens: int | None = None) -> list[int]:
        """The best."""
        return self.fitting(self.ranked(question), k, tokens)


class BM25(Scored):
    """Okapi BM25 with k1 = 1.5 and b = 0.75.

    Args:
        words: What a text is cut into.
    """

    def __init__(self, words: Words = spaced) -> None:
        super().__init__()
        self.words = words

    def build(self, turns: Sequence[Turn]) -> None:
        """Count the words of each turn."""
        super().build(turns)
        self.postings: dict[str, tuple[list[int], list[int]]] = {}
        lengths = []
        for at, turn in enumerate(self.turns.values()):
            counts = Counter(self.words(text_of(turn)))
            lengths.append(sum(counts.values()))
            for word, n in counts.items():
                places, times = self.postings.setdefault(word, ([], []))
                places.append(at)
                times.append(n)
        self.lengths = np.array(lengths, float)

    def scores(self, question: str) -> np.ndarray:
        """By the question's words, each once."""
        total, k1, b = len(self.turns), 1.5, 0.75
        found, mean = np.zeros(total), max(self.lengths.mean(), 1.0) if total else 1.0
        for word in dict.fromkeys(self.words(question)):
            places, times = map(np.array, self.postings.get(word, ([], [])))
            if len(places):
                idf = np.log(1 + (total - len(places) + 0.5) / (len(places) + 0.5))
                norm = k1 * (1 - b + b * self.lengths[places] / mean)
                found[places] += idf * times * (k1 + 1) / (times + norm)
        return found


class TFIDF(BM25):
    """Cosine of tf-idf vectors, with smoothed inverse frequencies."""

    def build(self, turns: Sequence[Turn]) -> None:
        """Count the words, and measure each turn's vector."""
        super().build(turns)
        squares = np.zeros(len(self.turns))
        for word, (places, times) in self.postings.items():
            squares[places] += (np.array(times) * self._idf(word)) ** 2
        self.norms = np.sqrt(squares)

    def _idf(self, word: str) -> float:
        seen = len(self.postings[word][0]) if word in self.postings else 0
        return float(np.log((1 + len(self.turns)) / (1 + seen)) + 1)

    def scores(self, question: str) -> np.ndarray:
        """Cosines, up to the question's own length."""
        found = np.zeros(len(self.turns))
        for word, n in Counter(self.words(question)).items():
            places, times = self.postings.get(word, ([], []))
            found[places] += np.array(times) * n * self._idf(word) ** 2
        return np.divide(found, self.norms, out=np.zeros_like(found), where=self.norms > 0)


class Characters(Scored):
    """Cosine of hashed character 3- to 5-grams, in 4,096 dimensions; stateless, and no semantics."""

    SIZE = 4096

    def vector(self, text: str) -> np.ndarray:
        """Counts of the n-grams' codes, of length 1."""
        raw = np.frombuffer(text.lower().encode(), np.uint8).astype(np.uint32)
        found = np.zeros(self.SIZE)
        for n in (3, 4, 5):
            if len(raw) >= n:
                codes = np.full(len(raw) - n + 1, n, np.uint32)
                for at in range(n):
                    codes = codes * np.uint32(2654435761) + raw[at : len(raw) - n + 1 + at]
                codes ^= codes >> np.uint32(15)
                codes *= np.uint32(2246822519)
                found += np.bincount((codes >> np.uint32(20)).astype(np.int64), minlength=self.SIZE)
        length = np.linalg.norm(found)
        return (found / length if length else found).astype(np.float32)

    def build(self, turns: Sequence[Turn]) -> None:
        """One vector a turn."""
        super().build(turns)
        self.matrix = np.stack([self.vector(text_of(turn)) for turn in self.turns.values()])

    def scores(self, question: str) -> np.ndarray:
        """Cosines."""
        return self.matrix @ self.vector(question)


class Address(BM25):
    """The steps that the question names, their neighbours, then BM25.

    Args:
        around: So many turns to each side of a named one.
        words: What a text is cut into.
    """

    def __init__(self, around: int = 0, words: Words = code_words) -> None:
        super().__init__(words)
        self.around = around

    def ranked(self, question: str) -> list[int]:
        """Named turns, then those beside them, then by words."""
        named = sorted(cited(question, self.turns.keys()))
        beside = [turn + shift for turn in named for shift in self._shifts() if turn + shift in self.turns]
        return list(dict.fromkeys((*named, *beside, *super().ranked(question))))

    def _shifts(self) -> Iterator[int]:
        for distance in range(1, self.around + 1):
            yield from (-distance, distance)


class LongContext(Raw):
    """The whole log, or its head and tail where the budget is short: no memory at all.

    Args:
        head: The head's share of the budget.
    """

    def __init__(self, head: float = 0.5) -> None:
        super().__init__()
        self.head = head

    def retrieve(self, question: str, k: int, tokens: int | None = None) -> list[int]:
        """Turns from both ends; `k` does not count."""
        numbers = list(self.turns)
        if tokens is None:
            return numbers
        front = self.fitting(numbers, len(numbers), int(tokens * self.head))
        back = self.fitting(numbers[: len(front) - 1 : -1] if front else numbers[::-1], len(numbers),
                            tokens - int(tokens * self.head))  # fmt: skip
        return [*front, *reversed(back)]
