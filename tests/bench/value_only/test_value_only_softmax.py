"""The softmax experiment: the model is causal, arms are of one size, and values alone leave the rest bit for bit."""

import json
from pathlib import Path

import pytest
import torch

from posttrain.bench.value_only import softmax
from posttrain.bench.value_only.softmax import (
    ARMS,
    GRID,
    LEARNT,
    NONE,
    RATES,
    TASKS,
    Arm,
    Softmax,
    choose,
    measure,
    run,
)
from posttrain.bench.value_only.transformer import LoRA, Regressor, Shape, adapted, moved

SHAPE = Shape(shots=3, layers=2, width=8, heads=2)
TINY = Softmax(
    shape=SHAPE, batch=4, pretrain_steps=3, tune_batch=4, tune_steps=6, look_every=2, prompts=16, matched=0.9
)
TUNING = Path(__file__).parents[3] / "results" / "tuning"


def made(shape=SHAPE, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Regressor(shape)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def trainable(model):
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


@pytest.mark.parametrize("start_token", [True, False])
def test_an_answer_depends_on_what_came_before_alone(start_token):
    model = made(Shape(shots=3, width=8, heads=2, start_token=start_token))
    x, y = torch.randn(5, 4, 2, generator=draw()), torch.randn(5, 3, generator=draw(1))
    answers = model(x, y)
    assert answers.shape == (5, 4)
    for shots in range(4):
        shorter = model(x[:, : shots + 1], y[:, :shots])
        torch.testing.assert_close(shorter, answers[:, : shots + 1])
    changed = y.clone()
    changed[:, 1] += 1
    moved_by = (model(x, changed) - answers).abs().amax(0)
    assert moved_by[:2].max() == 0
    assert moved_by[2:].min() > 0


@pytest.mark.parametrize("parts", ["qk", "qkvo", "v", "vo"])
def test_an_adapted_model_answers_the_same_at_first_and_trains_its_parts_alone(parts):
    model, x, y = made(), torch.randn(5, 4, 2, generator=draw()), torch.randn(5, 3, generator=draw(1))
    copy = adapted(model, parts, 2, draw())
    torch.testing.assert_close(copy(x, y), model(x, y), rtol=0, atol=0)
    assert moved(copy) == 0
    assert {name.split(".")[2] for name in trainable(copy)} == set(parts)
    before = {name: each.clone() for name, each in copy.named_parameters()}
    optimizer = torch.optim.Adam(trainable(copy).values(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        copy(x, y).square().mean().backward()
        optimizer.step()
    for name, each in copy.named_parameters():
        assert torch.equal(each, before[name]) == (name not in trainable(copy))
    assert moved(copy) > 0


def test_moved_by_hand():
    """Two layers of four projections; v of one layer moves by as much as it is long: sqrt(|v|^2 / all)."""
    model = made()
    copy = adapted(model, "v", 8, draw())
    with torch.no_grad():
        layer = copy.blocks[0].v
        layer.a.copy_(torch.eye(8))
        layer.b.copy_(layer.base.weight)
    squares = [float(getattr(b, part).weight.detach().square().sum()) for b in model.blocks for part in "qkvo"]
    assert moved(copy) == pytest.approx((squares[2] / sum(squares)) ** 0.5, rel=1e-5)


def test_lora_adds_its_product():
    layer = LoRA(torch.nn.Linear(3, 2, bias=False), 1, draw())
    with torch.no_grad():
        layer.b.copy_(torch.tensor([[2.0], [-1.0]]))
    x = torch.randn(4, 3, generator=draw(1))
    torch.testing.assert_close(layer(x), x @ (layer.base.weight + layer.b @ layer.a).T)


def test_arms_that_are_compared_have_equally_many_trained_numbers():
    sizes = {
        name: sum(each.numel() for each in trainable(adapted(made(Shape()), arm.parts, arm.rank, draw())).values())
        for name, arm in ARMS.items()
    }
    assert len({size for name, size in sizes.items() if "fewer" not in name}) == 1
    assert sizes["all, fewer"] == sizes["v, fewer"] == sizes["v"] // 4


@pytest.mark.parametrize("start_token", [True, False])
def test_queries_and_keys_learn_without_examples_only_where_there_is_a_start_token(start_token):
    model = made(Shape(width=8, heads=2, start_token=start_token))
    model(torch.randn(5, 1, 2, generator=draw()), torch.zeros(5, 0)).square().mean().backward()
    block = model.blocks[0]
    assert bool(block.v.weight.grad.abs().max() > 0)
    for layer in (block.q, block.k):
        assert bool(layer.weight.grad.abs().max() > 1e-8) == start_token


def test_a_seed_is_a_run_and_has_every_measure():
    arms = {name: (ARMS[name]._replace(rank=2), 1e-2) for name in ("q, k", "v", "all + few-shot", "v + rehearsal")}
    first = run(5, TINY, arms)
    assert first == run(5, TINY, arms)
    assert first[NONE] != run(6, TINY, arms)[NONE]
    assert list(first) == [NONE, *arms]
    names = [measure(task, n) for task in TASKS for n in range(4)]
    names += [f"matched: {measure(task, 3)}" for task in TASKS]
    assert all(list(each) == [*names, "steps", "learnt", "moved"] for each in first.values())


def test_all_arms_see_the_same_prompts(monkeypatch):
    seen, plain = [], softmax._prompts

    def watched(setup, draw, many, theta=None):
        found = plain(setup, draw, many, theta)
        if theta is not None and many == setup.tune_batch:
            seen.append(float(found.x.sum()))
        return found

    monkeypatch.setattr(softmax, "_prompts", watched)
    run(
        5,
        TINY,
        {name: (ARMS[name]._replace(rank=n), 1e-2) for n, name in enumerate(("q, k", "all", "v + rehearsal"), 1)},
    )
    first, second, third = seen[:6], seen[6:12], seen[12:]
    assert first == second == third
    assert len(set(first)) == 6


def test_arms_do_not_touch_each_other():
    both = run(5, TINY, {"v": (Arm("v", 2), 1e-2), "all": (Arm("qkvo", 2), 1e-2)})
    alone = run(5, TINY, {"all": (Arm("qkvo", 2), 1e-2)})
    assert both["all"] == alone["all"]


def test_an_arm_that_never_learns_is_matched_at_its_end():
    hard = Softmax(shape=SHAPE, batch=4, pretrain_steps=3, tune_batch=4, tune_steps=6, prompts=16, matched=1e-9)
    row = run(5, hard, {"v": (Arm("v", 2), 1e-3)})["v"]
    assert (row["steps"], row["learnt"]) == (6, 0)
    assert all(row[f"matched: {measure(task, 3)}"] == pytest.approx(row[measure(task, 3)]) for task in TASKS)


# -- the choice of rates -----------------------------------------------------------------------------------------------


def result(cells, default=(0.5, 0.5)):
    """A result of the grid: arm and rate to the errors on the target and on random tasks; `none` has 1 there."""
    arms = {NONE: {"measured": {measure("target", 0): {"mean": 1.0}}}}
    for name in ARMS:
        for rate in GRID:
            target, other = cells.get((name, rate), default)
            arms[f"{name} at {rate:g}"] = {
                "measured": {measure("target", 0): {"mean": target}, measure("random", 10): {"mean": other}}
            }
    return {"setup": {"shape": {"shots": 10}}, "arms": arms}


def test_of_the_rates_that_learn_the_target_the_one_that_forgets_least_is_taken():
    slow, middle, fast = GRID[:3]
    cells = {("v", slow): (2 * LEARNT, 0.01), ("v", middle): (LEARNT, 0.3), ("v", fast): (LEARNT / 9, 0.2)}
    found = choose(result(cells))
    assert found["chosen"]["v"] == fast
    assert found["errors"]["v"][f"{middle:g}"] == [LEARNT, 0.3]


def test_where_no_rate_learns_the_target_the_one_that_comes_nearest_is_taken():
    cells = {("q, k", GRID[1]): (0.4, 9.0)}
    assert choose(result(cells))["chosen"]["q, k"] == GRID[1]


@pytest.mark.parametrize(("start_token", "file"), [(True, "softmax"), (False, "softmax-no-start")])
def test_the_rates_are_those_that_were_written_down(start_token, file):
    path = TUNING / f"value-only-{file}.json"
    if not path.is_file():
        pytest.skip(f"no file at {path}: its rates are not tuned yet, and are those of the other world")
    record = json.loads(path.read_text())
    assert RATES[start_token] == record["chosen"]
    assert softmax.cases(Softmax(shape=Shape(start_token=start_token)))["v"] == (ARMS["v"], record["chosen"]["v"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Shape(width=10, heads=4), "width=10 is no multiple"),
        (lambda: Shape(layers=0), "below 1"),
        (lambda: Softmax(matched=1.5), "matched=1.5"),
        (lambda: adapted(made(), "x", 2, draw()), "letters of 'qkvo'"),
        (lambda: adapted(made(), "v", 9, draw()), "rank=9"),
    ],
)
def test_bad_input_is_one_sentence(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
