"""A small log whose states a reader can follow, for tests of retrieval."""

from posttrain.memory.plain import PlainRun
from posttrain.memory.rows import Turn

EVENTS = (
    ("look", "You are in the loft. In the loft: oak chest (locked), red lamp, brass key."),  # 0
    ("take brass key", "You take the brass key."),  # 1
    ("go east", "You go east to the cellar. You are in the cellar. In the cellar: iron stove."),  # 2
    ("examine iron stove", "The iron stove is cold."),  # 3
    ("go west", "You go west to the loft. You are in the loft. In the loft: oak chest (locked), red lamp."),  # 4
    ("open oak chest", "The oak chest is locked."),  # 5
    ("unlock oak chest with brass key", "You unlock the oak chest with the brass key. The oak chest is closed."),  # 6
    ("take red lamp", "You take the red lamp."),  # 7
    ("open oak chest", "You open the oak chest. The oak chest is open. In the oak chest: silver ring."),  # 8
    ("put red lamp into oak chest", "You put the red lamp into the oak chest. The red lamp is in the oak chest."),  # 9
    ("take silver ring from oak chest", "You take the silver ring from the oak chest."),  # 10
    ("close oak chest", "You close the oak chest. The oak chest is closed."),  # 11
    ("go east", "You go east to the cellar. You are in the cellar. In the cellar: iron stove."),  # 12
    ("drop silver ring", "You drop the silver ring. The silver ring is in the cellar."),  # 13
    ("go west", "You go west to the loft. You are in the loft. In the loft: oak chest (closed)."),  # 14
    ("open oak chest", "You open the oak chest. The oak chest is open. In the oak chest: red lamp."),  # 15
    ("take red lamp from oak chest", "You take the red lamp from the oak chest."),  # 16
)


def turns(events=EVENTS, run="loft", first=0):
    return [Turn(run, first + number, action, seen) for number, (action, seen) in enumerate(events)]


def view(until=None, events=EVENTS):
    return PlainRun(turns(events)).view(until)
