"""How long relay keys live: what a project says of it. `docs/relay-keys.md`."""

from datetime import datetime, timedelta
from enum import Enum

from django.core.exceptions import ValidationError

from relay_admin.access.models import RelayKey
from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, rows_of
from relay_admin.catalog.models import EndlessKeys, Project


class Unsaid(Enum):
    """Nobody said a date: the project's default counts. None means never."""

    UNSAID = "unsaid"


UNSAID = Unsaid.UNSAID


def may_make_endless(actor: Actor, project: Project) -> bool:
    """Whether the actor, who may make keys of it, may make one that never expires."""
    if actor.is_operator:
        return True
    match EndlessKeys(project.endless_keys):
        case EndlessKeys.ANYONE:
            return True
        case EndlessKeys.ADMINS:
            return rows_of(Project, actor, Act.MANAGE_KEYS).filter(pk=project.pk).exists()
        case EndlessKeys.OPERATORS:
            return False


def first_expiry(project: Project, said: datetime | Unsaid | None, now: datetime) -> datetime | None:
    """Of a new key."""
    if not isinstance(said, Unsaid):
        return said
    return None if project.key_life_days is None else now + timedelta(days=project.key_life_days)


def successors_expiry(key: RelayKey, now: datetime) -> datetime | None:
    """As long as the key was to live, within what the project allows; as endless as the key."""
    if key.expires_at is None:
        return first_expiry(key.project, UNSAID, now)
    life, longest = key.expires_at - key.created_at, key.project.longest_key_life_days
    return now + (life if longest is None else min(life, timedelta(days=longest)))


def check_expiry(project: Project, expires_at: datetime | None, now: datetime, *, may_be_endless: bool) -> None:
    """Of a key that is made, or given another date. Raises ValidationError."""
    if expires_at is None:
        if not may_be_endless:
            raise ValidationError({"expires_at": f"Here only {project.endless_keys} make keys that never expire."})
    elif project.longest_key_life_days is not None and expires_at > now + timedelta(days=project.longest_key_life_days):
        raise ValidationError(
            {"expires_at": f"Keys of this project live {project.longest_key_life_days} days at most."}
        )
