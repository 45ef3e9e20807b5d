"""Whether a model answers a question as it should, alone or after examples, without sampling.

With the right answer as input, the model's most likely token at each place of it is what it would write there; greedy
decoding gives the answer word for word, and ends, if and only if all of them agree and an end is the most likely after
it. So one forward pass judges an answer.

What is judged is what TRL trains on: in a chat all that the template puts between the place where prompt and answer
part and the mark that ends the turn. Plain text ends with the end of text, or as the separator of examples begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch.nn import functional

from posttrain.tune.few_shot import FewShot, Pool, prompt_with

Measure = Literal["right", "log-likelihood"]
Row = Mapping[str, Any]


class Encoded(NamedTuple):
    """A question with its answer."""

    ids: list[int]
    """Of both."""
    answer: int
    """How many of them are the answer's."""
    ends: frozenset[int] | None
    """What may come next if the answer is at its end; None for anything."""


class AnswerScorer:
    """A scorer for `posttrain.tune.forgetting`: `scorer(model, task, shots)` gives one number per question.

    Args:
        tokenizer: Of the model.
        questions: Task to its rows, with `prompt` and `completion`: texts or messages.
        examples: Task to the rows that examples are drawn from; its other questions by default.
        measure: 1 for an answer that greedy decoding gives word for word and then ends, else 0; or the answer's
            mean log-likelihood per token, in nats, without the end.
        few_shot: Its separator and seed are used.
        batch: Questions per forward pass.
    """

    def __init__(
        self,
        tokenizer: Any,
        questions: Mapping[str, Sequence[Row]],
        examples: Mapping[str, Sequence[Row]] | None = None,
        *,
        measure: Measure = "right",
        few_shot: FewShot | None = None,
        batch: int = 16,
    ) -> None:
        self.tokenizer, self.questions = tokenizer, questions
        self.examples = questions if examples is None else examples
        self.measure: Measure = measure
        self.few_shot, self.batch = few_shot or FewShot(), batch

    def __call__(self, model: Any, task: str, shots: int) -> list[float]:
        """One number per question of a task, after `shots` examples; the same examples whatever the model is."""
        rows = self.questions[task]
        encoded = [self._encoded(row, self._drawn(task, place, shots)) for place, row in enumerate(rows)]
        values = [0.0] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: len(encoded[place].ids))
        for start in range(0, len(order), self.batch):
            places = order[start : start + self.batch]
            for place, value in zip(places, _judged(model, [encoded[p] for p in places], self.measure), strict=True):
                values[place] = value
        return values

    def check(self, shots: int) -> None:
        """Raise where a question has too few others for so many examples."""
        for task, rows in self.questions.items():
            for row in rows:
                self._pool(task, row, shots)

    @cached_property
    def _pools(self) -> dict[str, Pool]:
        return {task: Pool(self.examples.get(task, [])) for task in self.questions}

    def _pool(self, task: str, row: Row, shots: int) -> Pool:
        pool = self._pools[task]
        if pool.others(row) < shots:
            raise ValueError(
                f"The task {task!r} has {pool.others(row)} other rows to draw examples from, and {shots} are asked "
                "for; lower the shots, or add rows."
            )
        return pool

    def _drawn(self, task: str, place: int, shots: int) -> list[Row]:
        row = self.questions[task][place]
        return self._pool(task, row, shots).draw(row, shots, f"{self.few_shot.seed} {task} {place}")

    def _encoded(self, row: Row, examples: Sequence[Row]) -> Encoded:
        prompt = prompt_with(row, examples, self.few_shot)
        if isinstance(prompt, str):
            before = self.tokenizer(prompt)["input_ids"]
            whole = self.tokenizer(prompt + row["completion"])["input_ids"]
            same = _same(before, whole)
            end = len(whole) - (len(whole) > same + 1 and whole[-1] == self.tokenizer.eos_token_id)
            return Encoded(whole[:end], end - same, self._text_ends)
        before = self._chat(prompt, add_generation_prompt=True)
        whole = self._chat([*prompt, *row["completion"]])
        same, marks = _same(before, whole), {*self.tokenizer.all_special_ids, self.tokenizer.eos_token_id}
        end = max((at for at in range(same + 1, len(whole)) if whole[at] in marks), default=len(whole))
        return Encoded(whole[:end], end - same, frozenset(whole[end : end + 1]) or None)

    def _chat(self, turns: Any, **options: Any) -> list[int]:
        return self.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, **options)["input_ids"]

    @cached_property
    def _text_ends(self) -> frozenset[int]:
        """Tokens with which a plain answer ends: the end of text, and those that begin as the separator does."""
        first = self.few_shot.separator[:1]
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))]) if first else []
        return frozenset([token for token, text in enumerate(texts) if text.startswith(first)]) | {
            self.tokenizer.eos_token_id
        }


def _same(before: Sequence[int], whole: Sequence[int]) -> int:
    """How many tokens are the same at the start."""
    return next((i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))


def _judged(model: Any, rows: Sequence[Encoded], measure: Measure) -> list[float]:
    """One number per row, from one forward pass, padded on the right."""
    device = model.get_input_embeddings().weight.device
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows], device=device)
    training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    model.train(training)
    found = []
    for row, scores, tokens in zip(rows, logits, ids, strict=True):
        end = len(row.ids)
        answer, given = tokens[end - row.answer : end], scores[end - row.answer - 1 : end - 1]
        if measure == "right":
            ended = row.ends is None or int(scores[end - 1].argmax()) in row.ends
            found.append(float(ended and bool((given.argmax(-1) == answer).all())))
        else:
            found.append(float(-functional.cross_entropy(given, answer)))
    return found
