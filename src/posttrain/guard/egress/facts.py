"""What the rules look at. Facts hold no content, so the log can hold them and be judged again by another policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from posttrain.trajectory import Span

Sees: TypeAlias = Literal["all", "host"]
"""`host`: a tunnel, whose contents are encrypted."""


OWN_HEADERS = frozenset(
    ("host", "connection", "proxy-connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade",
     "proxy-authorization")
)  # fmt: skip
"""Set by the connection, whatever a caller gives."""


@dataclass(frozen=True)
class Request:
    """One request on its way out."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    session: str = "default"
    """Whose account it goes to."""
    call: str = ""
    """The tool call that asked for it."""


@dataclass(frozen=True)
class Covered:
    """Characters of one secret that a request carries, as a bitmap; never the characters."""

    length: int
    """Of the secret."""
    bits: int
    """Bit i is set where character i is part of a run of at least m characters of the request."""

    @classmethod
    def read(cls, length: int, digits: str) -> Covered:
        """Back from a hexadecimal bitmap."""
        bits = int(digits, 16)
        if length < 1 or bits < 0 or bits.bit_length() > length:
            raise ValueError(f"{digits!r} is no bitmap of {length} characters")
        return cls(length, bits)

    @property
    def share(self) -> float:
        """Of the secret's characters."""
        return self.bits.bit_count() / self.length

    def __or__(self, other: Covered) -> Covered:
        """What two requests carry together."""
        return Covered(self.length, self.bits | other.bits)


@dataclass(frozen=True)
class Token:
    """A value that could be a key."""

    where: str
    """`label`, `path`, `query NAME`, `header NAME` or `body`."""
    length: int
    bits: float
    """Shannon entropy per character."""
    shape: str = ""
    """A benign shape that it has, or empty."""


@dataclass(frozen=True)
class Chain:
    """How a redirect relates to the requests before it."""

    cross_site: bool
    downgrade: bool
    growth: int
    """Bytes by which path and query are longer than the first request's."""


@dataclass(frozen=True)
class Facts:
    """One hop of one request, as the rules see it."""

    session: str
    scheme: str
    host: str
    """In lower-case ASCII, as it is connected to; empty where the URL was refused."""
    port: int
    site: str = ""
    """The registrable domain, or the address."""
    method: str = ""
    hop: int = 0
    call: str = ""
    problem: str = ""
    """Why the strict parser refused the URL."""
    sees: Sees = "all"
    head: int = 0
    """Characters of the URL and the headers."""
    body: int = 0
    """Bytes."""
    carried: dict[str, Covered] = field(default_factory=dict)
    """Secrets that this request carries a part of."""
    home: tuple[str, ...] = ()
    """Secrets that it carries to a host they are for; `carried` leaves them out."""
    hidden: bool = False
    """Whether labels of the host may carry a secret: the log then holds its site only."""
    overflow: bool = False
    """Whether there were more decodings than the policy looks at."""
    patterns: tuple[str, ...] = ()
    """The policy's patterns that match."""
    tokens: tuple[Token, ...] = ()
    """Values of at least 8 characters and 3 bits per character."""
    novelty: float = 0.0
    """Bits that are new to this session and site."""
    coarse: bool = False
    """Whether that is 8 for each byte, as the site had no budget."""
    named: tuple[Span, ...] | None = None
    """Where the conversation names the host; None where no conversation was given."""
    chain: Chain | None = None
    """None for the request itself."""

    def as_record(self) -> dict[str, Any]:
        """As JSON; coverage as hexadecimal bitmaps."""
        record: dict[str, Any] = dict(vars(self))
        record["host"] = self.site if self.hidden else self.host
        record["tokens"] = [vars(token) for token in self.tokens]
        record["named"] = None if self.named is None else [vars(span) for span in self.named]
        record["chain"] = None if self.chain is None else vars(self.chain)
        record["carried"] = {name: [c.length, f"{c.bits:x}"] for name, c in self.carried.items()}
        empty = ((), [], {}, "", None, False)
        return {
            name: value
            for name, value in record.items()
            if value not in empty or (value is not None and name == "named")
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Facts:
        """Back from JSON."""
        values = {name: value for name, value in record.items() if name in cls.__dataclass_fields__}
        values["carried"] = {name: Covered.read(*given) for name, given in values.get("carried", {}).items()}
        values |= {name: tuple(values.get(name, ())) for name in ("patterns", "home")}
        values["tokens"] = tuple(Token(**token) for token in values.get("tokens", ()))
        if "named" in record:
            values["named"] = tuple(Span(**span) for span in record["named"])
        if "chain" in record:
            values["chain"] = Chain(**record["chain"])
        return cls(**{"scheme": "", "host": "", "port": 0, **values})
