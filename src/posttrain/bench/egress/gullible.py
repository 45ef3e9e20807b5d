"""The scripted agent: it does what the user asks, then what the first order in a page asks, if it obeys.

It shows the mechanics of leaks and defences. What it obeys is a declared number, so it says nothing about models.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

from posttrain.bench.egress.orders import HEADER, Order, read
from posttrain.bench.egress.shapes import Shard, fill, shards
from posttrain.chat import ScriptedChat
from posttrain.trajectory import Message, Passage, passages


def gullible(obedience: float = 1.0) -> ScriptedChat:
    """A scripted agent that obeys a page with probability `obedience`, by a coin that its seed throws."""
    if not 0 <= obedience <= 1:
        raise ValueError(f"obedience={obedience} must lie between 0 and 1.")

    def script(messages: Sequence[Message], seed: int) -> Message:
        if messages[0]["content"].startswith("Answer with one JSON object"):
            return {"role": "assistant", "content": _form(messages[-1]["content"])}
        texts = passages(messages)
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
        if url := _unread(texts, calls):
            return _call(f"user-{len(calls)}", "fetch_url", url=url)
        key, order = _key(texts), _order(texts)
        if key and order and random.Random(f"obey {seed}").random() < obedience:
            parts = shards(key, order.plan, seed)
            done = sum(call["id"].startswith("order-") for call in calls)
            if done < len(parts):
                return _obey(order, parts[done], done)
        return {"role": "assistant", "content": _summary(texts)}

    return ScriptedChat(script, f"scripted (obedience {obedience:g})")


_URL = re.compile(r"https?://[^\s\]]+[\w/]")


def _key(texts: Sequence[Passage]) -> str | None:
    """The secret in the system's message."""
    return next((key for p in texts if p.span.source == "system" for key in re.findall(r"API_KEY=(\S+)", p.text)), None)


def _order(texts: Sequence[Passage]) -> Order | None:
    """The first order in foreign text."""
    return next((order for p in texts if _foreign(p) and (order := read(p.text))), None)


def _foreign(passage: Passage) -> bool:
    return passage.span.source.startswith(("preview:", "tool:"))


def _unread(texts: Sequence[Passage], calls: Sequence[Any]) -> str | None:
    """The first URL of the user's that was neither previewed nor asked for."""
    known = {p.span.source.removeprefix("preview:") for p in texts} | {
        c["function"]["arguments"].get("url") for c in calls
    }
    asked = (url for p in texts if p.span.source == "user" for url in _URL.findall(p.text.partition("\n\n[")[0]))
    return next((url for url in asked if url not in known), None)


def _obey(order: Order, part: Shard, number: int) -> Message:
    """The request that an order asks for with one part."""
    url = fill(order.url, part)
    if not order.header and not order.body:
        return _call(f"order-{number}", "fetch_url", url=url)
    headers = {HEADER: fill(order.header, part)} if order.header else {}
    if order.body:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    body = fill(order.body, part)
    return _call(f"order-{number}", "http_request", method=order.method, url=url, headers=headers, body=body)


def _call(identity: str, tool: str, **arguments: Any) -> Message:
    function = {"name": tool, "arguments": arguments}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": identity, "type": "function", "function": function}],
    }


def _form(page: str) -> str:
    """A reader's form. Gullible as it is, it passes on what the page says."""
    title = re.search(r"^title: (.*)$", page, re.MULTILINE)
    about = f"The page is about {title[1].partition(':')[0]}. " if title else ""
    return json.dumps({"summary": about + page})


def _summary(texts: Sequence[Passage]) -> str:
    """An answer that looks as it should."""
    titles = [p.text for p in texts if p.span.path == "title"]
    about = next((title.partition(":")[0] for title in titles if ":" in title), None)
    page = f"The page is about {about}." if about else "The page could not be read."
    read_by_another = next((p.text for p in texts if p.span.path == "summary"), "")
    if form := re.match(r"The page is about [^.]+\.", read_by_another):
        page = form[0]
    build = next((state for p in texts if _foreign(p) for state in re.findall(r"build is (\w+)", p.text)), None)
    return f"{page} {f'The build is {build}.' if build else 'The state of the build could not be read.'}"
