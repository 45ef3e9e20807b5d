"""What lives here: the fifteen methods with an honest state, and the recipes by name. Imports nothing."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple


class Paper(NamedTuple):
    """One paper."""

    name: str
    what: str
    arxiv: str
    room: str
    state: str
    """`ready`; `in work`: here and tested, not all of its claims measured; or `planned`: not in this version."""
    page: str = ""
    """What its page and its results are called, where that is not the first word of its name."""

    @property
    def slug(self) -> str:
        """What its page and its results are called, in plain small letters."""
        return self.page or self.name.lower().replace("²", "2").split()[0].rstrip(",")


PAPERS = (
    Paper("RLAD", "a teacher in the importance ratio, never against the reward", "2602.22495", "rl", "ready"),
    Paper("CEEH", "compress the easy answers, explore on the hard prompts", "2602.22642", "rl", "ready"),
    Paper("Search-P1", "reward the search path, not only its end", "2602.22576", "rl", "planned"),
    Paper("EMPO²", "explore with a memory of tips, then learn to do without", "2602.23008", "rl", "ready"),
    Paper("HGPO", "credit by a hierarchy of shared histories", "2602.22817", "rl", "ready"),
    Paper("Second-order rollout", "train answers and critiques of answers together", "2602.22765", "rl", "ready"),
    Paper("UpSkill", "several strategies per question, by mutual information", "2602.22296", "rl", "ready"),
    Paper("MSJoE", "train a video model with its frame sampler", "2602.22932", "rl", "planned"),
    Paper("Value-only tuning", "tuning that keeps learning from examples", "2602.23197", "tune", "ready"),
    Paper("Sparse weight editing", "safety across languages in closed form", "2602.22554", "edit", "ready", "edit"),
    Paper("ThinkOmni", "a text reasoner guides an omni-modal model's decoding", "2602.23306", "decode", "planned"),
    Paper("AMA-Bench, AMA-Agent", "long memory for agents, and its measure", "2602.22769", "memory", "ready", "ama"),
    Paper("AgentSentry", "find the injected instruction by its causal effect", "2602.22724", "guard", "planned"),
    Paper("CourtGuard", "judge an answer in a debate over the written policy", "2602.22557", "guard", "planned"),
    Paper("Silent Egress", "leaks through URL previews, and their stop", "2602.22450", "guard", "ready", "egress"),
)  # fmt: skip


class RecipeEntry(NamedTuple):
    """A recipe that `train` and `compare` know by name."""

    what: str
    method: str
    """`module:Class` of the method's dataclass; imported when needed."""


RECIPES = {
    "grpo": RecipeEntry("group relative policy optimisation", "posttrain.rl.grpo:GRPO"),
    "engine_default": RecipeEntry("what TRL does when nobody says anything", "posttrain.rl.grpo:EngineDefault"),
    "rlad": RecipeEntry("a teacher in the importance ratio", "posttrain.rl.rlad:RLAD"),
    "kdrl": RecipeEntry("GRPO plus a KL to a teacher", "posttrain.rl.baselines.kdrl:KDRL"),
    "opd": RecipeEntry("on-policy distillation without a reward", "posttrain.rl.baselines.kdrl:OPD"),
    "ceeh": RecipeEntry("brevity for the solved prompts, entropy for the hard ones", "posttrain.rl.ceeh:CEEH"),
    "length_penalty": RecipeEntry(
        "correct answers lose by their length in the group", "posttrain.rl.baselines.length_penalty:LengthPenalty"
    ),
    "lc_r1": RecipeEntry("LC-R1's reward for short answers", "posttrain.rl.baselines.length_penalty:LCR1"),
    "entropy_bonus": RecipeEntry("the usual entropy bonus", "posttrain.rl.baselines.entropy_bonus:EntropyBonus"),
    "upskill": RecipeEntry("several strategies per prompt, by mutual information", "posttrain.rl.upskill:UpSkill"),
    "second_order": RecipeEntry("answers and critiques of answers together", "posttrain.rl.second_order:SecondOrder"),
    "c_rl": RecipeEntry("critiques of the policy's own answers alone", "posttrain.rl.baselines.c_rl:CRL"),
    "agent": RecipeEntry("episodes of many turns in a world", "posttrain.rl.agent:Agent"),
    "hgpo": RecipeEntry("credit by turns, from a hierarchy of shared histories", "posttrain.rl.hgpo:HGPO"),
    "gigpo": RecipeEntry("credit by episodes, and by turns in the same state", "posttrain.rl.baselines.gigpo:GiGPO"),
    "same_state": RecipeEntry("credit by turns in the same state", "posttrain.rl.baselines.gigpo:SameState"),
    "oracle": RecipeEntry("credit by turns with the same last states", "posttrain.rl.baselines.gigpo:Oracle"),
    "empo2": RecipeEntry("exploration with tips, learnt by heart", "posttrain.rl.empo2:EMPO2"),
}


def method_class(name: str) -> Any:
    """The dataclass behind a recipe's name; a sentence if there is none."""
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}; the recipes are {', '.join(RECIPES)}.")
    module, attribute = RECIPES[name].method.split(":")
    return getattr(importlib.import_module(module), attribute)


def table() -> str:
    """The methods as a Markdown table, as README has it."""
    lines = ["| method | what it does | paper | room | state |", "|---|---|---|---|---|"]
    for m in PAPERS:
        paper = f"[{m.arxiv}](https://arxiv.org/abs/{m.arxiv})"
        lines.append(f"| {m.name} | {m.what} | {paper} | `{m.room}` | {m.state} |")
    return "\n".join(lines)
