"""Asking with skills and scoring under them, on a tiny model, against one plain forward pass per row."""

import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import tiny
from posttrain.rl.skills import encode, sample_skills, score_skills
from posttrain.rl.upskill import skill_information

TEMPLATE = "{z}{question}"
TOKENIZER = tiny.tokenizer("12345" + tiny.LETTERS)
CHAT = "{% for m in messages %}t{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}s{% endif %}"


@pytest.fixture(scope="module")
def model():
    return tiny.model(vocab=len(TOKENIZER), scale=20.0).train()


def ask(model, question="abc", k=5, **options):
    return sample_skills(model, TOKENIZER, question, k, template=TEMPLATE, max_new_tokens=8, **options)


def alone(model, prompt, completion, temperature=1.0):
    """Log-probabilities of a completion from one unpadded forward pass; (T,)."""
    ids = TOKENIZER(prompt)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids + completion])).logits[0, len(ids) - 1 : -1] / temperature
    return logits.log_softmax(-1)[range(len(completion)), completion]


def absolute():
    """A model for which positions count from the first real token, not from the padding."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=2, initializer_range=0.5))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("positions", ["rotary", "absolute"])
def test_scores_are_those_of_each_row_alone(model, positions, temperature, chunk):
    """Questions and completions of several lengths, so that every chunk is padded on the left."""
    model = model if positions == "rotary" else absolute().eval()
    questions, completions = ["a", "bcdef", "gh"], [[7, 8, 9], [10], [11, 12, 13, 14, 26]]
    scores = score_skills(
        model, TOKENIZER, questions, completions, skills=3, template=TEMPLATE, temperature=temperature, chunk=chunk
    )
    assert scores.logp.shape == (3, 3, 5)
    assert scores.mask.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    for b, (question, completion) in enumerate(zip(questions, completions, strict=True)):
        for z in (1, 2, 3):
            expected = torch.zeros(5)
            expected[: len(completion)] = alone(model, f"{z}{question}", completion, temperature)
            torch.testing.assert_close(scores.logp[b, z - 1], expected, atol=1e-4, rtol=1e-4)


def test_the_information_of_samples_is_never_above_log_n(model):
    found = ask(model, temperature=1.0, top_p=1.0)
    scores = score_skills(model, TOKENIZER, ["abc"] * 5, [attempt.ids for attempt in found], template=TEMPLATE)
    skill = torch.tensor([attempt.skill for attempt in found])
    information = skill_information(scores.logp, skill, scores.mask, "sequence")
    assert (information <= math.log(5) + 1e-4).all()
    assert information.abs().max() > 0.1  # this random model does not ignore the skill


def test_a_greedy_attempt_is_what_its_prompt_alone_is_continued_with(model):
    for attempt in ask(model, temperature=0):
        ids = TOKENIZER(f"{attempt.skill}abc")["input_ids"]
        for token in attempt.ids:
            with torch.no_grad():
                assert model(torch.tensor([ids])).logits[0, -1].argmax() == token
            ids = [*ids, token]
        assert attempt.text == TOKENIZER.decode(attempt.ids, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("k", "skills", "asked"),
    [
        (3, 5, [1, 2, 3]),
        (7, 5, [1, 2, 3, 4, 5, 1, 2]),
        (3, [4], [4, 4, 4]),
        (4, [5, 2], [5, 2, 5, 2]),
        (2, 1, [0, 0]),
    ],
)
def test_the_skills_take_turns(model, k, skills, asked):
    assert [attempt.skill for attempt in ask(model, k=k, skills=skills)] == asked


def test_the_control_asks_without_a_skill(model):
    """Greedy, one skill: the plain question's continuation, k times."""
    plain = [alone(model, "abc", attempt.ids) for attempt in ask(model, k=2, skills=1, temperature=0)]
    assert torch.equal(plain[0], plain[1])
    assert plain[0][0] == max(alone(model, "abc", [token])[0] for token in range(len(TOKENIZER)))


def test_an_attempt_ends_with_its_first_end_token(model):
    attempts = ask(model, k=40, temperature=3.0, top_p=1.0)
    assert any(len(attempt.ids) < 8 for attempt in attempts)
    for attempt in attempts:
        assert TOKENIZER.eos_token_id not in attempt.ids[:-1]
        assert len(attempt.ids) == 8 or attempt.ids[-1] == TOKENIZER.eos_token_id


def test_the_same_seed_gives_the_same_attempts_and_the_outside_is_left_alone(model):
    before = torch.random.get_rng_state()
    first, second, other = ask(model, seed=1), ask(model, seed=1), ask(model, seed=2)
    assert first == second != other
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training


def test_messages_go_through_the_chat_template():
    tokenizer = tiny.tokenizer("12345" + tiny.LETTERS)
    chat = [{"role": "user", "content": "ab"}]
    with pytest.raises(ValueError, match="no chat template; give text"):
        encode(tokenizer, chat)
    tokenizer.chat_template = CHAT
    assert tokenizer.decode(encode(tokenizer, chat)) == tokenizer.decode(encode(tokenizer, "tabs"))


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        (lambda model: ask(model, k=0), "k=0 attempts"),
        (lambda model: ask(model, skills=[]), "leave nothing to ask"),
        (lambda model: score_skills(model, TOKENIZER, ["a"], [[1], [2]]), "1 questions and 2 completions"),
        (lambda model: score_skills(model, TOKENIZER, ["a"], [[]]), "an empty one"),
        (lambda model: score_skills(model, TOKENIZER, ["a"], [[1]], skills=0), "skills=0 leaves nothing to score"),
        (lambda model: score_skills(model, TOKENIZER, ["a"], [[1]], temperature=0), "temperature=0 must be above 0"),
        (lambda model: score_skills(model, TOKENIZER, ["a"], [[1]], template="{z}"), "template='{z}' must have"),
    ],
)
def test_what_cannot_be_asked_is_said(model, wrong, advice):
    with pytest.raises(ValueError, match=advice):
        wrong(model)
