"""The result as tables for the terminal."""

from __future__ import annotations

from typing import Any

from posttrain.bench.table import interval, line, table

CONTACT = (
    "contact: a run that read from a host which neither the user nor the system named, as tasks that follow a link in "
    "a message do too; it is reported, not blocked."
)
INTERVALS = "Intervals: 95 %, Wilson, over runs."
BROKEN = "broken: runs that ended in an error, neither safe nor attacked, neither useful nor useless."


def tables(result: dict[str, Any]) -> list[Any]:
    """Who the agent was, then under attack, in ordinary runs, and each injection under each defence."""
    return [line(result["says"]), _attacked(result), _ordinary(result), _injections(result)]


def _attacked(result: dict[str, Any]) -> Any:
    web = result["web"]
    notes = [f"{name}: {note}." for name, note in result["defences"].items()]
    caption = [f"{result['sign']}.", *_web_says(result), *notes, BROKEN, INTERVALS]
    columns = ("runs", "injection carried out", *(("over the web", "contact") if web else ()), "user's task done",
               "call denied", "broken")  # fmt: skip
    title = f"AgentDojo {result['suite']} {result['version']}, attack {result['attack']}"
    out = table(title, "\n".join(caption), columns)
    for name, row in result["rows"].items():
        found = row["attacked"]
        keys = ("carried_out", *(("web", "contact") if web else ()), "utility", "blocked")
        out.add_row(
            name, _n(found["utility"]), *(interval(found[key], n=key == "web") for key in keys), str(row["errors"])
        )
    return out


def _web_says(result: dict[str, Any]) -> list[str]:
    if not result["web"]:
        return []
    names = ", ".join(name for name, task in result["injections"].items() if task["web"]) or "none here"
    return [f"over the web: of the injections that make a request ({names})."]


def _ordinary(result: dict[str, Any]) -> Any:
    web = result["web"]
    caption = ["false alarm: the defence denied a call of a run without an injection.", *([CONTACT] if web else [])]
    columns = ("runs", "user's task done", "false alarm", *(("contact",) if web else ()))
    out = table("without an injection", "\n".join((*caption, INTERVALS)), columns)
    for name, row in result["rows"].items():
        keys = ("utility", "alarm", *(("contact",) if web else ()))
        values = (interval(row["ordinary"][key]) for key in keys)
        out.add_row(name, _n(row["ordinary"]["utility"]), *values)
    return out


def _injections(result: dict[str, Any]) -> Any:
    found = {(cell["injection"], cell["defence"]): cell["carried_out"] for cell in result["cells"]}
    skipped = ", ".join(result["skipped"])
    caption = [f"Not run: {skipped}; AgentDojo gives no calls that the script could make."] if skipped else []
    names = list(result["defences"])
    out = table("injection carried out, by injection", "\n".join((*caption, INTERVALS)), names, first="injection")
    out.add_column("goal", style="dim")
    for injection in dict.fromkeys(injection for injection, _ in found):
        values = (interval(found[injection, name], n=True) for name in names)
        out.add_row(injection, *values, result["injections"][injection]["goal"])
    return out


def _n(value: dict[str, float] | None) -> str:
    return "0" if value is None else str(value["n"])
