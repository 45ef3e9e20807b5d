"""Tables of shares for the terminal, narrow enough that numbers are whole in 120 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.extras import need


def table(title: str, caption: str, columns: Sequence[str], first: str = "defence") -> Any:
    """An empty table: a column of names, which wrap where there is no room, and right-aligned numbers."""
    out = need("rich.table").Table(
        box=need("rich.box").SIMPLE_HEAD,
        title=title,
        caption=f"{caption}\n",
        title_justify="left",
        caption_justify="left",
        padding=(0, 0, 0, 1),
        pad_edge=False,
        show_edge=False,
        min_width=len(title),
    )
    out.add_column(first, overflow="fold")
    for name in columns:
        out.add_column(name, justify="right", no_wrap=True)
    return out


def line(text: str) -> Any:
    """A line above tables."""
    return need("rich.text").Text(f"{text}\n", style="bold")


def interval(value: dict[str, float] | None, *, n: bool = False) -> str:
    """A share with its interval, and of how many runs; a dash where nothing was counted."""
    if value is None:
        return "-"
    of = f", n {value['n']}" if n else ""
    return f"{value['mean']:.2f} [dim]{_bound(value['low'])}–{_bound(value['high'])}{of}[/dim]"


def _bound(share: float) -> str:
    """Two decimals, and no more characters than needed: `0`, `.26`, `1`."""
    text = f"{share:.2f}"
    return {"0.00": "0", "1.00": "1"}.get(text, text.removeprefix("0"))
