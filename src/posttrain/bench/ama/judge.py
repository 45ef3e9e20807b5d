"""Reading by a model: what it is asked to answer, how its answer is judged, and the token F1 of the paper."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from posttrain.bench.ama.log import Value
from posttrain.chat import Chat
from posttrain.memory.rows import Turn

READER = (
    "You answer questions about the log of an agent. You are given some of its steps, each with the agent's action and "
    "what it observed. Use only these. Be brief and exact: give names, values and step numbers as they are written. If "
    "the steps do not tell the answer, say that they do not."
)
JUDGE = (
    "You decide whether an answer to a question about the log of an agent is right, by comparing it with a reference. "
    "It is right if it says what the reference says, leaves out nothing that the question asks for, and adds nothing "
    "that contradicts it; wording and order do not matter. Think briefly, and end with one word: yes or no."
)
_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_ARTICLES = frozenset(("a", "an", "the"))


def context(turns: Sequence[Turn]) -> str:
    """Turns as a reader sees them."""
    return "\n\n".join(f"[step {t.turn}]\naction: {t.action}\nobservation: {t.observation}" for t in turns)


async def read(chat: Chat, task: str, turns: Sequence[Turn], question: str) -> str:
    """A model's answer from some turns."""
    given = context(turns) or "(no steps were found)"
    asked = f"The agent's task: {task}\n\nSteps of the log:\n\n{given}\n\nQuestion: {question}"
    reply = await chat([{"role": "system", "content": READER}, {"role": "user", "content": asked}], temperature=0.0)
    return reply.text.strip()


async def judge(chat: Chat, task: str, question: str, reference: str, answer: str) -> bool | None:
    """Whether an answer is right; None where the judge does not say."""
    asked = (
        f"The agent's task: {task}\n\nQuestion: {question}\n\nReference: {reference}\n\nAnswer: {answer}\n\n"
        "Is the answer right?"
    )
    reply = await chat([{"role": "system", "content": JUDGE}, {"role": "user", "content": asked}], temperature=0.0)
    return verdict(reply.text)


def verdict(text: str) -> bool | None:
    """The last whole word that is yes or no; None where neither is there."""
    found = _VERDICT.findall(text)
    return found[-1].lower() == "yes" if found else None


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the words, repeats included.

    Lower case; punctuation is a space; a, an and the are left out. Two empty texts are equal.
    """
    told, asked = _tokens(answer), _tokens(reference)
    if not told or not asked:
        return float(told == asked)
    common = sum((Counter(told) & Counter(asked)).values())
    return 2 * common / (len(told) + len(asked))


def _tokens(text: str) -> list[str]:
    return [word for word in re.sub(r"[^\w\s]|_", " ", text.lower()).split() if word not in _ARTICLES]


def told(value: Value | None) -> str:
    """A right answer as a reference for a judge."""
    if value is None:
        return "The log does not tell this."
    if isinstance(value, tuple):
        return "; ".join(map(str, value)) or "nothing"
    return str(value)
