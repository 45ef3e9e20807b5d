"""A small internet on this machine: hosts by name, each a handler, and a log of what arrived."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.policy import Destinations, EgressPolicy
from posttrain.guard.egress.resolver import StaticResolver
from posttrain.serve import serving

SECRET = "q7Rt2mZk9XbL4vNs8WcJ1pYd"
"""24 characters of base62: runs count from 6."""


@dataclass
class Places:
    """What arrived, and how to get there."""

    port: int = 0
    seen: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    async def connect(self, address, port, host):
        return "127.0.0.1", self.port

    @property
    def hosts(self):
        return [host for host, *_ in self.seen]


@asynccontextmanager
async def places(answers=None):
    """Any host answers 200 with its name; `answers` maps `host/path` to (status, headers, body)."""
    found = Places()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"]}
        host, path = headers["host"], scope["raw_path"].decode() + ("?" + scope["query_string"].decode()).rstrip("?")
        found.seen.append((host, scope["method"], path, headers, body))
        status, lines, text = (answers or {}).get(host + path, (200, {}, host.encode()))
        raw = [(key.encode(), value.encode("latin-1")) for key, value in lines.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": text})

    async with serving(app) as found.port:
        yield found


class Names(StaticResolver):
    """Every name leads to this machine; remembers what it was asked."""

    def __init__(self):
        super().__init__({})
        self.asked = []

    async def __call__(self, host):
        self.asked.append(host)
        return ["127.0.0.1"]


def policy(allow=("api.test",), unknown="deny", **parts):
    """http on port 80, to names that lead to this machine."""
    destinations = Destinations(
        tuple(allow), unknown=unknown, schemes=("http",), ports=(80,), networks=("127.0.0.0/8",)
    )
    return EgressPolicy(destinations=parts.pop("destinations", destinations), **parts)


def gateway(found, rules=None, **options):
    """The way out to the places."""
    options = {"secrets": {"key": SECRET}, "resolver": Names(), **options}
    return Gateway(rules or policy(), connect=found.connect, **options)
