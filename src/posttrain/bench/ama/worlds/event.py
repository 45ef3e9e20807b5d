"""What happens in a world at one step, apart from how it is printed."""

from __future__ import annotations

from typing import NamedTuple

from posttrain.bench.ama.log import Shown

CARRIED = "inventory"
"""The place of what the agent carries."""
AGENT = "you"


class Exit(NamedTuple):
    """A way out of a room."""

    direction: str
    room: str
    door: str = ""
    """What is in the way, where something is."""
    state: str = ""
    """Of the door."""


class Event(NamedTuple):
    """An action and what its observation tells."""

    step: int
    verb: str
    thing: str = ""
    """What it is done to."""
    place: str = ""
    """Where from or where to; of `go` the room."""
    tool: str = ""
    """With what; of `write` the text, of `go` the direction, of `turn` up or down."""
    done: bool = True
    """Whether it worked."""
    shown: tuple[Shown, ...] = ()
    """The states that the observation prints, without those of exits."""
    listed: str = ""
    """The room, container or inventory whose whole contents the observation prints."""
    exits: tuple[Exit, ...] = ()
    said: str = ""
    """Anything else that the observation prints."""

    @property
    def command(self) -> str:
        """The action in plain words."""
        return COMMANDS[self.verb].format(**self._asdict())

    @property
    def truth(self) -> tuple[Shown, ...]:
        """All states that the observation prints."""
        return (*self.shown, *(Shown(way.door, "state", way.state) for way in self.exits if way.door))

    @property
    def states(self) -> tuple[Shown, ...]:
        """Those of them whose entity it prints too; it need not call the agent by a name."""
        return tuple(shown for shown in self.truth if shown.entity != AGENT)


COMMANDS = {
    "look": "look",
    "inventory": "inventory",
    "go": "go {tool}",
    "take": "take {thing} from {place}",
    "put": "put {thing} into {place}",
    "drop": "drop {thing}",
    "open": "open {thing}",
    "close": "close {thing}",
    "unlock": "unlock {thing} with {tool}",
    "lock": "lock {thing} with {tool}",
    "pull": "pull {thing}",
    "turn": "turn {thing} {tool}",
    "write": "write {tool} on {thing}",
    "examine": "examine {thing}",
    "think": "think: {said}",
    "walk": "go {tool}",
    "face": "turn {tool}",
    "try": "try to {tool}",
}
"""How each action is typed. Walking is going within a room."""
