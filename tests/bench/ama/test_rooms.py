"""The rooms: the same in every process, and evidence that is enough, and needed."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from posttrain.bench.ama.log import QUOTAS, tokens_of
from posttrain.bench.ama.reader import answer, score
from posttrain.bench.ama.worlds import rooms
from posttrain.bench.ama.worlds.forms import FORMS

SEEDS = range(12)


@pytest.fixture(scope="module")
def logs():
    return [log for seed in SEEDS for log in rooms.logs("8K", seed)] + rooms.logs("64K", 0)


def turns_of(log, wanted):
    return [log.turns[step] for step in sorted(set(wanted))]


def test_with_the_evidence_alone_the_reader_is_always_right(logs):
    for log in logs:
        for question in log.questions:
            told = answer(question, turns_of(log, question.turns), FORMS[log.form].read)
            assert score(question, told) == 1.0, (log.name, question)


def test_any_turn_that_is_said_to_hold_a_piece_will_do(logs):
    for log in logs:
        for question in log.questions:
            last = [piece[-1] for piece in question.needle]
            assert score(question, answer(question, turns_of(log, last), FORMS[log.form].read)) == 1.0


def test_without_any_one_piece_of_the_evidence_the_reader_is_not_right(logs):
    for log in logs:
        for question in log.questions:
            for left_out in range(len(question.needle)):
                kept = [piece[0] for at, piece in enumerate(question.needle) if at != left_out]
                assert score(question, answer(question, turns_of(log, kept), FORMS[log.form].read)) < 1.0, question


def test_with_the_whole_log_it_is_right_too(logs):
    for log in logs:
        for question in log.questions:
            if question.answerable:
                assert score(question, answer(question, log.turns, FORMS[log.form].read)) == 1.0, question


def test_the_three_forms_tell_the_same(logs):
    for seed in range(4):
        first, *others = rooms.logs("8K", seed)
        read = [[FORMS[log.form].read(t.turn, t.action, t.observation) for t in log.turns] for log in (first, *others)]
        assert read[0] == read[1] == read[2]
        assert None not in read[0]
        assert all(log.truth == first.truth and log.questions == first.questions for log in others)


def test_what_is_said_to_be_printed_is_printed_word_for_word(logs):
    for log in logs:
        assert len(log.truth) > len(log.turns) / 2
        for entity, _, value, turn in log.truth:
            printed = log.turns[turn].observation.casefold()
            assert value.casefold() in printed
            assert entity.casefold() in printed


def test_every_type_has_its_quota_and_there_is_a_question_without_an_answer_of_each_kind(logs):
    for log in logs:
        kinds = Counter(question.kind for question in log.questions if question.answerable)
        assert kinds == QUOTAS
        assert [q.id for q in log.questions if not q.answerable] == ["unknown", "beyond", "unseen"]
        assert len({question.text for question in log.questions}) == len(log.questions)


def test_evidence_lies_early_in_the_middle_and_late():
    thirds = Counter()
    for seed in range(20):
        log = rooms.logs("8K", seed, ["prose"])[0]
        thirds.update(3 * turn // len(log.turns) for q in log.questions for turn in q.turns)
    assert min(thirds.values()) > sum(thirds.values()) / 5, thirds


def test_all_templates_are_asked_and_none_dominates_its_type():
    asked = Counter()
    for seed in range(40):
        for question in rooms.logs("8K", seed, ["prose"])[0].questions:
            if question.answerable:
                asked[question.kind, question.template] += 1
    for kind, templates in (("A", 4), ("B", 8), ("C", 7), ("D", 6)):
        counts = [n for (of, _), n in asked.items() if of == kind]
        assert len(counts) == templates, asked
        assert max(counts) < 8 * min(counts), asked


def test_a_log_is_as_long_as_asked():
    for length in ("8K", "32K"):
        log = rooms.logs(length, 3, ["prose"])[0]
        assert tokens_of(length) <= log.tokens < tokens_of(length) * 1.02


def test_the_same_seed_gives_the_same_log_in_every_process():
    code = (
        "import hashlib, json; from posttrain.bench.ama.worlds import rooms\n"
        "found = [[log.name, log.turns, log.questions, log.truth] for log in rooms.logs('16K', 5)]\n"
        "text = json.dumps(found, default=vars)\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(found) == 1
    other = json.dumps([q.text for q in rooms.logs("16K", 6)[0].questions])
    assert other != json.dumps([q.text for q in rooms.logs("16K", 5)[0].questions])


def test_time_and_kind_matter():
    """The last state of all is wrong for most questions of type C, and the last mention before for most of type B."""
    late, mention, asked = 0, 0, Counter()
    for seed in range(20):
        log = rooms.logs("8K", seed, ["prose"])[0]
        for question in log.questions:
            if not question.answerable:
                continue
            asked[question.kind] += 1
            if question.kind == "C":
                end = replace(question, slots={**question.slots, "step": len(log.turns)})
                late += answer(end, log.turns, FORMS["prose"].read) != question.answer
            if question.kind == "B" and "step" in question.slots and "thing" in question.slots:
                before = [t.turn for t in log.turns if question.slots["thing"] in t.action + t.observation]
                named = [turn for turn in before if turn < question.slots["step"]]
                mention += not named or named[-1] not in {turn for piece in question.needle for turn in piece}
            elif question.kind == "B":
                mention += 1
    assert late > 0.6 * asked["C"]
    assert mention > 0.5 * asked["B"]
