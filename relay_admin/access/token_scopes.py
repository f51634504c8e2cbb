"""What an admin token may be narrowed to: areas of the control API, each to read or to change too. Pure.

`control` is everything and `control:read` all reading, as in applications' access tokens; the areas are parts of it.
What may change an area may read it. Every address of the API is in one area, or says nothing of any row.
"""

from collections.abc import Collection
from enum import StrEnum

from relay_admin.access.oauth.scopes import CONTROL, CONTROL_READ

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_READ = ":read"


class Area(StrEnum):
    """A part of the control API."""

    CATALOG = "catalog"  # projects, lines, endpoints, targets, hosts, models, prices, policies, rate limits, settings
    TRAFFIC = "traffic"  # requests, deliveries, replays, calls, usage, alerts, breakers
    MONEY = "money"  # wallets, top-ups, codes, invoices, transfers, terms
    PEOPLE = "people"  # members, invitations, relay keys, applications, tokens, sessions, audit


SCOPES = (CONTROL, CONTROL_READ, *(f"{area}{end}" for area in Area for end in ("", _READ)))
"""All that there are."""

_AREAS: dict[str, Area | None] = {
    **dict.fromkeys(
        (
            *("catalog", "projects", "lines", "endpoints", "targets", "hosts", "host-keys", "models", "model-aliases"),
            *("host-bindings", "prices", "policies", "rate-limits", "outline", "settings"),
        ),
        Area.CATALOG,
    ),
    **dict.fromkeys(
        ("requests", "deliveries", "replays", "calls", "shadows", "usage", "resolve", "alerts", "breakers"),
        Area.TRAFFIC,
    ),
    **dict.fromkeys(
        (
            *("wallets", "accounts", "transfers", "payouts", "credit-packs", "top-ups", "credit-codes", "invoices"),
            "exports",
        ),
        Area.MONEY,
    ),
    **dict.fromkeys(("relay-keys", "applications", "authorizations", "admin-tokens", "sessions", "audit"), Area.PEOPLE),
    **dict.fromkeys(("tools", "row-kinds", "docs", "openapi.json", "openapi.yaml"), None),
}
_OF_EVERYTHING = ("api/v1/catalog/plan", "api/v1/catalog/apply")
"""Catalog documents make relay keys too, which may control."""
_OF_PROJECTS = {
    "references": Area.CATALOG,
    "members": Area.PEOPLE,
    "invitations": Area.PEOPLE,
    "leave": Area.PEOPLE,
    "terms": Area.MONEY,
}


def area_of(route: str) -> Area | None:
    """Of a route as the URL resolver has it, `api/v1/lines/<str:project>`. None: of what tells nothing of any row, and
    of who asks. Raises KeyError for one that nobody has placed."""
    if not route.startswith("api/v1/"):
        return None
    first, *rest = route.removeprefix("api/v1/").split("/")
    if first == "projects" and len(rest) > 1:
        return _OF_PROJECTS[rest[1]]
    return _AREAS[first]


def lacking(scopes: Collection[str], method: str | None, route: str) -> str | None:
    """The scope that a call needs and these do not have; None where it may be made."""
    reads = method in SAFE_METHODS
    if CONTROL in scopes or (reads and CONTROL_READ in scopes):
        return None
    area = area_of(route)
    if area is None or route in _OF_EVERYTHING:
        return None if reads else CONTROL
    needed = f"{area}{_READ}" if reads else str(area)
    return None if covers(scopes, needed) else needed


def covers(scopes: Collection[str], wanted: str) -> bool:
    """Whether these may all that `wanted` may."""
    reads = wanted.endswith(_READ)
    able = {wanted, wanted.removesuffix(_READ), CONTROL} | ({CONTROL_READ} if reads else set())
    if wanted == CONTROL_READ:
        # All areas' reading is all reading.
        return not able.isdisjoint(scopes) or all(covers(scopes, f"{area}{_READ}") for area in Area)
    return not able.isdisjoint(scopes)
