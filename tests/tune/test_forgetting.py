"""The report of before and after, on scorers whose numbers are known; and the scorer of answers."""

import json

import pytest
import torch

import decoders
import tiny
from posttrain.files import write_json
from posttrain.tune import AnswerScorer, forgetting
from posttrain.tune.few_shot import FewShot

KINDS = {"own": "target", "swapped": "opposite", "else": "unrelated"}
VALUES = {("before", "own"): 0.2, ("before", "swapped"): 0.5, ("before", "else"): 0.7,
          ("after", "own"): 0.9, ("after", "swapped"): 0.1, ("after", "else"): 0.6}  # fmt: skip


def score(model, task, shots):
    """Ten questions, a share of which are right."""
    share = VALUES[model, task] + (0.1 if shots else 0)
    return [float(i < round(10 * share)) for i in range(10)]


def both(shots=(0, 2)):
    tasks = ("else", "own", "swapped")
    return [forgetting.scores(when, tasks, score, shots=shots) for when in ("before", "after")]


def test_means_and_changes_are_those_of_the_scorer():
    result = forgetting.report(*both(), KINDS, note="x")
    assert list(result["tasks"]) == ["own", "swapped", "else"]
    assert result["note"] == "x"
    own = result["tasks"]["own"]["shots"]
    assert own["0"]["before"]["mean"] == pytest.approx(0.2)
    assert own["2"]["after"]["mean"] == pytest.approx(1.0)
    assert own["0"]["change"]["mean"] == pytest.approx(0.7)
    assert own["0"]["change"]["n"] == 10
    assert result["tasks"]["swapped"]["shots"]["0"]["change"]["mean"] == pytest.approx(-0.4)
    assert json.loads(json.dumps(result)) == result


def test_a_model_that_did_not_change_has_a_change_of_exactly_zero():
    before, _ = both()
    for of in forgetting.report(before, before, KINDS)["tasks"].values():
        assert all([*each["change"].values()][:3] == [0, 0, 0] for each in of["shots"].values())


def test_the_picture_and_the_tables(tmp_path):
    result = forgetting.report(*both(), KINDS)
    path = forgetting.picture(result, tmp_path / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    tables = forgetting.tables(result)
    assert [table.row_count for table in tables] == [3, 3, 3]


def test_scores_survive_a_file(tmp_path):
    before, _ = both()
    write_json(tmp_path / "before.json", before)
    assert forgetting.from_json(tmp_path / "before.json") == before


def test_what_does_not_fit_is_refused():
    before, after = both()
    with pytest.raises(ValueError, match="'else' is None"):
        forgetting.report(before, after, {})
    with pytest.raises(ValueError, match="differ in the shots or questions of 'else'"):
        forgetting.report(before, both(shots=(0,))[1], KINDS)
    with pytest.raises(ValueError, match="has no question"):
        forgetting.scores("before", ["own"], lambda *_: [])


L = tiny.LETTERS


def questions(n=6):
    return [{"prompt": L[i] + L[i + 3], "completion": L[2 * i % 20] * (1 + i % 2)} for i in range(n)]


def greedy(model, tokenizer, prompt, length):
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    for _ in range(length):
        ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    return tokenizer.decode(ids[0, -length:])


@pytest.mark.parametrize("shots", [0, 2])
@torch.no_grad()
def test_right_is_what_greedy_decoding_gives(shots):
    """Half of the questions get the answer that the model itself decodes, one token at a time."""
    model, tokenizer, rows = decoders.build("llama", scale=4), tiny.tokenizer(), questions()
    few = FewShot(separator="b")
    scorer = AnswerScorer(tokenizer, {"t": rows}, {"t": rows}, few_shot=few)
    fixed = AnswerScorer(tokenizer, {"t": rows}, {"t": questions()}, few_shot=few, batch=4)
    for place, row in enumerate(rows[::2]):
        prompt = row["prompt"]
        if shots:
            drawn = fixed._drawn("t", 2 * place, shots)
            prompt = "".join(each["prompt"] + each["completion"] + "b" for each in drawn) + prompt
        row["completion"] = greedy(model, tokenizer, prompt, 2)
    assert fixed(model, "t", shots)[::2] == [1.0] * 3
    assert set(fixed(model, "t", shots)) <= {0.0, 1.0}
    assert len(scorer(model, "t", shots)) == 6


@torch.no_grad()
def test_the_log_likelihood_is_the_mean_over_the_answers_tokens():
    model, tokenizer, rows = decoders.build("llama", scale=4), tiny.tokenizer(), questions()
    found = AnswerScorer(tokenizer, {"t": rows}, measure="log-likelihood", batch=4)(model, "t", 0)
    for row, value in zip(rows, found, strict=True):
        ids = tokenizer(row["prompt"] + row["completion"], return_tensors="pt")["input_ids"]
        logp = model(input_ids=ids).logits.log_softmax(-1)[0]
        answer = range(2, ids.shape[1])
        by_hand = sum(float(logp[i - 1, ids[0, i]]) for i in answer) / len(answer)
        assert value == pytest.approx(by_hand, abs=1e-5)


def test_a_question_is_never_its_own_example():
    rows = questions()
    scorer = AnswerScorer(tiny.tokenizer(), {"t": rows})
    assert all(row not in scorer._drawn("t", place, 5) for place, row in enumerate(rows))
    with pytest.raises(ValueError, match="'t' has 5 rows to draw examples from, and 6"):
        scorer._drawn("t", 0, 6)


def test_chats_are_scored_in_their_template():
    model, tokenizer = decoders.build("llama"), tiny.tokenizer(chat=True)
    rows = [
        {
            "prompt": [{"role": "user", "content": L[i]}],
            "completion": [{"role": "assistant", "content": L[i + 1]}],
        }
        for i in range(4)
    ]
    scorer = AnswerScorer(tokenizer, {"t": rows}, few_shot=FewShot(shots=1))
    encoded = scorer._encoded(rows[0], [rows[1]])
    assert tokenizer.decode(encoded.ids) == "sbrcsatb"
    assert encoded.answer == 1
    assert len(scorer(model, "t", 2)) == 4
