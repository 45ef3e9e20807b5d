"""The shipped start checkpoints do what their cards say and leave room to learn; and the builders that made them."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from posttrain import zoo
from posttrain.tasks import chain as chain_task
from posttrain.tasks import critique_arithmetic as critique_task
from posttrain.tasks import three_numbers as skills_task
from posttrain.tasks.evaluate import complete
from posttrain.zoo import chain, critique, models, sft, skills

CONFIGS: dict[str, Any] = {
    "chain": chain.ChainConfig(),
    "critique": critique.CritiqueConfig(),
    "skills": skills.SkillsConfig(),
}
FEW = sft.SFTConfig(steps=4, batch=4)
TINY_SIZE = models.Size(layers=1, width=32)
TINY: dict[str, Any] = {
    "chain": chain.ChainConfig(sft=FEW, careless=FEW, size=TINY_SIZE, examples=8, evaluation=2),
    "critique": critique.CritiqueConfig(sft=FEW, careless=FEW, size=TINY_SIZE, questions=(8, 8), evaluation=2),
    "skills": skills.SkillsConfig(sft=FEW, size=TINY_SIZE, evaluation=2),
}
MODULES = {"chain": chain, "critique": critique, "skills": skills}
VOCABULARY = {"chain": chain_task.TOKENS, "critique": critique_task.TOKENS, "skills": skills_task.TOKENS}
tasks = pytest.mark.parametrize("task", list(CONFIGS))


@cache
def loaded(task: str) -> tuple[Any, Any]:
    return models.load(zoo.path(f"{task}/start"))


def card(task: str) -> dict[str, Any]:
    return json.loads((zoo.path(f"{task}/start") / "card.json").read_text())


def samples(task: str, rows: list[dict[str, Any]], k: int, max_new_tokens: int) -> list[list[str]]:
    """K completions of every row, sampled with a seed that no card used."""
    prompts = [row["prompt"] for row in rows for _ in range(k)]
    texts = complete(*loaded(task), prompts, max_new_tokens=max_new_tokens, sampled=True, seed=7).texts
    return [texts[start : start + k] for start in range(0, len(texts), k)]


def share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


@tasks
def test_shipped_files(task: str) -> None:
    directory = zoo.path(f"{task}/start")
    with safe_open(directory / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(key).dtype for key in weights.keys()} == {torch.float16}  # noqa: SIM118
    assert sum(file.stat().st_size for file in directory.iterdir()) < 1_000_000
    model, tokenizer = loaded(task)
    assert model.dtype == torch.float32
    assert model.num_parameters() == card(task)["parameters"]
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == ["<pad>", "<eos>", *VOCABULARY[task]]
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (1, 0)


@tasks
def test_a_card_tells_how_to_make_the_model(task: str) -> None:
    assert card(task)["training"] == json.loads(json.dumps(asdict(CONFIGS[task])))
    assert card(task)["command"] == f"posttrain zoo build {task}"
    assert card(task)["name"] == f"{task}/start"


def test_chain_is_good_at_short_chains_and_has_room_at_long_ones() -> None:
    """Between the levels of the task: 90 % or more of the easy, 20 to 60 % of the hard, nearly all of it in reach."""
    for level, low, high in (("easy", 0.85, 1.0), ("hard", 0.2, 0.6)):
        rows = chain_task.chains(40, level=level, seed=1, split="eval")
        drawn = samples("chain", rows, 8, chain_task.MAX_TOKENS)
        right = [
            [chain_task.chain_verdict(text, row["answer"]).correct == 1.0 for text in texts]
            for texts, row in zip(drawn, rows, strict=True)
        ]
        accuracy = share([hit for hits in right for hit in hits])
        assert low <= accuracy <= high
        assert accuracy == pytest.approx(card("chain")["accuracy"][level]["sampled"], abs=0.12)
        if level == "hard":
            assert share([any(hits) for hits in right]) > accuracy + 0.2


def test_chain_says_more_than_it_needs_to_and_sometimes_less() -> None:
    """On average over twice the shortest trace; some right traces of the same chains are much shorter."""
    rows = chain_task.chains(40, level="easy", seed=1, split="eval")
    drawn = samples("chain", rows, 8, chain_task.MAX_TOKENS)
    shortest = [4 * row["steps"] + 2 for row in rows for _ in range(8)]
    lengths = [len(text) for texts in drawn for text in texts]
    assert sum(lengths) > 2 * sum(shortest)
    gains = [1 - min(map(len, texts)) / (sum(map(len, texts)) / len(texts)) for texts in drawn]
    assert sum(gains) / len(gains) > 0.1, "the shortest of eight is more than a tenth below their mean"


def test_chain_is_sure_of_most_tokens() -> None:
    """A low entropy, in nats per token: the habit of repeating is strong."""
    model, tokenizer = loaded("chain")
    rows = chain_task.chains(30, level="hard", seed=1, split="eval")
    done = complete(model, tokenizer, [row["prompt"] for row in rows], max_new_tokens=107, sampled=True)
    with torch.no_grad():
        logits_BTV = model(input_ids=done.ids, attention_mask=done.attention).logits[:, done.prompt_width - 1 : -1]
    logp_BTV = logits_BTV.log_softmax(-1)
    entropy_BT = -(logp_BTV.exp() * logp_BTV).sum(-1)
    mask_BT = done.attention[:, done.prompt_width :]
    assert (entropy_BT * mask_BT).sum() / mask_BT.sum() < 0.25


def test_critique_solves_some_and_judges_better_than_chance() -> None:
    rows = critique_task.sums(100, seed=1, split="eval")
    drawn = samples("critique", rows, 4, critique_task.MAX_TOKENS)
    hits = [
        critique_task.sum_verdict(text, row["answer"]).correct == 1.0
        for texts, row in zip(drawn, rows, strict=True)
        for text in texts
    ]
    assert 0.2 <= share(hits) <= 0.5
    judged = critique.judge_own(*loaded("critique"), critique_task.sums(250, seed=1, split="eval"), seed=7)
    assert judged.pairs > 60
    assert 0.55 <= judged.balanced <= 0.75
    assert judged.unparsed < 0.05


def test_critique_repairs_in_the_format_of_a_response() -> None:
    """After a careless response and a right critique of it, the first operation is copied and an answer comes last."""
    form, coin = critique_task.SumCritique(), random.Random(0)
    rows = critique_task.sums(60, seed=1, split="eval")
    careless = [critique.work(row["prompt"], slip=1.0, coin=coin) for row in rows]
    right = [critique_task.working(row["prompt"], critique_task.partial_sums(row["prompt"])) for row in rows]
    prompts = [
        {"prompt": form.refinement(row["prompt"], said, exact + ("R" if said == exact else "W"))}
        for row, said, exact in zip(rows, careless, right, strict=True)
    ]
    texts = [text for (text,) in samples("critique", prompts, 1, critique_task.MAX_TOKENS)]
    formed = [
        text.startswith(row["prompt"][3:5]) and text.rpartition("=")[2].isdigit()
        for text, row in zip(texts, rows, strict=True)
    ]
    assert share(formed) > 0.9


def test_skills_is_right_in_different_ways() -> None:
    """The paper's start: a third to two thirds right, and five samples are right far more often than one."""
    rows = skills_task.three_numbers(100, seed=1)
    drawn = samples("skills", rows, 5, skills_task.MAX_TOKENS)
    right = [
        [skills_task.three_numbers_verdict(text, row["answer"]).correct == 1.0 for text in texts]
        for texts, row in zip(drawn, rows, strict=True)
    ]
    once = share([hit for hits in right for hit in hits])
    assert 0.3 <= once <= 0.7
    assert share([any(hits) for hits in right]) > once + 0.2


def test_skills_knows_nothing_of_the_strategy() -> None:
    """I(answer; strategy | prompt) by the mixture over five strategies, far below log 5 = 1.609 nats."""
    model, tokenizer = loaded("skills")
    rows = skills_task.three_numbers(60, seed=1)
    logp_of = []
    answers = [skills_task.right_answers(row["answer"])[0] for row in rows]
    for strategy in range(1, 6):
        prompts = [skills_task.with_strategy(row["prompt"], strategy) for row in rows]
        ids = torch.tensor([tokenizer.encode(p + a) for p, a in zip(prompts, answers, strict=True)])
        with torch.no_grad():
            logp = model(input_ids=ids).logits[:, -4:-1].log_softmax(-1)
        logp_of.append(logp.gather(-1, ids[:, -3:, None]).sum((1, 2)))
    logp_ZB = torch.stack(logp_of)
    mixture_B = logp_ZB.logsumexp(0) - math.log(5)
    information = (logp_ZB.exp() / mixture_B.exp() * (logp_ZB - mixture_B)).mean()
    assert information.abs() < 0.05


@tasks
def test_building_is_repeatable_and_leaves_one_directory(task: str, tmp_path: Path) -> None:
    for run in ("a", "b"):
        cards = MODULES[task].build(tmp_path / run, TINY[task])
        assert json.loads(json.dumps(cards)) == {
            "start": json.loads((tmp_path / run / "start" / "card.json").read_text())
        }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "a/start" / file).read_bytes() == (tmp_path / "b/start" / file).read_bytes()
    with pytest.raises(ValueError, match=r"^out is .*, which exists; remove it or choose another directory$"):
        MODULES[task].build(tmp_path / "a", TINY[task])


@given(st.integers(0, 99), st.integers(0, 8))
def test_a_careless_chain_errs_at_late_steps_that_wrap_around(seed: int, sure_steps: int) -> None:
    """With slip 1 such a step is always wrong, in its own way, and every other step is right; with slip 0 all are."""
    (row,) = chain_task.chains(1, steps=8, seed=seed)
    value, rest = chain_task.operations(row["prompt"])
    careful = chain.worked(row["prompt"], slip=0.0, sure_steps=0, wordiness=0.0, coin=random.Random(0))
    careless = chain.worked(row["prompt"], slip=1.0, sure_steps=sure_steps, wordiness=0.0, coin=random.Random(0))
    assert [int(careful[i]) for i in range(3, 32, 4)] == chain_task.partial_sums(row["prompt"])
    said = [int(careless[i]) for i in range(3, 32, 4)]
    for place, ((sign, number), total) in enumerate(zip(rest, said, strict=True)):
        exact = value + number if sign == "+" else value - number
        assert (total != exact % 10) == (place >= sure_steps and not 0 <= exact <= 9)
        value = total


def test_a_careless_chain_makes_the_same_mistake_each_time() -> None:
    """0 - 1 = 9 is said to be 0, and 9 + 1 = 0 to be 2."""
    coin = random.Random(0)
    assert chain.worked("0-1-1+1=", slip=1.0, sure_steps=0, wordiness=0.0, coin=coin) == "-1:0-1:0+1:1=1"
    assert chain.worked("9+1-1-1=", slip=1.0, sure_steps=0, wordiness=0.0, coin=coin) == "+1:2-1:1-1:0=0"


def test_careless_work_is_too_high_where_it_crosses_a_ten() -> None:
    """7 + 5 = 12 is said to be 15 and 9 + 1 = 10 to be 11; 15 - 3 and 11 - 1 cross no ten."""
    coin = random.Random(0)
    assert critique.work("G:7+5-3=", slip=0.0, coin=coin) == "+5:12-3:9=9"
    assert critique.work("G:7+5-3=", slip=1.0, coin=coin) == "+5:15-3:12=12"
    assert critique.work("G:9+1-1=", slip=1.0, coin=coin) == "+1:11-1:10=10"
    assert critique.work("G:1+5-3=", slip=1.0, coin=coin) == "+5:6-3:3=3"


def test_right_critiques_say_what_the_recomputation_shows() -> None:
    """Without slips and guesses the verdict is the truth, and the responses are right and wrong in equal parts."""
    rows = critique_task.sums(400, seed=0)
    pairs = critique.examples(rows, slip=0.0, judging_slip=0.0, guess=0.0, responses_slip=0.85, coin=random.Random(0))
    truths = []
    for row, (prompt, said) in zip(rows, pairs.judge, strict=True):
        right = critique_task.working(row["prompt"], critique_task.partial_sums(row["prompt"]))
        truth = prompt.removesuffix("?").rpartition("=")[2] == row["answer"]
        assert said == right + ("R" if truth else "W")
        truths.append(truth)
    assert [said for _, said in pairs.solve] == [said for _, said in pairs.repair]
    assert 0.4 < share(truths) < 0.7


def test_examples_of_skills_draw_the_strategy_apart_from_the_answer() -> None:
    """Half have a prefix, all five strategies are equally frequent, and every answer is right."""
    pairs = skills.examples(skills.SkillsConfig())
    prefixed = [prompt for prompt, _ in pairs if prompt.startswith("Strategy ")]
    assert share([prompt.startswith("Strategy ") for prompt, _ in pairs]) == pytest.approx(0.5, abs=0.03)
    for strategy in range(1, 6):
        assert share([prompt[9] == str(strategy) for prompt in prefixed]) == pytest.approx(0.2, abs=0.03)
    for prompt, answer in pairs:
        numbers = prompt.rpartition("| ")[2].removesuffix("=")
        assert skills_task.three_numbers_verdict(answer, numbers).correct == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chain.ChainConfig(slip=1.5), "slip is 1.5; expected a number from 0 to 1"),
        (lambda: chain.ChainConfig(evaluation=0), "evaluation is 0; it must be at least 1"),
        (lambda: critique.CritiqueConfig(guess=-1), "guess is -1; expected a number from 0 to 1"),
        (lambda: critique.CritiqueConfig(shares=(0, 0, 0)), r"shares is \(0, 0, 0\); expected three numbers from 0.*"),
        (lambda: skills.SkillsConfig(strategies=10), "strategies is 10; expected 1 to 9"),
        (lambda: skills.SkillsConfig(threads=0), "threads is 0; it must be at least 1"),
        (lambda: models.Size(heads=0), "heads is 0; it must be at least 1"),
    ],
)
def test_bad_configurations_say_what_to_do(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


def test_the_longest_token_that_fits_is_taken() -> None:
    tokenizer = models.make_tokenizer(("a", "b", "|", "ab|", "ab"))
    assert tokenizer.encode("ab|abab|") == [5, 6, 5]
    assert tokenizer.encode("ba|") == [3, 2, 4]
