"""The report of before and after, on scorers whose numbers are known; and the scorer of answers."""

import json
from pathlib import Path

import pytest
import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers import decoders as decoders_of
from transformers import LlamaConfig, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

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
    return [{"prompt": L[i] + L[(i + 3) % 20], "completion": L[2 * i % 20] * (1 + i % 2)} for i in range(n)]


def greedy(model, tokenizer, prompt, length):
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    for _ in range(length):
        ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    return ids[0, -length:].tolist()


@pytest.mark.parametrize("shots", [0, 2])
@torch.no_grad()
def test_right_is_what_greedy_decoding_gives(shots):
    """Half of the questions get the answer that the model itself decodes, one token at a time, up to where it ends."""
    tokenizer, few, ends = tiny.tokenizer(), FewShot(separator="b"), []
    for seed in range(8):
        model, rows = decoders.build("llama", seed=seed, scale=4), questions(20)
        scorer = AnswerScorer(tokenizer, {"t": rows}, {"t": questions(20)}, few_shot=few, batch=4)
        known = []
        for place, row in enumerate(rows[::2]):
            prompt = row["prompt"]
            if shots:
                drawn = scorer._drawn("t", 2 * place, shots)
                prompt = "".join(each["prompt"] + each["completion"] + "b" for each in drawn) + prompt
            said = greedy(model, tokenizer, prompt, 10)
            end = next((at for at, token in enumerate(said[1:], 1) if token in (1, tokenizer.eos_token_id)), 0)
            known.append(float(end > 0 and max(said[:end]) < len(L)))
            row["completion"] = tokenizer.decode(said[:end]) if known[-1] else "aa"
        found = scorer(model, "t", shots)
        assert found[::2] == known
        assert set(found[1::2]) == {0.0}
        ends += known
    assert 0 < sum(ends) < len(ends)


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
    with pytest.raises(ValueError, match="'t' has 5 other rows to draw examples from, and 6"):
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
    assert tokenizer.decode(encoded.ids) == "sbrcsarb"
    assert (encoded.answer, encoded.ends) == (2, None)
    assert len(scorer(model, "t", 2)) == 4


TEMPLATES = Path(trl.__file__).parent / "chat_templates"
MARKS = (
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>",
    "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>", "<|start|>", "<|message|>", "<|return|>",
)  # fmt: skip


def bytes_tokenizer(template):
    """A byte is a token, and so is each mark."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders_of.ByteLevel()
    built = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<pad>",
        extra_special_tokens=list(MARKS),
    )
    built.chat_template = (TEMPLATES / f"{template}.jinja").read_text()
    return built


CHATS = (
    "qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3", "llama3_2", "gemma", "phi3", "phi3_5", "glm4moe", "gptoss",
)  # fmt: skip


@pytest.mark.parametrize("template", CHATS)
@pytest.mark.parametrize("answer", ["red", " red "])
def test_what_is_scored_in_a_chat_is_what_trl_trains_on(tmp_path, template, answer):
    """Also where a template trims an answer, or thinks before it; the mark that ends the turn must follow."""
    tokenizer = bytes_tokenizer(template)
    row = {
        "prompt": [{"role": "user", "content": "colour?"}],
        "completion": [{"role": "assistant", "content": answer}],
    }
    trainer = SFTTrainer(
        decoders.of_config(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=1,
            )
        ),
        SFTConfig(str(tmp_path), report_to=[], use_cpu=True, bf16=False),
        train_dataset=Dataset.from_list([row] * 2),
        processing_class=tokenizer,
    )
    trained = trainer.train_dataset[0]
    ids = [token for token, label in zip(trained["input_ids"], trained["labels"], strict=True) if label != -100]
    scored = AnswerScorer(tokenizer, {"t": [row]})._encoded(row, [])
    ends = list(scored.ends or ())
    assert [*scored.ids, *ends] == trained["input_ids"][: len(scored.ids) + len(ends)]
    assert scored.ids[-scored.answer :] == ids[: scored.answer]
    assert tokenizer.decode(ids[scored.answer + len(ends) :]).strip() == ""
    assert "red" in tokenizer.decode(scored.ids[-scored.answer :])
    assert bool(ends) == (template != "glm4moe"), "GLM has no mark at the end of a turn"
