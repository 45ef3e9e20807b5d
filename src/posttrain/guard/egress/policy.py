"""What may leave, as data. `posttrain guard egress schema` prints the JSON schema for editors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from posttrain.guard.egress.addresses import read_networks
from posttrain.guard.egress.entropy import BENIGN, BITS, LENGTH
from posttrain.guard.egress.hosts import Hosts
from posttrain.guard.policy import Strict, Unfit, at_least, under

OnMatch = Literal["deny", "ask", "off"]
"""What a rule does where it matches."""


@dataclass(frozen=True)
class Destinations(Strict):
    """Where requests may go."""

    allow: tuple[str, ...] = ()
    """Hosts such as `api.example.com`, subdomains by `*.example.com`, a port by `host:8443`, `[::1]` or `10.0.0.1` for
    an address. A public suffix (`*.com`, `*.github.io`) is refused."""
    deny: tuple[str, ...] = ()
    """In the same form, public suffixes included; stronger than `allow`."""
    unknown: Literal["deny", "ask", "allow"] = "deny"
    """What happens to hosts that `allow` does not name. Unless it is `deny`, the other rules have to catch a leak."""
    schemes: tuple[Literal["https", "http"], ...] = ("https",)
    """Plain http is refused unless it is named."""
    ports: tuple[int, ...] = (443,)
    """Of hosts that `allow` names without a port, and of unknown ones."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    """Request methods, where they can be seen."""
    networks: tuple[str, ...] = ()
    """Networks such as `10.1.0.0/16`, not public, that names may resolve to and addresses may lie in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        with under("allow"):
            Hosts(self.allow)
        with under("deny"):
            Hosts(self.deny, whole_zones=True)
        with under("networks"):
            read_networks(self.networks)
        if odd := [port for port in self.ports if not 1 <= port <= 65535]:
            raise Unfit(f"{odd[0]} is no port; one lies between 1 and 65535", "ports")
        if small := [method for method in self.methods if method != method.upper()]:
            raise Unfit(f"{small[0]!r} must be in capitals, as requests have it", "methods")


@dataclass(frozen=True)
class Redirects(Strict):
    """Every redirect is a new request, which all rules judge; these look at the chain."""

    hops: int = 5
    """Most redirects in a row."""
    cross_site: OnMatch = "off"
    """Redirects to another registrable domain. Off still judges the new host like any other."""
    downgrade: OnMatch = "deny"
    """Redirects from https to http."""
    growth: int = 256
    """Most bytes by which a hop's path and query may be longer than the first request's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, hops=self.hops, growth=self.growth)


@dataclass(frozen=True)
class SecretSource(Strict):
    """One secret, and where it is read from at start; it is held in memory only."""

    id: str
    """What verdicts and the log call it."""
    env: str = ""
    """An environment variable,"""
    file: str = ""
    """or a file,"""
    command: tuple[str, ...] = ()
    """or a command that prints it."""
    hosts: tuple[str, ...] = ()
    """Hosts that it is for, in the form of `destinations.allow`: what they are sent of it counts nowhere."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(map(bool, (self.env, self.file, self.command))) != 1:
            raise ValueError(f"secret {self.id!r} needs exactly one of env, file, command")
        with under("hosts"):
            Hosts(self.hosts)


@dataclass(frozen=True)
class Content(Strict):
    """Secrets and key shapes in single requests, looked for after decoding."""

    secrets: OnMatch = "deny"
    """Requests that carry `share` of a registered secret or more."""
    share: float = 0.5
    """Of a secret's characters, in one request."""
    depth: int = 2
    """Decodings on top of each other: percent, base64, base64url, base32, hex, gzip, JSON escapes, reversal, ..."""
    views: int = 64
    """Most decoded forms of one request that are looked at. A request with more is `overflow`."""
    overflow: OnMatch = "deny"
    """Requests whose decodings do not fit in `views`."""
    patterns: tuple[str, ...] = ()
    """Regular expressions of what must not leave, such as key shapes."""
    on_pattern: OnMatch = "deny"
    """Requests that one of them matches."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share(self.share)
        at_least(1, views=self.views)
        if not 0 <= self.depth <= 4:
            raise Unfit(f"{self.depth} must lie between 0 and 4", "depth")
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise Unfit(f"{pattern!r} is no regular expression ({error})", "patterns") from None


@dataclass(frozen=True)
class Entropy(Strict):
    """Values that look like keys: labels, path segments, parameters, header values and words of the body."""

    action: OnMatch = "off"
    """Off by default: it cannot tell a key from a hash, and shards below `length` pass."""
    length: int = 16
    """Fewest characters, 8 or more."""
    bits: float = 3.5
    """Fewest bits per character (Shannon), 3 or more."""
    known: bool = False
    """Whether it also judges requests to hosts that `allow` names."""
    benign: tuple[str, ...] = ("git-hash", "uuid", "signature", "date", "words")
    """Shapes that are left alone; see `entropy.BENIGN`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(LENGTH, length=self.length)
        at_least(BITS, bits=self.bits)
        if unknown := [name for name in self.benign if name not in BENIGN]:
            raise Unfit(f"{unknown[0]!r} is no shape; the shapes are {', '.join(BENIGN)}", "benign")


@dataclass(frozen=True)
class Session(Strict):
    """What has left in a session, over all its requests, hosts and channels; the pending request counts."""

    coverage: OnMatch = "deny"
    """Requests after which `share` of a secret or more would have left."""
    share: float = 0.5
    """Of a secret's characters, in runs of at least m: 8 for hex, 6 for base62, so that other hashes do not count."""
    novelty: OnMatch = "deny"
    """Requests that go over a host's budget of bits."""
    unknown_bits: float = 128.0
    """That a site of which `allow` names no host may be sent in a session. `novelty.py` says how they are counted."""
    unknown_total: float = 1024.0
    """The same for all such sites together."""
    known_bits: float = float("inf")
    """The same for each host that `allow` names."""
    across: bool = False
    """Whether coverage also counts over all sessions together, for clients that name their own."""
    idle: float = 3600.0
    """Seconds without a request after which a session may be forgotten, if it has nothing to remember."""
    sessions: int = 10_000
    """Most sessions held. When all are in use, new ones are denied."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share(self.share)
        at_least(0, unknown_bits=self.unknown_bits, unknown_total=self.unknown_total, known_bits=self.known_bits)
        at_least(0, idle=self.idle)
        at_least(1, sessions=self.sessions)


@dataclass(frozen=True)
class Provenance(Strict):
    """Who named the destination."""

    untrusted: OnMatch = "off"
    """Requests that send (all but GET and HEAD) to hosts that no trusted source named. Judged where the conversation is
    given."""
    reads: OnMatch = "off"
    """GET and HEAD to such hosts. Off notes them as contacts: benign tasks follow links too."""
    trusted: tuple[str, ...] = ("user", "system")
    """Sources that may choose a destination."""
    known: bool = False
    """Whether it also judges hosts that `allow` names."""


@dataclass(frozen=True)
class Limits(Strict):
    """Bounds, so that no request can exhaust the gateway."""

    body: int = 1_000_000
    """Most bytes of a request's body."""
    head: int = 32_768
    """Most bytes of a request's line and headers together."""
    response: int = 10_000_000
    """Most bytes of a response that is handed on."""
    seconds: float = 30.0
    """Longest time for a request's head and body, and for connecting."""
    silence: float = 600.0
    """Longest time without a byte in either direction."""
    connections: int = 4_096
    """Most clients at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, body=self.body, response=self.response)
        at_least(1, head=self.head, connections=self.connections)
        at_least(0.001, seconds=self.seconds, silence=self.silence)


@dataclass(frozen=True, kw_only=True)
class EgressPolicy(Strict):
    """All rules. Without changes it denies every host: name those you need under `destinations.allow`."""

    mode: Literal["enforce", "report", "open"] = "enforce"
    """`report` judges and lets pass, `open` lets pass what content and sessions do not object to: destinations are only
    reported."""
    destinations: Destinations = field(default_factory=Destinations)
    redirects: Redirects = field(default_factory=Redirects)
    secrets: tuple[SecretSource, ...] = ()
    """Registered secrets."""
    content: Content = field(default_factory=Content)
    entropy: Entropy = field(default_factory=Entropy)
    session: Session = field(default_factory=Session)
    provenance: Provenance = field(default_factory=Provenance)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.destinations.allow and self.destinations.unknown == "deny" and self.mode == "enforce":
            because = "it is empty and unknown hosts are denied, so nothing could leave; name hosts"
            raise Unfit(because, "destinations", "allow")
        names = [secret.id for secret in self.secrets]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise Unfit(f"{name!r} is there twice; secrets must have different ids", "secrets", number, "id")


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise Unfit(f"{share:g} must lie above 0 and at most at 1", "share")
