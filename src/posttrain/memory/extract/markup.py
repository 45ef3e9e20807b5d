"""What HTML and accessibility trees tell: elements by their labels, with the states of controls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from posttrain.memory.extract.said import WORDY, Named, Said, name_of, value_of
from posttrain.memory.extract.words import vocabulary

_NODE = re.compile(
    r"\s*\[(?P<id>[\w\-]+)\]:?\s+<?(?P<role>[A-Za-z]\w*)>?\s+"
    r"(?P<label>'(?:[^'\\]|\\.|'(?=\w))*+'|\"[^\"]*+\")(?P<rest>.*)$",
    re.DOTALL,
)
_STATE = re.compile(
    r"\b(?P<name>checked|selected|expanded|disabled|pressed|value|required|readonly|valuetext|current|hidden)\s*[:=]\s*"
    r"(?P<value>'[^']*'|\"[^\"]*\"|[\w.\-]+)"
)
_TAG = re.compile(r"<(?P<tag>[a-zA-Z][\w-]*)(?P<rest>(?:\s[^<>]*)?)/?>(?:\s*+(?P<text>[^<>]{1,80}+)\s*</)?")
_OWN = re.compile(
    r"\b(?P<name>id|name|value|href|aria-label|placeholder|title|alt|checked|disabled|selected)\s*=\s*"
    r"""["'](?P<value>[^"'<>]{1,200})["']"""
)
_SPOKEN = vocabulary("a button h1 h2 h3 h4 title label option li th td span p input select textarea")


def is_node(line: str) -> bool:
    """Whether a line is a node of an accessibility tree."""
    return bool(_NODE.match(line))


def node(text: str, start: int, end: int) -> Iterator[Said | Named]:
    """A line such as `[178] link 'Products' expanded: False`; ids change from page to page, labels do not."""
    found = _NODE.match(text, start, end)
    if not found:
        return
    first, last = found.start("label") + 1, found.end("label") - 1
    while first < last and not text[first].isalnum():
        first += 1
    if not 0 < last - first <= WORDY:
        return
    label = name_of(text[first:last])
    if not label:
        return
    yield Named(label, first, last)
    for state in _STATE.finditer(text, *found.span("rest")):
        a, b = state.span("value")
        a, b = (a + 1, b - 1) if text[a] in "'\"" else (a, b)
        if state["name"] != "required" and a < b:
            yield Said(label, state["name"], value_of(text[a:b]), a, b, (first, last))


def is_html(line: str) -> bool:
    """Whether a line holds a tag."""
    return "<" in line and bool(_TAG.search(line))


def html(text: str, start: int, end: int) -> Iterator[Said | Named]:
    """Elements by their id, name or label, with their value; texts of headings, links and buttons."""
    for found in _TAG.finditer(text, start, end):
        own = {each["name"]: each.span("value") for each in _OWN.finditer(text, *found.span("rest"))}
        key = next((own[name] for name in ("id", "name", "aria-label", "title") if name in own), None)
        if key:
            entity = name_of(text[slice(*key)])
            yield Named(entity, *key)
            for name in ("value", "checked", "disabled", "selected"):
                if name in own:
                    yield Said(entity, name, value_of(text[slice(*own[name])]), *own[name], key)
        if "href" in own and own["href"][1] - own["href"][0] <= WORDY:
            yield Named(name_of(text[slice(*own["href"])]), *own["href"])
        if found["text"] and found["tag"].lower() in _SPOKEN and (said := found["text"].strip()):
            first = found.start("text") + found["text"].index(said)
            if len(said) > 1:
                yield Named(name_of(said), first, first + len(said))
            if key and len(said) <= WORDY and found["tag"].lower() in ("span", "p", "td", "label", "option"):
                yield Said(name_of(text[slice(*key)]), "text", value_of(said), first, first + len(said), key)
