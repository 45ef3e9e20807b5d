"""`posttrain doctor`: versions, extras, and whether the engines' contracts hold."""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Mapping, Sequence
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
    """What the trainers rely on and the installed TRL does not have; None without TRL."""
    if missing("trl"):
        return None
    try:
        from trl import GRPOConfig, GRPOTrainer, SFTTrainer

        from posttrain.rl.engines.trl import CONTRACT
        from posttrain.rl.engines.trl_config import FIELDS
        from posttrain.tune.trainer import CONTRACT as TUNE
    except ImportError as error:
        return [str(error)]
    known = inspect.signature(GRPOConfig).parameters
    fields = [f"GRPOConfig has no field {name}" for name in (*FIELDS.values(), "loss_type") if name not in known]
    return [*lacking(GRPOTrainer, CONTRACT), *fields, *lacking(SFTTrainer, TUNE)]


def lacking(trainer: type, contract: Mapping[str, Sequence[str]]) -> list[str]:
    """The methods of a contract, and their parameters, that a class does not have."""
    found = []
    for method, parameters in contract.items():
        if not hasattr(trainer, method):
            found.append(f"{trainer.__name__} has no method {method}")
            continue
        names = list(inspect.signature(getattr(trainer, method)).parameters)
        found += [f"{trainer.__name__}.{method} has no parameter {p}" for p in parameters if p not in names]
    return found
