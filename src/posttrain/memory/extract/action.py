"""What an action does and names, whatever its form: a command, a call of a tool, SQL, an instruction to a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from posttrain.memory.extract import code, names, sql
from posttrain.memory.extract.act import Act, english
from posttrain.memory.extract.literal import Fields, Items, Node, Value, literal
from posttrain.memory.extract.phrase import Thing, thing
from posttrain.memory.extract.records import key_of
from posttrain.memory.extract.said import CONTENT, WORDY, Named, Said, name_of, readable, value_of
from posttrain.memory.extract.words import VERBS, vocabulary

LONGEST = 8000
"""At most so many first characters of an action are searched for names."""
COMMAND = 2000
"""So many first characters of a line are read as a command or as a call."""
MOST = 24
"""At most so many names are kept of an action."""

_VERB = vocabulary("tool name action command function verb type method op operation tool_name function_name act")
_NESTED = vocabulary("arguments args input parameters params kwargs tool_input")
_THING = vocabulary("item object thing entity what target element name file_path path filename receptacle direction")
_FROM = vocabulary("from source from_container")
_PLACE = vocabulary("to into onto in on inside container place location destination dest where room at")
_TOOL = vocabulary("with using key tool instrument")
_TEXT = vocabulary(
    "content contents text file_text new_str new_string code data body replacement patch new_content value"
)
_PATH = vocabulary("path file_path filename file target_file url table")
_READING = vocabulary("view read open cat list ls search find grep get")

_CALL = re.compile(r"\s*(?P<verb>[A-Za-z_][\w.]*)\s*\((?P<args>[^()]*)\)\s*$")
_ARGUMENT = re.compile(
    r"""(?:(?P<key>[A-Za-z_]\w*)\s*=\s*)?(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s,"'=]+))\s*(?:,|$)"""
)
_WHERE = re.compile(r"where \[[\w\-]+\] is (?:\w+ )?(?P<quote>['\"])(?P<label>.*?)(?P=quote)(?=\s|$)", re.DOTALL)
_REDIRECT = re.compile(
    r"(?:(?<![<>\d&|=\-])>{1,2}\s*|\btee\s+(?:-a\s+)?|\bsed\s+-i\S*\s+(?:'[^']*'|\"[^\"]*\")\s+)"
    r"(?P<file>[\w./~\-]*[\w]\.[\w]+)"
)
_ID = re.compile(r"\[(\d+)\]")


class Did(NamedTuple):
    """What an action does."""

    act: Act
    names: list[Named]
    """All that it names, the things that it is done to first; each once."""
    writes: list[Said]
    """What it writes to files, tables and fields, where it works."""


def did(action: str) -> Did:
    """What an action does."""
    text = readable(action)
    act, found, writes = Act(), [], []
    statement = sql.is_sql(text)
    brace = text.find("{", 0, 200)
    node = literal(text, brace) if brace >= 0 else None
    if isinstance(node, Fields):
        act, writes = _tool(text, text[:brace], node)
        found += _values(node)
    elif statement:
        writes += sql.written(text)
    elif call := _CALL.match(text) if len(text) <= COMMAND else None:
        act = _call(text, call)
    elif label := _WHERE.search(text, 0, COMMAND):
        act = _browser(text, label)
    else:
        first = text.find("\n", 0, COMMAND)
        act = english(text, 0, min(len(text), COMMAND) if first < 0 else first) or Act()
    found[:0] = [
        *(Named(each.name, each.start, each.end) for each in act.named),
        *(Named(said.entity, *said.named) for said in writes),
    ]
    if statement:
        found += sql.named(text[:LONGEST])
    found += _named(text[:LONGEST])
    once: dict[str, Named] = {}
    for each in found:
        once.setdefault(each.entity, each)
    return Did(act, list(once.values())[:MOST], writes)


def _named(text: str) -> Iterator[Named]:
    """What any text names, definitions and ids."""
    yield from names.named(text, 0, len(text))
    if "\n" in text or "def " in text:
        at = 0
        for line in text.split("\n"):
            yield from code.named(text, at, at + len(line))
            at += len(line) + 1
    for found in _ID.finditer(text):
        yield Named(found[1], *found.span(1))


def _flat(node: Fields) -> Iterator[tuple[str, Value]]:
    """All scalars with their keys, those of nested arguments too."""
    for key, value in node.pairs:
        word = key_of(key.text)
        if isinstance(value, Value):
            yield word, value
        elif isinstance(value, Fields) and word in _NESTED:
            yield from _flat(value)


def _values(node: Node, depth: int = 0) -> Iterator[Named]:
    if isinstance(node, Value):
        if (
            1 < len(node.text) <= WORDY
            and not node.text.isdigit()
            and name_of(node.text) not in ("true", "false", "none", "null")
        ):
            yield Named(name_of(node.text), node.start, node.end)
    elif depth < 24:
        for each in node.nodes if isinstance(node, Items) else [value for _, value in node.pairs]:
            yield from _values(each, depth + 1)


def _tool(text: str, before: str, node: Fields) -> tuple[Act, list[Said]]:
    """A call of a tool: `take {"item": "lamp"}`, `{"tool": "take", "item": "lamp"}`, `editor: {"command": ...}`."""
    flat = list(_flat(node))
    verb = name_of(re.sub(r"[^\w ]", " ", before)).rpartition(" ")[2]
    words = [verb] if verb else []
    roles: dict[str, list[Thing]] = {"thing": [], "from": [], "place": [], "tool": []}
    for word, value in flat:
        if word in _VERB and name_of(value.text).partition(" ")[0] in VERBS and value.text.count(" ") == 0 and not verb:
            words.append(name_of(value.text))
            verb = words[-1]
            continue
        if (
            word in ("command", "action", "input", "instruction", "text")
            and (act := english(text, value.start, value.end))
            and act.things
        ):
            return act, []
        role = next((name for name, keys in _ROLES.items() if word in keys), None)
        it = thing(text, value.start, value.end) if role else None
        if role and it:
            roles[role].append(it)
    kind = next((VERBS[part] for word in reversed(words) for part in (word, *word.split("_")) if part in VERBS), "")
    things = roles["thing"] or (roles["tool"][:1] if kind in ("take", "drop", "use") else [])
    places = roles["from"] or roles["place"]
    tool = roles["tool"][0] if roles["tool"] and roles["tool"][0] not in things else None
    if kind == "go" and not things:
        things, places = places[:1], []
    act = Act(kind, tuple(things), places[0] if places else None, tool, bool(roles["from"]))
    return act, _edits(text, node, flat)


_ROLES = {"thing": _THING, "from": _FROM, "place": _PLACE, "tool": _TOOL}


def _edits(text: str, node: Fields, flat: list[tuple[str, Value]]) -> list[Said]:
    """A file or table with the text that is written to it, the whole call where that is empty; or a redirection."""
    known = dict(reversed(flat))
    path = next((known[key] for key in known if key in _PATH and known[key].text.strip()), None)
    body = next((known[key] for key in known if key in _TEXT), None)
    if body and not body.text.strip():
        body = Value(text[node.start : node.end], node.start, node.end)
    command = known.get("command")
    if path and body and not (command and command.text.partition(" ")[0] in _READING):
        return [
            Said(name_of(path.text)[:300], CONTENT, value_of(body.text), body.start, body.end, (path.start, path.end))
        ]
    found = []
    for key in ("command", "code", "cmd", "script"):
        if key in known:
            value = known[key]
            for each in _REDIRECT.finditer(text, value.start, min(value.end, value.start + LONGEST)):
                span = each.span("file")
                found.append(
                    Said(
                        name_of(each["file"]),
                        CONTENT,
                        value_of(text[value.start : value.end]),
                        value.start,
                        value.end,
                        span,
                    )
                )
    return found


def _call(text: str, call: re.Match[str]) -> Act:
    """`take("lamp")`, `put(item="lamp", to="desk")`."""
    kind = next((VERBS[part] for part in (call["verb"].lower(), *call["verb"].lower().split("_")) if part in VERBS), "")
    things, place, tool, leaving = [], None, None, False
    for found in _ARGUMENT.finditer(text, *call.span("args")):
        key = (found["key"] or "").lower()
        group = next(name for name in ("double", "single", "bare") if found[name] is not None)
        it = thing(text, *found.span(group))
        if it is None or it.name.isdigit():
            continue
        if key in _TOOL:
            tool = it
        elif key in _PLACE or key in _FROM or (not key and things and kind in ("put", "take")):
            place, leaving = it, key in _FROM or kind == "take"
        else:
            things.append(it)
    return Act(kind, tuple(things), place, tool, leaving)


def _browser(text: str, label: re.Match[str]) -> Act:
    """`click [178] where [178] is link 'Products'`."""
    start, end = label.span("label")
    while start < end and not text[start].isalnum():
        start += 1
    it = thing(text, start, min(end, start + WORDY))
    return Act("use", (it,) if it else ())
