"""BabyAI and TextWorld: evidence that is enough and needed, and texts that say what happened."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from posttrain.bench.ama.log import QUOTAS
from posttrain.bench.ama.questions.trace import Trace
from posttrain.bench.ama.reader import answer, score
from posttrain.bench.ama.worlds.table import WORLDS

pytestmark = pytest.mark.filterwarnings("ignore:Game .* is not fully supported")
NEEDS = {"babyai": "minigrid", "textworld": "textworld"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=NEEDS)
def logs(request, cache):
    pytest.importorskip(NEEDS[request.param])
    return [log for seed in range(3) for log in WORLDS[request.param].logs("8K", seed)]


def given(log, wanted):
    return [log.turns[step] for step in sorted(set(wanted))]


def test_the_evidence_is_enough_and_every_piece_is_needed(logs):
    for log in logs:
        read = WORLDS[log.world].read(log.form)
        for question in log.questions:
            assert score(question, answer(question, given(log, question.turns), read)) == 1, question
            last = [piece[-1] for piece in question.needle]
            assert score(question, answer(question, given(log, last), read)) == 1, question
            for left_out in range(len(question.needle)):
                kept = [piece[0] for at, piece in enumerate(question.needle) if at != left_out]
                assert score(question, answer(question, given(log, kept), read)) < 1, question
            if question.answerable:
                assert score(question, answer(question, log.turns, read)) == 1, question


def test_quotas_and_questions_without_answers(logs):
    for log in logs:
        assert Counter(question.kind for question in log.questions if question.answerable) == QUOTAS
        assert {q.id for q in log.questions if not q.answerable} == {"unknown", "beyond", "unseen"}


def test_what_is_said_to_be_printed_is_printed(logs):
    for log in logs:
        assert log.truth
        for entity, _, value, turn in log.truth:
            assert entity in log.turns[turn].observation
            assert value in log.turns[turn].observation


def test_what_is_read_from_the_text_is_what_the_simulator_did(logs):
    for log in logs[:2]:
        world = __import__(WORLDS[log.world].module, fromlist=["play"])
        played = world.play("8K", int(log.name.rpartition("-")[2]))
        events, changes = (played[1], played[0].changes) if log.world == "babyai" else (played[0], played[2])
        read = WORLDS[log.world].read(log.form)
        assert [read(turn.turn, turn.action, turn.observation) for turn in log.turns] == events
        trace = Trace(events, changes)
        for event in events:
            for shown in event.shown:
                assert trace.value(shown.entity, shown.attribute, event.step) == shown.value


@pytest.mark.parametrize("world", NEEDS)
def test_the_same_seed_gives_the_same_log_in_every_process(world, cache):
    pytest.importorskip(NEEDS[world])
    code = (
        "import hashlib; from posttrain.bench.ama.worlds.table import WORLDS\n"
        f"log, = WORLDS['{world}'].logs('8K', 1)\n"
        "text = repr([log.turns, log.questions, log.truth])\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for seed in ("0", "5")
    }  # fmt: skip
    assert len(found) == 1
