"""What a question is taken to ask for."""

import pytest
from loft import view

from posttrain.memory.retrieval.deed import deed
from posttrain.memory.retrieval.question import named, named_each, plan


def planned(question):
    seen = view()
    return plan(question, seen, seen.lengths())


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Where is the red lamp?", ("red lamp",)),
        ("Where is the Red  Lamp's place?", ("red lamp",)),
        ("Was 'oak chest' open before \u201cbrass key\u201d?", ("oak chest", "brass key")),
        ("The oak chest, the oak chest!", ("oak chest",)),
        ("Where is the lamp?", ()),
        ("Where is the red?", ()),
        ("What did you open?", ()),
        ("", ()),
    ],
)
def test_names_of(question, names):
    assert planned(question).names == names


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many times was the oak chest opened?", "count"),
        ("Count the failed steps.", "count"),
        ("How often did it look?", "count"),
        ("List every step that failed.", "list"),
        ("Which steps opened something?", "list"),
        ("Name all the rooms.", "list"),
        ("Why was the oak chest open?", "cause"),
        ("Which earlier step made it possible to open the chest?", "cause"),
        ("What led to the silver ring being free?", "cause"),
        ("Where was the red lamp after step 4?", "state"),
        ("What is the state of the oak chest at step 4?", "state"),
        ("How did the inventory change?", "state"),
        ("What did the agent do at step 4?", "recall"),
        ("Step 4?", "recall"),
    ],
)
def test_kind_of(question, kind):
    assert planned(question).kind == kind


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("When was it picked up?", ("take",)),
        ("When was it taken, and when put down?", ("take", "drop")),
        ("Who unlocked and opened the oak chest?", ("unlock", "open")),
        ("Which step pulled the lever?", ("pull",)),
        ("When was the label written?", ("write",)),
        ("Step 4?", ()),
    ],
)
def test_verbs_of(question, kinds):
    assert set(kinds) <= set(planned(question).kinds)
    assert bool(kinds) == bool(planned(question).kinds)


@pytest.mark.parametrize(
    ("question", "flag"),
    [
        ("What came right after it?", "following"),
        ("Which later step did it make possible?", "later"),
        ("In which step was it first opened?", "first"),
        ("What was the last value?", "last"),
        ("What is the whole history of it?", "history"),
        ("In which steps was it moved?", "moved"),
        ("Which steps did not work?", "failed"),
        ("Which rooms did it enter?", "entered"),
    ],
)
def test_flags_of(question, flag):
    assert getattr(planned(question), flag)
    assert not getattr(planned("What did the agent do at step 4?"), flag)


def test_the_addresses_are_no_part_of_the_words():
    found = planned("Where was the red lamp at step 12?")
    assert found.where.steps == (12,)
    assert "12" not in found.words


def test_many_texts_are_read_like_each():
    texts = ["open the oak chest", "", "the red lamp, the oak chest", "the lamp", "the red lamp, the oak chest"]
    assert named_each(texts, view()) == [named(text, view()) for text in texts]
    assert named_each([], view()) == []


@pytest.mark.parametrize(
    ("action", "kind", "rest"),
    [
        ("Open the Oak chest", "open", ("the", "oak", "chest")),
        ("pick up the key", "take", ("the", "key")),
        ('{"tool": "open", "what": "box-1"}', "open", ("what", "box-1")),
        ("open", "open", ()),
        ("one two three four five six seven eight nine ten eleven open it", "open", ("it",)),
    ],
)
def test_the_first_verb_of_an_action(action, kind, rest):
    assert deed(action) == (kind, rest) == deed(action, [kind, "other"])
    assert deed(action, ["other"]) is None


def test_a_verb_that_comes_late_is_none():
    assert deed("one two three four five six seven eight nine ten eleven twelve open it") is None
    assert deed("") is None
