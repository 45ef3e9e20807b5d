"""UpSkill's claims, on its own arithmetic."""

from statistics import fmean
from typing import Any

from posttrain.bench.claims.claim import Claim, Experiment, larger, tabled, values
from posttrain.bench.compare import CompareConfig

CONTROL = "grpo:spread=none"
SEQUENCE = "grpo:spread=none|upskill:form=sequence,weight=0.7,kl_beta=0.1"
HALF = "grpo:spread=none|upskill:form=sequence,weight=0.5,kl_beta=0.1"
TOKEN = "grpo:spread=none|upskill:weight=0.5,kl_beta=0.1"
KL = "grpo:spread=none,kl_beta=0.1"
ARMS = (CONTROL, KL, "grpo:spread=none|entropy_bonus:weight=0.02", SEQUENCE, HALF, TOKEN)

EXPERIMENTS = {
    "upskill-three-numbers": Experiment(
        "UpSkill: three numbers, five strategies",
        CompareConfig(arms=ARMS, task="three-numbers", seeds=5, first_seed=10),
    ),
}


def _every_seed(result: dict[str, Any]) -> str:
    """pass@5 above the control in every seed, and the information above 1 nat."""
    ours, control = (values(result, label, "pass@5") for label in (SEQUENCE, CONTROL))
    wins = sum(a > b for a, b in zip(ours, control, strict=True))
    information = values(result, SEQUENCE, "information, sequence")
    holds = wins == len(ours) and min(information) > 1
    return (
        f"**{'holds' if holds else 'does not hold'}**: larger on {wins} of {len(ours)} seeds ({fmean(ours):.3f} "
        f"against {fmean(control):.3f}); information {fmean(information):.3f} nats, at least "
        f"{min(information):.3f}, of 1.609"
    )


CLAIMS = (
    Claim(
        "UpSkill", "pass@5 .847 against .737 and information near its bound (arithmetic, one seed)",
        "pass@5 with every strategy once against 5 plain samples, and the information, same steps",
        "upskill-three-numbers", _every_seed,
    ),
    Claim(
        "UpSkill", "pass@1 .369 against .735 (arithmetic): it falls",
        "pass@1 of the control over UpSkill's, same steps",
        "upskill-three-numbers", larger("pass@1", CONTROL, SEQUENCE),
    ),
    Claim(
        "UpSkill", "the token form is the one that is printed", "pass@5, token form against the control",
        "upskill-three-numbers", larger("pass@5", TOKEN, CONTROL),
    ),
    Claim(
        "UpSkill", "(not in the paper) the control with UpSkill's own KL", "pass@5 against GRPO with the same KL",
        "upskill-three-numbers", larger("pass@5", SEQUENCE, KL),
    ),
    Claim(
        "UpSkill", "(ours, not the paper's) a hotter or more entropic control does as well",
        "pass@5 and pass@1 of all arms", "upskill-three-numbers", tabled(("pass@5", "pass@1"), ARMS),
    ),
)  # fmt: skip

NOT_HERE = (
    "UpSkill's GSM8K results with Qwen2.5-7B and Llama-3.1-8B: not reproducible without those models; `recipes/` has "
    "the settings.",
)
