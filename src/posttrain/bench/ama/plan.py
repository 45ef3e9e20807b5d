"""What to run: logs, methods, budgets; all of it checked before the first run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.bench.ama import sample
from posttrain.bench.ama.log import Log, tokens_of
from posttrain.bench.ama.methods.table import METHODS
from posttrain.bench.ama.reader import Read
from posttrain.bench.ama.worlds.table import WORLDS

SETTINGS = ("needle", "stored", "end")
"""What a reader is given: the evidence as it was in the log, what the method stored of the evidence's turns, and what
the method finds by itself."""


class Job(NamedTuple):
    """A log that will be read."""

    name: str
    load: Callable[[], Log]
    read: Read | None
    """Reads its turns back into events; None where no rules can, as in AMA-Bench's own episodes."""


@dataclass(frozen=True)
class Plan:
    """What to run."""

    data: Path | None = None
    """AMA-Bench's episodes, a file or a folder; in place of worlds."""
    worlds: tuple[str, ...] = ("rooms",)
    lengths: tuple[str, ...] = ("8K", "32K", "128K")
    forms: tuple[str, ...] = ()
    """Empty is all that a world has."""
    seeds: int = 5
    """Trajectories of each world and length."""
    methods: tuple[str, ...] = ()
    """Empty is all that can be run here."""
    k: int = 10
    """Turns that a method may give; in worlds more where the evidence itself is more."""
    tokens: int = 2048
    """A second budget: so many tokens, however many turns."""
    readers: bool = False
    """Whether a model reads."""

    def __post_init__(self) -> None:
        if self.k < 1 or self.tokens < 1 or self.seeds < 1:
            raise ValueError(f"k={self.k}, tokens={self.tokens} and seeds={self.seeds} must all be at least 1.")
        for world in self.worlds:
            if world not in WORLDS:
                raise ValueError(f"there is no world {world!r}; choose among {', '.join(WORLDS)}.")
            for form in self.forms:
                if self.data is None and form not in WORLDS[world].forms:
                    raise ValueError(f"{world} has no form {form!r}; choose among {', '.join(WORLDS[world].forms)}.")
        for length in self.lengths:
            tokens_of(length)
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(f"there is no method {method!r}; choose among {', '.join(METHODS)}.")
            if missing := METHODS[method].missing:
                raise ValueError(f"method {method!r} needs {', '.join(missing)}, which is not installed.")
            if METHODS[method].readers_only and not self.readers:
                raise ValueError(f"method {method!r} finds nothing, it only fills a model's context; give --model too.")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods that will be run."""
        able = (name for name, each in METHODS.items() if not each.missing and (self.readers or not each.readers_only))
        return self.methods or tuple(able)

    @property
    def left_out(self) -> dict[str, str]:
        """Methods that cannot be run here, with why."""
        if self.methods:
            return {}
        absent = {name: f"{', '.join(each.missing)} is not installed" for name, each in METHODS.items() if each.missing}
        idle = {name: "only for a reader" for name, each in METHODS.items() if each.readers_only and not self.readers}
        return absent | idle

    def jobs(self) -> list[Job]:
        """All logs, in order.

        Raises:
            ValueError: The data cannot be read.
        """
        if self.data is not None:
            return [Job(log.name, functools.partial(_same, log), None) for log in sample.logs(self.data)]
        return list(self._made())

    def _made(self) -> Iterator[Job]:
        for world in self.worlds:
            entry = WORLDS[world]
            for length in self.lengths:
                for seed in range(self.seeds):
                    make = functools.lru_cache(maxsize=1)(functools.partial(_by_form, world, length, seed))
                    for form in self.forms or entry.forms:
                        load = functools.partial(_one, make, form)
                        yield Job(f"{world}-{form}-{length}-{seed}", load, entry.read(form))

    def record(self) -> dict[str, Any]:
        """As JSON; no path of this machine."""
        where = {"data": True} if self.data else {"worlds": self.worlds, "lengths": self.lengths, "seeds": self.seeds}
        return {**where, "forms": self.forms, "methods": self.chosen, "k": self.k, "tokens": self.tokens}


def _same(log: Log) -> Log:
    return log


def _by_form(world: str, length: str, seed: int) -> dict[str, Log]:
    return {log.form: log for log in WORLDS[world].logs(length, seed)}


def _one(make: Callable[[], dict[str, Log]], form: str) -> Log:
    return make()[form]


__all__: Sequence[str] = ("SETTINGS", "Job", "Plan")
