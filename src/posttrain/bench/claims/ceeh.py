"""CEEH's claims, on chained sums with wordy traces. All arms share clip, aggregation and mean-only advantages."""

from statistics import fmean
from typing import Any

from posttrain import stats
from posttrain.bench.claims.claim import Claim, Experiment, interval, larger, ordered, tabled, values
from posttrain.bench.compare import CompareConfig

GRPO = "grpo:spread=none,aggregation=token,clip_high=0.28"
LENGTH_PENALTY = f"{GRPO}|length_penalty:alpha=0.2"
COMMON = "gate=reached,kl_beta=0,beta=0.15"
LENGTH = f"ceeh:mode=none,{COMMON}"
UNIFORM = f"{LENGTH}|entropy_bonus"
ME = f"ceeh:mode=ME,{COMMON}"
EA = f"ceeh:{COMMON}"
SWEEP = tuple(f"{ME},entropy_weight={weight}" for weight in (0.0003, 0.003, 0.01, 0.03))
OTHERS = (
    f"{GRPO}|lc_r1",
    "ceeh:kl_beta=0,beta=0.15",
    "ceeh:gate=reached,kl_beta=0",
    "ceeh:gate=reached,kl_beta=0,beta=0.2",
)

EXPERIMENTS = {
    "ceeh-chain": Experiment(
        "CEEH: chained sums with wordy traces",
        CompareConfig(arms=(GRPO, LENGTH_PENALTY, LENGTH, UNIFORM, ME, EA), task="chain", seeds=10, first_seed=10),
    ),
    "ceeh-chain-sweep": Experiment(
        "CEEH: the weight of ME",
        CompareConfig(arms=(GRPO, *SWEEP), task="chain", seeds=5, first_seed=10),
    ),
    "ceeh-chain-others": Experiment(
        "CEEH: LC-R1's reward, the paper's strict gate and other values of beta",
        CompareConfig(arms=(GRPO, *OTHERS), task="chain", seeds=5, first_seed=10),
    ),
}


def _shorter(result: dict[str, Any]) -> str:
    """Easy prompts at least 30 % shorter than GRPO's at an easy accuracy within 0.02."""
    ours, theirs = (values(result, label, "easy length") for label in (EA, GRPO))
    cut = stats.bootstrap([1 - a / b for a, b in zip(ours, theirs, strict=True)])
    accuracy = stats.paired(values(result, EA, "easy accuracy"), values(result, GRPO, "easy accuracy")).difference
    refuted = cut.high < 0.3 or abs(accuracy.mean) > 0.02
    holds = "does not hold" if refuted else "holds" if cut.low >= 0.3 else "undecided"
    return (
        f"**{holds}**: {100 * cut.mean:.0f} % [{100 * cut.low:.0f}, "
        f"{100 * cut.high:.0f}] shorter ({fmean(ours):.1f} against {fmean(theirs):.1f} tokens), accuracy "
        f"{interval(accuracy._asdict())}"
    )


CLAIMS = (
    Claim(
        "CEEH", "MATH500 with 2327 tokens against 3701 before, at the same accuracy (7B, EA)",
        "EA's easy prompts at least 30 % shorter than GRPO's, at an easy accuracy within 0.02", "ceeh-chain", _shorter,
    ),
    Claim(
        "CEEH", "length rewards collapse the entropy; CEEH keeps it on hard prompts",
        "entropy on hard prompts: Length-Penalty below the length term alone below EA", "ceeh-chain",
        ordered("hard entropy", (LENGTH_PENALTY, LENGTH, EA)),
    ),
    Claim(
        "CEEH", "pass@16 stays or rises (AIME25: 63.3 to 70.0, two of thirty problems)",
        "hard pass@16 of EA over the length term alone", "ceeh-chain", larger("hard pass@16", EA, LENGTH),
    ),
    Claim(
        "CEEH", "the same", "hard accuracy of EA over Length-Penalty", "ceeh-chain",
        larger("hard accuracy", EA, LENGTH_PENALTY),
    ),
    Claim(
        "CEEH", "ME explores unsolved prompts", "hard entropy and pass@16 as its weight grows from 0.0003 to 0.03",
        "ceeh-chain-sweep", tabled(("hard entropy", "hard pass@16", "hard accuracy", "easy length"), SWEEP),
    ),
    Claim(
        "CEEH", "(the paper's strict gate and its beta of 0.1 and 0.2; LC-R1's reward)",
        "easy tokens and accuracy, hard accuracy", "ceeh-chain-others",
        tabled(("easy length", "easy accuracy", "hard accuracy"), (GRPO, *OTHERS)),
    ),
)  # fmt: skip

NOT_HERE = (
    "CEEH's tables at 1.5B and 7B on mathematics: not reproducible without those models and 16 GPUs; `recipes/` has "
    "the settings.",
)
