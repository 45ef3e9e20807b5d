"""Change the weights by reward.

    recipe = rlad(teacher="Qwen/Qwen3-8B")            # a method of the house on GRPO
    recipe = grpo(aggregation="token") | rlad(...)    # parts compose

A recipe goes to an engine: `posttrain.rl.engines.trl.RecipeTrainer`, or the reference loop in
`posttrain.rl.engines.loop`. Methods import torch and nothing of an engine.
"""

from posttrain.rl.baselines.kdrl import KDRL, OPD
from posttrain.rl.batch import Credit, Live, Row, Sampled, Sampler, Table
from posttrain.rl.builders import engine_default, grpo, kdrl, opd, rlad
from posttrain.rl.grpo import GRPO, EngineDefault
from posttrain.rl.loss import Loss, policy_loss
from posttrain.rl.math import Normalizer
from posttrain.rl.method import Method, Score, Settings
from posttrain.rl.recipe import Recipe, RecipeClash
from posttrain.rl.rlad import RLAD

__all__ = [
    "GRPO", "KDRL", "OPD", "RLAD", "Credit", "EngineDefault", "Live", "Loss", "Method", "Normalizer", "Recipe",
    "RecipeClash", "Row", "Sampled", "Sampler", "Score", "Settings", "Table",
    "engine_default", "grpo", "kdrl", "opd", "policy_loss", "rlad",
]  # fmt: skip
