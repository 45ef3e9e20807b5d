"""What SQL names and changes: tables, columns, aliases and quoted values; also what a statement writes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from posttrain.memory.extract.said import CONTENT, Named, Said, name_of, value_of
from posttrain.memory.extract.words import vocabulary

_ID = r"""(?:[\w$]+|"[^"\n]{1,80}"|`[^`\n]{1,80}`|\[[^\]\n]{1,80}\])"""
_IS = re.compile(
    r"\b(?:select\b.+?\bfrom|insert\s+into|update\s+\S+\s+set|delete\s+from"
    r"|create\s+(?:or\s+replace\s+)?(?:temp\w*\s+)?(?:table|view)|alter\s+table|drop\s+table|merge\s+into"
    r"|with\s+\w+\s+as\s*\()",
    re.IGNORECASE | re.DOTALL,
)
_TABLE = re.compile(
    rf"\b(?:from|join|into|update|table(?:\s+if\s+(?:not\s+)?exists)?|view|describe)\s+(?P<table>{_ID}(?:\.{_ID}){{0,3}})",
    re.IGNORECASE,
)
_COLUMN = re.compile(
    r"""(?P<alias>\b\w{1,30}\.)?(?:"(?P<quoted>[^"\n]{1,60})"|`(?P<back>[^`\n]{1,60})`)"""
    r"""|\b\w{1,30}\.(?P<plain>[A-Za-z_]\w*)|'(?P<value>[^'\n]{2,60})'|\bas\s+(?P<as>[A-Za-z_]\w*)""",
    re.IGNORECASE,
)
_WRITES = re.compile(
    r"\b(?:insert\s+(?:or\s+\w+\s+)?into|update|delete\s+from|alter\s+table"
    r"|create\s+(?:or\s+replace\s+)?(?:temp\w*\s+)?(?:table|view)(?:\s+if\s+not\s+exists)?"
    r"|drop\s+table(?:\s+if\s+exists)?|merge\s+into|truncate(?:\s+table)?)\s+"
    rf"(?P<table>{_ID}(?:\.{_ID}){{0,3}})",
    re.IGNORECASE,
)
_WORDS = vocabulary("select lateral unnest the a dual where set values only")


def is_sql(text: str) -> bool:
    """Whether a text holds a statement."""
    return bool(_IS.search(text, 0, 4000))


def named(text: str) -> Iterator[Named]:
    """Tables with all parts of their names and the last alone, then columns, aliases and values."""
    for found in _TABLE.finditer(text):
        start, end = found.span("table")
        name = _bare(text[start:end])
        if name in _WORDS:
            continue
        yield Named(name, start, end)
        cut = max(text.rfind(".", start, end) + 1, start)
        if cut > start:
            yield Named(_bare(text[cut:end]), cut, end)
    for found in _COLUMN.finditer(text):
        start, end = found.span(found.lastgroup or 0)
        if found.lastgroup != "alias":
            yield Named(name_of(text[start:end]), start, end)


def written(text: str) -> Iterator[Said]:
    """The tables that a statement writes; the value is the statement."""
    for found in _WRITES.finditer(text):
        stop = text.find(";", found.end())
        stop = len(text) if stop < 0 else stop
        name = _bare(text[slice(*found.span("table"))])
        if name not in _WORDS:
            yield Said(name, CONTENT, value_of(text[found.start() : stop]), found.start(), stop, found.span("table"))


def _bare(text: str) -> str:
    return name_of(re.sub(r"[\"`\[\]]", "", text))
