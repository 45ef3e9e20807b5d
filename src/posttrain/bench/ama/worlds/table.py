"""All worlds by their names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from posttrain.bench.ama.log import Log
from posttrain.bench.ama.reader import Read


class World(NamedTuple):
    """A world in the list; its module is read where it is used."""

    module: str
    forms: tuple[str, ...]
    note: str

    def logs(self, length: str, seed: int) -> Sequence[Log]:
        """One trajectory in all forms."""
        return importlib.import_module(self.module).logs(length, seed)

    def read(self, form: str) -> Read:
        """Reads turns of a form back into events."""
        return importlib.import_module(self.module).reading(form)


_HERE = "posttrain.bench.ama.worlds"

WORLDS: Mapping[str, World] = {
    "rooms": World(f"{_HERE}.rooms", ("prose", "json", "table"), "a house of our own, in three surface forms"),
    "babyai": World(f"{_HERE}.babyai", ("prose",), "BabyAI's levels, played by its bot and at random"),
    "textworld": World(f"{_HERE}.textworld", ("prose",), "TextWorld's games, played at random"),
}
