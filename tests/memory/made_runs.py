"""Runs that are made up, a reader that makes all kinds of rows from them, and what all stores must agree on."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from posttrain.memory.graph import Found, Known
from posttrain.memory.plain import PlainRun
from posttrain.memory.rows import Edge, Fact, Posting, Proof, Turn
from posttrain.memory.view import View

NAMES = ["door", "key 1", "key 10", "ключ", "\u202ekey", "🗝", "a\x00b", "\ud83d", "\udddd", "x" * 300]
TEXT = st.lists(
    st.sampled_from([*NAMES, "open", "opened", "src/app.py", "id=17", "\n", "Step 3: Action:", "NEAR(", '"'])
)
TURN = st.tuples(TEXT.map(" ".join), TEXT.map(" ".join))


@st.composite
def runs(draw: st.DrawFn, most: int = 24) -> list[Turn]:
    """A run whose numbers have gaps."""
    texts = draw(st.lists(TURN, min_size=1, max_size=most))
    gaps = draw(st.lists(st.integers(1, 3), min_size=len(texts), max_size=len(texts)))
    numbers = np.cumsum(gaps) - gaps[0]
    return [Turn("run", int(number), *text) for number, text in zip(numbers, texts, strict=True)]


def read(turn: Turn, before: Turn | None, known: Known) -> Found:
    """Rows with all that can be in them: no writer, later and earlier ones, proofs in other turns."""
    facts, postings, edges = [], [], []
    for field in ("observation", "action"):
        text = turn.text(field)
        for name in NAMES:
            for place, found in enumerate(re.finditer(re.escape(name), text)):
                proof = Proof(turn.turn, field, found.start(), found.end())
                postings.append(Posting(name, turn.turn, ("write", "read", "mention")[place % 3], proof))
                writer = (None, turn.turn, turn.turn - 1, turn.turn + 2, 0)[place % 5]
                value = text[found.end() : found.end() + 5]
                facts.append(Fact(name, ("is", "has")[place % 2], value, turn.turn, writer, proof))
                old = known.latest.get(name, {}).get("has")
                if old is not None:
                    edges.append(Edge("READ", old.turn, turn.turn, name, "has", old.proof))
                    edges.append(Edge("CAUSES", max(old.turn - 1, 0), turn.turn, name, "has", proof))
    if before is not None:
        edges.append(Edge("NEXT", before.turn, turn.turn, "", "", Proof(turn.turn, "action", 0, len(turn.action))))
    return Found(tuple(facts), tuple(postings), tuple(edges))


def assert_agree(view: View, plain: PlainRun, until: int | None) -> None:
    """Every method of a view gives what the reference gives."""
    wanted = plain.view(until)
    numbers = [*plain.numbers, -1, 1000, 1001]
    terms = sorted({term for each in plain.entries for part in each.terms for term in part})
    for name, asked in (("lengths", ()), ("hits", ([*terms, "none", *terms[:2]],)), ("hits", ([],))):
        got, right = getattr(view, name)(*asked), getattr(wanted, name)(*asked)
        assert [column.tolist() for column in got] == [column.tolist() for column in right]
    assert dict(view.entities()) == dict(wanted.entities())
    names = [*NAMES, "nobody"]
    assert view.named(names) == wanted.named(names)
    some: Sequence[list[str] | None] = (None, [], ["door"], names)
    for asked in some:
        for latest in (False, True):
            assert view.facts(asked, latest=latest) == wanted.facts(asked, latest=latest)
            of_some = view.facts(asked, latest=latest, attribute="has".__eq__)
            assert of_some == [fact for fact in wanted.facts(asked, latest=latest) if fact.attribute == "has"]
        assert view.postings(asked or []) == wanted.postings(asked or [])
    for sources in (None, numbers[:3], []):
        for targets in (None, numbers[-5:], []):
            for kinds in (None, ["READ", "NEXT"]):
                options = {"sources": sources, "targets": targets, "kinds": kinds}
                assert view.edges(**options) == wanted.edges(**options)
    assert view.turns(numbers[::-2]) == wanted.turns(numbers[::-2])
    for first, last in ((0, 1000), (numbers[len(numbers) // 2], numbers[-3]), (5, 2), (-3, -1)):
        assert view.between(first, last) == wanted.between(first, last)
    assert view.until == until
