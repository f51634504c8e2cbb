"""Where the relay may call: what RELAY_EGRESS_ALLOW opens, and whether the catalog's hosts can be found."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from relay_admin.catalog.models import Host
from relay_admin.doctor.finding import Finding, broken, ok, some_of, warning
from relay_contract.netguard import Network, refusal

PRIVATE = {
    "the metadata of clouds": ("169.254.169.254", "fd00:ec2::254"),
    "this machine": ("127.0.0.1", "::1"),
    "private networks": ("10.0.0.1", "172.16.0.1", "192.168.0.1", "fd12:3456::1"),
}
HOSTS = 5
"""Whose names are looked up."""

Resolve = Callable[[str], list[str]]
"""Addresses of a name. Raises OSError."""


def hosts() -> dict[str, str]:
    """The names of a few hosts by slug."""
    rows = Host.objects.filter(is_enabled=True).order_by("slug").values_list("slug", "base_url")[:HOSTS]
    return {slug: urlsplit(url).hostname or "" for slug, url in rows}


def policy(allowed: tuple[Network, ...]) -> Finding:
    """What is open of what is closed where nothing is allowed."""
    opened = {
        what: [address for address in addresses if refusal(address, allowed) is None]
        for what, addresses in PRIVATE.items()
    }
    if opened["the metadata of clouds"]:
        return broken(
            "egress.policy",
            f"targets may call {opened['the metadata of clouds'][0]}, which hands out a cloud's credentials",
            "Name smaller networks in RELAY_EGRESS_ALLOW.",
        )
    if opened["this machine"]:
        return warning(
            "egress.policy",
            "targets may call this machine itself",
            "Take loopback out of RELAY_EGRESS_ALLOW where others than you edit targets.",
        )
    shown = " ".join(map(str, allowed)) or "none"
    return ok("egress.policy", f"private addresses are refused; networks that are allowed: {shown}")


def names(named: dict[str, str], allowed: tuple[Network, ...], look_up: Resolve) -> Finding:
    """`named`: names by slug. Looks each up, and calls nobody."""
    lost, refused = [], []
    for slug, name in named.items():
        try:
            addresses = look_up(name)
        except OSError:
            lost.append(f"{slug} ({name})")
            continue
        if all(refusal(address, allowed) is not None for address in addresses):
            refused.append(f"{slug} ({name}: {refusal(addresses[0], allowed)})")
    if refused:
        return broken(
            "egress.names", f"may not be called: {some_of(refused)}", "Correct their base URL, or RELAY_EGRESS_ALLOW."
        )
    if lost:
        return warning(
            "egress.names", f"not found: {some_of(lost)}", "See the DNS of this machine, and the hosts' base URLs."
        )
    return ok("egress.names", f"{len(named)} hosts of the catalog are found" if named else "no host is enabled")


def resolve(name: str) -> list[str]:
    """Every address of a name, or of an address itself. Raises OSError."""
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
