"""One function per recipe, named as its paper is called: `rlad(teacher=..., alpha=0.5)`.

Each takes the fields of its method's dataclass and gives a `Recipe`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

from posttrain.rl.agent import Agent
from posttrain.rl.baselines.c_rl import CRL
from posttrain.rl.baselines.entropy_bonus import EntropyBonus
from posttrain.rl.baselines.gigpo import GiGPO, Oracle, SameState
from posttrain.rl.baselines.kdrl import KDRL, OPD
from posttrain.rl.baselines.length_penalty import LCR1, LengthPenalty
from posttrain.rl.ceeh import CEEH
from posttrain.rl.empo2 import EMPO2
from posttrain.rl.grpo import GRPO, EngineDefault
from posttrain.rl.hgpo import HGPO
from posttrain.rl.method import Method
from posttrain.rl.recipe import Recipe
from posttrain.rl.rlad import RLAD
from posttrain.rl.second_order import SecondOrder
from posttrain.rl.upskill import UpSkill

P = ParamSpec("P")


def _builder(name: str, method: Callable[P, Method]) -> Callable[P, Recipe]:
    """A function with the signature of `method` that returns a recipe."""

    @functools.wraps(method, assigned=("__doc__",), updated=())
    def build(*args: P.args, **kwargs: P.kwargs) -> Recipe:
        return Recipe.of(method(*args, **kwargs))

    build.__name__ = build.__qualname__ = name
    return build


grpo = _builder("grpo", GRPO)
engine_default = _builder("engine_default", EngineDefault)
opd = _builder("opd", OPD)
kdrl = _builder("kdrl", KDRL)
rlad = _builder("rlad", RLAD)
ceeh = _builder("ceeh", CEEH)
length_penalty = _builder("length_penalty", LengthPenalty)
lc_r1 = _builder("lc_r1", LCR1)
entropy_bonus = _builder("entropy_bonus", EntropyBonus)
upskill = _builder("upskill", UpSkill)
second_order = _builder("second_order", SecondOrder)
c_rl = _builder("c_rl", CRL)
agent = _builder("agent", Agent)
empo2 = _builder("empo2", EMPO2)
hgpo = _builder("hgpo", HGPO)
gigpo = _builder("gigpo", GiGPO)
same_state = _builder("same_state", SameState)
oracle = _builder("oracle", Oracle)
