"""What code, diffs and listings of files name: definitions, imports, changed files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from posttrain.memory.extract.said import Named, name_of

_LINE = re.compile(
    r"\s*(?:\d+[\t:\-|]\s*)?[+\-]?\s*(?:(?:async\s+|export\s+|public\s+|private\s+|static\s+|pub\s+)*"
    r"(?:def|class|func|fn|function|interface|struct|enum|trait)\s+(?P<name>[A-Za-z_$][\w$]*)"
    r"|(?:from|import)\s+(?P<module>[\w.]+)"
    r"|(?:---|\+\+\+)\s+(?:[ab]/)?(?P<file>\S+)"
    r"|diff --git a/(?P<diff>\S+)"
    r"|File \"(?P<trace>[^\"]+)\", line \d+)"
)
_CODE = re.compile(
    r"\s*(?:\d+[\t:\-|]|[+\-]\s{2,}\S|(?:@@|---|\+\+\+|diff --git) +\S|(?:async )?(?:def|class|fn|func|function)\s+\w+"
    r"|(?:from\s+[\w.]+\s+)?import\s+[\w.{]|return\b|if\s.+:$|elif\s.+:$|else:$|for\s.+:$|while\s.+:$|try:$"
    r"|except\b|with\s.+:$|raise\s|assert\s|self\.|print\(|#\s|//|/\*|\}|@\w+"
    r"|[\w.\[\]\"']+\s*[+\-*/]?=\s*[\w\[{(\"'].*[\])}(])"
)
_CALL = re.compile(r"\w\(")


def is_code(line: str) -> bool:
    """Whether a line looks like code, a diff or a numbered listing, which tells no state."""
    bare = line.rstrip()
    if bare.endswith((";", "{")) or "\\n" in line or (bare.endswith(")") and _CALL.search(line)):
        return True
    return bool(_CODE.match(line))


def named(text: str, start: int, end: int) -> Iterator[Named]:
    """What a line defines, imports or changes."""
    found = _LINE.match(text, start, end)
    if found and found.lastgroup:
        span = found.span(found.lastgroup)
        yield Named(name_of(text[slice(*span)]), *span)
