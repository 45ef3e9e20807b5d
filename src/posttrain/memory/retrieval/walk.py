"""Walks over the graph: what made a turn possible, step by step back; and how the states of a thing went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from posttrain.memory.answer import Answer, Evidence, Finding
from posttrain.memory.extract.said import AGENT, name_of
from posttrain.memory.retrieval.absent import nearest
from posttrain.memory.rows import Edge, Proof
from posttrain.memory.view import View

HOPS = 10
"""At most so many steps back."""
WIDTH = 16
"""At most so many causes are followed at each step back, the latest first."""
CHAINS = WIDTH * WIDTH
"""At most so many chains of causes are followed at each step back, those of its foremost causes first."""
SHOWN = 100
"""At most so many turns are given as evidence; findings have all."""


def why(view: View, turn: int, entity: str | None = None, hops: int = 2) -> Answer:
    """What made a turn possible: a walk back along CAUSES edges, each with its proof.

    Args:
        view: The run.
        turn: Whose causes are asked for.
        entity: Only causes that have to do with this thing, at the first step back.
        hops: How many steps back.

    Raises:
        ValueError: `hops` is out of range.
    """
    if not 1 <= hops <= HOPS:
        raise ValueError(f"hops={hops} must lie between 1 and {HOPS}.")
    asked = f"What made step {turn} possible" + (f", as far as {entity} is concerned?" if entity else "?")

    def nothing(because: str) -> Answer:
        return Answer(view.run, asked, view.until, because=because)

    if not view.turns([turn]):
        return nothing(f"There is no step {turn} in what is known of this run.")
    name = None if entity is None else name_of(entity)
    if name is not None and not view.named([name]):
        return nothing(_unknown(view, name))
    longest: list[tuple[Edge, ...]] = []
    ends: list[tuple[Edge, ...]] = [()]
    reached, seen = {turn}, {turn}
    scores = {turn: 1.0}
    proofs: dict[int, set[Proof]] = {}
    for hop in range(hops):
        edges = [edge for edge in view.edges(targets=sorted(reached), kinds=["CAUSES"]) if edge.source < edge.target]
        if hop == 0 and name is not None:
            edges = [edge for edge in edges if name == edge.entity]
        edges = _preferred(edges)
        for edge in edges:
            scores.setdefault(edge.source, 1.0 / (2 + hop))
            proofs.setdefault(edge.proof.turn, set()).add(edge.proof)
        more = [(edge, *rest) for edge in edges for rest in ends if edge.target == (rest[0].source if rest else turn)]
        del more[CHAINS:]
        grown = {chain[1:] for chain in more}
        longest += [chain for chain in ends if chain and chain not in grown]
        ends = more
        reached = {edge.source for edge in edges} - seen
        seen |= reached
        if not reached:
            break
    longest += ends
    if not longest:
        made = f" that changed {name}" if name else ""
        return nothing(f"No earlier step{made} is known to have made step {turn} possible.")
    findings = [Finding("chain", _told(chain), [e.source for e in chain] + [turn], _proofs(chain)) for chain in longest]
    return Answer(view.run, asked, view.until, _evidence(view, scores, proofs, "cause"), tuple(findings))


def timeline(view: View, entity: str, attribute: str | None = None) -> Answer:
    """The versions of a thing's states, in order, each with its proof.

    Args:
        view: The run.
        entity: Its name.
        attribute: One of its attributes; None is all.
    """
    name = name_of(entity)
    asked = f"How did {entity} change" + (f" in its {attribute}?" if attribute else "?")
    facts = view.facts([name])
    if not facts and not view.named([name]):
        return Answer(view.run, asked, view.until, because=_unknown(view, name))
    wanted = None if attribute is None else name_of(attribute)
    kept = [fact for fact in facts if wanted in (None, name_of(fact.attribute))]
    if not kept:
        known = sorted({fact.attribute for fact in facts})
        has = f"; its states are {', '.join(known)}" if known else ", nor any other state of it"
        what = attribute or "state"
        return Answer(view.run, asked, view.until, because=f"Nothing tells the {what} of {name}{has}.")
    findings, scores, proofs = [], {}, {}
    for fact in kept:
        by = "" if fact.writer is None else f", by the action of step {fact.writer}"
        text = f"Step {fact.turn}: the {fact.attribute} of {name} is {fact.value}{by}."
        value = {
            "attribute": fact.attribute,
            "value": fact.value,
            "turn": fact.turn,
            "writer": fact.writer,
            "by": fact.by,
        }
        findings.append(Finding("timeline", text, value, (fact.proof,)))
        scores[fact.turn] = 1.0
        if fact.writer is not None:
            scores[fact.writer] = 1.0
        proofs.setdefault(fact.proof.turn, set()).add(fact.proof)
    return Answer(view.run, asked, view.until, _evidence(view, scores, proofs, "state"), tuple(findings))


def _preferred(edges: Iterable[Edge]) -> list[Edge]:
    """One edge for each pair of turns and state; the agent's own whereabouts last, then the latest first."""
    unique = {(edge.source, edge.target, edge.entity, edge.other): edge for edge in edges}
    ordered = sorted(
        unique.values(), key=lambda edge: (edge.entity == AGENT, -edge.source, edge.target, edge.entity, edge.other)
    )
    return ordered[:WIDTH]


def _told(chain: Sequence[Edge]) -> str:
    told = "; ".join(f"step {e.source} set the {e.other} of {e.entity}, which step {e.target} used" for e in chain)
    return f"{told[:1].upper()}{told[1:]}."


def _proofs(chain: Sequence[Edge]) -> tuple[Proof, ...]:
    return tuple(dict.fromkeys(edge.proof for edge in chain))


def _unknown(view: View, name: str) -> str:
    near = nearest(view, name)
    hint = f" Names that look like it: {', '.join(near)}." if near else ""
    return f"Nothing in this run is called {name!r}.{hint}"


def _evidence(view: View, scores: dict[int, float], proofs: dict[int, set[Proof]], signal: str) -> tuple[Evidence, ...]:
    best = sorted(sorted(scores), key=lambda step: -scores[step])[:SHOWN]
    return tuple(
        Evidence(t.turn, t.action, t.observation, scores[t.turn], tuple(sorted(proofs.get(t.turn, ()))), (signal,))
        for t in view.turns(sorted(best))
    )
