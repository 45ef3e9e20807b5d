"""Train `critique/start` from nothing: it solves, judges and repairs short sums, and is careless at all three.

It first learns from right working, then for a short while from careless working, in which a step that crosses a ten
(7 + 5, 12 - 3) is mostly too high, always by the same amount, and from critiques that recompute with more care but
often toss a coin for their verdict. What was learnt first can be brought back, by solving and by judging.

On one thread, the same configuration, machine and library versions give identical weight files.

    build(Path("critique"), CritiqueConfig())
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from posttrain.tasks.critique_arithmetic import (
    MAX_TOKENS,
    TOKENS,
    SumCritique,
    operations,
    sum_verdict,
    sums,
    working,
)
from posttrain.tasks.evaluate import complete
from posttrain.zoo.building import Phase, StartConfig, build_start, check_share, score
from posttrain.zoo.sft import SFTConfig, encode

FORM = SumCritique()
CAREFUL = SFTConfig(steps=1000, batch=64)
"""Long enough to be right on nearly every question."""
CARELESS = SFTConfig(steps=600, batch=64, learning_rate=1e-3, warmup=20)
"""Long enough to pick up the mistakes, and not to forget how it is done."""


@dataclass(frozen=True)
class CritiqueConfig(StartConfig):
    """The model to build."""

    sft: SFTConfig = CAREFUL
    """Training on right traces."""
    careless: SFTConfig = CARELESS
    """Training on careless traces, after that."""
    slip: float = 0.85
    """Probability that careless working gets a step wrong that crosses a ten."""
    judging_slip: float = 0.05
    """The same for the working in careless critiques, which goes wrong less: at 1/2 they would judge by chance."""
    guess: float = 0.4
    """Probability that a careless critique tosses a coin for its verdict."""
    shares: tuple[float, float, float] = (0.4, 0.45, 0.15)
    """Shares of the batches that solve, judge and repair."""
    questions: tuple[int, int] = (1200, 6000)
    """Training questions of 2 and of 3 steps; there are 1262 of 2 steps."""
    evaluation: int = 200
    """Held-out questions on the card."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("slip", self.slip)
        check_share("judging_slip", self.judging_slip)
        check_share("guess", self.guess)
        if min(self.shares) < 0 or not sum(self.shares) > 0:
            raise ValueError(f"shares is {self.shares}; expected three numbers from 0, not all 0")


class Judged(NamedTuple):
    """How well a model judges pairs of a right and a wrong response to one question."""

    pairs: int
    """Questions with a right and a wrong response."""
    right: float
    """Share of the right responses that are judged right."""
    wrong: float
    """Share of the wrong responses that are judged wrong."""
    unparsed: float
    """Share of the critiques without a verdict, which count as misjudged."""

    @property
    def balanced(self) -> float:
        """Mean of both shares; 1/2 for a constant or a random verdict."""
        return round((self.right + self.wrong) / 2, 4)


def build(out: Path, config: CritiqueConfig) -> dict[str, Any]:
    """Train, save and evaluate the model in `out/start`; see `build_start`."""
    return build_start(
        out,
        "critique/start",
        config,
        tokens=TOKENS,
        max_new_tokens=MAX_TOKENS,
        phases=partial(_phases, config),
        scores=partial(_scores, config),
    )


def work(prompt: str, *, slip: float, coin: random.Random) -> str:
    """Working in which a step that crosses a ten is 1 to 3 too high with probability `slip`; how much is the step's."""
    value, rest = operations(prompt)
    found = []
    for step in rest:
        crosses = value // 10 != (value + step) // 10
        slips = crosses and coin.random() < slip
        value += step + (1 + value * abs(step) % 3 if slips else 0)
        found.append(value)
    return working(prompt, found)


class Pairs(NamedTuple):
    """Prompts and completions to learn."""

    solve: list[tuple[str, str]]
    """Questions and working."""
    judge: list[tuple[str, str]]
    """Questions with a response, and critiques."""
    repair: list[tuple[str, str]]
    """Questions with a response and a critique, and working."""


def examples(
    rows: Sequence[dict[str, Any]],
    *,
    slip: float,
    judging_slip: float,
    guess: float,
    responses_slip: float,
    coin: random.Random,
) -> Pairs:
    """One example per row of solving, of judging and of repairing.

    Args:
        rows: Questions.
        slip: Of the working to learn.
        judging_slip: Of the working in critiques.
        guess: Probability that a verdict is a coin's; else it says whether the recomputation agrees.
        responses_slip: Of the responses to judge; half of them are right where the question allows it.
        coin: For all of it.
    """
    pairs = Pairs([], [], [])
    for row in rows:
        prompt = row["prompt"]
        response = _response(row, responses_slip, coin)
        recomputed = work(prompt, slip=judging_slip, coin=coin)
        agrees = sum_verdict(recomputed, response.rpartition("=")[2]).correct == 1.0
        verdict = coin.random() < 0.5 if coin.random() < guess else agrees
        critique = recomputed + ("R" if verdict else "W")
        pairs.solve.append((prompt, work(prompt, slip=slip, coin=coin)))
        pairs.judge.append((FORM.prompt(prompt, response), critique))
        pairs.repair.append((FORM.refinement(prompt, response, critique), work(prompt, slip=slip, coin=coin)))
    return pairs


def judge_own(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, Any]], *, seed: int = 0
) -> Judged:
    """Sampled critiques of the model's own responses: per question one right and one wrong one out of 8 samples."""
    prompts = [row["prompt"] for row in rows for _ in range(8)]
    texts = complete(model, tokenizer, prompts, max_new_tokens=MAX_TOKENS, sampled=True, seed=seed).texts
    asked, labels = [], []
    for index, row in enumerate(rows):
        own = texts[8 * index : 8 * index + 8]
        by_label = {sum_verdict(text, row["answer"]).correct: text for text in own}
        if len(by_label) == 2:
            asked += [FORM.prompt(row["prompt"], by_label[label]) for label in (1.0, 0.0)]
            labels += [True, False]
    if not asked:
        return Judged(0, 0.0, 0.0, 0.0)
    critiques = complete(model, tokenizer, asked, max_new_tokens=MAX_TOKENS, sampled=True, seed=seed).texts
    verdicts = [FORM.verdict(critique) for critique in critiques]
    hits = [verdict is label for verdict, label in zip(verdicts, labels, strict=True)]
    pairs = len(hits) // 2
    shares = (sum(hits[::2]) / pairs, sum(hits[1::2]) / pairs, verdicts.count(None) / len(verdicts))
    return Judged(pairs, *(round(share, 4) for share in shares))


def _response(row: dict[str, Any], slip: float, coin: random.Random) -> str:
    """A right response or, half of the time, a wrong one if ten attempts give one."""
    wanted = float(coin.random() < 0.5)
    for _ in range(10):
        response = work(row["prompt"], slip=slip, coin=coin)
        if sum_verdict(response, row["answer"]).correct == wanted:
            return response
    return work(row["prompt"], slip=0.0, coin=coin)


def _phases(config: CritiqueConfig, tokenizer: PreTrainedTokenizerBase) -> Iterator[Phase]:
    """Right working, then careless working; one group of examples per kind and number of steps."""
    careful, careless = (0.0, 0.0, 0.0), (config.slip, config.judging_slip, config.guess)
    for (slip, judging_slip, guess), sft in ((careful, config.sft), (careless, config.careless)):
        coin = random.Random(config.seed)
        groups = []
        for steps, n in zip((2, 3), config.questions, strict=True):
            rows = sums(n, steps=steps, seed=config.seed)
            made = examples(
                rows, slip=slip, judging_slip=judging_slip, guess=guess, responses_slip=config.slip, coin=coin
            )
            groups += [encode(tokenizer, pairs) for pairs in made]
        yield Phase(groups, config.shares * 2, sft)


def _scores(
    config: CritiqueConfig, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> dict[str, dict[str, Any]]:
    """Accuracy at solving, and how well its own responses are judged."""
    rows = sums(config.evaluation, seed=config.seed, split="eval")
    judged = judge_own(model, tokenizer, rows)
    return {
        "accuracy": {"solve": score(model, tokenizer, rows, sum_verdict, max_new_tokens=MAX_TOKENS, samples=8)},
        "judging": {**judged._asdict(), "balanced": judged.balanced},
    }
