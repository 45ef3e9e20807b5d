"""From a saved model and a file of puzzles to a trained model, through the command line alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

import tiny
from commandline import done, environment, write_rows
from posttrain.files import read_lines
from posttrain.tasks.knights_knaves import puzzles

DATA = Path(os.environ.get("POSTTRAIN_DATA", Path(__file__).parents[2] / "shared/data"))
REAL = DATA / "kk_reasoning_gym/knights_knaves.jsonl"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def english(n: int, people: int = 3) -> list[dict]:
    return puzzles(n, people=people, seed=0, form="english")


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 600 tokens with Qwen's marks."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|endoftext|>", eos_token="<|im_end|>", chat_template=TEMPLATE
    )


def save(folder: Path, words: PreTrainedTokenizerFast, seed: int) -> Path:
    """A Qwen3 of four layers with random weights."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, tie_word_embeddings=True,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """`student`, `teacher` and `puzzles.jsonl`."""
    folder = tmp_path_factory.mktemp("world")
    rows = english(60)
    words = tokenizer([row["prompt"] + " " + row["answer"] for row in rows])
    assert 500 < len(words) <= 600
    save(folder / "student", words, 0)
    save(folder / "teacher", words, 1)
    write_rows(folder / "puzzles.jsonl", [{k: row[k] for k in ("prompt", "answer", "id")} for row in rows])
    return folder


def flags(world: Path, out: Path, *more: object) -> list[object]:
    return [
        "train", "rlad", "--model", world / "student", "--teacher", world / "teacher", "--output-dir", out,
        "--steps", 2, "--prompts", 4, "--group-size", 4, "--max-completion", 16, "--micro-batch", 8, *more,
    ]  # fmt: skip


def check(out: Path, student: Path, *, steps: int = 2, processes: int = 1) -> list[dict]:
    """Everything a run leaves is there and loads; the lines of its steps."""
    lines = [line for line in read_lines(out / "log.jsonl") if "reward" in line]
    assert [line["step"] for line in lines] == list(range(1, steps + 1))
    for key in ("reward", "unscored", "correct", "teacher/kl", "teacher/clamped", "grad_norm", "entropy", "loss"):
        assert all(key in line for line in lines), key
    assert all(line["teacher/kl"] != 0 for line in lines)
    written = json.loads((out / "settings.json").read_text())
    settings = {s["name"]: (s["value"], s["source"]) for s in written["settings"]}
    assert written["recipe"] == "rlad"
    assert settings["processes"] == (str(processes), "launcher")
    assert settings["alpha"] == ("0.5", "rlad default")
    assert settings["steps"] == (str(steps), "posttrain")
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    model, words = AutoModelForCausalLM.from_pretrained(out / "model"), AutoTokenizer.from_pretrained(out / "model")
    assert words.get_vocab() == AutoTokenizer.from_pretrained(student).get_vocab()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert model.generate(torch.tensor([[5, 6]]), max_new_tokens=2, do_sample=False).shape == (1, 4)
    return lines


def test_puzzles_in_a_file(world, tmp_path):
    out = tmp_path / "out"
    source = ("--dataset", world / "puzzles.jsonl", "--verifier", "knights-knaves")
    finished = done(*flags(world, out, *source, "--save-every", 1))
    lines = check(out, world / "student")
    assert all(line["unscored"] == 0 for line in lines)
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    assert "Traceback" not in finished.stderr
    assert "Warning" not in finished.stderr


@pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there; set POSTTRAIN_DATA to the data's folder")
def test_somebody_else_s_puzzles_with_other_column_names(world, tmp_path):
    out = tmp_path / "out"
    source = ("--dataset", REAL, "--verifier", "knights-knaves", "--columns.prompt", "question")
    done(*flags(world, out, *source))
    check(out, world / "student")


def test_puzzles_made_on_the_way_with_logic_rl_s_reward(world, tmp_path):
    out = tmp_path / "out"
    task = ("--task", "knights-knaves", "--reward", "logic-rl", "--people", 2, "--puzzles", 40)
    done(*flags(world, out, *task))
    assert [line["reward"] for line in check(out, world / "student")] == [-3.0, -3.0]


def test_two_processes_train_one_model(world, tmp_path):
    out = tmp_path / "out"
    source = ("--dataset", world / "puzzles.jsonl", "--verifier", "knights-knaves")
    done(*flags(world, out, *source, "--save-every", 2), processes=2)
    lines = check(out, world / "student", processes=2)
    assert {path.name for path in (out / "checkpoint-2").glob("rng_state_*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    alone = tmp_path / "alone"
    done(*flags(world, alone, *source))
    ours, theirs = lines[0], check(alone, world / "student")[0]
    assert ours["completions/max_length"] == theirs["completions/max_length"] == 16
    assert ours["num_tokens"] > 0.5 * theirs["num_tokens"], "the second process's completions are not counted"


# -- a killed run ------------------------------------------------------------------------------------------------------

STEPS = 40


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> Path:
    """A student whose likeliest letter is the answer, so that every step learns something."""
    folder = tmp_path_factory.mktemp("letters")
    student = AutoModelForCausalLM.from_pretrained(tiny.saved(folder / "student", 0, scale=3.0))
    tiny.saved(folder / "teacher", 7, scale=3.0)
    rows, words = tiny.rows(12), tiny.tokenizer()
    with torch.no_grad():
        logits = [student(torch.tensor([words.encode(row["prompt"])])).logits[0, -1, :20] for row in rows]
    answers = [tiny.LETTERS[int(values.argmax())] for values in logits]
    write_rows(folder / "rows.jsonl", [{**row, "answer": a} for row, a in zip(rows, answers, strict=True)])
    return folder


def long_run(letters: Path, out: Path, *more: object) -> list[str]:
    values = [
        "train", "rlad", "--model", letters / "student", "--teacher", letters / "teacher", "--dataset",
        letters / "rows.jsonl", "--output-dir", out, "--steps", STEPS, "--prompts", 2, "--group-size", 8,
        "--max-completion", 1, "--inner-steps", 2, "--learning-rate", 0.003, "--save-every", 5, *more,
    ]  # fmt: skip
    return [str(value) for value in values]


def without_clocks(log: Path) -> list[dict]:
    clocks = ("time", "runtime", "per_second", "profiling", "train_loss", "flos")
    return [{k: v for k, v in line.items() if not any(c in k for c in clocks)} for line in read_lines(log)]


def test_kill_9_and_resume_gives_the_log_of_an_unbroken_run(letters, tmp_path):
    done(*long_run(letters, tmp_path / "whole"))
    whole = without_clocks(tmp_path / "whole/log.jsonl")
    assert sum(line.get("grad_norm", 0) > 0 for line in whole) > STEPS / 2, "nothing was learned"

    log = tmp_path / "broken/log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "posttrain", *long_run(letters, tmp_path / "broken")],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end and len(list(read_lines(log))) < 13:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    reached = len(list(read_lines(log)))
    assert 13 <= reached < STEPS

    done(*long_run(letters, tmp_path / "broken", "--resume"))
    assert without_clocks(log) == whole
    ends = [AutoModelForCausalLM.from_pretrained(tmp_path / name / "model") for name in ("whole", "broken")]
    for ours, theirs in zip(*(model.parameters() for model in ends), strict=True):
        assert torch.equal(ours, theirs)
