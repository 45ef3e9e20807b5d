"""HGPO's claims, in the corridor and in TextWorld's coin collector, with scorers of commands."""

from posttrain.bench.claims.claim import Claim, Experiment, equal, larger, ordered, tabled
from posttrain.bench.compare import CompareConfig

GRPO = "grpo"
GIGPO = "gigpo:kl_beta=0"
STEP = "same_state:kl_beta=0"
HGPO = "hgpo:kl_beta=0"
CODE = "hgpo:kl_beta=0,weight_offset=2,drop=member"
ORACLE = "oracle:kl_beta=0"
ARMS = (GRPO, GIGPO, STEP, HGPO, CODE, ORACLE)
THREE = (GRPO, GIGPO, HGPO)

EXPERIMENTS = {
    "hgpo-corridor": Experiment(
        "HGPO: a corridor of junctions that look alike",
        CompareConfig(arms=ARMS, task="corridor", seeds=10, first_seed=10),
    ),
    "hgpo-open-corridor": Experiment(
        "HGPO: the same corridor with nothing hidden",
        CompareConfig(arms=(GRPO, GIGPO, STEP, HGPO), task="open-corridor", seeds=10, first_seed=10),
    ),
    "hgpo-coins": Experiment(
        "HGPO: TextWorld, coin collector",
        CompareConfig(arms=THREE, task="coins", seeds=10, first_seed=10),
    ),
}

CLAIMS = (
    Claim(
        "HGPO", "ALFWorld, 1.5B: HGPO 92.8, GiGPO 90.2, GRPO 72.8",
        "success while training in the corridor: GRPO below GiGPO at most HGPO", "hgpo-corridor",
        ordered("success", THREE),
    ),
    Claim(
        "HGPO", "the same", "success over GRPO", "hgpo-corridor", larger("success", HGPO, GRPO),
    ),
    Claim(
        "HGPO", "a mixture is better than the deepest level alone", "success over the oracle's groups", "hgpo-corridor",
        larger("success", HGPO, ORACLE),
    ),
    Claim(
        "HGPO", "(not in the paper) the weights and the skipping of the released code", "success of all arms",
        "hgpo-corridor", tabled(("success", "area", "final"), ARMS),
    ),
    Claim(
        "HGPO", "the gain comes from histories that a state does not tell apart",
        "with nothing hidden HGPO is as good as its step term alone, within 0.02", "hgpo-open-corridor",
        equal("success", HGPO, STEP, 0.02),
    ),
    Claim(
        "HGPO", "the same", "with nothing hidden, HGPO and GiGPO within 0.02", "hgpo-open-corridor",
        equal("success", HGPO, GIGPO, 0.02),
    ),
    Claim(
        "HGPO", "WebShop, 1.5B: HGPO 78.1, GiGPO 73.2", "success while training on coin collector", "hgpo-coins",
        ordered("success", THREE),
    ),
)  # fmt: skip

NOT_HERE = (
    "HGPO's tables on ALFWorld and WebShop with Qwen2.5: not reproducible without those models; `recipes/` has the "
    "settings for ALFWorld.",
)
