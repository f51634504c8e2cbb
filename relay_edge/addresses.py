"""Which endpoint a request names: by path on the relay's own name, by host name below its domain. Pure.

| address | names |
|---|---|
| `/r/{project}/{line}/{endpoint}` on any host | all three |
| `/{line}/{endpoint}` on `{project}.<RELAY_DOMAIN>` | the project by the host |
"""

import re
from typing import NamedTuple

from relay_contract.nouns import MAX_SLUG_LENGTH

PATH_PREFIX = "/r/"

_HOST = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\.(.{1,253}?)\.?(?::[0-9]{1,5})?", re.ASCII)
"""One label, the rest, the root's dot and a port (RFC 9110 section 7.2). A slug with other characters is no host."""


class EndpointAddress(NamedTuple):
    """Slugs as sent; nothing says yet that they exist."""

    project: str
    line: str
    endpoint: str


def by_path(path: str) -> EndpointAddress | None:
    """From a raw path without its query; None when it has another form. Slugs need no escapes, so none are undone."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] or parts[1] != "r":
        return None
    return _address(parts[2], parts[3], parts[4])


def project_by_host(host: str, domain: str) -> str | None:
    """The project that a `Host` header names, or None. `domain` is lower case; "" names none."""
    if not domain:
        return None
    match = _HOST.fullmatch(host.lower())
    return match[1] if match is not None and match[2] == domain else None


def by_host(project: str, path: str) -> EndpointAddress | None:
    """From a project's own host name."""
    parts = path.split("/")
    if len(parts) != 3 or parts[0]:
        return None
    return _address(project, parts[1], parts[2])


def _address(project: str, line: str, endpoint: str) -> EndpointAddress | None:
    address = EndpointAddress(project, line, endpoint)
    return address if all(0 < len(slug) <= MAX_SLUG_LENGTH for slug in address) else None
