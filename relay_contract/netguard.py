"""Which addresses, URLs and headers of a target the relay will use (SSRF guard).

Two doors. At connect time `guarded_socket_factory` judges the final address of every connection: only there DNS
rebinding, literal hosts and odd spellings all look alike (aiohttp's `resolver=` never sees a literal host). When a
target is saved `check_url` and `check_header` refuse early, with a sentence for the person who typed it; they resolve
nothing and are no protection by themselves.

Refused: everything that is not public unicast, by our own list (IANA special-purpose registries, read 2026-11) and then
by `ipaddress.is_global`, which differs between Python patch releases. An IPv6 address that carries an IPv4 one (mapped,
6to4, Teredo, NAT64, ISATAP) is judged by both. The deployment's own list of allowed networks wins over the refusals.

With an egress proxy configured this guard sees the proxy's address only; then the proxy has to hold the policy.

Standard library only. Pure but for the socket that the factory makes; a judgement costs 4 to 9 us.
"""

import errno
import re
import socket
import unicodedata
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

from relay_contract.headers import HOP_BY_HOP

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
"""As `getaddrinfo` gives it; the last member is the socket's address, whose shape depends on the family (hence Any)."""

MAX_URL_LENGTH = 2048
MAX_HEADER_NAME_LENGTH = 128
MAX_HEADER_VALUE_LENGTH = 4096

_REFUSED_V4 = {
    IPv4Network(network): meaning
    for network, meaning in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "shared carrier or cloud space"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud platform's control address"),  # Azure; allocated as if it were public
        ("169.254.0.0/16", "link-local, where clouds serve credentials"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved or broadcast"),
    )
}
_REFUSED_V6 = {
    IPv6Network(network): meaning
    for network, meaning in (
        ("::/128", "this host"),
        ("::1/128", "loopback"),
        ("::/96", "an IPv4 address in an obsolete spelling"),
        ("::ffff:0:0:0/96", "an IPv4 address in an obsolete spelling"),  # SIIT, RFC 2765
        ("64:ff9b:1::/48", "translation inside a private network"),
        ("100::/64", "a discard prefix"),
        ("100:0:0:1::/64", "a dummy prefix"),
        ("2001::/23", "reserved for protocols"),  # Teredo, benchmarking, ORCHID
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
}
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_PUBLIC_V6 = (IPv6Network("2000::/3"), _NAT64)  # all that IANA has handed out as global unicast, and public NAT64
_IPV4_IN_LAST_32_BITS = (_NAT64, _NAT64_LOCAL, IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
_ISATAP_MARKS = frozenset({0x0000_5EFE, 0x0200_5EFE})  # bits 64-95 of an ISATAP address, RFC 5214 section 6.1
_LOOPBACKS = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

_URL = re.compile(r"(?i:(?P<scheme>https?)://)(?P<authority>[^/?#]*)(?P<rest>[/?].*)?")
_NOT_IN_URL = re.compile(r"[^!#-;=?-\[\]_a-z~]|%(?![0-9A-Fa-f]{2})")  # RFC 3986; what it leaves out must be escaped
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a host whose last label is one is an IPv4 address to a browser or libc
_DEFAULT_PORTS = {"http": 80, "https": 443}

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_HEADER_VALUE = re.compile(r"[\t -~]*")  # without obs-text: receivers do not agree how to decode it
_WRITTEN_BY_RELAY = frozenset(
    {"content-encoding", "content-length", "expect", "host", "webhook-id", "webhook-signature", "webhook-timestamp"}
)
_WRITTEN_BY_RELAY_PREFIX = "relay-"


class AddressRefused(OSError):
    """A connection would have gone to an address that the relay does not call. `errno` is EACCES, and nothing was sent.

    An OSError, so that HTTP clients handle it like any failed connect. When several addresses of one host all fail,
    aiohttp merges them into a plain OSError: match on `errno`, not on the class.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(errno.EACCES, f"target_address_refused: {address} is {reason}")


class UrlRefused(ValueError):
    """A URL that no target may have. The text is one sentence for the person who typed it."""


class HeaderRefused(ValueError):
    """A header that no target may have. The text is one sentence and never repeats the value, which may be secret."""


def refusal(address: str | Address, allowed: tuple[Network, ...]) -> str | None:
    """Why the relay does not connect to this address, as a phrase ("loopback (127.0.0.0/8)"), or None to go ahead.

    An allowed network admits what lies in it. For an IPv6 address that carries an IPv4 one both must pass: allowing
    `64:ff9b:1::/48` does not open the loopback behind it (in that prefix the IPv4 address is read from the last 32
    bits, the /96 layout of RFC 6052). Text that is not an address is refused too.
    """
    try:
        parsed = ip_address(str(address))  # through text, so that bytes or a number by mistake are no address
    except ValueError:
        return "not an IP address"
    for face in _faces(parsed):
        if any(face in network for network in allowed):
            continue
        reason = _reserved(face)
        if reason is not None:
            return reason if face == parsed else f"{reason}, since it stands for {face}"
    return None


def guarded_socket_factory(allowed: tuple[Network, ...]) -> Callable[[AddressInfo], socket.socket]:
    """For aiohttp's `TCPConnector(socket_factory=...)` or our own client: a non-blocking socket, or AddressRefused.

    Called with every address that is about to be connected to, literal or resolved, so nothing goes around it.
    """

    def make_socket(address_info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, socket_address = address_info
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise AddressRefused(f"address family {int(family)}", "not IPv4 or IPv6")
        address = str(socket_address[0])
        reason = refusal(address, allowed)
        if reason is not None:
            raise AddressRefused(address, reason)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make_socket


def check_url(url: str, allowed_ports: Collection[int] | None = None, allowed: tuple[Network, ...] = ()) -> None:
    """UrlRefused unless this is a plain absolute http(s) URL whose host is a DNS name or an address we would call.

    `allowed_ports`: None allows every port. `allowed`: the deployment's networks, as for `refusal`. Parsers disagree
    about everything unusual in a URL, so everything unusual is refused here rather than read in one of the ways.
    """
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefused(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    strange = _NOT_IN_URL.search(url)
    if strange:
        raise UrlRefused(
            f"The URL holds {strange[0]!a} at position {strange.start() + 1}; percent-encode it, and write an"
            " international host name in its xn-- form."
        )
    parts = _URL.fullmatch(url)
    if parts is None:
        if "#" in url:
            raise UrlRefused("The URL has a fragment (#...), which is never sent; leave it out.")
        raise UrlRefused("The URL must start with http:// or https:// and name a host.")
    if "#" in (parts["rest"] or ""):
        raise UrlRefused("The URL has a fragment (#...), which is never sent; leave it out.")
    if "@" in parts["authority"]:
        raise UrlRefused("The URL holds a user name or password; send credentials in a header of the target instead.")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise UrlRefused("The host and port of the URL cannot be read; write host or host:port.")
    _check_port(authority["port"], parts["scheme"].lower(), allowed_ports)
    _check_host(authority["host"].lower(), allowed)


def check_header(name: str, value: str) -> None:
    """HeaderRefused unless a target may carry this header: its own syntax is right and the name is not the relay's."""
    if len(name) > MAX_HEADER_NAME_LENGTH or not _HEADER_NAME.fullmatch(name):
        raise HeaderRefused("A header name is 1 to 128 letters, digits or any of !#$%&'*+-.^_`|~.")
    lowered = name.lower()
    if lowered in HOP_BY_HOP:
        raise HeaderRefused(f"{name} belongs to one connection and cannot be set for a target.")
    if lowered in _WRITTEN_BY_RELAY or lowered.startswith(_WRITTEN_BY_RELAY_PREFIX):
        raise HeaderRefused(f"{name} is written by the relay on every delivery and cannot be set for a target.")
    if len(value) > MAX_HEADER_VALUE_LENGTH:
        raise HeaderRefused(f"The value of {name} is longer than {MAX_HEADER_VALUE_LENGTH} characters.")
    if not _HEADER_VALUE.fullmatch(value):
        raise HeaderRefused(
            f"The value of {name} holds a line break, a control character or a character outside ASCII."
        )
    if value != value.strip(" \t"):
        raise HeaderRefused(f"The value of {name} starts or ends with space, which HTTP would drop.")


def _faces(address: Address) -> Iterator[Address]:
    """The address and each IPv4 address it stands for. A mapped one is its IPv4 address alone: that is dialled."""
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo  # the Teredo server and the client behind it
    bits = int(address)
    isatap = bits >> 32 & 0xFFFF_FFFF in _ISATAP_MARKS
    # `::` and `::1` are themselves, not 0.0.0.0 and 0.0.0.1 in an old spelling.
    if bits > 1 and (isatap or any(address in network for network in _IPV4_IN_LAST_32_BITS)):
        yield IPv4Address(bits & 0xFFFF_FFFF)


def _reserved(address: Address) -> str | None:
    refused: dict[IPv4Network, str] | dict[IPv6Network, str]
    refused = _REFUSED_V4 if isinstance(address, IPv4Address) else _REFUSED_V6
    for network, meaning in refused.items():
        if address in network:
            return f"{meaning} ({network})"
    if isinstance(address, IPv6Address) and not any(address in network for network in _PUBLIC_V6):
        return "outside the public IPv6 space (2000::/3)"
    return None if address.is_global else "not a public address"


def _check_port(text: str | None, scheme: str, allowed_ports: Collection[int] | None) -> None:
    port = _DEFAULT_PORTS[scheme] if text is None else int(text)
    if not 1 <= port <= 65_535:
        raise UrlRefused(f"Port {port} does not exist; ports run from 1 to 65535.")
    if allowed_ports is not None and port not in allowed_ports:
        names = ", ".join(str(number) for number in sorted(allowed_ports))
        raise UrlRefused(f"Port {port} is not open for targets here; use one of {names}.")


def _check_host(host: str, allowed: tuple[Network, ...]) -> None:
    """`host` in lower case, with brackets when it is written as an IPv6 address."""
    if host.startswith("["):
        _check_address(_ipv6(host), allowed)
        return
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused(
            f"{host or 'An empty host'} is not a host name: labels of letters, digits and inner dashes, joined by"
            " single dots."
        )
    if _NUMBER.fullmatch(labels[-1]):
        _check_address(_ipv4(host), allowed)
        return
    if not all(_is_sound_label(label) for label in labels):
        raise UrlRefused(f"{host} is not a valid international host name.")
    loopback_is_allowed = any(address in network for address in _LOOPBACKS for network in allowed)
    if labels[-1] == "localhost" and not loopback_is_allowed:
        raise UrlRefused(f"{host} is this machine itself, which targets may not call here.")


def _ipv4(host: str) -> IPv4Address:
    try:
        return IPv4Address(host)
    except ValueError:
        raise UrlRefused(f"{host} is not a host name; write an IPv4 address as four decimal numbers.") from None


def _ipv6(host: str) -> IPv6Address:
    try:
        address = IPv6Address(host[1:-1])
    except ValueError:
        raise UrlRefused(f"{host} is not an IPv6 address.") from None
    if address.scope_id is not None:
        raise UrlRefused(f"{host} names a network interface of one machine; leave out the % and what follows.")
    return address


def _check_address(address: Address, allowed: tuple[Network, ...]) -> None:
    reason = refusal(address, allowed)
    if reason is not None:
        raise UrlRefused(f"{address} may not be called: it is {reason}.")


def _is_sound_label(label: str) -> bool:
    """False for an `xn--` label that decodes to nothing, to ASCII, or to another spelling of some other label."""
    if label[2:4] != "--":
        return True
    if not label.startswith("xn--"):
        return False  # RFC 5891 section 4.2.3.1 keeps these for future encodings
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return False
    is_canonical = decoded == unicodedata.normalize("NFKC", decoded).lower()
    is_word = all(unicodedata.category(character)[0] in "LMN" or character == "-" for character in decoded)
    return bool(decoded) and not decoded.isascii() and is_canonical and is_word
