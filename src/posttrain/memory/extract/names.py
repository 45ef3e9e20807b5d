"""Things that any text names: quoted strings, URLs, paths, identifiers, codes and ids."""

from __future__ import annotations

import re
from collections.abc import Iterator

from posttrain.memory.extract.said import WORDY, Named, name_of

_NAME = re.compile(
    r"""(?:\b(?=\w)|(?=[~./+\-\#"'`]|http))(?:"""
    r"""https?://[^\s"'<>)\]}]{1,300}+"""
    r"""|(?<![\w/.])(?:~|\.{1,2})?/(?:[\w.@+\-]+/?){1,24}+"""
    r"""|\b(?<!\w-)[\w\-]{1,100}+(?:/[\w.\-]+)+"""
    r"""|(?<![\w.+\-])[\w.+\-]{1,64}+@[\w\-]+\.[\w.\-]+"""
    r"""|\b(?<!\w-)[A-Za-z_][\w\-]{0,100}+(?:\.[A-Za-z_][\w\-]*)+"""
    r"""|\b[A-Za-z]\w*_\w+\b|\b_\w*[A-Za-z]\w*\b"""
    r"""|\b[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+\b"""
    r"""|\b[A-Za-z]{1,12}[-#]?\d[\w\-]*\b|\#\d+\b|\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{7,40}\b|\b\d{4,}\b"""
    r"""|"(?P<double>[^"\\\n]{2,60})"|'(?P<single>[^'\\\n]{2,60})'(?!\w)|`(?P<back>[^`\n]{2,60})`)""",
)


def named(text: str, start: int, end: int) -> Iterator[Named]:
    """The names between two characters."""
    for found in _NAME.finditer(text, start, end):
        group = found.lastgroup
        first, last = found.span(group) if group else found.span()
        while last > first and text[last - 1] in ".,:;-/ ":
            last -= 1
        while first < last and text[first] == " ":
            first += 1
        if 1 < last - first <= WORDY:
            yield Named(name_of(text[first:last]), first, last)
