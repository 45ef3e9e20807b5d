"""The shipped pair does what its cards say, and the builder that made it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from posttrain import zoo
from posttrain.tasks.knights_knaves import (
    COMPACT_TOKENS,
    compact_trace,
    logic_rl_verdict,
    puzzles,
)
from posttrain.zoo import building, kk, models, sft

PAIR = ("kk/student", "kk/teacher")
TINY = kk.ModelConfig(sft.SFTConfig(steps=30, batch=8), layers=1, width=32, pools=((2, 40, 0.5), (3, 60, 0.5)))


@cache
def loaded(name: str) -> tuple[Any, Any]:
    where = zoo.path(name)
    return AutoModelForCausalLM.from_pretrained(where), AutoTokenizer.from_pretrained(where)


def card(name: str) -> dict[str, Any]:
    return json.loads((zoo.path(name) / "card.json").read_text())


def test_names_and_paths() -> None:
    assert {*PAIR, "chain/start", "critique/start", "skills/start"} <= set(zoo.names())
    with pytest.raises(ValueError, match=r"^name is 'kk'; expected one of: .*kk/student, kk/teacher"):
        zoo.path("kk")


def test_the_index_imports_no_torch() -> None:
    code = "import sys, posttrain.zoo as z; z.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PAIR)
def test_shipped_files(name: str) -> None:
    with safe_open(zoo.path(name) / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(key).dtype for key in weights.keys()} == {torch.float16}  # noqa: SIM118
    model, tokenizer = loaded(name)
    assert model.dtype == torch.float32
    assert 300_000 <= model.num_parameters() <= 3_000_000
    assert model.num_parameters() == card(name)["parameters"]
    assert model.config.vocab_size == len(tokenizer) == 28
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (1, 0)


def test_one_token_per_character_and_one_vocabulary_for_both() -> None:
    teacher, student = (zoo.path(name) / "tokenizer.json" for name in PAIR)
    assert teacher.read_bytes() == student.read_bytes()
    _, tokenizer = loaded("kk/student")
    ids = tokenizer(COMPACT_TOKENS)["input_ids"]
    assert ids == list(range(2, 28))
    assert tokenizer.decode([*ids, 1, 0], skip_special_tokens=True) == COMPACT_TOKENS


@pytest.mark.parametrize("name", PAIR)
def test_card_agrees_with_a_new_evaluation(name: str) -> None:
    """On 200 held-out puzzles the teacher is right on 90 % or more, the student on 10 to 40 %."""
    model, tokenizer = loaded(name)
    scores = []
    for people in (2, 3):
        said = card(name)["accuracy"][f"{people} people"]
        score = kk.evaluate(model, tokenizer, people=people, n=said["n"])
        assert score.correct == pytest.approx(said["greedy"], abs=0.05)
        scores.append(kk.evaluate(model, tokenizer, people=people, n=100, seed=1).correct)
    low, high = {"kk/teacher": (0.90, 1.0), "kk/student": (0.10, 0.40)}[name]
    assert low <= sum(scores) / 2 <= high


def test_most_groups_of_student_samples_are_mixed() -> None:
    """Reinforcement learning needs groups with right and wrong answers, in a format it need not learn."""
    model, tokenizer = loaded("kk/student")
    rows = puzzles(32, people=3, seed=0)
    batch = tokenizer([row["prompt"] for row in rows for _ in range(8)], return_tensors="pt", padding=True)
    torch.manual_seed(0)
    output = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    texts = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    verdicts = [logic_rl_verdict(text, rows[i // 8]["answer"]) for i, text in enumerate(texts)]
    right_G = torch.tensor([v.correct for v in verdicts]).view(32, 8).sum(dim=1)
    assert ((right_G > 0) & (right_G < 8)).float().mean() > 0.5
    assert sum(v.reward > -3 for v in verdicts) > 0.6 * len(verdicts)


def test_one_thread_and_one_seed_give_identical_files(tmp_path: Path) -> None:
    config = kk.KKConfig(teacher=TINY, student=TINY, evaluation=((2, 5),))
    for run in ("a", "b"):
        assert set(kk.build(tmp_path / run, config)) == {"teacher", "student"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "a/teacher" / file).read_bytes() == (tmp_path / "b/teacher" / file).read_bytes()
    with pytest.raises(ValueError, match=r"^out is .*, which exists; remove it or choose another directory$"):
        kk.build(tmp_path / "a", config)


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        kk.build(tmp_path / "out", kk.KKConfig(teacher=TINY, student=TINY))
    assert list(tmp_path.iterdir()) == []


def test_cards_tell_the_default_configuration() -> None:
    for name, config in (("kk/teacher", kk.TEACHER), ("kk/student", kk.STUDENT)):
        assert card(name)["training"] == json.loads(json.dumps(asdict(config)))
        assert card(name)["seed"] == kk.KKConfig().seed


def test_careless_traces_guess_at_the_named_operators_only() -> None:
    """Plain claims stay rightly judged, and without careless operators the trace is the right one."""
    coin = random.Random(0)
    plain = kk.Puzzle((("lying", 1), ("telling-truth", 1)), (True, False))
    joined = kk.Puzzle((("or", ("lying", 0), ("telling-truth", 1)), ("telling-truth", 0)), (True, True))
    assert {kk.trace(plain, "&|>~", coin) for _ in range(20)} == {compact_trace(*plain)}
    assert {kk.trace(joined, "&>~", coin) for _ in range(20)} == {compact_trace(*joined)}
    guessed = {kk.trace(joined, "|", coin) for _ in range(60)}
    assert {text[-2:] for text in guessed} == {"AB", "ab"}, "B's plain claim agrees in these two only"
    assert all(logic_rl_verdict(text, text[-2:]).correct == 1.0 for text in guessed)


def test_a_puzzle_without_solution_has_no_trace() -> None:
    paradox = kk.Puzzle((("telling-truth", 1), ("lying", 0)), (True, True))
    with pytest.raises(ValueError, match=r"which has no solution; draw puzzles with `sample`$"):
        kk.trace(paradox, "|", random.Random(0))


def test_only_the_completion_and_its_end_are_labelled() -> None:
    examples = sft.encode(models.make_tokenizer(COMPACT_TOKENS), [("A?", "a+=a"), ("AB?", "A")])
    none = sft.IGNORED
    assert examples.labels.tolist() == [[none, none, 10, 25, 27, 10, 1], [none, none, none, 2, 1, none, none]]
    assert examples.inputs.tolist() == [[2, 24, 10, 25, 27, 10, 1], [2, 3, 24, 2, 1, 0, 0]]


def test_every_example_is_seen_once_per_pass() -> None:
    rows = torch.arange(12).view(12, 1)
    stream = sft.batches([sft.Examples(rows, rows)], [1.0], batch=4, seed=0)
    assert sorted(torch.cat([next(stream).inputs for _ in range(3)]).flatten().tolist()) == list(range(12))


def test_schedule() -> None:
    """Up to 1 over 10 steps, then half a cosine: 1/2 in the middle of the remaining 90 steps, 0 at the end."""
    config = sft.SFTConfig(steps=100, warmup=10)
    assert [sft.schedule(step, config) for step in (0, 9, 10, 55, 100)] == pytest.approx([0.1, 1, 1, 0.5, 0])


def test_bad_configurations_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        sft.SFTConfig(steps=0)
    with pytest.raises(ValueError, match="learning_rate is 0; it must be positive"):
        sft.SFTConfig(steps=1, learning_rate=0)
    with pytest.raises(ValueError, match="width is 30; use a multiple of 8, twice the heads"):
        kk.ModelConfig(sft.SFTConfig(steps=1), layers=1, width=30, pools=())
    with pytest.raises(ValueError, match="layers is 0; it must be at least 1"):
        kk.ModelConfig(sft.SFTConfig(steps=1), layers=0, pools=())
    with pytest.raises(ValueError, match="careless_steps is 5; expected 0 to 4"):
        kk.ModelConfig(sft.SFTConfig(steps=5), layers=1, pools=(), careless_steps=5)
    with pytest.raises(ValueError, match="threads is 0; it must be at least 1"):
        kk.KKConfig(threads=0)
