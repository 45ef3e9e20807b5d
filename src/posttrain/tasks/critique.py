"""Critiques: is this answer to this question right? Prompts, verdicts and a data set of them.

A critique is sampled from a model that sees a question and one response to it. What the critique concludes is
compared with what the task's verifier said of the response, so judging can be trained with the labels that answering
already has (Yang et al. 2026, arXiv:2602.22765, Fig. 6). Neither the reference answer nor the verifier's label has a
way into the prompt: no function here that makes one takes them.
"""

from __future__ import annotations

import functools
import math
import random
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from posttrain.tasks.verdict import UNSCORED, Verdict, Verifier

RIGHT, WRONG = "right", "wrong"
"""The two verdicts, as `critique_rows` writes them into the answer column."""


class CritiqueForm(Protocol):
    """How critiques are asked for and read. A question is text or messages, and so is the prompt made of it."""

    def prompt(self, question: Any, response: str) -> Any:
        """What asks for a critique of `response`."""
        ...

    def verdict(self, critique: str) -> bool | None:
        """Whether the critique finds the response right; None if it does not say so in the form."""
        ...

    def refinement(self, question: Any, response: str, critique: str) -> Any:
        """What asks for a better response, given the critique."""
        ...


@dataclass(frozen=True)
class MarkedCritique:
    """Critiques in prose that end with the line `Conclusion: right [END]` or `Conclusion: wrong [END]`.

    The last such line of the critique counts, in any case, with or without `[END]`; a critique without one is
    unparsable. A response that writes such a line itself is quoted without it.
    """

    def prompt(self, question: Any, response: str) -> Any:
        """Question, solution, and the instruction to check it step by step; one user message for messages."""
        instruction = (
            "Check the solution step by step and redo each calculation. Then judge whether its final answer is right. "
            'The last line must be "Conclusion: right [END]" or "Conclusion: wrong [END]".'
        )
        return _like(question, f"{_quoted(question, response)}\n\n{instruction}\n")

    def verdict(self, critique: str) -> bool | None:
        """What the last marker line says."""
        found = [match for line in critique.splitlines() if (match := _MARKER.fullmatch(line))]
        return found[-1][1].lower() == RIGHT if found else None

    def refinement(self, question: Any, response: str, critique: str) -> Any:
        """Question, solution, critique, and the instruction to solve the question again."""
        instruction = (
            "The critique may be mistaken. Keep what is right in the solution, correct what is wrong, and write the "
            "whole solution with its final answer in the form that the question asks for."
        )
        return _like(question, f"{_quoted(question, response)}\n\nCritique:\n{critique}\n\n{instruction}\n")


MARKED = MarkedCritique()
"""The default form."""

_MARKER = re.compile(
    rf"[\s*]*+conclusion:[\s*]*+({RIGHT}|{WRONG})[\s*.]*+(?:\[end\])?+[\s*.]*+", re.IGNORECASE | re.ASCII
)


def _quoted(question: Any, response: str) -> str:
    return f"Question:\n{_text(question)}\n\nSolution:\n{without_conclusion(response)}"


def _text(question: Any) -> str:
    """A question as one text; several messages with their roles."""
    if isinstance(question, str):
        return question
    messages = question if isinstance(question, Sequence) else ()
    if not messages or not all(isinstance(m, Mapping) and isinstance(m.get("content"), str) for m in messages):
        raise ValueError(
            f"A critique needs its question as text or as messages with text, and got {question!r:.80}; give the data "
            "set's prompts in one of these forms."
        )
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{m['role']}]\n{m['content']}" for m in messages)


def _like(question: Any, text: str) -> Any:
    """Text for text, one user message for messages."""
    return text if isinstance(question, str) else [{"role": "user", "content": text}]


def without_conclusion(text: str) -> str:
    """The text with `[...]` in place of everything that reads as a conclusion line or as `[END]`.

    Letters are compared without case, accents, width, spaces and invisible characters, and Cyrillic, Greek and
    Armenian look-alikes count as the Latin letter. Prose such as "in conclusion, right angles" stays.
    """
    while found := list(_PLANTED.finditer(_letters(text))):
        places = [place for place, raw in enumerate(text) for _ in _letter(raw)]
        for match in reversed(found):
            text = f"{text[: places[match.start()]]}[...]{text[places[match.end() - 1] + 1 :]}"
    return text


def _letters(text: str) -> str:
    """The text as it is compared."""
    return "".join(map(_letter, text))


@functools.cache
def _letter(raw: str) -> str:
    """What a character counts as: Latin letters without case, accents and width, line ends, signs; or nothing."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", raw).casefold()).translate(_LOOK_ALIKES)
    return "".join("\n" if c in _LINE_ENDS else c for c in plain if c in _LINE_ENDS or not (c.isspace() or c == ","))


_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_LOOK_ALIKES = str.maketrans("соіѕӏһԝгтոսοιυτρϲıɩɡ", "coislhwrtnuoiutrciig")


def _spelled(word: str) -> str:
    return "[^a-z]*+".join(word)


_SAID = f"(?:{_spelled(RIGHT)}|{_spelled(WRONG)})"
_PLANTED = re.compile(
    rf"{_spelled('conclusion')}(?:(?=\n*+[^a-z\n])[^a-z]*+{_SAID}|[^a-z]*+{_SAID}(?![a-z]))"
    rf"|\[[^a-z\[\]]*+{_spelled('end')}[^a-z\[\]]*+\]"
)
"""A conclusion with any sign before its verdict, or with a verdict that ends the sentence; or the end tag."""


def one_of_each(responses: Sequence[str], correct: Sequence[float], seed: str) -> tuple[str, str] | None:
    """One right and one wrong response, chosen at random.

    Args:
        responses: To one question, in any order.
        correct: 1.0 or 0.0 for each; a NaN is not chosen.
        seed: The same seed and the same responses give the same choice, in every process.

    Returns:
        `(right, wrong)`, or None if either is missing.
    """
    labelled = list(zip(responses, correct, strict=True))
    right, wrong = (sorted(r for r, c in labelled if c == label) for label in (1.0, 0.0))
    if not right or not wrong:
        return None
    chance = random.Random(seed)
    return chance.choice(right), chance.choice(wrong)


def critique_rows(
    rows: Sequence[Mapping[str, Any]],
    responses: Sequence[Sequence[str]],
    correct: Sequence[Sequence[float]],
    form: CritiqueForm = MARKED,
    *,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A balanced data set of critique prompts, from responses sampled in advance (the paper's static C-RL).

    A question gives one prompt about a right and one about a wrong response, or none if its responses are all right
    or all wrong. Train `grpo()` on it with `critique_verdict` as the verifier.

    Args:
        rows: Questions with `prompt` and `id`.
        responses: To each question (paper: 10).
        correct: 1.0, 0.0 or NaN for each response.
        form: How to ask; as `MARKED` if left out.
        seed: Of the choice.

    Returns:
        Dicts of `prompt`, `answer` (`right` or `wrong`), `id` and `question`, the id of the row.
    """
    out: list[dict[str, Any]] = []
    for row, answers, labels in zip(rows, responses, correct, strict=True):
        pair = one_of_each(answers, labels, f"{seed}:{row['id']}")
        if pair is None:
            continue
        for label, response in zip((RIGHT, WRONG), pair, strict=True):
            prompt = form.prompt(row["prompt"], response)
            out.append({"prompt": prompt, "answer": label, "id": f"{row['id']}:{label}", "question": row["id"]})
    return out


def critique_verdict(form: CritiqueForm = MARKED, reward: float = 0.7) -> Verifier:
    """A verifier of critiques: `reward` if the verdict is the answer column's `right` or `wrong`, else 0 (Eq. 2).

    An unparsable critique gets 0; a row with another answer is unscored.
    """
    if not (math.isfinite(reward) and reward > 0):
        raise ValueError(f"reward={reward} must be a positive number; the paper uses 0.7.")

    def verify(completion: str, answer: str) -> Verdict:
        if answer not in (RIGHT, WRONG):
            return UNSCORED
        agrees = form.verdict(completion) is (answer == RIGHT)
        return Verdict(reward * agrees, float(agrees))

    return verify
