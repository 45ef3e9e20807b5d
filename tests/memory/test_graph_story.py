"""A story of twelve turns, with every version and every edge written down by hand."""

import pytest

from posttrain.memory.index import entries
from posttrain.memory.rows import Turn

STORY = [
    Turn("story", number, *texts)
    for number, texts in enumerate(
        [
            (
                "look",
                "You are in the study. You see a desk and an iron box (locked). On the desk, you see a small key and "
                "a pen.",
            ),
            ("take small key from desk", "You pick up the small key from the desk."),
            ("open iron box", "You can't, it seems to be locked."),
            ("take pen from desk", "You take the pen from the desk."),
            ("unlock iron box with small key", "You unlock the iron box with the small key."),
            ("examine small key", "It is an ordinary key."),
            ("open iron box", "You open the iron box, revealing a letter."),
            ("take letter from iron box", "You take the letter from the iron box."),
            ("go north", "You are in the hall. Exits: south to study through oak door (open)."),
            ("close oak door", "You close the oak door."),
            ("drop letter", "You drop the letter."),
            ("go south", "Nothing happens."),
        ]
    )
]

VERSIONS = {
    ("you", "location", "study", 0, None),
    ("desk", "location", "study", 0, None),
    ("iron box", "location", "study", 0, None),
    ("iron box", "state", "locked", 0, None),
    ("desk", "contents", "a small key and a pen", 0, None),
    ("small key", "location", "desk", 0, None),
    ("pen", "location", "desk", 0, None),
    ("small key", "location", "inventory", 1, 1),
    ("pen", "location", "inventory", 3, 3),
    ("iron box", "state", "unlocked", 4, 4),
    ("iron box", "state", "open", 6, 6),
    ("iron box", "contents", "a letter", 6, None),
    ("letter", "location", "iron box", 6, None),
    ("letter", "location", "inventory", 7, 7),
    ("you", "location", "hall", 8, 8),
    ("hall", "south", "study", 8, None),
    ("hall", "south door", "oak door", 8, None),
    ("oak door", "state", "open", 8, None),
    ("oak door", "state", "closed", 9, 9),
    ("letter", "location", "hall", 10, 10),
}

CAUSES = {
    (1, 4, "small key", "location"),  # the key was taken, so the box could be unlocked
    (1, 5, "small key", "location"),  # examined in the hand
    (4, 6, "iron box", "state"),  # unlocked, so it could be opened
    (6, 7, "iron box", "state"),  # opened, so the letter could be taken
    (7, 10, "letter", "location"),  # taken, so it could be dropped
    (8, 9, "you", "location"),  # in the hall, where the door is
    (8, 10, "you", "location"),  # in the hall, where it is dropped
    (8, 11, "you", "location"),  # in the hall, whence south leads
    (9, 11, "oak door", "state"),  # closed, so south is no way
}

READS_OF_WHAT_WAS_ONLY_SEEN = {
    (0, 1, "small key", "location"),
    (0, 1, "desk", "contents"),
    (0, 1, "desk", "location"),
    (0, 1, "you", "location"),
    (0, 2, "iron box", "location"),
    (0, 2, "iron box", "state"),
    (0, 2, "you", "location"),
    (0, 3, "pen", "location"),
    (0, 3, "desk", "contents"),
    (0, 3, "desk", "location"),
    (0, 3, "you", "location"),
    (0, 4, "iron box", "location"),
    (0, 4, "iron box", "state"),
    (0, 4, "you", "location"),
    (0, 6, "iron box", "location"),
    (0, 6, "you", "location"),
    (6, 7, "letter", "location"),
    (6, 7, "iron box", "contents"),
    (0, 7, "iron box", "location"),
    (0, 7, "you", "location"),
    (0, 8, "you", "location"),
    (8, 9, "oak door", "state"),
}

FOUND_IN = {
    (0, "desk", "study"),
    (0, "iron box", "study"),
    (0, "small key", "desk"),
    (0, "pen", "desk"),
    (6, "letter", "iron box"),
    (10, "letter", "hall"),
}


@pytest.fixture(scope="module")
def made():
    return entries(STORY)


def edges(made, kind):
    return {
        (edge.source, edge.target, edge.entity, edge.other) for each in made for edge in each.edges if edge.kind == kind
    }


def test_versions(made):
    assert {fact[:5] for each in made for fact in each.facts} == VERSIONS


def test_writes_are_the_versions_with_a_writer(made):
    written = {
        (writer, turn, entity, attribute) for entity, attribute, _, turn, writer in VERSIONS if writer is not None
    }
    assert edges(made, "WRITE") == written


def test_causes(made):
    assert edges(made, "CAUSES") == CAUSES


def test_reads(made):
    """Every cause is also a read: a version's writer is its turn throughout this story."""
    assert edges(made, "READ") == CAUSES | READS_OF_WHAT_WAS_ONLY_SEEN


def test_associations_and_neighbours(made):
    assert edges(made, "ASSOC") == {(turn, turn, thing, place) for turn, thing, place in FOUND_IN}
    assert edges(made, "NEXT") == {(turn, turn + 1, "", "") for turn in range(11)}


def test_the_failed_steps_change_nothing(made):
    for number in (2, 5, 11):
        assert made[number].facts == ()


@pytest.mark.parametrize(
    ("number", "role", "names"),
    [
        (0, "mention", {"you", "desk", "iron box", "small key", "pen"}),
        (1, "write", {"small key"}),
        (1, "read", {"desk"}),
        (2, "read", {"iron box"}),
        (4, "write", {"iron box"}),
        (4, "read", {"small key"}),
        (6, "mention", {"letter"}),
        (8, "write", {"you"}),
    ],
)
def test_roles(made, number, role, names):
    assert {posting.entity for posting in made[number].postings if posting.role == role} == names


def test_a_hidden_effect_belongs_to_the_last_use_of_what_moves_it():
    """Nothing is seen to move when the lever is pulled at 2; the gate is seen open at 3, and passed at 4."""
    told = [
        ("look", "You are in the yard. Exits: east to field through stone gate (closed)."),
        ("examine red lever", "The red lever moves the stone gate."),
        ("pull red lever", "You pull the red lever."),
        ("look", "You are in the yard. Exits: east to field through stone gate (open)."),
        ("go east", "You are in the field."),
    ]
    made = entries([Turn("yard", number, *texts) for number, texts in enumerate(told)])
    assert ("stone gate", "state", "open", 3, 2) in {fact[:5] for fact in made[3].facts}
    assert (2, 4, "stone gate", "state") in edges(made, "CAUSES")


def test_the_only_key_at_hand_is_read_where_none_is_named():
    told = [
        ("look", "You are in the hall. In the hall: brass key, oak chest (locked)."),
        ("take brass key", "You take the brass key."),
        ("unlock oak chest", "The oak chest is closed."),
    ]
    made = entries([Turn("hall", number, *texts) for number, texts in enumerate(told)])
    assert (1, 2, "brass key", "location") in edges(made, "CAUSES")


@pytest.mark.parametrize("observation", ["Nothing happens.", "You can't do that.", "It is already open.", ""])
def test_an_action_without_effect_makes_no_version(observation):
    told = [("look", "You are in the hall. In the hall: oak chest (closed)."), ("open oak chest", observation)]
    made = entries([Turn("hall", number, *texts) for number, texts in enumerate(told)])
    assert made[1].facts == ()


def test_what_is_only_seen_again_makes_no_version():
    told = [("look", "The oak chest is closed."), ("wait", "The oak chest is closed. A bird sings."), ("look", "")]
    made = entries([Turn("hall", number, *texts) for number, texts in enumerate(told)])
    assert [len(each.facts) for each in made] == [1, 0, 0]


def test_who_looks_does_not_write():
    """The dial was turned by something else; to examine it is not to change it."""
    told = [("look", "The dial is at notch 3."), ("examine dial", "The dial is at notch 5.")]
    made = entries([Turn("hall", number, *texts) for number, texts in enumerate(told)])
    assert [fact[:5] for fact in made[1].facts] == [("dial", "notch", "5", 1, None)]


@pytest.mark.parametrize(("observation", "uses"), [("You pull the red lever.", 1), ("Nothing happens.", 0)])
def test_only_a_use_that_does_not_fail_is_one(observation, uses):
    (made,) = entries([Turn("hall", 0, "pull red lever", observation)])
    assert [(fact.entity, fact.attribute, fact.writer) for fact in made.facts] == [("red lever", "use", 0)] * uses
