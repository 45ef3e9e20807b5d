"""Names to addresses that may be connected to. What cannot be resolved, or leads inside, is refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Protocol

from posttrain.guard.egress.addresses import Network, literal, not_public, read_networks
from posttrain.guard.egress.hosts import Refused


class Resolver(Protocol):
    """Looks a name up, once per call and without a memory.

    Raises:
        OSError: The name has no address, or nobody answers.
    """

    async def __call__(self, host: str) -> Sequence[str]:
        """All addresses of a host."""
        ...


class SystemResolver:
    """The system's resolver, with its hosts file and search list."""

    async def __call__(self, host: str) -> Sequence[str]:
        """All addresses of a host."""
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(address[0]) for *_, address in found]


class StaticResolver:
    """Fixed answers, for tests.

    Args:
        answers: Host to its addresses, or to a list of such answers: one per call, the last one ever after.
    """

    def __init__(self, answers: Mapping[str, Sequence[str] | Sequence[Sequence[str]]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        """The names that were looked up, in order."""

    async def __call__(self, host: str) -> Sequence[str]:
        """The next answer for a host."""
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "the name is not known")
        answer = self.answers[host]
        turns = [each for each in answer if not isinstance(each, str)]
        if not turns:
            return [each for each in answer if isinstance(each, str)]
        return turns[min(self.asked.count(host), len(turns)) - 1]


async def resolve(resolver: Resolver, host: str, networks: Sequence[str], seconds: float) -> list[str]:
    """The addresses of a host; connect to these and to no other. An address is checked and not looked up.

    Args:
        resolver: Who knows the addresses of names.
        host: As `hosts.target` gives it.
        networks: Such as `10.1.0.0/16`, whose addresses are let although they are not public.
        seconds: Longest wait.

    Raises:
        Refused: It could not be resolved, or one of its addresses is not public: a mixed answer is how a name that is
            looked up twice leads to two places, so it counts as a whole.
    """
    addresses = [host] if literal(host) else await _look_up(resolver, host, seconds)
    for address in addresses:
        if (reason := not_public(address)) and not _inside(address, tuple(networks)):
            raise Refused(
                f"{host} is refused since {reason}; name its network in destinations.networks if that is meant; "
                "nothing was sent."
            )
    return list(dict.fromkeys(addresses))


async def _look_up(resolver: Resolver, host: str, seconds: float) -> Sequence[str]:
    try:
        async with asyncio.timeout(seconds):
            addresses = await resolver(host)
    except TimeoutError:
        raise Refused(
            f"{host} could not be resolved: no answer within {seconds:g} seconds; nothing was sent."
        ) from None
    except OSError as error:
        raise Refused(f"{host} could not be resolved: {error.strerror or error}; nothing was sent.") from error
    if not addresses:
        raise Refused(f"{host} could not be resolved: it has no address; nothing was sent.")
    return addresses


def _inside(address: str, blocks: tuple[str, ...]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _read(blocks))


@lru_cache(maxsize=16)
def _read(blocks: tuple[str, ...]) -> tuple[Network, ...]:
    return read_networks(blocks)
