"""Change the weights by reward.

    recipe = rlad(teacher="Qwen/Qwen3-8B")            # a method of the house on GRPO
    recipe = grpo(aggregation="token") | rlad(...)    # parts compose

A recipe goes to an engine: `posttrain.rl.engines.trl.RecipeTrainer`, or the reference loop in
`posttrain.rl.engines.loop`. Methods import torch and nothing of an engine.
"""

from posttrain.rl.agent import Agent
from posttrain.rl.baselines.c_rl import CRL
from posttrain.rl.baselines.entropy_bonus import EntropyBonus
from posttrain.rl.baselines.gigpo import GiGPO, Oracle, SameState
from posttrain.rl.baselines.kdrl import KDRL, OPD
from posttrain.rl.baselines.length_penalty import LCR1, LengthPenalty
from posttrain.rl.batch import Acted, Credit, Live, Memory, Row, Sampled, Sampler, Table, Task, Turn
from posttrain.rl.builders import (
    agent,
    c_rl,
    ceeh,
    empo2,
    engine_default,
    entropy_bonus,
    gigpo,
    grpo,
    hgpo,
    kdrl,
    lc_r1,
    length_penalty,
    opd,
    oracle,
    rlad,
    same_state,
    second_order,
    upskill,
)
from posttrain.rl.ceeh import CEEH
from posttrain.rl.empo2 import EMPO2, adapt
from posttrain.rl.grpo import GRPO, EngineDefault
from posttrain.rl.hgpo import HGPO
from posttrain.rl.loss import Loss, policy_loss
from posttrain.rl.math import Normalizer
from posttrain.rl.method import Method, Score, Settings
from posttrain.rl.recipe import Recipe, RecipeClash
from posttrain.rl.rlad import RLAD
from posttrain.rl.second_order import SecondOrder
from posttrain.rl.upskill import UpSkill

__all__ = [
    "CEEH", "CRL", "EMPO2", "GRPO", "HGPO", "KDRL", "LCR1", "OPD", "RLAD", "Acted", "Agent", "Credit",
    "EngineDefault", "EntropyBonus", "GiGPO", "LengthPenalty", "Live", "Loss", "Memory", "Method", "Normalizer",
    "Oracle", "Recipe", "RecipeClash", "Row", "SameState", "Sampled", "Sampler", "Score", "SecondOrder", "Settings",
    "Table", "Task", "Turn", "UpSkill", "adapt", "agent", "c_rl", "ceeh", "empo2", "engine_default", "entropy_bonus",
    "gigpo", "grpo", "hgpo", "kdrl", "lc_r1", "length_penalty", "opd", "oracle", "policy_loss", "rlad", "same_state",
    "second_order", "upskill",
]  # fmt: skip
