"""Whose address a call came from, where proxies that we trust stand before us. Pure.

Nobody else's `X-Forwarded-For` is believed: anyone may send one. Each proxy writes behind what it got, so the list is
read from its end, past our own proxies, to the first address that is none of them. What cannot be read ends the walk,
since whoever wrote it wrote everything to its left too. `Forwarded` (RFC 7239) is not read: few proxies replace it.

Without trusted proxies a call costs 0.1 us; with them, 2 us.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from relay_contract.netguard import Network

FORWARDED_FOR = "X-Forwarded-For"
MOST_PROXIES = 32
"""Entries that are looked at: a caller may write thousands, all of them looking like proxies of ours."""
UNKNOWN = "0.0.0.0"  # noqa: S104 - no address to listen on
"""Of a caller who has gone, or who came through a socket without addresses."""

_MAPPED = "::ffff:"
_KNOWN_PEERS = 1_024


class ClientIps:
    """One for each process."""

    __slots__ = ("_is_trusted_peer", "_trusted")

    def __init__(self, trusted: tuple[Network, ...] = ()) -> None:
        self._trusted = trusted
        self._is_trusted_peer = lru_cache(_KNOWN_PEERS)(self._is_trusted_text)

    def of(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """An address as the relay writes it: IPv4 mapped into IPv6 as IPv4, without a zone. `peer`: the other end of
        the connection. `forwarded_for`: the values of X-Forwarded-For, in their order."""
        if not peer:
            return UNKNOWN
        if not self._trusted or not forwarded_for or not self._is_trusted_peer(peer):
            return _plain(peer) if "%" in peer or peer.startswith(_MAPPED) else peer
        found = _plain(peer)
        for entry in reversed(",".join(forwarded_for).rsplit(",", MOST_PROXIES)[-MOST_PROXIES:]):
            address = _read(entry)
            if address is None:
                break
            found = str(address)
            if not self._is_trusted(address):
                break
        return found

    def _is_trusted_text(self, peer: str) -> bool:
        address = _read(peer.partition("%")[0])
        return address is not None and self._is_trusted(address)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _read(entry: str) -> IPv4Address | IPv6Address | None:
    """`192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`; None for anything else."""
    text = entry.strip(" \t")
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    if "%" in text:
        return None  # a zone means something on one machine only
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_port(text: str) -> bool:
    return text.startswith(":") and 0 < len(text) - 1 <= 5 and text[1:].isascii() and text[1:].isdigit()


def _plain(peer: str) -> str:
    address = _read(peer.partition("%")[0])
    return UNKNOWN if address is None else str(address)
