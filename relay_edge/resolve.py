"""Host names to addresses that may be called: a short cache before the resolver, and netguard behind it.

The resolver runs in a thread; callers who ask for one name at the same moment share one question. Every address, also a
literal one, is judged right before it is connected to (`allowed_address`), so a name that changes its mind between two
look-ups gains nothing.
"""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from relay_contract.errors import AddressForbidden, UpstreamConnectError
from relay_contract.netguard import Network, refusal

CACHE_SECONDS = 30.0
FAILURE_CACHE_SECONDS = 1.0
MAX_CACHED_NAMES = 1_000


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: tuple[str, ...]  # empty: the name did not resolve
    until: float


class Resolver:
    """Shared by every origin of the process."""

    def __init__(self, allowed: tuple[Network, ...]) -> None:
        self._allowed = allowed
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Addresses of a name or literal, in the resolver's order of preference, families taking turns.

        Raises UpstreamConnectError when the name does not resolve, AddressForbidden when none of them may be called.
        """
        found = (host,) if is_literal(host) else await self._look_up(host)
        if not found:
            raise UpstreamConnectError("The upstream host's name does not resolve.")
        allowed = tuple(address for address in found if self.allowed_address(address))
        if not allowed:
            raise AddressForbidden
        return allowed

    def allowed_address(self, address: str) -> bool:
        """Whether netguard lets us call it."""
        return refusal(address, self._allowed) is None

    def forget(self, host: str) -> None:
        """Asks anew the next time: none of the known addresses answered."""
        self._known.pop(host, None)

    async def _look_up(self, host: str) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        known = self._known.get(host)
        if known is not None and known.until > loop.time():
            return known.addresses
        asking = self._asking.get(host)
        if asking is None:
            asking = self._asking[host] = loop.create_task(self._ask(host))
            asking.add_done_callback(lambda _: self._asking.pop(host, None))
        return await asyncio.shield(asking)  # one caller who leaves does not end the question of the others

    async def _ask(self, host: str) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        try:
            infos = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            addresses: tuple[str, ...] = ()
        else:
            addresses = interleaved(tuple(dict.fromkeys(str(info[4][0]) for info in infos)))
        if len(self._known) >= MAX_CACHED_NAMES:
            self._known.clear()
        keep_seconds = CACHE_SECONDS if addresses else FAILURE_CACHE_SECONDS
        self._known[host] = _Known(addresses, loop.time() + keep_seconds)
        return addresses

    async def close(self) -> None:
        """Ends open questions."""
        for asking in list(self._asking.values()):
            asking.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)


def is_literal(host: str) -> bool:
    """Whether the host is written as an address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def interleaved(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """IPv6 and IPv4 in turns, the family of the first address first: one broken family costs one try (RFC 8305)."""
    families: tuple[list[str], list[str]] = ([], [])
    for address in addresses:
        families[":" in address].append(address)
    first, second = families if addresses and ":" not in addresses[0] else families[::-1]
    longer = max(len(first), len(second))
    turns = (family[turn] for turn in range(longer) for family in (first, second) if turn < len(family))
    return tuple(turns)
