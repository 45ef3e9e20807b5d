"""RLAD's claims, on Knights & Knaves with a good teacher and with one that is confidently wrong."""

from posttrain.bench.claims.claim import Claim, Experiment, gain, versus
from posttrain.bench.compare import CompareConfig

ANNEALED = "kdrl:beta=0.2,anneal_to=0.002,anneal_per_step=0.005"
SWEEP = ("kdrl:beta=0.002", "kdrl:beta=0.02", "kdrl:beta=0.2", ANNEALED)
LITERAL = "rlad:clamp_gradient=literal"

EXPERIMENTS = {
    "rlad-good-teacher": Experiment(
        "RLAD with a good teacher",
        CompareConfig(
            arms=("grpo", "rlad", LITERAL, "rlad:alpha=0.3", "rlad:alpha=0.7", *SWEEP, "opd"), seeds=10, first_seed=10
        ),
    ),
    "rlad-wrong-teacher": Experiment(
        "RLAD with a teacher that is confidently wrong on a quarter of the prompts",
        CompareConfig(arms=("grpo", "rlad", *SWEEP, "opd"), seeds=10, first_seed=10, noise=0.25),
    ),
}

CLAIMS = (
    Claim(
        "RLAD", "RLAD learns more than GRPO: 0.94 against 0.76 (Knights & Knaves, Qwen3-0.6B, 8K)",
        "area under the held-out greedy accuracy curve, paired by seed", "rlad-good-teacher", gain("rlad"),
    ),
    Claim(
        "RLAD", "the same", "mean success of the sampled completions during training, paired by seed",
        "rlad-good-teacher", gain("rlad", "sampled_auc"),
    ),
    Claim(
        "RLAD", "RLAD ends above KDRL: 0.94 against 0.92",
        "final held-out accuracy against the best beta of a sweep, chosen on the same seeds", "rlad-good-teacher",
        versus("rlad", SWEEP),
    ),
    Claim(
        "RLAD", "the same", "success during training against KDRL's best beta and OPD", "rlad-good-teacher",
        versus("rlad", (*SWEEP, "opd"), "sampled_auc"),
    ),
    Claim(
        "RLAD", "alpha between 0.3 and 0.7 is best (GSM8K, MATH)", "final accuracy of alpha 0.5 against 0.3 and 0.7",
        "rlad-good-teacher", versus("rlad", ("rlad:alpha=0.3", "rlad:alpha=0.7")),
    ),
    Claim(
        "RLAD", "(ours, not the paper's) the gradient should pass through the clamp",
        "area, pass-through against the literal form", "rlad-good-teacher", versus("rlad", (LITERAL,), "auc"),
    ),
    Claim(
        "RLAD", "the reward decides, so an imperfect teacher does no harm",
        "success during training over GRPO, teacher wrong on 25 %", "rlad-wrong-teacher", gain("rlad", "sampled_auc"),
    ),
    Claim(
        "RLAD", "the same", "final accuracy against GRPO, KDRL and OPD, teacher wrong on 25 %", "rlad-wrong-teacher",
        versus("rlad", ("grpo", *SWEEP, "opd")),
    ),
)  # fmt: skip

NOT_HERE = (
    "RLAD's tables at Qwen3-0.6B to 8B on Knights & Knaves, AIME, AMC and MATH: not reproducible without those models "
    "and 8 to 64 GPUs; `recipes/` has the settings.",
)
