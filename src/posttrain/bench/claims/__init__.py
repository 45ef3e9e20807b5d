"""The papers' claims, what can be tested of them here, and what was measured last; one module per method.

`posttrain claims` runs the experiments (a killed one goes on), writes `results/<experiment>.json` and `.png`, and
renders `docs/claims.md` from these files. The page holds nothing that a command did not write.
"""

from pathlib import Path

from posttrain.bench.claims import ceeh, edit, egress, empo2, hgpo, memory, rlad, second_order, upskill, value_only
from posttrain.bench.claims import page as _page
from posttrain.bench.claims.claim import Claim, Experiment

MODULES = (rlad, ceeh, upskill, second_order, hgpo, empo2, egress, memory, edit, value_only)

EXPERIMENTS: dict[str, Experiment] = {name: e for module in MODULES for name, e in module.EXPERIMENTS.items()}
"""Name of the result files to the experiment."""
CLAIMS: tuple[Claim, ...] = tuple(claim for module in MODULES for claim in module.CLAIMS)
NOT_HERE: tuple[str, ...] = tuple(sentence for module in MODULES for sentence in module.NOT_HERE)


def render(results: Path, page: Path) -> Path:
    """Write the page of claims from the result files that are there."""
    return _page.render(EXPERIMENTS, CLAIMS, NOT_HERE, results, page)
