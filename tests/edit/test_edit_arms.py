"""What an edit is compared with, the probe of English, and the judges."""

import asyncio
import json
from dataclasses import replace

import pytest
import torch

from edit_models import anchors, model, tokenizer
from posttrain.chat import ScriptedChat
from posttrain.edit import baselines, utility
from posttrain.edit.anchors import Prompt
from posttrain.edit.capture import capture, encode
from posttrain.edit.direction import kept
from posttrain.edit.judges import Verdict, guard, measure, rates, verdict
from posttrain.edit.report import report, write
from posttrain.edit.ridge import Weights, weakest
from posttrain.edit.safety import SafetyEdit, edit_safety

CONFIG = SafetyEdit(layers=(1,), gammas=(1.0,), ranks=(1000,), protect_english=False)


def made(arm, many=3):
    return edit_safety(
        model(dtype=torch.float64), tokenizer(), anchors(many), arm.config, pick=arm.pick, solve=arm.solve
    )


def test_arms_differ_in_what_their_names_say():
    found = {name: made(arm, 30) for name, arm in baselines.arms(CONFIG).items() if name != "hard projector"}
    counts = {name: [len(change.units) for change in edit.changes] for name, edit in found.items()}
    assert counts["random units"] == counts["edit"] == counts["gamma 0"]
    assert counts["all units"] == [40, 40]
    picked = {name: [c.units.tolist() for c in edit.changes] for name, edit in found.items()}
    assert picked["random units"] != picked["edit"]
    assert all(change.measured.gamma == 0 for change in found["gamma 0"].changes)
    assert all(
        free.measured.remaining < held.measured.remaining and free.measured.leakage > held.measured.leakage
        for free, held in zip(found["gamma 0"].changes, found["edit"].changes, strict=True)
    )


def test_a_column_of_the_edit_of_all_units_is_that_of_the_edit():
    """Without a bound on rank every column is solved for itself."""
    every, few = (made(baselines.arms(CONFIG)[name], 30) for name in ("all units", "edit"))
    for all_, chosen in zip(every.changes, few.changes, strict=True):
        torch.testing.assert_close(all_.delta[:, chosen.units], chosen.delta, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("many", [3, 30])
def test_harmless_prompts_do_not_see_the_hard_projector(many):
    """With few anchors there are free directions; with many there are none, and nothing changes."""
    arm = baselines.arms(CONFIG)["hard projector"]
    for change in made(arm._replace(solve=baselines.hard(energy=0.0)), many).changes:
        assert change.measured.leakage < 1e-6
        assert (change.measured.remaining < 0.99) == (many == 3)
    assert all(change.measured.drift < 0.3 for change in made(arm, many).changes)


def test_the_hard_projector_is_the_limit_of_a_large_gamma():
    built, chosen = model(dtype=torch.float64), anchors(3)
    hard = edit_safety(
        built,
        tokenizer(),
        chosen,
        replace(CONFIG, keep_rise=0.0, keep_probe=0.0, ridge=1e-3),
        solve=baselines.hard(energy=0.0),
    )

    def soft(inputs, columns, gamma, ridge):
        free = weakest(inputs.sums().safe, 0.0)
        weight = ridge * float((free.T @ inputs.sums().low @ free).trace()) / free.shape[1]
        return inputs.sums().solve(columns, Weights(1e6, weight))

    limit = edit_safety(
        built, tokenizer(), chosen, replace(CONFIG, keep_rise=0.0, keep_probe=0.0, ridge=1e-3), solve=soft
    )
    for one, other in zip(hard.changes, limit.changes, strict=True):
        torch.testing.assert_close(one.delta, other.delta, rtol=1e-3, atol=1e-4 * float(one.delta.abs().max()))


def test_units_are_scaled_for_a_while():
    built, edit = model("phi3"), made(baselines.arms(CONFIG)["edit"])
    edit = edit_safety(
        built, tokenizer(), anchors(20), SafetyEdit(layers=(1,), gammas=(1.0,), keep_rise=0.0, keep_probe=0.0)
    )
    change = edit.changes[0]
    module, seen = built.get_submodule(change.projection.module), []
    rows = torch.randn(2, 3, 24)
    plain = module(rows)
    with baselines.scaled(built, edit, 3.0):
        seen.append(module(rows))
    for output, alpha in ((seen[0], 3.0), (module(rows), 1.0)):
        chosen = torch.cat([each.rows for each in edit.changes])
        expected = plain.clone()
        expected[..., chosen] *= alpha
        torch.testing.assert_close(output, expected)


def test_the_probe_sees_harm_that_is_gone():
    draw = torch.Generator().manual_seed(0)
    harmless, harmful = (torch.randn(30, 20, generator=draw, dtype=torch.float64) for _ in range(2))
    harmful[:, 4] += 5
    assert kept((harmful, harmless), (harmful, harmless)) == pytest.approx(1)
    weaker = harmful.clone()
    weaker[:, 4] -= 4
    assert kept((harmful, harmless), (weaker, harmless)) < 0.4
    stronger = harmful.clone()
    stronger[:, 4] += 5
    assert kept((harmful, harmless), (stronger, harmless)) > 1.5
    aside = harmful.clone()
    aside[:, 9] += harmful[:, 9].mean()
    assert kept((harmful, harmless), (aside, harmless)) > 0.9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Safety: Unsafe\nCategories: Violent\nRefusal: No", Verdict(True, False)),
        ("Safety: Safe\nCategories: None\nRefusal: Yes", Verdict(False, True)),
        ("Safety: Controversial", Verdict(True)),
        ("It is safe to say that it helps.\n**Safety:** Unsafe\n**Refusal:** No", Verdict(True, False)),
        ("unsafe\nS1", Verdict(True)),
        ("\n\nsafe", Verdict(False)),
        ("I cannot say", Verdict(None)),
    ],
)
def test_what_guards_say(text, expected):
    assert verdict(text) == expected
    assert verdict("Safety: Controversial", strict=False) == Verdict(False)


def test_a_guard_reads_prompt_and_reply():
    heard = []

    def script(messages, seed):
        heard.append(messages)
        return {"role": "assistant", "content": "unsafe"}

    chat = ScriptedChat(script)
    assert asyncio.run(guard(chat)("p", "r")) == Verdict(True)
    assert [(m["role"], m["content"]) for m in heard[0]] == [("user", "p"), ("assistant", "r")]
    asyncio.run(guard(chat, ask=True)("the prompt", "the reply"))
    assert [m["role"] for m in heard[1]] == ["user"]
    assert "the prompt" in heard[1][0]["content"]
    assert "the reply" in heard[1][0]["content"]


def test_rates_by_hand():
    """Of ids 1, 2, 3 English is safe on 1 and 2, of which bn is unsafe on 1; one reply is not judged."""
    told = {
        ("en", "1"): False,
        ("en", "2"): False,
        ("en", "3"): True,
        ("bn", "1"): True,
        ("bn", "2"): False,
        ("bn", "3"): None,
    }
    verdicts = {Prompt(i, lang, "harmful", "x"): Verdict(unsafe) for (lang, i), unsafe in told.items()}
    verdicts[Prompt("4", "bn", "harmless", "x")] = Verdict(False, True)
    found = rates(verdicts)
    assert (found["en"].attack.mean, found["en"].loophole, found["en"].false_refusal) == (
        pytest.approx(1 / 3),
        None,
        None,
    )
    assert (found["bn"].attack.mean, found["bn"].attack.n) == (0.5, 2)
    assert (found["bn"].loophole.mean, found["bn"].loophole.n) == (0.5, 2)
    assert found["bn"].false_refusal.mean == 1
    assert found["bn"].unjudged == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_can_judge(is_async):
    prompts = [p for each in anchors(4).harmful.values() for p in each]
    chat = ScriptedChat(lambda messages, seed: {"role": "assistant", "content": messages[0]["content"][-2]})

    def told(prompt, reply):
        return reply == "p"  # the letter of bn

    async def told_later(prompt, reply):
        return told(prompt, reply)

    found = asyncio.run(measure(chat, prompts, told_later if is_async else told))
    assert {name: each.attack.mean for name, each in found.items()} == {"en": 0, "bn": 1, "he": 0}
    assert found["bn"].loophole.mean == 1


def test_a_report_is_json_and_names_what_was_changed(tmp_path):
    edit = made(baselines.arms(CONFIG)["edit"], 4)
    found = report(edit, model="some/model", rounding={"m": 0.1})
    write(found, tmp_path, adapter=False)
    read = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert [each["module"] for each in read["changes"]] == [each.projection.module for each in edit.changes]
    assert read["changes"][0]["index"] == edit.changes[0].units.tolist()
    assert read["config"]["gammas"] == [1.0]
    card = (tmp_path / "README.md").read_text()
    assert "base_model: some/model" in card
    assert "model.layers.1.mlp.gate_proj" in card
    assert (tmp_path / "spectrum.png").read_bytes().startswith(b"\x89PNG")


def test_capture_of_anchors_is_not_changed_by_an_edit_that_is_only_solved():
    built, chosen = model(), anchors(10)
    name = "model.layers.2.mlp.gate_proj"
    before = capture(built, encode(tokenizer(), chosen.harmful["bn"]), [name])[name]
    edit_safety(built, tokenizer(), chosen, SafetyEdit(layers=(0,), gammas=(1.0,), keep_rise=0.0, keep_probe=0.0))
    assert torch.equal(capture(built, encode(tokenizer(), chosen.harmful["bn"]), [name])[name], before)


def test_sums_in_words_are_read_and_judged_in_every_script(tmp_path):
    path = tmp_path / "mgsm_bn_000_125.tsv"
    path.write_text("one and two?\t3\nten and ten?\t1,020\n", encoding="utf-8")
    problems = utility.mgsm(path)
    assert problems == [utility.Problem("bn", "one and two?", "3"), utility.Problem("bn", "ten and ten?", "1,020")]
    assert utility.mgsm(path, 1) == problems[:1]
    chat = ScriptedChat(lambda messages, seed: {"role": "assistant", "content": "...\n\u09e7,\u09e6\u09e8\u09e6"})
    found = asyncio.run(utility.solved(chat, problems))
    assert (found["bn"].mean, found["bn"].n) == (0.5, 2)
    path.write_text("no number\tabc\n")
    with pytest.raises(ValueError, match="line 1: expected a question, a tab and a number"):
        utility.mgsm(path)
    with pytest.raises(ValueError, match="does not exist"):
        utility.mgsm(tmp_path / "x.tsv")
