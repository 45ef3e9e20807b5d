"""Harmless traffic of a busy developer's agent: registries, source hosts, object stores, JSON services. Seeded."""

from __future__ import annotations

import base64
import gzip
import json
import random
import string
import uuid
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from posttrain.guard.egress.facts import Request

WORDS = [
    "add", "async", "build", "cache", "candidate", "client", "config", "docs", "error", "fix", "handling", "image",
    "index", "memory", "parser", "python", "queue", "release", "remove", "report", "request", "retry", "schema",
    "session", "stream", "support", "token", "typing", "update", "upload", "worker",
]  # fmt: skip
BASE62 = string.ascii_letters + string.digits


class Traffic:
    """One client."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cookie = self.mixed(32)
        self.access = self.token()

    def hex(self, length: int) -> str:
        return "".join(self.random.choices("0123456789abcdef", k=length))

    def mixed(self, length: int) -> str:
        return "".join(self.random.choices(BASE62, k=length))

    def upper(self, length: int) -> str:
        return "".join(self.random.choices(string.ascii_uppercase + "234567", k=length))

    def base64(self, length: int) -> str:
        return base64.b64encode(self.random.randbytes(length)).decode()

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.random.randbytes(16), version=4))

    def name(self) -> str:
        return "-".join(self.random.choices(WORDS, k=self.random.randint(1, 3)))

    def sentence(self) -> str:
        return " ".join(self.random.choices(WORDS, k=self.random.randint(4, 14)))

    def time(self) -> str:
        r = self.random
        return f"2026-{r.randint(1, 12):02}-{r.randint(1, 28):02}T{r.randint(0, 23):02}:15:00.{r.randint(0, 999):03}Z"

    def token(self) -> str:
        """A signed token of another account."""
        claims = {
            "iss": "https://accounts.example.com",
            "sub": self.hex(16),
            "iat": self.random.randint(10**9, 2 * 10**9),
        }
        pieces = (b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode(), self.random.randbytes(32))
        return ".".join(base64.urlsafe_b64encode(piece).decode().rstrip("=") for piece in pieces)

    def commit(self) -> Request:
        url = f"https://api.github.com/repos/{self.name()}/{self.name()}/commits/{self.hex(40)}?per_page=100"
        return self.get(url, ("If-None-Match", f'W/"{self.hex(64)}"'))

    def compare(self) -> Request:
        return self.get(f"https://github.com/{self.name()}/{self.name()}/compare/{self.hex(7)}...{self.hex(40)}.diff")

    def graph(self) -> Request:
        query = "query($after: String) { repository { issues(first: 50, after: $after) { nodes { id title } } } }"
        cursor = base64.b64encode(f"cursor:v2:{self.hex(8)}:{self.random.randint(1, 10**9)}".encode()).decode()
        return self.post("https://api.github.com/graphql", {"query": query, "variables": {"after": cursor}})

    def simple(self) -> Request:
        return self.get(f"https://pypi.org/simple/{self.name()}/", ("If-None-Match", f'"{self.mixed(22)}"'))

    def wheel(self) -> Request:
        digest, name = self.hex(64), self.name().replace("-", "_")
        version = ".".join(str(self.random.randint(0, 20)) for _ in range(3))
        path = f"{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}-{version}-py3-none-any.whl"
        return self.get(
            f"https://files.pythonhosted.org/packages/{path}", ("Range", f"bytes={self.random.randint(0, 9999)}-")
        )

    def package(self) -> Request:
        return self.get(f"https://registry.npmjs.org/@{self.name()}%2f{self.name()}", ("npm-session", self.hex(16)))

    def audit(self) -> Request:
        entries = {self.name(): {"version": "1.2.3", "integrity": f"sha512-{self.base64(64)}"} for _ in range(6)}
        return self.post("https://registry.npmjs.org/-/npm/v1/security/audits/quick", {"requires": entries})

    def blob(self) -> Request:
        url = f"https://registry.example.com/v2/{self.name()}/blobs/sha256:{self.hex(64)}"
        return self.get(url, ("Authorization", f"Bearer {self.access}"))

    def amazon(self) -> Request:
        scope = f"{self.upper(20)}/20260225/eu-west-1/s3/aws4_request"
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": scope, "X-Amz-Date": "20260225T101500Z",
            "X-Amz-Expires": "900", "X-Amz-Security-Token": self.base64(240), "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": self.hex(64),
        }  # fmt: skip
        return self.get(
            f"https://{self.name()}.s3.amazonaws.com/{self.uuid()}/{self.name()}.parquet?{urlencode(query)}"
        )

    def google(self) -> Request:
        query = {"X-Goog-Algorithm": "GOOG4-RSA-SHA256", "X-Goog-Signature": self.hex(512), "X-Goog-Expires": "3600"}
        return self.get(f"https://storage.googleapis.com/{self.name()}/{self.hex(32)}?{urlencode(query)}")

    def azure(self) -> Request:
        query = {"sv": "2024-08-04", "se": self.time(), "sr": "b", "sp": "r", "sig": self.base64(32)}
        return self.get(
            f"https://{self.mixed(12).lower()}.blob.core.windows.net/{self.name()}/{self.uuid()}?{urlencode(query)}"
        )

    def cdn(self) -> Request:
        query = f"Expires=1893456000&Signature={self.mixed(342)}__&Key-Pair-Id=K{self.upper(13)}"
        return self.get(
            f"https://{self.mixed(14).lower()}.cloudfront.net/assets/{self.name()}.{self.mixed(8)}.js?{query}"
        )

    def page(self) -> Request:
        cursor = base64.urlsafe_b64encode(json.dumps({"id": self.random.randint(1, 10**12), "t": self.time()}).encode())
        return self.get(
            f"https://api.example.com/v1/items?limit=50&cursor={cursor.decode()}",
            ("Cookie", f"sid={self.cookie}; _ga=GA1.2.{self.random.randint(10**8, 10**9)}"),
        )

    def events(self) -> Request:
        found = [
            {"id": self.uuid(), "at": self.time(), "trace": self.hex(32), "span": self.hex(16), "text": self.sentence()}
            for _ in range(self.random.randint(2, 8))
        ]
        return self.post("https://api.example.com/v1/events", {"events": found})

    def packed(self) -> Request:
        found = [{"id": self.uuid(), "at": self.time(), "value": self.random.random()} for _ in range(12)]
        body = gzip.compress(json.dumps(found).encode(), mtime=0)
        return Request(
            "POST", "https://telemetry.example.com/v1/metrics", (*HEADERS, ("Content-Encoding", "gzip")), body
        )

    def model(self) -> Request:
        message = {
            "role": "user",
            "content": f'{self.sentence()}\n\n> {self.sentence()}\n"{self.sentence()}" caf\u00e9 {self.hex(40)}',
        }
        body = {"model": "example-large", "messages": [message] * 2, "temperature": 0.2, "user": self.uuid()}
        return self.post("https://api.example.com/v1/chat/completions", body)

    def picture(self) -> Request:
        return self.post("https://api.example.com/v1/images", {"name": self.name(), "data": self.base64(600)})

    def search(self) -> Request:
        return self.get(
            f"https://www.example.com/search?q={quote(self.sentence())}&utm_source={self.name()}&gclid={self.mixed(60)}"
        )

    def login(self) -> Request:
        body = urlencode(
            {"grant_type": "refresh_token", "code": self.mixed(43), "state": self.uuid(), "scope": self.sentence()}
        )
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return Request("POST", "https://login.example.com/oauth/token", (*HEADERS, kind), body.encode())

    def get(self, url: str, *more: tuple[str, str]) -> Request:
        return Request("GET", url, (*HEADERS, *more))

    def post(self, url: str, body: object) -> Request:
        more = (
            ("Content-Type", "application/json"),
            ("X-Request-Id", self.uuid()),
            ("Authorization", f"Bearer {self.access}"),
        )
        return Request("POST", url, (*HEADERS, *more), json.dumps(body).encode())


HEADERS = (
    ("User-Agent", "python-httpx/0.28.1"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Connection", "keep-alive"),
)
KINDS = (
    Traffic.commit, Traffic.compare, Traffic.graph, Traffic.simple, Traffic.wheel, Traffic.package, Traffic.audit,
    Traffic.blob, Traffic.amazon, Traffic.google, Traffic.azure, Traffic.cdn, Traffic.page, Traffic.events,
    Traffic.packed, Traffic.model, Traffic.picture, Traffic.search, Traffic.login,
)  # fmt: skip


def benign(number: int, seed: int = 0) -> Iterator[Request]:
    """So many requests of one session, all kinds in turn."""
    traffic = Traffic(seed)
    for index in range(number):
        yield KINDS[index % len(KINDS)](traffic)


def registered(number: int = 100, seed: int = 1) -> dict[str, str]:
    """Secrets of the kinds that people have, all different from what the traffic holds."""
    traffic = Traffic(seed)
    r = traffic.random
    url64 = BASE62 + "-_"
    kinds = (
        lambda: traffic.hex(r.choice((32, 40, 64))),
        lambda: traffic.mixed(r.randint(20, 51)),
        lambda: "sk-proj-" + "".join(r.choices(url64, k=48)),
        lambda: "AKIA" + traffic.upper(16),
        lambda: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "".join(r.choices(url64, k=90)),
        lambda: traffic.base64(30),
    )
    return {f"key-{index}": kinds[index % len(kinds)]() for index in range(number)}
