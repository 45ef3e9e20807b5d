"""Evidence on the terminal. Text of a log is shown as text: it moves no cursor, changes no colour, hides nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

LONGEST = 600
"""Characters of a text that are shown."""

_UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
"""What a terminal obeys, or shows as nothing; among them what turns the order of the writing around."""


def visible(text: str) -> str:
    """Each such character as its escape."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def show(answer: Mapping[str, Any]) -> None:
    """Print an answer in the form of `replies.answer_of`."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 140))
    for each in answer["findings"]:
        console.print(Text(_short(each["text"]), "bold"), soft_wrap=True)
    if answer["evidence"]:
        table = Table("turn", "why", "evidence", box=SIMPLE_HEAD)
        for each in answer["evidence"]:
            parts = [f"{span['field']}: {_short(span['text'])}" for span in each["spans"]]
            table.add_row(str(each["turn"]), Text(", ".join(each["signals"])), Text("\n".join(parts)))
        console.print(table)
    elif not answer["findings"]:
        console.print(Text(f"No evidence: {visible(answer['because'])}"), soft_wrap=True)
    for part, told in answer["explained"].items():
        console.print(Text(visible(f"{part}: {json.dumps(told, ensure_ascii=False)}")), soft_wrap=True)


def _short(text: str) -> str:
    rest = len(text) - LONGEST
    return visible(text) if rest <= 0 else f"{visible(text[:LONGEST])} … ({rest} characters more)"
