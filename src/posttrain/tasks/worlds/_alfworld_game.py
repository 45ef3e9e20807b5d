"""A game of ALFWorld: its rules translated by Fast Downward, and its grammar."""

from __future__ import annotations

import copy
import functools
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from posttrain.extras import need
from posttrain.tasks.worlds._situations import PARSERS

_TASK = re.compile(r'Your task is to: [^"\n]+')


class Thing(NamedTuple):
    """What the grammar knows of an entity."""

    id: str
    type: str
    name: str
    definite: str = "the"
    indefinite: str = "a"

    def __str__(self) -> str:
        return self.name


class _Shallow(dict[Any, Any]):
    """Names of a context, which the grammar copies deeply for every word although what they stand for never changes."""

    def __deepcopy__(self, memo: Any) -> _Shallow:
        return _Shallow(self)


class Game:
    """A translated game, shared by all worlds."""

    def __init__(self, file: str) -> None:
        _remember_parses()
        data = read(Path(file))
        self.task = data["task"]
        self.logic, pddl = need("textworld.logic"), need("textworld.envs.pddl.logic")
        self.atom = pddl.Atom
        text = pddl.GameLogic(data["pddl_domain"], data["grammar"])
        self.grammar, self.wordings = text.grammar, text.actions
        task, sas = _translated(data["pddl_domain"], data["pddl_problem"])
        self.sas = sas.encode()
        self.types = {thing.name: thing.type_name for thing in task.objects}
        self.parameters = {
            action.name: [(p.name.strip("?"), p.type_name) for p in action.parameters] for action in task.actions
        }
        self.changing = {effect.literal.predicate for action in task.actions for effect in action.effects}
        names = names_of(self.types)
        self.things = _Shallow({entity: Thing(entity, kind, names[entity]) for entity, kind in self.types.items()})
        self.rules = self.logic.GameLogic()
        for kind in {kind.name: kind for kind in reversed(task.types)}.values():  # the first of a name counts
            self.rules.types.add(self.logic.Type(kind.name, kind.supertype_names))
        self.facts = [self._fact(atom) for atom in task.init if getattr(atom, "predicate", "=") != "="]
        self._commands: dict[str, str] = {}

    def first_state(self, library: Any) -> Any:
        """The state that the library begins with, as facts that the grammar can ask for."""
        library.load_sas(self.sas)
        atoms = (self.atom * library.get_state_size())()
        library.get_state(atoms)
        variable = (atom.get_fact(self.types) for atom in atoms)
        return self.logic.State(self.rules, [*self.facts, *(fact for fact in variable if not fact.is_negation)])

    def command(self, operator: str, state: Any) -> str:
        """An operator's command."""
        if operator in self._commands:
            return self._commands[operator]
        wording = self.wordings[operator.split()[0]].template
        command = self.say(wording, state, operator)
        asked = {name.removeprefix("not_") for name in re.findall(r"(\w+)\(", wording)}
        if "#" not in wording and not asked & self.changing:
            self._commands[operator] = command
        return command

    def feedback(self, operator: str, state: Any) -> str:
        """What the agent sees after an operator."""
        return self.say(self.wordings[operator.split()[0]].feedback_rule, state, operator)

    def say(self, wording: str, state: Any, operator: str = "") -> str:
        """A wording of the grammar in full."""
        action, *entities = operator.split() or [""]
        parameters = list(zip(self.parameters.get(action, ()), entities, strict=False))
        placeholder, variable = self.logic.Placeholder, self.logic.Variable
        context = {
            "state": state,
            "facts": [],
            "variables": _Shallow((name, self.things[entity]) for (name, _), entity in parameters),
            "mapping": _Shallow(
                (placeholder(name, kind), variable(entity, kind)) for (name, kind), entity in parameters
            ),
            "entity_infos": self.things,
        }
        return self.grammar.derive(wording, context)

    def _fact(self, atom: Any) -> Any:
        return self.logic.Proposition(
            atom.predicate, [self.logic.Variable(name, self.types[name]) for name in atom.args]
        )


def load(file: str) -> Game:
    """The game of a file, translated once."""
    with PARSERS:
        return _kept_game(file)


_kept_game = functools.lru_cache(maxsize=64)(Game)


_idle: list[Any] = []


def take_library() -> Any:
    """A copy of Fast Downward's library for one world."""
    try:
        return _idle.pop()
    except IndexError:
        return need("fast_downward").load_lib()


def return_library(library: Any) -> None:
    """Keep a library for the next world. Unloading one crashes Python at its end, as its copies share an object."""
    library.cleanup()
    _idle.append(library)


def _translated(domain: str, problem: str) -> tuple[Any, str]:
    """Fast Downward's task and its text; the translator would leave its own command line in `sys.argv`."""
    arguments = sys.argv
    try:
        return need("fast_downward").pddl2sas(domain, problem)
    finally:
        sys.argv = arguments


@functools.cache
def _remember_parses() -> None:
    """Let the grammar keep the texts and conditions that it has parsed: the same few hundred in every game."""
    textgen: Any = need("textworld.envs.pddl.textgen")
    symbols, query = _kept(textgen._parse_and_convert), _kept(textgen.Rule.parse_conjunctive_query)
    textgen._parse_and_convert = lambda *text, **options: copy.deepcopy(symbols(*text, **options))
    textgen.Rule = SimpleNamespace(parse_conjunctive_query=query)


def _kept(parse: Callable[..., Any]) -> Callable[..., Any]:
    @functools.lru_cache(maxsize=4096)
    def kept(*text: Any, **options: Any) -> Any:
        with PARSERS:
            return parse(*text, **options)

    return kept


def read(file: Path) -> dict[str, Any]:
    """What a game's file holds, and the sentence that states its `task`."""
    try:
        data = json.loads(file.read_text())
        found = _TASK.search(data["grammar"]) if {"pddl_domain", "pddl_problem", "grammar"} <= data.keys() else None
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is not a game of ALFWorld ({error}); give a game.tw-pddl file.") from error
    if found is None:
        raise ValueError(f"{file} states no task ('Your task is to: ...'); give a game.tw-pddl file of ALFWorld.")
    return data | {"task": found[0]}


def names_of(types: Iterable[str]) -> dict[str, str]:
    """Kind and number of everything that has a place; the name as it is for the rest."""
    names, counts = {}, Counter()
    for entity in sorted(types):
        first, *place = entity.split("_bar_")
        names[entity] = entity
        if place:
            kind = place[-1] if place[-1].isalpha() else first  # `sink_bar_..._bar_sinkbasin` is a sinkbasin
            counts[kind] += 1
            names[entity] = f"{kind} {counts[kind]}"
    return names
