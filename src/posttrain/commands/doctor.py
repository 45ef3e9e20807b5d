"""`posttrain doctor`: versions, extras, and whether the engines' contracts hold."""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from posttrain import __version__
from posttrain.extras import EXTRAS, missing

LIBRARIES = ("torch", "numpy", "trl", "transformers", "accelerate", "datasets", "peft", "reasoning_gym", "math-verify")


def main(arguments: Sequence[str]) -> None:
    """Print the report; exit code 1 if an engine that is installed does not hold its contract."""
    if arguments:
        print("usage: posttrain doctor")
        return
    print(f"posttrain {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in LIBRARIES:
        print(f"  {name:<14} {installed(name)}")
    print("extras")
    for name in EXTRAS:
        absent = missing(name)
        state = "complete" if not absent else f"without {', '.join(absent)}: pip install 'posttrain[{name}]'"
        print(f"  {name:<14} {state}")
    print("engines")
    broken = trl_contract()
    if broken is None:
        print("  trl            not installed")
    else:
        print(f"  trl            {'contract holds' if not broken else 'contract broken'}")
        for sentence in broken:
            print(f"    {sentence}")
    if broken:
        sys.exit(1)


def installed(name: str) -> str:
    """A distribution's version, or `-`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def trl_contract() -> list[str] | None:
    """What the TRL adapter relies on and the installed TRL does not have; None without TRL."""
    if missing("trl"):
        return None
    try:
        from trl import GRPOConfig, GRPOTrainer

        from posttrain.rl.engines.trl import CONTRACT
        from posttrain.rl.engines.trl_config import FIELDS
    except ImportError as error:
        return [str(error)]
    found = []
    for method, parameters in CONTRACT.items():
        if not hasattr(GRPOTrainer, method):
            found.append(f"GRPOTrainer has no method {method}")
            continue
        names = list(inspect.signature(getattr(GRPOTrainer, method)).parameters)
        found += [f"GRPOTrainer.{method} has no parameter {p}" for p in parameters if p not in names]
    known = inspect.signature(GRPOConfig).parameters
    found += [f"GRPOConfig has no field {name}" for name in (*FIELDS.values(), "loss_type") if name not in known]
    return found
