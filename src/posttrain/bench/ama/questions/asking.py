"""Questions about a log, with right answers and evidence from the simulator: of every type as many as the paper asks.

Candidates of all templates are made, and then chosen so that templates take turns and evidence lies early, in the
middle and late. Those come first that a short cut gets wrong: a cause whose thing is named again before its effect, a
state that changes again after the time that is asked for.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from posttrain.bench.ama.log import QUOTAS, Question
from posttrain.bench.ama.questions import abstraction, causal, recall, state, unknown
from posttrain.bench.ama.questions.candidate import Candidate
from posttrain.bench.ama.questions.phrases import phrase
from posttrain.bench.ama.questions.trace import Trace

MAKERS = {"A": recall, "B": causal, "C": state, "D": abstraction}


class TooFew(ValueError):
    """A log does not give as many questions of a type as are asked for."""


def ask(trace: Trace, rng: random.Random, strangers: Sequence[str] = ()) -> tuple[Question, ...]:
    """Twelve questions with answers, and one without for each reason there is.

    Args:
        trace: Of the log.
        rng: Draws.
        strangers: Names of things that are nowhere in the log, for questions that it cannot answer.

    Raises:
        TooFew: The log is too short, or too little happens in it.
    """
    found: list[Question] = []
    for kind, quota in QUOTAS.items():
        pool = list(MAKERS[kind].candidates(trace, rng))
        chosen = _choose(pool, quota, trace.end + 1, rng)
        if len(chosen) < quota:
            raise TooFew(f"the log gives {len(chosen)} questions of type {kind}; {quota} are asked for.")
        found += [_question(f"{kind}{number}", each, rng) for number, each in enumerate(chosen, 1)]
    missing: dict[str, list[Candidate]] = defaultdict(list)
    for reason, each in unknown.candidates(trace, rng, strangers):
        missing[reason].append(each)
    for reason in unknown.REASONS:
        able = [each for each in missing[reason] if each.hard] or missing[reason]
        if able:
            found.append(_question(reason, rng.choice(able), rng))
    return tuple(found)


def _question(name: str, each: Candidate, rng: random.Random) -> Question:
    text = phrase(each.template, each.slots, rng)
    return Question(name, each.kind, each.template, each.slots, text, each.answer, each.needle, each.unordered)


def _choose(pool: Sequence[Candidate], quota: int, length: int, rng: random.Random) -> list[Candidate]:
    """Templates in turns, each from the third of the log whose turn it is, as far as there are any; hard ones first."""
    by_template: dict[str, list[Candidate]] = defaultdict(list)
    for each in pool:
        by_template[each.template].append(each)
    templates = sorted(by_template)
    rng.shuffle(templates)
    third, chosen = rng.randrange(3), []
    while len(chosen) < quota and templates:
        template = templates.pop(0)
        able = [each for each in by_template[template] if each not in chosen]
        if not able:
            continue
        here = [each for each in able if 3 * each.depth // length == third]
        hard = [each for each in able if each.hard]
        chosen.append(rng.choice([each for each in here if each.hard] or hard or here or able))
        templates.append(template)
        third = (third + 1) % 3
    return chosen
