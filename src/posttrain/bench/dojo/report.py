"""The result as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.extras import need

CONTACT = (
    "contact: a run that read from a host which neither the user nor the system named, as tasks that follow a link in "
    "a message do too; it is reported, not blocked."
)
INTERVALS = "Intervals: 95 %, Wilson, over runs."
BROKEN = "broken: runs that ended in an error, neither safe nor attacked, neither useful nor useless."


def tables(result: dict[str, Any]) -> list[Any]:
    """Under attack, in ordinary runs, and each injection under each defence."""
    return [_attacked(result), _ordinary(result), _injections(result)]


def _attacked(result: dict[str, Any]) -> Any:
    web = result["web"]
    notes = [f"{name}: {note}." for name, note in result["defences"].items()]
    caption = [f"{result['sign']}.", *_web_says(result), *notes, BROKEN, INTERVALS]
    columns = ("runs", "injection carried out", *(("over the web", "contact") if web else ()), "user's task done",
               "call denied", "broken")  # fmt: skip
    title = f"AgentDojo {result['suite']} {result['version']}, attack {result['attack']}"
    table = _table(f"{title} ({result['says']})", caption, columns)
    for name, row in result["rows"].items():
        found = row["attacked"]
        keys = ("carried_out", *(("web", "contact") if web else ()), "utility", "blocked")
        table.add_row(
            name, _n(found["utility"]), *(_interval(found[key], n=key == "web") for key in keys), str(row["errors"])
        )
    return table


def _web_says(result: dict[str, Any]) -> list[str]:
    if not result["web"]:
        return []
    names = ", ".join(name for name, task in result["injections"].items() if task["web"])
    return [f"over the web: of the injections that make a request ({names})."]


def _ordinary(result: dict[str, Any]) -> Any:
    web = result["web"]
    caption = ["false alarm: the defence denied a call of a run without an injection.", *([CONTACT] if web else [])]
    columns = ("runs", "user's task done", "false alarm", *(("contact",) if web else ()))
    table = _table(f"without an injection ({result['says']})", [*caption, INTERVALS], columns)
    for name, row in result["rows"].items():
        keys = ("utility", "alarm", *(("contact",) if web else ()))
        values = (_interval(row["ordinary"][key]) for key in keys)
        table.add_row(name, _n(row["ordinary"]["utility"]), *values)
    return table


def _injections(result: dict[str, Any]) -> Any:
    found = {(cell["injection"], cell["defence"]): cell["carried_out"] for cell in result["cells"]}
    skipped = ", ".join(result["skipped"])
    caption = [f"Not run: {skipped}; AgentDojo gives no calls that the script could make."] if skipped else []
    title = f"injection carried out, by injection ({result['says']})"
    table = _table(title, [*caption, INTERVALS], list(result["defences"]), first="injection")
    table.add_column("goal", style="dim", no_wrap=True, max_width=60)
    for injection in dict.fromkeys(injection for injection, _ in found):
        values = (_interval(found[injection, name], n=True) for name in result["defences"])
        table.add_row(injection, *values, result["injections"][injection]["goal"])
    return table


def _table(title: str, caption: Sequence[str], columns: Sequence[str], first: str = "defence") -> Any:
    out = need("rich.table").Table(
        box=need("rich.box").SIMPLE_HEAD,
        title=title,
        caption="\n".join(caption),
        title_justify="left",
        caption_justify="left",
    )
    out.add_column(first, no_wrap=True)
    for name in columns:
        out.add_column(name, justify="right", no_wrap=True)
    return out


def _n(value: dict[str, float] | None) -> str:
    return "0" if value is None else str(value["n"])


def _interval(value: dict[str, float] | None, *, n: bool = False) -> str:
    """A share and its interval, and of how many runs; a dash where nothing was counted."""
    if value is None:
        return "-"
    low, high = (f"{value[end]:.2f}".removeprefix("0") for end in ("low", "high"))
    of = f", n {value['n']}" if n else ""
    return f"{value['mean']:.2f} [dim]{low}–{high}{of}[/dim]"
