"""What a member of a project may do in it. Pure."""

from enum import StrEnum


class Role(StrEnum):
    """What somebody is in a project."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    SUPPORT = "support"
    VIEWER = "viewer"
    CUSTOMER = "customer"
