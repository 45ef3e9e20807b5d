"""Our credit and anchor, forced through the seam, give the engine's own training to the bit."""

import pytest
import torch
from trl import GRPOTrainer

import tiny
from engines import runs
from posttrain.rl import engine_default, grpo, rlad
from posttrain.rl.engines.trl import RecipeTrainer

SPLITS = [(1, 1), (4, 1), (1, 2), (4, 2)]


class Poisoned(GRPOTrainer):
    """An engine whose own advantages are useless, so that only ours can train anything."""

    def _generate_and_score_completions(self, inputs):
        out = super()._generate_and_score_completions(inputs)
        out["advantages"] = torch.full_like(out["advantages"], float("nan"))
        return out


class PoisonedRecipeTrainer(RecipeTrainer, Poisoned):
    """The adapter on the poisoned engine."""


@pytest.mark.parametrize(("accumulation", "inner"), SPLITS)
def test_engine_default_trains_exactly_like_stock_trl(tmp_path, accumulation, inner):
    split = {"gradient_accumulation_steps": accumulation, "num_iterations": inner}
    stock = runs.trained(tmp_path / "stock", None, **split)
    ours = runs.trained(tmp_path / "ours", engine_default(), cls=PoisonedRecipeTrainer, **split)
    norms = runs.history(stock, "grad_norm")
    assert len(norms) == 20
    assert min(norms) > 1e-3
    assert runs.history(ours, "grad_norm") == pytest.approx(norms, abs=1e-6, rel=1e-6)
    torch.testing.assert_close(runs.parameters(ours), runs.parameters(stock), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("accumulation", "inner"), SPLITS)
def test_rlad_at_alpha_one_trains_exactly_like_grpo(tmp_path, accumulation, inner):
    split = {"gradient_accumulation_steps": accumulation, "num_iterations": inner}
    plain = runs.trained(tmp_path / "plain", grpo(), **split)
    ours = runs.trained(tmp_path / "ours", rlad(tiny.model(7), alpha=1.0, clip_high=0.2), **split)
    half = runs.trained(tmp_path / "half", rlad(tiny.model(7), alpha=0.5, clip_high=0.2), **split)
    norms = runs.history(plain, "grad_norm")
    assert runs.history(ours, "grad_norm") == pytest.approx(norms, abs=1e-6)
    torch.testing.assert_close(runs.parameters(ours), runs.parameters(plain), atol=1e-6, rtol=0)
    assert (runs.parameters(half) - runs.parameters(plain)).abs().max() > 1e-3, "the anchor did not reach the loss"


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Both in two processes, with each split, in one launch."""
    splits = {
        f"{accumulation}-{inner}": {
            "gradient_accumulation_steps": accumulation, "num_iterations": inner, "per_device_train_batch_size": 4,
        }
        for accumulation, inner in [(1, 1), (4, 2)]
    }  # fmt: skip
    jobs = {f"{name} {at}": (name, split) for name in ("stock", "engine_default") for at, split in splits.items()}
    return runs.several(tmp_path_factory.mktemp("launched"), jobs)


@pytest.mark.parametrize("split", ["1-1", "4-2"])
def test_engine_default_trains_exactly_like_stock_trl_in_two_processes(launched, split):
    stock, ours = (launched[f"{name} {split}"] for name in ("stock", "engine_default"))
    assert len(stock["grad_norm"]) == 20
    assert ours["grad_norm"] == pytest.approx(stock["grad_norm"], abs=1e-6, rel=1e-6)
    torch.testing.assert_close(ours["parameters"], stock["parameters"], atol=1e-6, rtol=0)
