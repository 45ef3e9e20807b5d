"""EMPO2's claims, on coins that are seldom found by chance; a scorer that reads tips, whose tips are templates."""

from posttrain.bench.claims.claim import Claim, Experiment, larger, ordered, tabled
from posttrain.bench.compare import CompareConfig

GRPO = "empo2:with_memory=0,novelty=0"
NOVEL = "empo2:with_memory=0"
EMPO2 = "empo2"
ON_POLICY = "empo2:off_policy=0"
NO_TIPS = "empo2:old=no_tips"
UNMASKED = "empo2:floor=0"
RARE = "empo2:with_memory=0.1"
THREE = (GRPO, NOVEL, EMPO2)
VARIANTS = (EMPO2, ON_POLICY, NO_TIPS, UNMASKED, RARE)
AREA = "area, 80000 actions"
OTHER_MAPS = ("other maps, round 1", "other maps, round 8")

EXPERIMENTS = {
    "empo2-far-coins": Experiment(
        "EMPO2: TextWorld, far coins, evaluated without tips",
        CompareConfig(arms=THREE, task="far-coins", seeds=10, first_seed=10),
    ),
    "empo2-variants": Experiment(
        "EMPO2: TextWorld, far coins: tips kept in training, both old log-probabilities, no mask, fewer tips",
        CompareConfig(arms=VARIANTS, task="far-coins", seeds=5, first_seed=10),
    ),
    "empo2-science": Experiment(
        "EMPO2: ScienceWorld, power-component, one run each",
        CompareConfig(arms=(GRPO, EMPO2), task="science", seeds=1, first_seed=10),
    ),
}

CLAIMS = (
    Claim(
        "EMPO²", "ScienceWorld, 7B, without memory: 75.9 against GRPO's 33.2",
        "area under the evaluations without tips over 80,000 actions: GRPO, with novelty, EMPO²", "empo2-far-coins",
        ordered(AREA, THREE),
    ),
    Claim(
        "EMPO²", "the same", "final success without tips over GRPO with the same novelty", "empo2-far-coins",
        larger("final", EMPO2, NOVEL),
    ),
    Claim(
        "EMPO²", "off-policy updates teach what tips taught", "final success without tips over tips kept in training",
        "empo2-variants", larger("final", EMPO2, ON_POLICY),
    ),
    Claim(
        "EMPO²", "(both readings of the old log-probability; the mask; p of 0.1 is like GRPO)",
        "area over 80,000 actions and final success of all arms", "empo2-variants",
        tabled((AREA, "final"), VARIANTS),
    ),
    Claim(
        "EMPO²", "new tasks with memory and frozen weights: +136 %",
        "return on maps that were not trained, first and eighth round", "empo2-far-coins",
        tabled(OTHER_MAPS, THREE),
    ),
    Claim(
        "EMPO²", "ScienceWorld, power-component, 7B: 94.3 against GRPO's 15.1",
        "points on test variations after 20 generations of a scorer (one run, no claim)", "empo2-science",
        tabled(("score, test variations",), (GRPO, EMPO2)),
    ),
)  # fmt: skip

NOT_HERE = (
    "EMPO²'s tables on ScienceWorld and WebShop with Qwen2.5-7B: not reproducible without that model; `recipes/` has "
    "the settings for ScienceWorld.",
)
