"""`posttrain zoo`: the tiny models that ship with the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from posttrain import zoo
from posttrain.commands.parse import parse
from posttrain.extras import need

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

    build = make_dataclass(
        "Build",
        [
            ("config", Annotated[kk.KKConfig, tyro.conf.arg(name="")], field(default_factory=kk.KKConfig)),
            ("out", Annotated[Path, tyro.conf.arg(help="A folder that does not exist yet.")], Path("runs/zoo/kk")),
        ],
    )
    given: Any = parse(
        build, flags, prog="posttrain zoo build kk", description="Train the Knights & Knaves pair from nothing."
    )
    for name, card in kk.build(given.out, given.config).items():
        print(name, json.dumps(card["accuracy"]))
    print(f"models   {given.out}")
