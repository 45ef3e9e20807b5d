"""Scoring models: where they come from, how wide they are, and what is done to them."""

import pytest

import tiny
from engines import runs
from posttrain.rl import rlad
from posttrain.rl.engines import teachers
from posttrain.rl.engines.vocabulary import VocabularyMismatch

V = len(tiny.LETTERS) + 2


@pytest.mark.parametrize("rows", [V, V + 1, 4 * V])
def test_a_head_as_wide_as_the_vocabulary_or_wider_passes(tmp_path, rows):
    path = tiny.saved(tmp_path / "teacher", 7, vocab=rows)
    trained = runs.trained(tmp_path / "out", rlad(path), max_steps=1)
    assert runs.history(trained, "teacher/kl")


@pytest.mark.parametrize("as_module", [True, False])
def test_a_narrower_head_is_a_mismatch(tmp_path, as_module):
    model = tiny.model(7, vocab=V - 1) if as_module else tiny.saved(tmp_path / "teacher", 7, vocab=V - 1)
    with pytest.raises(VocabularyMismatch, match=f"scores {V - 1} ids, but the student's tokenizer has {V}"):
        runs.trainer(tmp_path / "out", rlad(model))


def test_the_student_is_not_its_own_teacher(tmp_path):
    student = runs.trainer(tmp_path, None).model
    with pytest.raises(ValueError, match="the very module that is trained"):
        runs.RecipeTrainer(
            student, tiny.early_letters, runs.config(tmp_path), recipe=rlad(student),
            train_dataset=tiny.dataset(), processing_class=tiny.tokenizer(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "refused"),
    [("gpt2", False), ("Qwen/Qwen3-0.6B", False), ("./gpt2", True), ("/a/b/c", True), ("here/student", True)],
)
def test_a_name_that_can_only_be_a_local_path_must_exist(tmp_path, monkeypatch, name, refused):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    if refused:
        with pytest.raises(ValueError, match="does not exist"):
            teachers.check_reference(name, "the teacher")
    else:
        teachers.check_reference(name, "the teacher")


def test_a_teacher_is_frozen_and_has_no_dropout(tmp_path):
    built = runs.trainer(tmp_path, rlad(tiny.model(7)))
    teacher = built.teachers["teacher"]
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training
