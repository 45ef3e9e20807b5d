"""`posttrain zoo`: the tiny models that ship with the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from posttrain import zoo
from posttrain.commands.parse import parse
from posttrain.extras import need

if TYPE_CHECKING:
    from posttrain.zoo.kk import KKConfig

USAGE = """usage: posttrain zoo list
       posttrain zoo build kk [--out FOLDER] [...]"""


def main(arguments: Sequence[str]) -> None:
    """List or build."""
    if list(arguments) == ["list"]:
        for name in zoo.names():
            card = json.loads((zoo.path(name) / "card.json").read_text())
            scores = ", ".join(f"{k} {v['greedy']:.2f} (n={v['n']})" for k, v in card["accuracy"].items())
            print(f"{name:<12} {card['parameters'] / 1e6:.2f} M parameters, greedy accuracy: {scores}")
            print(f"{'':<12} {zoo.path(name)}")
    elif list(arguments[:2]) == ["build", "kk"]:
        build_kk(arguments[2:])
    elif not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
    else:
        raise ValueError(f"zoo {' '.join(arguments)} is not understood; use `zoo list` or `zoo build kk`.")


def build_kk(flags: Sequence[str]) -> None:
    """Train the Knights & Knaves teacher and student from nothing."""
    need("transformers")
    need("reasoning_gym")
    from posttrain.zoo import kk

    @dataclass(frozen=True)
    class Build:
        """Where to and how."""

        config: Annotated[KKConfig, tyro.conf.arg(name="")] = field(default_factory=kk.KKConfig)
        out: Path = Path("runs/zoo/kk")
        """A folder that does not exist yet; copy its content to `posttrain/zoo/weights/kk` to ship it."""

    Build.__annotations__["config"] = Annotated[kk.KKConfig, tyro.conf.arg(name="")]
    given = parse(
        Build, flags, prog="posttrain zoo build kk", description="Train the Knights & Knaves pair from nothing."
    )
    for name, card in kk.build(given.out, given.config).items():
        print(name, json.dumps(card["accuracy"]))
    print(f"models   {given.out}")
