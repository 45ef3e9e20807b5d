"""TextWorld: games that its maker makes, played at random among the commands that work; the texts are the game's own.

    logs = textworld.logs("8K", seed=0)

What happens is taken from the game's logic; what is read back is the sentence with which the game answers a command.
The quest's last command is never typed, so that the game goes on for as long as the log is to be.

References:
    Côté et al. 2018, "TextWorld", arXiv:1806.11532.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from posttrain.bench.ama.log import Log, Printed, Shown, tokens_of
from posttrain.bench.ama.questions.asking import ask
from posttrain.bench.ama.questions.trace import Trace
from posttrain.bench.ama.reader import Read
from posttrain.bench.ama.worlds.event import AGENT, CARRIED, Event
from posttrain.extras import need
from posttrain.memory.rows import Turn
from posttrain.tasks.worlds._game_cache import cached_row
from posttrain.tasks.worlds.textworld import TextWorld, walkthrough

GROUND = "ground"
"""Where a thing lies that is in nothing and on nothing."""
WEIGHTS = {"take": 6, "put": 6, "drop": 2, "open": 6, "close": 3, "unlock": 9, "lock": 5, "go": 5, "examine": 1,
           "look": 1, "inventory": 1}  # fmt: skip
"""How likely each kind of command is, divided among its commands."""
ATTEMPT = 0.05
"""Chance of opening what is locked."""
STRANGERS = ("crystal orb", "velvet scarf", "copper kettle", "ivory comb", "marble bust", "wicker cradle")

_COMMANDS = (
    ("go", re.compile(r"go (?P<tool>north|south|east|west)")),
    ("take", re.compile(r"take (?P<thing>.+) from (?P<place>.+)")),
    ("take", re.compile(r"take (?P<thing>.+)")),
    ("put", re.compile(r"put (?P<thing>.+) on (?P<place>.+)")),
    ("put", re.compile(r"insert (?P<thing>.+) into (?P<place>.+)")),
    ("drop", re.compile(r"drop (?P<thing>.+)")),
    ("open", re.compile(r"open (?P<thing>.+)")),
    ("close", re.compile(r"close (?P<thing>.+)")),
    ("unlock", re.compile(r"unlock (?P<thing>.+) with (?P<tool>.+)")),
    ("lock", re.compile(r"lock (?P<thing>.+) with (?P<tool>.+)")),
    ("examine", re.compile(r"examine (?P<thing>.+)")),
    ("look", re.compile(r"look")),
    ("inventory", re.compile(r"inventory")),
)
_WORKED = {
    "take": r"You (?:take|pick up) the {thing} from the ",
    "put": r"You put the {thing} (?:on|into|in) the {place}\.",
    "drop": r"You drop the {thing}",
    "open": r"You open (?:the )?{thing}[.,]",
    "close": r"You close (?:the )?{thing}\.",
    "unlock": r"You unlock (?:the )?{thing}\.",
    "lock": r"You lock (?:the )?{thing}\.",
}
"""How the game says that a command worked."""
_STATES = {"open": "open", "close": "closed", "unlock": "closed", "lock": "locked"}
_ROOM = re.compile(r"-= (.+?) =-")


def logs(length: str, seed: int) -> list[Log]:
    """One trajectory, with its questions.

    Args:
        length: Such as `8K`.
        seed: Of the game, the agent and the questions.
    """
    name = f"textworld-prose-{length}-{seed}"
    events, turns, changes, task = play(length, seed)
    rng = random.Random(f"questions about textworld {length} {seed}")
    questions = ask(Trace(events, changes), rng, rng.sample(STRANGERS, 4))
    truth = tuple(
        Printed(*shown, turn.turn)
        for event, turn in zip(events, turns, strict=True)
        for shown in event.states
        if shown.entity in turn.observation and shown.value in turn.observation
    )
    kept = tuple(Turn(name, turn.turn, turn.action, turn.observation) for turn in turns)
    return [Log(name, "textworld", "prose", length, task, kept, questions, truth)]


def reading(form: str) -> Read:
    """Reads the turns of the game back into events; there is one form."""
    if form != "prose":
        raise ValueError(f"form {form!r} is none of TextWorld's; it prints prose.")
    return read


def read(step: int, action: str, observation: str) -> Event | None:
    """What a turn tells: the command, whether it worked, and the state that it changed."""
    event = _command(step, action)
    if event is None:
        return None
    worked = _WORKED.get(event.verb)
    names = {"thing": re.escape(event.thing), "place": re.escape(event.place)}
    done = worked is None or re.search(worked.format(**names), observation) is not None
    room = _ROOM.match(observation)
    if event.verb == "go":
        done = room is not None
        event = event._replace(place=room[1].lower() if room else "")
    shown = [Shown(AGENT, "location", room[1].lower())] if room and event.verb in ("go", "look") else []
    if done and worked:
        shown.append(_changed(event))
    return event._replace(done=done, shown=tuple(each for each in shown if each.value != GROUND))


def _command(step: int, action: str) -> Event | None:
    for verb, pattern in _COMMANDS:
        if found := pattern.fullmatch(action):
            event = Event(step, verb)._replace(**found.groupdict())
            return event._replace(place=GROUND) if verb == "take" and not event.place else event
    return None


def _changed(event: Event) -> Shown:
    """The state that a command changes when it works."""
    if event.verb in _STATES:
        return Shown(event.thing, "state", _STATES[event.verb])
    places = {"take": CARRIED, "drop": GROUND, "put": event.place}
    return Shown(event.thing, "location", places[event.verb])


def play(length: str, seed: int) -> tuple[list[Event], list[Turn], dict[tuple[str, str], list[tuple[int, str]]], str]:
    """Play until the text is so long; gives the events, the turns, the changes of all states, and the task."""
    rng = random.Random(f"textworld {length} {seed}")
    row = _game(max(0, (tokens_of(length) // 8192).bit_length() - 1), seed)
    world = TextWorld()
    last = _command(0, walkthrough(row["game"])[-1])
    turns = [Turn("", 0, "look", world.reset(row))]
    history = _History(world)
    events = [history.event(0, "look", before=history.facts())]
    room = 4 * tokens_of(length)
    commands = _commands(world, rng, last)
    while room > 0:
        before = history.facts()
        action = next(commands)
        step = world.step(action)
        if step.done:
            raise RuntimeError(f"the game of seed {seed} ended at step {len(turns)}; choose another seed.")
        turns.append(Turn("", len(turns), action, step.observation))
        events.append(history.event(len(events), action, before))
        room -= len(action) + len(step.observation)
    world.close()
    return events, turns, history.changes, row["prompt"]


def _game(level: int, seed: int) -> dict[str, Any]:
    """A game with rooms, containers, doors, locks and a quest; larger for longer logs."""
    size = {"nb_rooms": 6 + 2 * level, "nb_objects": 16 + 6 * level, "quest_length": 5}

    def make(options: Any) -> Any:
        options.seeds = seed
        options.nb_rooms, options.nb_objects = size["nb_rooms"], size["nb_objects"]
        options.quest_length = size["quest_length"]
        return need("textworld.generator").make_game(options)

    return cached_row(f"ama-level{level}-seed{seed}", make, str(sorted(size.items())), None, family="ama")


def _commands(world: TextWorld, rng: random.Random, last: Event | None) -> Iterator[str]:
    """Commands that work and do not end the quest, and now and then one that cannot."""
    while True:
        by_verb: dict[str, list[str]] = defaultdict(list)
        for action in world.actions():
            event = _command(0, action)
            ends = event is not None and last is not None and (event.verb, event.thing) == (last.verb, last.thing)
            if event is not None and not ends:
                by_verb[event.verb].append(action)
        locked = [e.thing for action in by_verb["unlock"] if (e := _command(0, action)) is not None]
        if locked and rng.random() < 4 * ATTEMPT:
            yield f"open {rng.choice(locked)}"
            continue
        verbs = sorted(verb for verb, actions in by_verb.items() if actions)
        verb = rng.choices(verbs, [WEIGHTS[verb] for verb in verbs])[0]
        yield rng.choice(by_verb[verb])


class _History:
    """The states of a game, from its logic, and how they came to be."""

    def __init__(self, world: TextWorld) -> None:
        self.world = world
        self.names = {name: info.name for name, info in world.situation().game.game.infos.items()}
        self.changes: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        self._note(-1)

    def facts(self) -> dict[tuple[str, str], str]:
        """All states now."""
        found = {}
        for fact in sorted(self.world.situation().facts, key=str):
            first, *others = (self.names.get(argument.name) or argument.name for argument in fact.arguments)
            if fact.name == "at" and first == "P":
                found[AGENT, "location"] = others[0]
            elif fact.name == "at":
                found[first, "location"] = others[0]
            elif fact.name in ("in", "on"):
                found[first, "location"] = CARRIED if others[0] == "I" else others[0]
            elif fact.name in ("open", "closed", "locked"):
                found[first, "state"] = fact.name
        return found

    def _note(self, step: int) -> None:
        for key, value in self.facts().items():
            if not self.changes[key] or self.changes[key][-1][1] != value:
                self.changes[key].append((step, value))

    def event(self, step: int, action: str, before: dict[tuple[str, str], str]) -> Event:
        """What a command did, by the logic."""
        self._note(step)
        event, now = _command(step, action), self.facts()
        if event is None:
            raise RuntimeError(f"{action!r} is no command that is typed here.")
        room = now[AGENT, "location"]
        if event.verb in ("go", "look"):
            place = room if event.verb == "go" else ""
            return event._replace(place=place, shown=(Shown(AGENT, "location", room),))
        if event.verb in ("examine", "inventory"):
            return event
        changed = _changed(event)
        done = before.get((event.thing, changed.attribute)) != now.get((event.thing, changed.attribute))
        return event._replace(done=done, shown=(changed,) if done and changed.value != GROUND else ())
