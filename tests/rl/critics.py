"""A critic by the book: a scripted sampler, tables of answers, and what an engine does between the hooks."""

import asyncio
import json
import math
import random
from dataclasses import replace

import torch
from hypothesis import strategies as st

from posttrain.rl import Sampled, Table

NAN = math.nan
RIGHT, WRONG, UNSURE = "Yes.\nConclusion: right [END]", "No.\nConclusion: wrong [END]", "I am not sure."


class Script:
    """A sampler of one rank that answers every prompt by a function, and remembers what it saw."""

    def __init__(self, say=lambda prompt: RIGHT, verdict=lambda completion: 1.0, rank=0, ranks=1):
        self.say, self.verdict, self.rank, self.ranks = say, verdict, rank, ranks
        self.prompts, self.texts, self.calls, self.judged = [], [], [], []

    async def __call__(self, prompt_ids, *, max_tokens=None, temperature=None):
        self.calls.append((len(prompt_ids), max_tokens))
        first = len(self.texts)
        self.texts += [self.say(self.prompts[ids[0]]) for ids in prompt_ids]
        return [Sampled([i, 0], [], "stop") for i in range(first, len(self.texts))]

    def encode(self, prompt):
        self.prompts.append(prompt)
        return [len(self.prompts) - 1]

    def decode(self, ids):
        return self.texts[ids[0]]

    async def judge(self, keys, completions):
        self.calls.append((len(keys), "judge"))
        self.judged += list(zip(keys, completions, strict=True))
        return [self.verdict(completion) for completion in completions]


def answers(labels, step=0, rewards=None, **fields):
    """A table of answers: `labels` has a list of 1, 0 or NaN for each question."""
    flat = [(q, i, label) for q, row in enumerate(labels) for i, label in enumerate(row)]
    correct = torch.tensor([float(label) for _, _, label in flat])
    return Table(
        rewards=correct.clone() if rewards is None else torch.tensor(rewards),
        group=torch.tensor([q for q, _, _ in flat], dtype=torch.long),
        correct=correct,
        prompt_key=[f"q{q}" for q, _, _ in flat],
        length=torch.full((len(flat),), 4),
        step=step,
        prompts=[f"question {q}?" for q, _, _ in flat],
        completions=[f"answer {step}.{q}.{i}." for q, i, _ in flat],
        **fields,
    )


def full(table, rows, rewards, order=None):
    """What `credit` and `remember` see: the answers and the extra rows of all ranks, in any order."""
    rows = [replace(row, notes=json.loads(json.dumps(row.notes))) for row in rows]
    whole = table.with_extra(rows, rewards)
    return whole if order is None else pick(whole, order)


def pick(table, order):
    columns = ("rewards", "group", "correct", "length", "extra")
    lists = ("prompt_key", "notes", "prompts", "completions")
    return replace(
        table,
        **{name: getattr(table, name)[order] for name in columns},
        **{name: [getattr(table, name)[i] for i in order] for name in lists},
    )


def interleaved(answers, extra, seed):
    """An order that mixes the extra rows among the answers, whose own order stays."""
    chance = random.Random(seed)
    kinds = [True] * answers + [False] * extra
    chance.shuffle(kinds)
    a, e = iter(range(answers)), iter(range(answers, answers + extra))
    return [next(a) if kind else next(e) for kind in kinds]


def extend(method, table, state=None, sampler=None):
    state = method.initial_state() if state is None else state
    sampler = sampler or Script()
    return asyncio.run(method.extend(replace(table, ranks=sampler.ranks), state, sampler))


def pay(method, rows):
    return asyncio.run(method.reward(rows))


def generation(method, table, state, sampler=None):
    """Rows, and the memory after one generation on one rank."""
    rows = extend(method, table, state, sampler)
    return rows, method.remember(full(table, rows, pay(method, rows)), state)


LABEL = st.sampled_from([1.0, 0.0, NAN])
LABELS = st.lists(st.lists(LABEL, min_size=1, max_size=5), min_size=1, max_size=8)
MIXED = [[1, 0, 0, 0, 0]] * 4


def entries(steps):
    return [
        {"key": f"q{i}", "prompt": "?", "responses": [f"a{i}", f"b{i}"], "right": [True, False], "step": step}
        for i, step in enumerate(steps)
    ]
