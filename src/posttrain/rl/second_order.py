"""Second-order rollout, GC-RL: the policy also learns to judge its own answers (Yang et al. 2026, arXiv:2602.22765).

First-order rollout samples n answers r to a question q. Second-order rollout samples n critiques c of a pair <q, r>,
and the verifier's verdict on r, which is known already, says whether a critique is right:

    R(r) = 1 if the verifier accepts r, else 0                                                              (Eq. 1)
    R(c) = 0.7 if Ext(c) = R(r), else 0                                                                     (Eq. 2)
    R(c) = 0.35 / p if both say right, 0.35 / (1 - p) if both say wrong, else 0;   p = E[R(r)]              (Eq. 3)
    R_q(c) = 0.1 k / n_ref if Ext(c) is right, 0.7 k / n_ref if it is wrong; added to R(c)                  (Eq. 4)

k of n_ref attempts to mend r with the help of c are right. A question whose answers are neither all right nor all
wrong puts one right and one wrong answer into a cache; each generation draws M pairs from it without replacement, and
answers and critiques are one batch. With p the share of right answers among the pairs, P1 = P(c says right | r right)
and P2 = P(c says wrong | r wrong), Eq. 2 gives E[R(c)] = 0.7 (p P1 + (1 - p) P2) (Eq. 7): p < 1/2 rewards calling
everything wrong. The filter makes p = 1/2; Eq. 3 gives 0.35 (P1 + P2) for every p, and is Eq. 2 at p = 1/2.

Symbols: n -> `critiques`, M -> `pairs`, Ext -> `critique_form.verdict`, 0.7 -> `reward_right`, `reward_wrong`, n_ref ->
`denoise`, p -> the state's `p`. The reference answer and the verdict on r are in no prompt.

Differs from the paper: it says that answers and critiques are mixed into one group for the advantage, which does not
define a group once pairs come from other questions; here each pair has its own. `group="question"` makes one of the
two pairs of a question, and `group="answers"` takes the paper at its word: critiques join the answers to their
question if it was answered in this generation, and are otherwise compared as under `question`. So, where advantages
are divided by the deviation, the *size* of R(c) has no effect unless R_q is added: Eq. 3 and unequal rewards need
`grpo(spread="none")` (or, to less effect, another `group`). Not in the paper: M (as many pairs as questions), the
cache (first in first out, 4 M pairs, old ones dropped, this generation's pairs included, the two of a question kept
together), two answers of each question where nothing is filtered, and the running mean for p.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, NamedTuple, TypedDict

import torch

from posttrain.rl.batch import Memory, Row, Sampler, Table
from posttrain.rl.method import Method, Settings
from posttrain.tasks.critique import MARKED, CritiqueForm, one_of_each

Selection = Literal["filter", "random"]

P_LOW, P_HIGH = 0.05, 0.95
"""Bounds on p in Eq. 3."""


class Entry(TypedDict):
    """Two answers to one question that wait to be judged."""

    key: str
    """The question's id."""
    prompt: Any
    """The question as text or messages."""
    responses: list[str]
    """Two answers."""
    right: list[bool]
    """The verifier's verdict on each."""
    step: int
    """The optimiser step at which they were sampled."""


class State(TypedDict):
    """What is remembered between generations."""

    cache: list[Entry]
    """Oldest first."""
    p: float | None
    """Running mean of R(r), with `reweight`."""


class Pair(NamedTuple):
    """A question and a response that is judged now."""

    entry: Entry
    response: str
    prompt: Any
    """What asks for the critique."""
    ids: list[int]
    """The same as token ids, (P,)."""
    notes: dict[str, Any]
    """What the critiques' rewards depend on."""


class Question(NamedTuple):
    """The answers of one group whose reward and verdict are known."""

    key: str
    prompt: Any
    responses: list[str]
    correct: list[float]


@dataclass(frozen=True)
class SecondOrder(Method):
    """Critiques of the policy's own answers beside the answers."""

    name = "second_order"
    paper = "Yang et al. 2026, arXiv:2602.22765"
    reads_text = True

    critiques: int = 5
    """Critiques of each pair of a question and an answer."""
    pairs: int = 0
    """Pairs per generation, over all ranks; 0 for as many as questions."""
    reward_right: float = 0.7
    """For calling a right answer right (for more precision 0.6, for more recall 0.8)."""
    reward_wrong: float = 0.7
    """For calling a wrong answer wrong (for more precision 0.8, for more recall 0.6)."""
    selection: Selection = "filter"
    """Which answers are judged: one right and one wrong of a question, or any two."""
    reweight: bool = False
    """Eq. 3: divide the rewards by 2 p and 2 (1 - p); for `selection="random"`."""
    p_decay: float = 0.9
    """How much of the running mean p a generation keeps."""
    denoise: int = 0
    """Attempts to mend an answer with a critique, whose success is rewarded (paper: 1); 0 for none."""
    repair_right: float = 0.1
    """R_q of a critique that says right, times the share of attempts that succeed."""
    repair_wrong: float = 0.7
    """R_q of a critique that says wrong, times the share of attempts that succeed."""
    cache_size: int = 0
    """Pairs that wait at most, or as many as equal shares for all ranks take; 0 for four times `pairs`."""
    max_age: int = 16
    """Optimiser steps after which a pair is dropped; 0 for never."""
    group: Literal["pair", "question", "answers"] = "pair"
    """What critiques are compared with: those of their pair, those of both pairs of their question, or these and the
    question's answers (the paper's wording), as far as it was answered in the same generation."""
    max_tokens: int | None = None
    """Longest critique; None for the run's own length."""
    critique_form: CritiqueForm = MARKED
    """How critiques are asked for and read."""
    kl_beta: float = 1e-3
    """Weight of the k3 KL to the reference policy."""

    def __post_init__(self) -> None:
        if self.critiques < 2:
            raise ValueError(f"critiques={self.critiques} leaves nothing to compare; use at least 2 (paper: 5).")
        for name in ("pairs", "cache_size"):
            value = getattr(self, name)
            if value < 0 or value % 2:
                raise ValueError(f"{name}={value} must be even, as a question has two pairs; 0 chooses for you.")
        if self.cache_size and self.cache_size < self.pairs:
            raise ValueError(f"cache_size={self.cache_size} is less than pairs={self.pairs}; make it at least that.")
        for name in ("reward_right", "reward_wrong"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}={getattr(self, name)} must be a positive number; the paper uses 0.7.")
        for name in ("repair_right", "repair_wrong"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}={getattr(self, name)} must not be negative; the paper uses 0.1 and 0.7.")
        if self.selection not in ("filter", "random"):
            raise ValueError(f"selection={self.selection!r} is unknown; use 'filter' or 'random'.")
        if self.reweight and self.selection == "filter":
            raise ValueError("reweight=True is for selection='random': the filter has balanced the pairs; drop one.")
        if not 0 <= self.p_decay < 1:
            raise ValueError(f"p_decay={self.p_decay} must lie in [0, 1); 0 takes each generation's own mean.")
        for name in ("denoise", "max_age"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative; 0 switches it off.")
        if self.group not in ("pair", "question", "answers"):
            raise ValueError(f"group={self.group!r} is unknown; use 'pair', 'question' or 'answers'.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens} must be at least 1; None takes the run's own length.")

    @property
    def settings(self) -> Settings:
        """The KL. The paper's clip is GRPO's, and is left open like the aggregation."""
        return Settings(kl_beta=self.kl_beta)

    def initial_state(self) -> State:
        """An empty cache."""
        return {"cache": [], "p": None}

    def check_state(self, state: State, keys: Collection[str]) -> None:
        """A sentence if the cache is of another data set, with none of these prompt ids."""
        waiting = {entry["key"] for entry in state["cache"]}
        if waiting and waiting.isdisjoint(keys):
            raise ValueError(
                f"The cache of {self.name} has answers to {len(waiting)} questions, such as {min(waiting)!r}, and none "
                "of them is in the data set; resume on the data set it was made with, or start a new run."
            )

    async def extend(self, table: Table, state: State, sampler: Sampler) -> list[Row]:
        """This rank's share of the critiques; none in evaluation or while the cache is empty."""
        if not table.training:
            return []
        now = self._with_answers(table, state)
        places = draw(now["cache"], self._draws(table, len(now["cache"])), table.step)
        drawn = [(place, which) for place in places for which in (0, 1)]
        share = len(drawn) * self.critiques // table.ranks
        if not share:
            return []
        mine = [c // self.critiques for c in range(sampler.rank * share, (sampler.rank + 1) * share)]
        asked = {i: self._ask(now, *drawn[i], sampler) for i in set(mine)}
        pairs = [asked[i] for i in mine]
        samples = await sampler([pair.ids for pair in pairs], max_tokens=self.max_tokens)
        texts = [sampler.decode(sample.ids) for sample in samples]
        repaired = await self._repaired(pairs, texts, sampler)
        answers = torch.nonzero(table.answers).flatten().tolist()
        groups = {table.prompt_key[i]: int(table.group[i]) for i in answers}
        return [
            Row(
                prompt_ids=pair.ids,
                ids=sample.ids,
                group=i if self.group == "pair" else i // 2,
                joins=groups.get(pair.entry["key"]) if self.group == "answers" else None,
                prompt=pair.prompt,
                completion=text,
                extra=True,
                notes={**pair.notes, **extra},
            )
            for i, pair, sample, text, extra in zip(mine, pairs, samples, texts, repaired, strict=True)
        ]

    async def reward(self, rows: Sequence[Row]) -> list[float]:
        """R(c) + R_q(c) for critiques, 0 for answers."""
        return [self._reward_of(row) if row.extra else 0.0 for row in rows]

    def critique_reward(self, verdict: bool | None, right: bool, p: float = 0.5, repaired: float | None = 0.0) -> float:
        """R(c) + R_q(c); 0 without a verdict, NaN if no attempt to mend the answer could be scored.

        Args:
            verdict: What the critique says: right, wrong or nothing.
            right: What the verifier said.
            p: Share of right answers among the pairs; at 1/2 this is Eq. 2.
            repaired: k / n_ref.
        """
        if verdict is None:
            return 0.0
        if repaired is None:
            return math.nan
        worth = self.reward_right / (2 * p) if right else self.reward_wrong / (2 * (1 - p))
        return worth * (verdict == right) + repaired * (self.repair_right if verdict else self.repair_wrong)

    def remember(self, table: Table, state: State) -> Memory:
        """The cache with this generation's answers and without the pairs that were judged."""
        now = self._with_answers(table, state)
        critiques = torch.nonzero(~table.answers).flatten().tolist()
        notes = [_need(table.notes, "notes")[i] for i in critiques]
        verdicts = [self.critique_form.verdict(_need(table.completions, "completions")[i]) for i in critiques]
        used = {note["place"] for note in notes}
        rest = [entry for place, entry in enumerate(now["cache"]) if place not in used]
        metrics = {
            "critique/pairs": 2.0 * len(used),
            "critique/cache": 2.0 * len(rest),
            "critique/ratio": len(critiques) / max(int(table.answers.sum()), 1),
            "critique/tokens": float(table.length[~table.answers].sum() / table.length.sum().clamp(min=1)),
        }
        if now["p"] is not None:
            metrics["critique/p"] = now["p"]
        if critiques:
            if earned := table.rewards[~table.answers & table.scored].tolist():
                metrics["critique/reward"] = fmean(earned)
            metrics["critique/age"] = fmean([table.step - note["step"] for note in notes])
            metrics |= quality(verdicts, [note["right"] for note in notes])
        if mended := [note["repaired"] for note in notes if note.get("repaired") is not None]:
            metrics["critique/repaired"] = fmean(mended)
        return Memory({"cache": rest, "p": now["p"]}, metrics)

    def _with_answers(self, table: Table, state: State) -> State:
        """The state with this generation's answers; the same from the answers alone and from the full table."""
        oldest = table.step - self.max_age if self.max_age else None
        limit = max((self.cache_size or 4 * self._pairs(table)) // 2, self._unit(table))
        p = state["p"]
        if self.reweight:
            means = [fmean(q.correct) for q in answered(table) if len(q.correct) > 1]
            if means:
                p = fmean(means) if p is None else self.p_decay * p + (1 - self.p_decay) * fmean(means)
        return {"cache": refill(state["cache"], collect(table, self.selection), limit, oldest), "p": p}

    def _pairs(self, table: Table) -> int:
        """M, even."""
        questions = len(set(table.group[table.answers].tolist()))
        return self.pairs or questions + questions % 2

    def _unit(self, table: Table) -> int:
        """The fewest entries whose critiques every rank gets equally many of."""
        return table.ranks // math.gcd(table.ranks, 2 * self.critiques)

    def _draws(self, table: Table, waiting: int) -> int:
        """Entries to draw: about M / 2 of those that wait, in whole units."""
        unit = self._unit(table)
        return min(math.ceil(self._pairs(table) / 2 / unit), waiting // unit) * unit

    def _ask(self, now: State, place: int, which: int, sampler: Sampler) -> Pair:
        """One pair of an entry; its notes say what its critiques' reward depends on, and are in no prompt."""
        entry = now["cache"][place]
        prompt = self.critique_form.prompt(entry["prompt"], entry["responses"][which])
        p = 0.5 if now["p"] is None else min(max(now["p"], P_LOW), P_HIGH)
        notes = {"place": place, "right": entry["right"][which], "step": entry["step"], "p": p}
        return Pair(entry, entry["responses"][which], prompt, sampler.encode(prompt), notes)

    async def _repaired(
        self, pairs: Sequence[Pair], critiques: Sequence[str], sampler: Sampler
    ) -> list[dict[str, float | None]]:
        """The note `repaired` of each critique: k / n_ref, None where no attempt was scored; no note without R_q."""
        n = self.denoise
        if not n:
            return [{}] * len(critiques)
        tried = [
            (pair.entry["key"], self.critique_form.refinement(pair.entry["prompt"], pair.response, critique))
            for pair, critique in zip(pairs, critiques, strict=True)
            for _ in range(n)
        ]
        attempts = await sampler([sampler.encode(prompt) for _, prompt in tried])
        verdicts = await sampler.judge([key for key, _ in tried], [sampler.decode(a.ids) for a in attempts])
        scored = [[v for v in verdicts[i : i + n] if not math.isnan(v)] for i in range(0, len(verdicts), n)]
        return [{"repaired": fmean(found) if found else None} for found in scored]

    def _reward_of(self, row: Row) -> float:
        notes = row.notes
        return self.critique_reward(
            self.critique_form.verdict(row.completion), notes["right"], notes["p"], notes.get("repaired", 0.0)
        )


def answered(table: Table) -> list[Question]:
    """The answers with a reward and a known verdict, by group, in the order of the table."""
    prompts, texts = _need(table.prompts, "prompts"), _need(table.completions, "completions")
    found: dict[int, Question] = {}
    columns = zip(table.judged.tolist(), table.group.tolist(), table.correct.tolist(), strict=True)
    for i, (use, group, correct) in enumerate(columns):
        if use:
            question = found.setdefault(group, Question(table.prompt_key[i], prompts[i], [], []))
            question.responses.append(texts[i])
            question.correct.append(correct)
    return list(found.values())


def collect(table: Table, selection: Selection = "filter") -> list[Entry]:
    """New entries of the cache: chosen by the step and the question's id alone, so every rank has the same."""
    return [
        Entry(
            key=question.key,
            prompt=question.prompt,
            responses=[response for response, _ in chosen],
            right=[right for _, right in chosen],
            step=table.step,
        )
        for question in answered(table)
        if (chosen := _choose(question, selection, f"{table.step}:{question.key}"))
    ]


def refill(cache: Sequence[Entry], new: Sequence[Entry], size: int, oldest: int | None = None) -> list[Entry]:
    """The cache with the new entries at its end, without those from before step `oldest`, the last `size` at most."""
    kept = [entry for entry in (*cache, *new) if oldest is None or entry["step"] >= oldest]
    return kept[max(len(kept) - size, 0) :]


def draw(cache: Sequence[Entry], m: int, step: int) -> list[int]:
    """The places in the cache of `m` entries drawn at random, without replacement; the same on every rank."""
    return random.Random(f"draw:{step}").sample(range(len(cache)), m)


def quality(verdicts: Sequence[bool | None], right: Sequence[bool]) -> dict[str, float]:
    """How well critiques judge; what has no denominator is left out.

    A critique without a verdict is a miss. With *right* as the positive class, P1 is also the recall.
    """
    on_right = [v for v, label in zip(verdicts, right, strict=True) if label]
    on_wrong = [v for v, label in zip(verdicts, right, strict=True) if not label]
    out = {"critique/unparsable": fmean([v is None for v in verdicts])}
    if on_right:
        out["critique/p1"] = fmean([v is True for v in on_right])
    if on_wrong:
        out["critique/p2"] = fmean([v is False for v in on_wrong])
    if on_right and on_wrong:
        out["critique/balanced"] = (out["critique/p1"] + out["critique/p2"]) / 2
    if called_right := [label for v, label in zip(verdicts, right, strict=True) if v]:
        out["critique/precision"] = fmean(called_right)
    return out


def _choose(question: Question, selection: Selection, seed: str) -> list[tuple[str, bool]]:
    """Two answers with their verdicts, or none."""
    if selection == "filter":
        pair = one_of_each(question.responses, question.correct, seed)
        return [] if pair is None else [(pair[0], True), (pair[1], False)]
    labelled = sorted(zip(question.responses, question.correct, strict=True))
    chosen = random.Random(seed).sample(labelled, 2) if len(labelled) > 1 else []
    return [(response, correct == 1) for response, correct in chosen]


def _need(column: Sequence[Any] | None, name: str) -> Sequence[Any]:
    if column is None:
        raise ValueError(f"second_order reads Table.{name}, which this engine leaves out; give one per row.")
    return column
