"""How questions are put: several ways for each template."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

PAST = {
    "take": "picked up",
    "put": "put away",
    "drop": "dropped",
    "open": "opened",
    "close": "closed",
    "unlock": "unlocked",
    "lock": "locked",
    "pull": "pulled",
    "turn": "turned",
    "write": "labelled",
    "examine": "examined",
}
"""Verbs as the agent's past."""

PHRASES: dict[str, tuple[str, ...]] = {
    "action": (
        "What did the agent do at step {step}?",
        "Which action was taken in step {step}?",
        "Step {step}: what was the action?",
    ),
    "window": (
        "List the actions of steps {first} to {last} in order.",
        "What did the agent do from step {first} to step {last}, one action after the other?",
        "Between step {first} and step {last} (both included), which actions were taken, in order?",
    ),
    "first": (
        "At which step was the {thing} {past} for the first time?",
        "When was the {thing} first {past}?",
        "In which step did it happen for the first time that the {thing} was {past}?",
    ),
    "after": (
        "What did the agent do right after the {thing} was {past} for the first time?",
        "Which action came directly after the first time that the {thing} was {past}?",
        "The {thing} was {past} for the first time; what was the very next action?",
    ),
    "key": (
        "At step {step} the {thing} was {past}. Which earlier step gave the agent the key that made this possible?",
        "Which earlier step made it possible that the {thing} was {past} at step {step}, by getting the key?",
        "The {thing} was {past} at step {step}: at which step had the agent got hold of the key for it?",
    ),
    "first key": (
        "The {thing} was unlocked for the first time with a key. At which step had the agent got that key?",
        "Which earlier step gave the agent the key with which it first unlocked the {thing}?",
        "What step provided the key that was used when the {thing} was unlocked for the first time?",
    ),
    "unlocked": (
        "Which earlier step made opening the {thing} at step {step} possible?",
        "The {thing} could be opened at step {step}. Which earlier step had unlocked it?",
        "At step {step} the {thing} was opened; because of which earlier step was it not locked?",
    ),
    "opened": (
        "At step {step} the agent reached into the {thing}. Which earlier step had opened it?",
        "Which earlier step made it possible to get at the inside of the {thing} at step {step}?",
        "The {thing} was open at step {step}: which earlier step was the cause?",
    ),
    "gate": (
        "At step {step} the agent went through a gate. Which earlier step had opened that gate?",
        "Which earlier step made going through the gate at step {step} possible?",
        "The gate that was passed at step {step} was open because of which earlier step?",
    ),
    "origin": (
        "At step {step} the agent let go of the {thing}. From where had it taken it?",
        "The {thing} was put down at step {step}. Where did the agent get it from before?",
        "Where had the {thing} come from that left the agent's hands at step {step}?",
    ),
    "effect": (
        "The {thing} was picked up at step {step}. Which later step did it first make possible, as a key?",
        "Which later step was the first for which the {thing}, picked up at step {step}, was needed?",
        "What is the first step after step {step} that the agent could take because it had picked up the {thing} then?",
    ),
    "lever": (
        "At step {step} the {thing} was pulled. What did that move?",
        "What was the effect of pulling the {thing} at step {step}: what changed?",
        "Which thing elsewhere changed because of the {thing} being pulled at step {step}?",
    ),
    "location": (
        "Where was the {thing} right after step {step}?",
        "After step {step}, in which place was the {thing}?",
        "As of step {step}, where could the {thing} be found?",
    ),
    "state": (
        "Was the {thing} open, closed or locked right after step {step}?",
        "In which state was the {thing} after step {step}: open, closed or locked?",
        "As of step {step}, was the {thing} open, closed or locked?",
    ),
    "label": (
        "What did the label of the {thing} say right after step {step}?",
        "Which text was on the label of the {thing} after step {step}?",
        "As of step {step}, what was the label of the {thing}?",
    ),
    "notch": (
        "At which notch was the {thing} right after step {step}?",
        "What was the notch of the {thing} after step {step}?",
        "As of step {step}, at which notch did the {thing} stand?",
    ),
    "contents": (
        "What was in the {thing} right after step {step}?",
        "Which things did the {thing} contain after step {step}?",
        "As of step {step}, what were the contents of the {thing}?",
    ),
    "inventory": (
        "What was the agent carrying right after step {step}?",
        "Which things were in the inventory after step {step}?",
        "As of step {step}, what did the agent have with it?",
    ),
    "agent": (
        "In which room was the agent right after step {step}?",
        "Where was the agent after step {step}?",
        "As of step {step}, in which room was the agent?",
    ),
    "moves": (
        "List every step from step {first} to step {last} in which the {thing} was moved.",
        "In which steps between step {first} and step {last} did the {thing} change its place?",
        "Name all the steps from {first} to {last} at which the {thing} was picked up or put down.",
    ),
    "count": (
        "How many times was the {thing} {past} from step {first} to step {last}?",
        "Count how often the {thing} was {past} between step {first} and step {last}.",
        "Between steps {first} and {last}, what is the number of times that the {thing} was {past}?",
    ),
    "rooms": (
        "Which rooms did the agent enter from step {first} to step {last}?",
        "List all rooms that the agent went into between step {first} and step {last}.",
        "Between steps {first} and {last}, what is the set of rooms that were entered?",
    ),
    "taken": (
        "Which things did the agent pick up from step {first} to step {last}?",
        "List all items that were picked up between step {first} and step {last}.",
        "Between steps {first} and {last}, what is the set of items that the agent took?",
    ),
    "failed": (
        "List every step from step {first} to step {last} whose action failed.",
        "Which steps between step {first} and step {last} did not work?",
        "Name all the failed attempts from step {first} to step {last}, by their steps.",
    ),
    "visits": (
        "How many times did the agent come into the {thing} from step {first} to step {last}?",
        "Count how often the agent entered the {thing} between step {first} and step {last}.",
        "Between steps {first} and {last}, how many times did the agent return to or enter the {thing}?",
    ),
}
"""Template to its phrasings."""


def phrase(template: str, slots: Mapping[str, Any], rng: random.Random) -> str:
    """One of the phrasings of a question."""
    return rng.choice(PHRASES[template]).format(**slots, past=PAST.get(slots.get("verb", ""), ""))
