"""Each form of text, with the states that a human reads in it, and where they are printed."""

import pytest

from posttrain.memory.extract import observed
from posttrain.memory.extract.action import did
from posttrain.memory.extract.said import READ, value_of

STATES = [
    # prose
    ("The chest is open.", {("chest", "state", "open")}),
    ("The oak door is not locked.", {("oak door", "state", "not locked")}),
    ("On the desk 1, you see a book 2 and a pen 1.",
     {("book 2", "location", "desk 1"), ("pen 1", "location", "desk 1")}),
    ("You pick up the lamp from the shelf 3.", {("lamp", "location", "inventory")}),
    ("You put the lamp on the shelf 3.", {("lamp", "location", "shelf 3")}),
    ("You are carrying: a lamp and a rope.", {("lamp", "location", "inventory"), ("rope", "location", "inventory")}),
    ("You are carrying nothing.", {("you", "inventory", "nothing")}),
    ("You see a chest (closed) and a locked safe.", {("chest", "state", "closed"), ("safe", "state", "locked")}),
    ("You open the fridge, revealing some milk.", {("fridge", "state", "open"), ("milk", "location", "fridge")}),
    ("The safe 1 is open. In it, you see a watch 3.", {("safe 1", "state", "open"), ("watch 3", "location", "safe 1")}),
    ("The label of the box says K-17.", {("box", "label", "K-17")}),
    ("The dial is at notch 4.", {("dial", "notch", "4")}),
    ("The red lever moves the stone gate.", {("red lever", "moves", "stone gate")}),
    ("You are in the hall.\nExits: north to cellar through oak door (shut).",
     {("you", "location", "hall"), ("hall", "north", "cellar"), ("hall", "north door", "oak door"),
      ("oak door", "state", "shut")}),
    ("-= Scullery =-\nYou can make out a closed crate nearby.",
     {("you", "location", "scullery"), ("crate", "state", "closed"), ("crate", "location", "scullery")}),
    # key: value and lists
    ("Score: 6", {("score", "value", "6")}),
    ("chest: locked", {("chest", "state", "locked")}),
    ("Inventory:\n- lamp\n- rope (wet)",
     {("lamp", "location", "inventory"), ("rope", "location", "inventory"), ("rope", "state", "wet")}),
    ("pump:\n  status: running\n  pressure: 7", {("pump", "state", "running"), ("pump", "pressure", "7")}),
    # JSON and Python
    ('{"chest": {"state": "open", "size": 3}}', {("chest", "state", "open"), ("chest", "size", "3")}),
    ('[{"name": "lamp", "location": "desk", "lit": true}]', {("lamp", "location", "desk"), ("lamp", "lit", "true")}),
    ('{"id": "ord-17", "status": "shipped", "total": 12}',
     {("ord-17", "status", "shipped"), ("ord-17", "total", "12")}),
    ('{"ok": true, "order": {"id": "ord-17", "status": "shipped"}}',
     {("ok", "value", "true"), ("ord-17", "status", "shipped")}),
    ("{'board': [[0, 2], [4, 8]], 'best': 8}",
     {("board", "0", "[0, 2]"), ("board", "1", "[4, 8]"), ("best", "value", "8")}),
    ('Got: {"a": {"x": {"y": 1}}, "b": {"x": {"y": 2}}}', {("a.x", "y", "1"), ("b.x", "y", "2")}),
    ('{"room": "attic", "inventory": ["coin"]}', {("you", "location", "attic"), ("coin", "location", "inventory")}),
    # tables
    ("| name | state |\n|---|---|\n| crate | open |\n| safe | shut |",
     {("crate", "state", "open"), ("safe", "state", "shut")}),
    ("+----+-----+\n| id | qty |\n+----+-----+\n| a7 | 12  |\n+----+-----+", {("a7", "qty", "12")}),
    ("```csv\nId,Part,Line\n71,2,x\n17,3,y\n```", {("71", "part", "2"), ("17", "line", "y")}),
    ("name\tsize\nalpha\t3\nbeta\t4", {("alpha", "size", "3"), ("beta", "size", "4")}),
    # logs
    ("2024-01-02 10:00:01 ERROR job=build-7 status=failed code=E42",
     {("build-7", "status", "failed"), ("build-7", "code", "E42")}),
    # pages
    ("[178] button 'Menu' expanded: False", {("menu", "expanded", "False")}),
    ('<input id="mail" value="a@b.c">', {("mail", "value", "a@b.c")}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), STATES, ids=range(len(STATES)))
def test_states_and_where_they_are_printed(text, told):
    heard = observed(text, (), None)
    assert told <= {said[:3] for said in heard.states}
    for said in heard.states:
        shown = text[said.start : said.end]
        assert value_of(shown).casefold() == said.value.casefold() or shown.casefold() == said.entity


NAMES = [
    ('Open "quarterly report" at https://example.org/a/b?c=1 now', {"quarterly report", "https://example.org/a/b?c=1"}),
    ("see /srv/app/main.py and src/util/io.py", {"/srv/app/main.py", "src/util/io.py"}),
    ("called parse_args in OptionParser, id 48213, ref abc1234", {"parse_args", "optionparser", "48213", "abc1234"}),
    ("+++ b/lib/core.py\n@@ -1 +1 @@\n+def fresh_start(self):", {"lib/core.py", "fresh_start"}),
    ("class Widget(Base):", {"widget"}),
    ("[7] link 'Products'", {"products"}),
    ('<a href="/cart">Your cart</a>', {"/cart", "your cart"}),
    ("12:00:01 WARN worker lost: ECONNRESET", {"econnreset"}),
]


@pytest.mark.parametrize(("text", "names"), NAMES)
def test_names(text, names):
    heard = observed(text, (), None)
    assert names <= {each.entity for each in heard.names}
    assert all(0 <= each.start < each.end <= len(text) for each in heard.names)


ACTIONS = [
    ("take red key from oak chest", "take", ["red key"], "oak chest", None),
    ("> unlock the safe with the brass key", "unlock", ["safe"], None, "brass key"),
    ("pick up lamp", "take", ["lamp"], None, None),
    ("take lamp and rope", "take", ["lamp", "rope"], None, None),
    ("put lamp into box 2", "put", ["lamp"], "box 2", None),
    ("go to desk 10", "go", ["desk 10"], None, None),
    ("move north", "go", ["north"], None, None),
    ("turn on desk lamp", "on", ["desk lamp"], None, None),
    ('{"tool": "take", "item": "red key", "from": "chest"}', "take", ["red key"], "chest", None),
    ('{"name": "unlock", "arguments": {"target": "safe", "key": "brass key"}}', "unlock", ["safe"], None, "brass key"),
    ('put(item="lamp", to="desk")', "put", ["lamp"], "desk", None),
    ("open('chest')", "open", ["chest"], None, None),
    ("click [178] where [178] is link 'Products'", "use", ["products"], None, None),
]


@pytest.mark.parametrize(("action", "kind", "things", "place", "tool"), ACTIONS)
def test_actions(action, kind, things, place, tool):
    act = did(action).act
    assert (act.kind, [each.name for each in act.things]) == (kind, things)
    assert act.place is None or place is None or act.place.name == place
    assert (act.place.name if act.place else None) == place
    assert (act.tool.name if act.tool else None) == tool
    assert set(things) <= {each.entity for each in did(action).names}


def test_sql_names_tables_columns_and_aliases():
    found = {
        each.entity
        for each in did('SELECT o."Id" AS order_id FROM shop.public.orders o JOIN items i ON o.id = i.ref').names
    }
    assert {"shop.public.orders", "orders", "items", "order_id", "id", "ref"} <= found


def test_what_sql_and_editors_write():
    assert [(said.entity, said.attribute) for said in did("UPDATE jobs SET state = 'done' WHERE id = 7").writes] == [
        ("jobs", "content")
    ]
    edit = 'editor: {"command": "create", "path": "/a/b.py", "file_text": "x = 1"}'
    (said,) = did(edit).writes
    assert (said.entity, said.value, edit[said.start : said.end]) == ("/a/b.py", "x = 1", "x = 1")
    assert did('editor: {"command": "view", "path": "/a/b.py"}').writes == []


def test_lines_like_our_own_format_are_text():
    text = "Step 12: Action: take lamp\nObservation: The lamp is lit.\nTurn 3: The crate is open."
    heard = {said[:3] for said in observed(text, (), None).states}
    assert ("lamp", "location", "inventory") not in heard


def test_hints_of_what_could_be_done_tell_nothing():
    heard = observed("The current available actions are: open crate 1, take lamp from desk 1", (), None)
    assert heard.states == heard.names == []


def test_what_a_line_names_is_not_given_again_but_what_it_tells_is():
    line = "The crate is open, see /srv/crate.log"
    again = observed(line, {line}, None)
    assert again.names == []
    assert again.states == observed(line, (), None).states


def test_only_the_first_characters_are_read():
    assert observed(" " * READ + "The crate is open.", (), None).states == []


@pytest.mark.parametrize("text", ['{"a": 1', "[1, 2", '{"a" 1}', "{1: }", "[}", '{"a": "b'])
def test_broken_literals_tell_no_states_of_records(text):
    assert observed(text, (), None).states == []
