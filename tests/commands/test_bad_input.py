"""What users get wrong is told in one sentence, before anything is written."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny
from commandline import refusal, run, sentence, write_rows
from posttrain.cli import main
from posttrain.files import write_json
from posttrain.rl import Method, grpo, rlad
from posttrain.rl.recipe import RecipeClash


@dataclass
class World:
    """A student, its teacher and a data set on disk."""

    folder: Path
    student: str
    teacher: str
    dataset: Path

    @property
    def out(self) -> Path:
        """Where a run would write."""
        return self.folder / "out"

    def flags(self, *more: object, **overrides: object) -> list[object]:
        """`train rlad` with everything it needs; an override of None leaves a flag out."""
        values = {
            "--model": self.student, "--teacher": self.teacher, "--dataset": self.dataset, "--output-dir": self.out,
            "--steps": 1, "--prompts": 2, "--group-size": 2, "--max-completion": 4,
        } | {f"--{name.replace('_', '-')}": value for name, value in overrides.items()}  # fmt: skip
        return ["train", "rlad", *(x for flag, v in values.items() if v is not None for x in (flag, v)), *more]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Students and teachers that several tests load."""
    folder = tmp_path_factory.mktemp("models")
    tiny.saved(folder / "student", 0, scale=3.0)
    tiny.saved(folder / "teacher", 7, scale=3.0)
    tiny.saved(folder / "wide", 7, vocab=64)
    tiny.saved(folder / "other", 7)
    tiny.tokenizer("ba" + tiny.LETTERS[2:]).save_pretrained(folder / "other")
    return folder


@pytest.fixture
def world(models, tmp_path) -> World:
    rows = [{**row, "answer": "a"} for row in tiny.rows(4)]
    return World(tmp_path, str(models / "student"), str(models / "teacher"), write_rows(tmp_path / "rows.jsonl", rows))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"alpha": 1.5}, ["alpha=1.5", "[0, 1]", "0.5"]),
        ({"alpha": -0.1}, ["alpha=-0.1", "[0, 1]"]),
        ({"clamp": 0}, ["clamp=0.0", "above 0"]),
        ({"group_size": 1}, ["group_size=1", "at least 2"]),
        ({"steps": 0}, ["steps=0", "at least 1"]),
        ({"temperature": 0}, ["temperature=0.0", "above 0"]),
        ({"learning_rate": -1}, ["learning_rate=-1.0", "above 0"]),
        ({"micro_batch": 3}, ["micro_batch=3", "does not divide"]),
        ({"prompts": 9}, ["4 rows", "9 prompts", "lower prompts"]),
        ({"schedule": "sudden"}, ["sudden", "constant"]),
        ({"task": "knights-knaves"}, ["one source of prompts: --dataset FILE", "or another --task"]),
        ({"dataset": None}, ["one source of prompts", "--task gsm8k --dataset FILE"]),
        ({"task": "gsm8k", "dataset": None}, ["GSM8K's own file", "--dataset"]),
        ({"task": "gsm8k", "verifier": "math"}, ["--task gsm8k has its own", "leave out --verifier"]),
        ({"task": "gsm8k", "skip_broken": True, "columns.prompt": "q"}, ["leave out --columns, --skip-broken"]),
        ({"task": "knights-knaves", "dataset": None, "verifier": "math"}, ["--task knights-knaves", "--verifier"]),
        ({"task": "knights-knaves", "dataset": None, "people": 9}, ["people is 9", "2 to 8"]),
        ({"model": "./nowhere"}, ["./nowhere", "--model", "does not exist"]),
        ({"model": "nowhere"}, ["nowhere is not a folder here", "no tokenizer could be loaded"]),
        ({"model": "/no/where/at/all"}, ["/no/where/at/all", "does not exist"]),
        ({"teacher": "../nowhere"}, ["../nowhere", "teacher", "does not exist"]),
        ({"dataset": "nowhere.jsonl"}, ["nowhere.jsonl", "does not exist"]),
        ({"chat": "True"}, ["--chat", "chat template", "has none"]),
        ({"trl": "epsilonn 0.1"}, ["epsilonn", "did you mean epsilon?"]),
        ({"trl": "zzzz 1"}, ["zzzz", "no such field"]),
        ({"trl": "max_grad_norm lots"}, ["max_grad_norm lots", "such as 1.0"]),
        ({"trl": "epsilon 0.1"}, ["rlad sets clip_low=0.2", "GRPOConfig sets epsilon=0.1", "remove it there"]),
        ({"trl": "loss_type gspo"}, ["loss_type='gspo'", "no recipe"]),
        ({"trl": "scale_rewards none"}, ["scale_rewards='none'", "grpo(spread=...)"]),
        ({"trl": "num_generations 4"}, ["num_generations 4", "sets it itself"]),
        ({"grpo.clip_high": 0.3}, ["grpo sets clip_high=0.3", "rlad sets clip_high=0.28"]),
    ],
    ids=lambda value: "-".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_wrong_option_is_one_sentence(world, capfd, monkeypatch, flags, words):
    monkeypatch.chdir(world.folder)
    trl = flags.get("trl", "").split()
    more = ["--trl", *trl] if trl else []
    more += ["--skip-broken"] if "skip_broken" in flags else []
    said = refusal(capfd, *world.flags(*more, **{k: v for k, v in flags.items() if k not in ("trl", "skip_broken")}))
    for word in words:
        assert word in said
    assert not world.out.exists()


def test_a_group_that_does_not_fit_the_recipe_is_told_before_anything_is_read(capfd):
    """The default of 8 and five strategies, with a model and a file that are not there."""
    said = refusal(capfd, "train", "upskill", "--model", "./nowhere", "--dataset", "nowhere.jsonl")
    assert said == (
        "group_size=8 cannot hold each of 5 skills equally often; use a multiple of 5, such as 10, or change skills."
    )


def test_an_unknown_recipe_lists_the_recipes(world, capfd):
    said = refusal(capfd, "train", "rladd", *world.flags()[2:])
    assert "'rladd'" in said
    assert "rlad, kdrl, opd" in said
    assert not world.out.exists()


def test_a_folder_without_a_model_is_refused(world, capfd):
    (world.folder / "empty").mkdir()
    said = refusal(capfd, *world.flags(model=world.folder / "empty"))
    assert "no config.json" in said
    assert not world.out.exists()


def test_a_hub_id_that_cannot_be_had_is_one_sentence(world, capfd):
    assert "huggingface.co" in refusal(capfd, *world.flags(model="some/where"))
    assert not world.out.exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"question": "abc", "answer": "a"}], ["no column 'prompt'", "question", "--columns.prompt question"]),
        ([{"prompt": "abc", "label": "a"}], ["no column 'answer'", "--columns.answer label"]),
        ([], ["no rows"]),
        ([{"prompt": "abc", "answer": "a"}, '{"prompt": "ab'], ["line 2", "not JSON", "mend it"]),
        ([{"prompt": "abc", "answer": "a"}, "", {"prompt": "abd"}], ["line 3", "'answer' is missing"]),
        (["[1]", "[2]"], ["line 1", "expected an object"]),
    ],
)  # fmt: skip
def test_a_broken_data_set_says_where(world, capfd, rows, words):
    said = refusal(capfd, *world.flags(dataset=write_rows(world.folder / "bad.jsonl", rows)))
    for word in words:
        assert word in said
    assert not world.out.exists()


def test_broken_lines_are_left_out_on_request_and_named(world, capfd):
    rows = [*({"prompt": p, "answer": "a"} for p in ("abc", "abd")), "{", {"prompt": "abe", "answer": "a"}]
    main([str(x) for x in world.flags("--skip-broken", dataset=write_rows(world.folder / "bad.jsonl", rows))])
    assert "posttrain: line 3 left out: it is not JSON" in capfd.readouterr().err
    assert (world.out / "model/config.json").is_file()


def test_a_teacher_with_other_token_ids_is_refused_before_anything_is_loaded(world, models):
    refused = run(*world.flags(teacher=models / "other"))
    said = sentence(refused.returncode, refused.stderr)
    assert "maps tokens to other ids" in said
    assert "'a': 0 and 1, 'b': 1 and 0" in said
    assert not world.out.exists()


def test_a_clash_with_the_engine_s_config_is_one_line_of_a_real_terminal(world):
    refused = run(*world.flags("--trl", "epsilon_high", "0.4"))
    assert "rlad sets clip_high=0.28, but GRPOConfig sets epsilon_high=0.4" in sentence(
        refused.returncode, refused.stderr
    )
    assert not world.out.exists()


def test_a_teacher_with_a_wider_head_but_the_same_tokens_is_fine(world, models):
    main([str(x) for x in world.flags(teacher=models / "wide")])
    assert (world.out / "model/config.json").is_file()


def test_other_fields_of_the_engine_s_config_pass_through(world):
    main([str(x) for x in world.flags("--trl", "max_grad_norm", "0.5", "report_to", "none", "logging_steps", "1")])
    assert (world.out / "log.jsonl").is_file()


@dataclass(frozen=True)
class Toy(Method):
    """A second method with an anchor of its own."""

    name = "toy"
    paper = "Nobody 2026"

    def anchor(self, live):
        return live.logp_old


def test_two_owners_of_one_hook_are_named_with_their_papers(models):
    with pytest.raises(RecipeClash, match=r"rlad \(.*2602\.22495\) and toy \(Nobody 2026\) both define anchor"):
        rlad(str(models / "teacher")) | Toy()
    assert (grpo() | Toy()).name == "toy"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grpo", "rladd"], ["'rladd'", "rlad"]),
        (["grpo", "rlad:beta=1"], ["beta=1", "alpha"]),
        (["grpo", "rlad:alpha"], ["key=value"]),
        (["grpo", "rlad:alpha=2"], ["alpha=2", "[0, 1]"]),
        (["grpo", "rlad", "grpo"], ["'grpo'", "twice"]),
        (["grpo:group_size=abc"], ["group_size=abc", "group_size is a whole number"]),
        (["grpo:prompts=0"], ["prompts=0", "above 0"]),
        (["grpo:temperature=hot"], ["temperature=hot", "a number"]),
        (["grpo:temperature=inf"], ["temperature=inf", "finite"]),
        (["grpo:data=5"], ["data=5", "text"]),
        (["ceeh:beta=abc"], ["beta=abc", "a number"]),
        (["ceeh:mode=5"], ["mode=5", "one of EA, ME, none"]),
        (["ceeh:everywhere=1"], ["everywhere=1", "true or false"]),
        (["upskill:skills=2.5", "--task", "three-numbers"], ["skills=2.5", "a whole number"]),
        (["upskill:kl_beta=low", "--task", "three-numbers"], ["kl_beta=low", "a number or None"]),
        (["upskill", "--task", "three-numbers", "--group-size", "8"], ["group_size=8", "multiple of 5, such as 10"]),
        (["upskill", "--group-size", "10"], ["'upskill'", "prompts that name a strategy", "'knights-knaves'"]),
        (["second_order", "--task", "chain"], ["'second_order'", "a form for critiques", "'chain'"]),
        (["grpo", "c_rl"], ["'c_rl'", "a form for critiques", "'knights-knaves'"]),
        (["grpo", "rlad", "--task", "sums"], ["'rlad'", "a teacher", "'sums'"]),
        (["grpo:data=other"], ["data='other'", "none"]),
        (["grpo", "--task", "chess"], ["'chess'", "knights-knaves"]),
        (["grpo", "--noise", "2"], ["noise=2.0", "0 to 1"]),
        (["grpo", "--eval-rows", "2"], ["eval_rows=2", "at least 8"]),
        (["grpo", "--seeds", "0"], ["seeds=0", "at least 1"]),
        (["grpo", "--group-size", "1"], ["group_size=1", "at least 2"]),
        (["grpo", "--steps", "-3"], ["steps=-3", "at least 1"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_wrong_comparison_is_one_sentence(tmp_path, capfd, arguments, words):
    said = refusal(capfd, "compare", *arguments, "--out", tmp_path / "out")
    for word in words:
        assert word in said
    assert not (tmp_path / "out").exists()


def test_runs_of_other_settings_are_not_mixed_in(tmp_path, capfd):
    from posttrain.bench.compare import CompareConfig

    write_json(tmp_path / "shared.json", CompareConfig(("grpo",), steps=4).shared())
    before = (tmp_path / "shared.json").read_bytes()
    said = refusal(capfd, "compare", "grpo", "--steps", 5, "--prompts", 2, "--out", tmp_path)
    assert "other settings (steps, prompts)" in said
    assert "choose another folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["shared.json"]
    assert (tmp_path / "shared.json").read_bytes() == before
