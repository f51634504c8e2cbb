"""A stored URL, in the parts that an origin and a request line are made of. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Self
from urllib.parse import urlsplit

from relay_contract import netguard

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ANY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


class UrlUnusableError(Exception):
    """No request can be sent to this URL. The text does not repeat it."""


@dataclass(frozen=True, slots=True)
class OriginUrl:
    """A plain http(s) URL."""

    scheme: str
    host: str  # an IPv6 address without its brackets
    port: int
    path: str  # with its query

    @classmethod
    def of(cls, url: str) -> Self:
        """Raises UrlUnusableError."""
        try:
            # Only the form: addresses are judged at each connection, where a name cannot hide one.
            netguard.check_url(url, allowed=_ANY_ADDRESS)
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS[parts.scheme]
        except (netguard.UrlRefused, ValueError, KeyError) as error:
            raise UrlUnusableError("its URL is not a plain http(s) URL") from error
        assert parts.hostname is not None  # check_url
        return cls(parts.scheme, parts.hostname, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    @property
    def authority(self) -> str:
        """The `Host` header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"
