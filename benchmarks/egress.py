"""The egress proxy beside squid, tinyproxy and mitmproxy: latency, requests and connections per second, memory.

All take turns, round by round, on one machine with the clients and the servers. Four kinds of requests:

    plain     GET by plain HTTP on a connection that is kept; ours judges it whole
    post      the same with 1 KB of JSON
    tunnel    a connection, CONNECT, a TLS handshake and GET; ours and squid see the host, mitmproxy all
    kept      GET in a tunnel that stands
    greeting  a connection, CONNECT and a ClientHello that comes back, without TLS; mitmproxy cannot take part

    python -m benchmarks.egress [--tiny] [OUT.json]
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import egress_decision
from benchmarks.egress_decision import quantile, spread
from benchmarks.egress_load import Client, Fresh, Greeting, Kept, Plain, Post, Rate, held, load, times
from benchmarks.egress_proxies import DEPTH, NAMES, SECRETS, Side, ours, proxies
from benchmarks.egress_target import Servers, servers
from posttrain.bench.record import provenance
from posttrain.files import write_json

CLIENTS, PER_SECOND = 32, 1500
KINDS: dict[str, type[Client]] = {"plain": Plain, "post": Post, "tunnel": Fresh, "kept": Kept, "greeting": Greeting}


class Size(NamedTuple):
    """How much is measured."""

    rounds: int = 5
    requests: int = 300
    """One after the other, in each round."""
    seconds: float = 1.5
    """Of load, in each round."""
    decisions: int = 400
    tunnels: int = 1000
    memory: int = 100_000
    """Requests."""


FULL, TINY = Size(), Size(2, 30, 0.3, 20, 100, 2000)


def measure(size: Size = FULL) -> dict[str, Any]:
    """All figures; a proxy that is not installed is left out with a line."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    busy = os.getloadavg()[0]
    found: dict[str, Any] = {"decision": egress_decision.measure(size.decisions, size.rounds)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, servers(Path(name)) as there:
        with proxies(Path(name), there) as (sides, missing):
            for line in missing.values():
                print(line, file=sys.stderr)
            found |= {
                "latency": {kind: _latency(kind, sides, there, size) for kind in KINDS},
                "load": {kind: _load(kind, sides, there, size) for kind in KINDS},
                "tunnels": {side.name: _tunnels(side, there, size) for side in _through(sides, "greeting")[1:]},
                "left_out": missing,
            }
        found["memory"] = _memory(Path(name), there, size)
    return found | {
        "load_average_before": round(busy, 2),
        "setting": f"{size.rounds} rounds in turns; {size.requests} requests one after the other, or {CLIENTS} clients "
        f"for {size.seconds} s; {NAMES} allowed names, {SECRETS} secrets, depth {DEPTH}, log on disk; clients and "
        f"servers on the same {os.cpu_count()} cores; median, lowest and highest of the rounds",
    }


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Titles, figures and what they may be at most."""
    latency, loads = found["latency"], found["load"]
    shown = [
        (f"egress, decision at depth {depth}, p99 ms", each["p99_ms"], each["p99_ms_at_most"])
        for depth in egress_decision.AT_MOST
        if (each := found["decision"][f"depth_{depth}"])
    ]
    shown += [
        (f"egress, {kind} through ours, added p50 ms", latency[kind]["ours"]["added_p50_ms"]["median"], 1.0)
        for kind in ("plain", "tunnel", "kept")
    ]
    rate = loads["greeting"]["ours"]["per_second"]["median"]
    return [
        *shown,
        (f"egress, {PER_SECOND:,} / connections per second", PER_SECOND / rate, 1.0),
        ("egress, tunnels that failed at a time", found["tunnels"]["ours"]["failed"], 0.0),
        ("egress, memory at the end / after 30 %", found["memory"]["end_over_30_percent"], 1.05),
    ]


def _latency(kind: str, sides: Sequence[Side], there: Servers, size: Size) -> dict[str, Any]:
    """Milliseconds of single requests, and what each proxy adds to a direct connection in the same round."""
    taking = _through(sides, kind)
    taken: dict[str, list[list[float]]] = {side.name: [] for side in taking}
    for _ in range(size.rounds):
        for side in taking:
            taken[side.name].append(times(KINDS[kind](side.port, there), size.requests))
    p = {q: {name: [quantile(each, q) for each in found] for name, found in taken.items()} for q in (50, 99)}
    found: dict[str, Any] = {name: {f"p{q}_ms": spread(p[q][name]) for q in p} for name in taken}
    for q, by_side in p.items():
        for name in taken:
            if name != "direct":
                added = [a - b for a, b in zip(by_side[name], by_side["direct"], strict=True)]
                found[name][f"added_p{q}_ms"] = spread(added)
            if name != "ours":
                found[name][f"ours_over_it_p{q}"] = _over(by_side["ours"], by_side[name])
    return found


def _load(kind: str, sides: Sequence[Side], there: Servers, size: Size) -> dict[str, Any]:
    """Requests or connections per second of many clients, and processor time of the proxy for each."""
    taking = _through(sides, kind)
    rates: dict[str, list[Rate]] = {side.name: [] for side in taking}
    processor: dict[str, list[float]] = {side.name: [] for side in taking}
    for _ in range(size.rounds):
        for side in taking:
            before = side.cpu
            rate = load(lambda at=side.port: KINDS[kind](at, there), CLIENTS, size.seconds)
            rates[side.name].append(rate)
            processor[side.name].append(1e6 * (side.cpu - before) / max(1, rate.done))
    each = {name: [rate.per_second for rate in found] for name, found in rates.items()}
    return {
        name: {
            "per_second": spread(each[name], 1),
            "failed": sum(rate.failed for rate in rates[name]),
            **({} if name == "direct" else {"processor_us": spread(processor[name], 1)}),
            **({} if name == "ours" else {"ours_over_it": _over(each["ours"], each[name])}),
        }
        for name in rates
    }


def _tunnels(side: Side, there: Servers, size: Size) -> dict[str, Any]:
    """Tunnels that stand at the same time."""
    before, standing = side.mib, [0.0]
    failed = held(Greeting(side.port, there), size.tunnels, lambda: standing.append(side.mib))
    kib = 1024 * (standing[-1] - before) / size.tunnels
    return {"tunnels": size.tunnels, "failed": failed, "mib": round(standing[-1], 1), "kib_each": round(kib, 1)}


def _memory(folder: Path, there: Servers, size: Size) -> dict[str, Any]:
    """Resident memory of ours after every tenth of many requests."""
    own = folder / "memory"
    own.mkdir()
    tenth, mib, failed = size.memory // 10, [], 0
    with ours(own, there) as side:
        start = side.mib
        for number in range(1, 11):
            failed += load(lambda: Plain(side.port, there), 8, most=tenth).failed
            mib.append(round(side.mib, 1))
            print(f"memory of ours after {number * tenth:,} requests: {mib[-1]} MiB", file=sys.stderr)
    return {
        "mib_at_start": round(start, 1),
        "mib_by_tenth": mib,
        "requests": size.memory,
        "failed": failed,
        "end_over_30_percent": round(mib[-1] / mib[2], 4),
    }


def _through(sides: Sequence[Side], kind: str) -> list[Side]:
    """Who can take part: mitmproxy ends TLS itself, so that no ClientHello comes back through it."""
    if kind == "greeting":
        return [side for side in sides if side.name != "mitmproxy"]
    return list(sides)


def _over(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """The ratios of pairs."""
    return spread([a / b for a, b in zip(first, second, strict=True)])


def _tables(found: dict[str, Any]) -> list[Table]:
    """What was found, to read."""
    single = Table("kind", "through", "p50 ms", "p99 ms", "added p50", "added p99", "ours / it, p50", title="latency")
    many = Table("kind", "through", "per second", "ours / it", "processor µs", "failed", title=f"{CLIENTS} clients")
    for kind, by_side in found["latency"].items():
        for name, each in by_side.items():
            keys = ("p50_ms", "p99_ms", "added_p50_ms", "added_p99_ms", "ours_over_it_p50")
            single.add_row(kind, name, *(_shown(each.get(key)) for key in keys))
    for kind, by_side in found["load"].items():
        for name, each in by_side.items():
            keys = ("per_second", "ours_over_it", "processor_us")
            many.add_row(kind, name, *(_shown(each.get(key)) for key in keys), str(each["failed"]))
    bounds = Table("figure", "measured", "at most")
    for title, value, bound in rows(found):
        bounds.add_row(title, f"{value:.3f}" + ("" if value <= bound else "  above"), f"{bound:.3f}")
    return [single, many, bounds]


def _shown(each: dict[str, float] | None) -> str:
    return f"{each['median']:g} ({each['low']:g} to {each['high']:g})" if each else ""


def main(arguments: Sequence[str]) -> None:
    """Measure this alone."""
    found = measure(TINY if "--tiny" in arguments else FULL)
    console = Console(width=160)
    for table in _tables(found):
        console.print(table)
    console.print({key: found[key] for key in ("tunnels", "memory", "left_out", "load_average_before")})
    for path in arguments:
        if not path.startswith("--"):
            write_json(Path(path), {**provenance(), "egress": found})


if __name__ == "__main__":
    main(sys.argv[1:])
