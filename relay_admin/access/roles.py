"""What a member of a project may do in it. Pure."""

from enum import StrEnum


class Role(StrEnum):
    """What somebody is in a project."""

    OWNER = "owner"  # one, at most; nobody in the project can remove it
    ADMIN = "admin"
    DEVELOPER = "developer"
    SUPPORT = "support"
    VIEWER = "viewer"
    CUSTOMER = "customer"  # uses an app of the project


GIVEN = (Role.ADMIN, Role.DEVELOPER, Role.SUPPORT, Role.VIEWER)
"""What members give each other."""


class Act(StrEnum):
    """What somebody wants to do."""

    SEE_PROJECT = "project.see"  # its name, and one's own role
    SEE_TRAFFIC = "traffic.see"  # requests, deliveries, calls, replays, comparisons; without content
    SEE_PAYLOAD = "payload.see"
    REPLAY = "replay"  # or discard, of the failure queue
    SEE_KEYS = "keys.see"  # and applications, as below
    MANAGE_TEST_KEYS = "keys.manage_test"
    MANAGE_KEYS = "keys.manage"  # live ones
    OWN_KEYS = "keys.own"  # that oneself pays for, for models
    MANAGE_ENDPOINTS = "endpoints.manage"  # drafts, dry runs, targets, and their secrets
    MANAGE_MEMBERS = "members.manage"
    SEE_AUDIT = "audit.see"
    SEE_MONEY = "money.see"
    MANAGE_MONEY = "money.manage"  # top up, redeem codes
    TRANSFER = "project.transfer"  # to another member


_VIEWER = frozenset({Act.SEE_PROJECT, Act.SEE_TRAFFIC})
_WITH_CONTENT = _VIEWER | {Act.SEE_PAYLOAD, Act.REPLAY}
_DEVELOPER = _WITH_CONTENT | {Act.SEE_KEYS, Act.MANAGE_TEST_KEYS, Act.OWN_KEYS, Act.MANAGE_ENDPOINTS}
_ADMIN = _DEVELOPER | {Act.MANAGE_KEYS, Act.MANAGE_MEMBERS, Act.SEE_AUDIT, Act.SEE_MONEY, Act.MANAGE_MONEY}

ACTS: dict[Role, frozenset[Act]] = {
    Role.OWNER: _ADMIN | {Act.TRANSFER},
    Role.ADMIN: _ADMIN,
    Role.DEVELOPER: _DEVELOPER,
    Role.SUPPORT: _WITH_CONTENT | {Act.SEE_MONEY},
    Role.VIEWER: _VIEWER,
    Role.CUSTOMER: frozenset({Act.SEE_PROJECT, Act.OWN_KEYS}),
}


def roles_with(act: Act) -> list[Role]:
    """Those that may, the mightiest first."""
    return [role for role in Role if act in ACTS[role]]


def refusal(act: Act) -> str:
    """What a member without it is told."""
    return f"This needs one of the roles {', '.join(roles_with(act))} in the project."
