"""Capture: the rows are those of a plain pass over each prompt alone, however prompts are batched and padded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edit_models import FAMILIES, LETTERS, anchors, model, tokenizer
from posttrain.edit.anchors import Prompt
from posttrain.edit.capture import END, Encoded, capture, encode, pooled
from posttrain.edit.gather import Reading, chunks, gather, memory, wants_sums
from posttrain.projections import gated


def modules(built, layers=(0, 1, 2)):
    return {p.layer: p.module for p in gated(built) if p.part == "gate" and p.layer in layers}


def prompts(many=9):
    return [p for kind in (anchors(many).harmful, anchors(many).harmless) for each in kind.values() for p in each]


def alone(built, encoded, name, position):
    """One prompt at a time, without padding, with a hook of our own."""
    seen = []
    handle = built.get_submodule(name).register_forward_hook(lambda module, args, out: seen.append(args[0][0]))
    with torch.no_grad():
        for each in encoded:
            built(torch.tensor([each.ids]))
    handle.remove()
    return torch.stack([rows[-1] if position == "last" else rows.mean(0) for rows in seen])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("position", ["last", "mean"])
def test_rows_are_those_of_each_prompt_alone(family, position):
    built = model(family, dtype=torch.float64)
    encoded = encode(tokenizer(), prompts())
    names = list(modules(built).values())
    found = capture(built, encoded, names, position=position, batch=7)
    for name in names:
        torch.testing.assert_close(found[name], alone(built, encoded, name, position), rtol=1e-9, atol=1e-9)


@given(batch=st.integers(1, 40), seed=st.integers(0, 999))
@settings(max_examples=12, deadline=None)
def test_neither_batches_nor_order_matter(batch, seed):
    built = model(dtype=torch.float64)
    encoded = encode(tokenizer(), prompts())
    order = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(seed)).tolist()
    name = modules(built)[1]
    plain = capture(built, encoded, [name])[name]
    mixed = capture(built, [encoded[i] for i in order], [name], batch=batch)[name]
    torch.testing.assert_close(mixed, plain[order], rtol=1e-9, atol=1e-9)


def test_the_side_of_the_padding_does_not_matter():
    hidden = torch.arange(24.0).view(2, 4, 3)
    right, left = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    shifted = torch.stack([hidden[0].roll(2, 0), hidden[1]])
    for position in ("last", "mean"):
        torch.testing.assert_close(pooled(hidden, right, position), pooled(shifted, left, position))
    assert pooled(hidden, right, "last")[0].tolist() == [3, 4, 5]
    assert pooled(hidden, right, "mean")[0].tolist() == [1.5, 2.5, 3.5]
    sided = [tokenizer(), tokenizer()]
    sided[0].padding_side, sided[1].padding_side = "left", "right"
    first, second = (capture(model(), encode(each, prompts()), [END])[END] for each in sided)
    assert torch.equal(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_gate_and_up_read_the_same(family):
    built = model(family)
    encoded = encode(tokenizer(), prompts(2))
    for layer in range(3):
        names = list({p.module for p in gated(built) if p.layer == layer})
        found = list(capture(built, encoded, names).values())
        assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_end_is_what_the_head_reads(family):
    built = model(family)
    encoded = encode(tokenizer(), prompts(3))
    found = capture(built, encoded, [END, modules(built)[0]], batch=4)
    with torch.no_grad():
        logits = torch.stack([built(torch.tensor([each.ids])).logits[0, -1] for each in encoded])
        torch.testing.assert_close(built.lm_head(found[END]), logits, rtol=1e-4, atol=1e-4)


def test_layers_after_the_last_one_and_the_head_are_not_run():
    built = model()
    ran = []
    for name in ("model.layers.0", "model.layers.2", "lm_head"):
        built.get_submodule(name).register_forward_hook(lambda m, a, o, name=name: ran.append(name))
    capture(built, encode(tokenizer(), prompts(2)), [modules(built)[1]], batch=100)
    assert ran == ["model.layers.0"]


def test_nothing_stays_behind():
    built = model(attention_dropout=0.5)
    built.train()
    built.model.layers[1].eval()
    encoded = encode(tokenizer(), prompts())
    assert torch.equal(*(capture(built, encoded, [END])[END] for _ in range(2)))
    assert built.training
    assert not built.model.layers[1].training
    assert all(not module._forward_pre_hooks for module in built.modules())


def test_the_chat_template_is_used_where_there_is_one():
    prompt = Prompt("1", "en", "harmful", "abc")
    letters = {letter: i for i, letter in enumerate(LETTERS)}
    assert encode(tokenizer(), [prompt]) == [Encoded(prompt, [letters[c] for c in "sabct"])]
    assert encode(tokenizer(chat=False), [prompt]) == [Encoded(prompt, [letters[c] for c in "abc"])]


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("protect", [False, True])
def test_sums_are_those_of_the_rows(summed, protect):
    """Every sum, beside the rows read one language at a time."""
    built, chosen = model(dtype=torch.float64), anchors(20, harmless_in=("en", "bn"))
    names = modules(built)
    found = gather(built, tokenizer(), chosen, names, Reading(batch=7, protect=protect), summed=summed)
    rows = {
        (kind, language): capture(built, encode(tokenizer(), each), list(names.values()))
        for kind, of in (("harmful", chosen.harmful), ("harmless", chosen.harmless))
        for language, each in of.items()
    }
    for layer, name in names.items():
        english = rows["harmful", "en"][name]
        low = torch.cat([rows["harmful", "bn"][name], rows["harmful", "he"][name]])
        safe = torch.cat([rows["harmless", "en"][name], rows["harmless", "bn"][name], *([english] if protect else [])])
        shift = torch.cat([english, english]) - low
        inputs = found[layer]
        if summed:
            sums = inputs.sums()
            assert (sums.many, sums.harmless) == (len(low), len(safe))
            for got, expected in (
                (sums.low, low.T @ low),
                (sums.cross, low.T @ shift),
                (sums.shift, shift.T @ shift),
                (sums.safe, safe.T @ safe),
            ):
                torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
        else:
            torch.testing.assert_close(inputs.low, low, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(inputs.safe, safe, rtol=1e-9, atol=1e-9)
            columns = torch.randn(24, 3, dtype=torch.float64)
            torch.testing.assert_close(inputs.gap(columns), shift @ columns, rtol=1e-9, atol=1e-9)


def test_rows_or_sums_by_the_number_of_anchors():
    made = anchors(12)  # 24 harmful rows to edit, 36 harmless
    assert not wants_sums(made, 61, protect=False)
    assert wants_sums(made, 60, protect=False)
    assert wants_sums(made, 72, protect=True)
    assert memory(made, 1000, summed=True) > memory(made, 1000, summed=False)
    assert chunks([0, 1, 2, 3, 4], 10, 25) == [[0, 1], [2, 3], [4]]
    assert chunks([0, 1], 10, 5) == [[0], [1]]


def test_a_prompt_that_breaks_the_model_is_named():
    built = model()
    with torch.no_grad():
        built.model.embed_tokens.weight[LETTERS.index("a")] = float("nan")
    chosen = [Prompt(n, "bn", "harmful", t) for n, t in (("fine", "bcd"), ("x7", "abc"))]
    with pytest.raises(ValueError, match=r"input of model\.layers\.1\S* is not finite on prompt 'x7' \(bn, harmful\)"):
        capture(built, encode(tokenizer(), chosen), [modules(built)[1]])


def test_prompts_of_no_use():
    with pytest.raises(ValueError, match=r"'1' \(en, harmful\) has no token"):
        encode(tokenizer(chat=False), [Prompt("1", "en", "harmful", "")])
    with pytest.raises(ValueError, match="has 5 tokens, and the model takes 4"):
        encode(tokenizer(), [Prompt("1", "en", "harmful", "abc")], most=4)


def test_a_module_that_is_not_run():
    built = model()
    built.spare = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="spare is not run"):
        capture(built, encode(tokenizer(), prompts(2)), ["spare"])
