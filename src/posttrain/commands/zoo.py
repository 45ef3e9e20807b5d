"""`posttrain zoo`: the tiny models that ship with the package."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from posttrain import zoo
from posttrain.commands.parse import parse
from posttrain.extras import need


class Builder(NamedTuple):
    """One task of the zoo: a module of `posttrain.zoo` with a configuration and `build(out, config)`."""

    config: str
    """Name of the configuration in the module."""
    what: str
    """What it trains."""
    needs: tuple[str, ...] = ("transformers",)
    """Packages of the extras."""


BUILDERS = {
    "kk": Builder("KKConfig", "the Knights & Knaves teacher and student", ("transformers", "reasoning_gym")),
    "chain": Builder("ChainConfig", "a wordy model of chained sums"),
    "critique": Builder("CritiqueConfig", "a careless solver and judge of short sums"),
    "skills": Builder("SkillsConfig", "a model that combines two numbers into a third"),
    "corridor": Builder("CorridorConfig", "a model that walks a corridor at random"),
}
USAGE = f"""usage: posttrain zoo list
       posttrain zoo build {{{",".join(BUILDERS)}}} [--out FOLDER] [...]"""


def main(arguments: Sequence[str]) -> None:
    """List or build."""
    if list(arguments) == ["list"]:
        for name in zoo.names():
            card = json.loads((zoo.path(name) / "card.json").read_text())
            scores = ", ".join(f"{k} {v['greedy']:.2f} (n={v['n']})" for k, v in card["accuracy"].items())
            print(f"{name:<14} {card['parameters'] / 1e6:.2f} M parameters, greedy accuracy: {scores}")
            print(f"{'':<14} {zoo.path(name)}")
    elif len(arguments) > 1 and arguments[0] == "build" and arguments[1] in BUILDERS:
        build(arguments[1], arguments[2:])
    elif not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
    else:
        known = ", ".join(BUILDERS)
        raise ValueError(
            f"zoo {' '.join(arguments)} is not understood; use `zoo list` or `zoo build` with one of {known}."
        )


def build(task: str, flags: Sequence[str]) -> None:
    """Train the models of one task from nothing."""
    builder = BUILDERS[task]
    for package in builder.needs:
        need(package)
    module = importlib.import_module(f"posttrain.zoo.{task}")
    config = getattr(module, builder.config)
    given: Any = parse(
        make_dataclass(
            "Build",
            [
                ("config", Annotated[config, tyro.conf.arg(name="")], field(default_factory=config)),
                (
                    "out",
                    Annotated[Path, tyro.conf.arg(help="A folder that does not exist yet.")],
                    Path("runs/zoo") / task,
                ),
            ],
        ),
        flags,
        prog=f"posttrain zoo build {task}",
        description=f"Train {builder.what} from nothing.",
    )
    for name, card in module.build(given.out, given.config).items():
        print(name, json.dumps(card["accuracy"]))
    print(f"models   {given.out}")
