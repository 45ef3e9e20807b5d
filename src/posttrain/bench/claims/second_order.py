"""Second-order rollout's claims, on short sums that are solved and judged. All arms have mean-only advantages."""

from statistics import fmean
from typing import Any

from posttrain import stats
from posttrain.bench.claims.claim import Cell, Claim, Experiment, interval, larger, tabled, values
from posttrain.bench.compare import CompareConfig

G_RL = "grpo:spread=none"
DOUBLE = "grpo:spread=none,group_size=10"
TOKENS = "grpo:spread=none,group_size=13"
STATIC = "grpo:spread=none,data=critiques"
DYNAMIC = "c_rl:spread=none,kl_beta=0"
DYNAMIC_RANDOM = f"{DYNAMIC},selection=random"
DYNAMIC_REWEIGHTED = f"{DYNAMIC},selection=random,reweight=true"
FILTER = "grpo:spread=none|second_order:kl_beta=0"
RANDOM = "grpo:spread=none|second_order:kl_beta=0,selection=random"
REWEIGHTED = f"{RANDOM},reweight=true"
ARMS = (
    G_RL, DOUBLE, TOKENS, STATIC, DYNAMIC, DYNAMIC_RANDOM, DYNAMIC_REWEIGHTED, FILTER, RANDOM, REWEIGHTED,
)  # fmt: skip
BALANCED = "judging, balanced"

EXPERIMENTS = {
    "second-order-sums": Experiment(
        "Second-order rollout: short sums, solved and judged",
        CompareConfig(arms=ARMS, task="sums", seeds=5, first_seed=10),
    ),
}


def filtered_over(labels: tuple[str, str, str]) -> Cell:
    """Random pairs below reweighted ones, and these not above filtered ones."""

    def cell(result: dict[str, Any]) -> str:
        return _filtered(*(values(result, label, BALANCED) for label in labels))

    return cell


def _filtered(random: list[float], reweighted: list[float], filtered: list[float]) -> str:
    gain = stats.paired(reweighted, random).difference
    rest = stats.paired(filtered, reweighted).difference
    refuted = gain.high < 0 or rest.high < 0
    holds = "does not hold" if refuted else "holds" if gain.low > 0 else "undecided"
    return (
        f"**{holds}**: random {fmean(random):.3f}, reweighted {fmean(reweighted):.3f} ({interval(gain._asdict())}), "
        f"filtered {fmean(filtered):.3f} ({interval(rest._asdict())} over reweighted)"
    )


CLAIMS = (
    Claim(
        "Second-order rollout", "critique accuracy: random 74.9, reweighted 77.4, filtered 78.6 (7B)",
        "balanced critique accuracy: random below reweighted at most filtered", "second-order-sums",
        filtered_over((RANDOM, REWEIGHTED, FILTER)),
    ),
    Claim(
        "Second-order rollout", "the same", "critiques alone, where p stays below a half", "second-order-sums",
        filtered_over((DYNAMIC_RANDOM, DYNAMIC_REWEIGHTED, DYNAMIC)),
    ),
    Claim(
        "Second-order rollout", "imbalance pushes P1 down", "P1 and P2 of these six", "second-order-sums",
        tabled(
            ("judging, p1", "judging, p2"),
            (RANDOM, REWEIGHTED, FILTER, DYNAMIC_RANDOM, DYNAMIC_REWEIGHTED, DYNAMIC),
        ),
    ),
    Claim(
        "Second-order rollout", "critique-only training on dynamic pairs collapses: wrong answers, called wrong",
        "solving, P1 and P2 of dynamic C-RL beside static C-RL", "second-order-sums",
        tabled(("solving", "judging, p1", "judging, p2"), (DYNAMIC, STATIC)),
    ),
    Claim(
        "Second-order rollout", "critiques: GC-RL 78.6 over C-RL 73.8 (7B)",
        "balanced critique accuracy over static C-RL", "second-order-sums", larger(BALANCED, FILTER, STATIC),
    ),
    Claim(
        "Second-order rollout", "answers: GC-RL 59.3 over G-RL 56.7 (7B), at equal questions",
        "solving, sampled, against G-RL at equal questions", "second-order-sums", larger("solving", FILTER, G_RL),
    ),
    Claim(
        "Second-order rollout", "(not in the paper) at equal completions",
        "solving against G-RL with 10 answers a question, as many completions",
        "second-order-sums", larger("solving", FILTER, DOUBLE),
    ),
    Claim(
        "Second-order rollout", "(not in the paper) at equal tokens",
        "solving against G-RL with 13 answers a question, about as many tokens of prompts and completions",
        "second-order-sums", larger("solving", FILTER, TOKENS),
    ),
)  # fmt: skip

NOT_HERE = (
    "Second-order rollout's tables at 1.5B to 8B on mathematics: not reproducible without those models and GPT-5's "
    "critiques for the cold start; `recipes/` has the settings.",
)
