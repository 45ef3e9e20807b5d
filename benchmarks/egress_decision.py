"""How long one decision takes: `Gateway.admit` with its log on disk and no network, for kinds of requests of 1 KB.

Every request is another one. Wall time is what counts; processor time stands beside it, since it does not hold what
other programs take from this one.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
import re
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.egress_proxies import names, secrets
from posttrain.guard.egress.facts import Request
from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.novelty import Novelty
from posttrain.guard.egress.policy import Content, Destinations, EgressPolicy
from posttrain.guard.egress.session import Account

AT_MOST = {1: 1.0, 2: 8.0}
"""Depth to the milliseconds that p99 may take."""
SIZE = 1024
HEADERS = (("User-Agent", "python-httpx/0.28.1"), ("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate"))
WORDS = re.findall(
    r"\w+",
    "please read the report of third quarter and tell me which numbers changed since last year in table four then "
    "write a short summary for people who have no time list open questions with owner date amount currency invoice",
)
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def measure(requests: int, rounds: int) -> dict[str, Any]:
    """p50 and p99 in milliseconds by depth and kind, and the worst kind of each depth."""
    found: dict[str, Any] = {}
    for depth, at_most in AT_MOST.items():
        kinds = asyncio.run(_depth(depth, requests, rounds))
        worst = max(kinds, key=lambda kind: kinds[kind]["p99"]["median"])
        found[f"depth_{depth}"] = {
            "worst": worst, "p99_ms": kinds[worst]["p99"]["median"], "p99_ms_at_most": at_most, "kinds": kinds,
        }  # fmt: skip
    return found | {
        "setting": f"{rounds} rounds of {requests} different requests of 1 KB for each kind, {len(secrets())} secrets, "
        f"{len(names())} allowed names; median, lowest and highest of the rounds"
    }


async def _depth(depth: int, requests: int, rounds: int) -> dict[str, Any]:
    policy = EgressPolicy(destinations=Destinations(allow=tuple(names())), content=Content(depth=depth))
    rng = random.Random(0)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        async with Gateway(policy, log=Path(folder) / "log.jsonl", secrets=secrets()) as gateway:
            for warm in (True, False):
                for kind, make in KINDS.items():
                    n = 20 if warm else requests
                    taken = [await _round(gateway, [make(rng) for _ in range(n)]) for _ in range(1 if warm else rounds)]
                    found[kind] = {
                        **{f"p{q}": spread([quantile(each["wall"], q) for each in taken]) for q in (50, 99)},
                        **{f"processor_p{q}": spread([quantile(each["cpu"], q) for each in taken]) for q in (50, 99)},
                        "look_and_judge_p50": spread([quantile(each["looked"], 50) for each in taken]),
                        "look_and_judge_p99": spread([quantile(each["looked"], 99) for each in taken]),
                    }
    return found


async def _round(gateway: Gateway, requests: Sequence[Request]) -> dict[str, list[float]]:
    """Milliseconds of each request: all of it, its processor time, and what looking and judging alone take."""
    found: dict[str, list[float]] = {"wall": [], "cpu": [], "looked": []}
    empty = Novelty()
    for request in requests:
        start, cpu = time.perf_counter(), time.thread_time()
        verdict, goal = await gateway.admit(request)
        found["cpu"].append(1e3 * (time.thread_time() - cpu))
        found["wall"].append(1e3 * (time.perf_counter() - start))
        if goal is None:
            raise RuntimeError(f"A request should have been allowed: {verdict}")
    for request in requests:
        start = time.perf_counter()
        gateway.judge.verdict(gateway.look.at(request, None, lambda _: empty).facts, Account())
        found["looked"].append(1e3 * (time.perf_counter() - start))
    return found


def quantile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median and range of rounds."""
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), digits),
        "low": round(ordered[0], digits),
        "high": round(ordered[-1], digits),
    }


def prose(rng: random.Random, size: int) -> str:
    """Words, up to so many characters."""
    return " ".join(rng.choices(WORDS, k=size // 4))[:size]


def _post(rng: random.Random, kind: str, body: bytes) -> Request:
    return Request("POST", f"https://{rng.choice(HOSTS)}/v1/send", (*HEADERS, ("Content-Type", kind)), body)


def _json(rng: random.Random) -> Request:
    text = prose(rng, SIZE - 130) + '\n"yes"'
    messages = [{"role": "system", "content": text[:200]}, {"role": "user", "content": text[200:]}]
    return _post(rng, JSON, json.dumps({"model": "m-4", "seed": rng.random(), "messages": messages}).encode())


def _base64(rng: random.Random) -> Request:
    text = base64.b64encode(rng.randbytes(SIZE * 3 // 4 - 15)).decode()
    return _post(rng, JSON, json.dumps({"name": "a.bin", "data": text}).encode())


def _hex(rng: random.Random) -> Request:
    return _post(rng, JSON, json.dumps({"name": "a.bin", "data": rng.randbytes(SIZE // 2 - 15).hex()}).encode())


def _form(rng: random.Random) -> Request:
    return _post(rng, FORM, urlencode({f"field{n}": prose(rng, 60) + " & é" for n in range(13)}).encode()[:SIZE])


def _query(rng: random.Random) -> Request:
    query = urlencode({f"q{n}": prose(rng, 45) + "/?" for n in range(18)})[: SIZE - 40].removesuffix("%")
    return Request("GET", f"https://{rng.choice(HOSTS)}/search?{query}", HEADERS)


def _hashes(rng: random.Random) -> Request:
    commits = [{"id": str(uuid.UUID(int=rng.getrandbits(128))), "sha": rng.randbytes(20).hex()} for _ in range(10)]
    return _post(rng, JSON, json.dumps(commits).encode())


def _gzip(rng: random.Random) -> Request:
    return _post(rng, JSON, gzip.compress(prose(rng, 1300).encode() + rng.randbytes(SIZE // 2), mtime=0)[:SIZE])


HOSTS = names()[:100]
KINDS: dict[str, Callable[[random.Random], Request]] = {
    "json": _json, "base64": _base64, "hex": _hex, "form": _form, "long query": _query, "hashes": _hashes,
    "gzip": _gzip,
}  # fmt: skip
