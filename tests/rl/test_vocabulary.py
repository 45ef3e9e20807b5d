"""Teacher and student must mean the same token by the same id."""

from dataclasses import dataclass

import pytest

from posttrain.rl.engines.vocabulary import VocabularyMismatch, check


@dataclass
class Words:
    words: dict[str, int]
    eos_token: str | None = "<eos>"

    def get_vocab(self):
        return dict(self.words)


BASE = {"a": 0, "b": 1, "c": 2, "<eos>": 3}


def test_equal_maps_pass_without_a_remark():
    assert check(Words(BASE), Words(dict(reversed(BASE.items()))), name="t") == []


def test_swapped_ids_are_named():
    """The sizes agree, the words agree, and still every `b` would be scored as a `c`."""
    swapped = BASE | {"b": 2, "c": 1}
    with pytest.raises(VocabularyMismatch, match=r"teacher t maps tokens.*'b': 1 and 2, 'c': 2 and 1\); use a teacher"):
        check(Words(BASE), Words(swapped), name="t")


@pytest.mark.parametrize(
    ("student", "teacher", "said"),
    [
        (BASE, BASE | {"<think>": 4}, "'<think>': none and 4"),
        (BASE | {"<think>": 4}, BASE, "'<think>': 4 and none"),
    ],
)
def test_a_token_that_one_side_lacks_is_named(student, teacher, said):
    with pytest.raises(VocabularyMismatch, match=said):
        check(Words(student), Words(teacher), name="t")


def test_only_the_first_differences_are_shown_by_id():
    student = {f"w{i:02}": i for i in range(20)}
    teacher = {f"w{i:02}": i + (i >= 10) for i in range(20)}
    with pytest.raises(VocabularyMismatch) as error:
        check(Words(student), Words(teacher), name="t")
    message = str(error.value)
    assert "'w10': 10 and 11, 'w11': 11 and 12, 'w12': 12 and 13 and 7 more" in message
    assert "w13" not in message


def test_differing_end_tokens_are_told_but_pass():
    (remark,) = check(Words(BASE), Words(BASE, eos_token="c"), name="t")
    assert "'<eos>'" in remark
    assert "'c'" in remark
    assert "mask_end" in remark


def test_a_mismatch_is_a_value_error():
    assert issubclass(VocabularyMismatch, ValueError)
