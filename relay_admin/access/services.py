"""Minting and ending relay keys, and the first user. A token leaves here once, as a return value; only its hash is
stored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from relay_admin.access.admin_tokens import admin_token_mint
from relay_admin.access.key_life import UNSAID, Unsaid, check_expiry, first_expiry, successors_expiry
from relay_admin.access.models import AdminToken, RelayKey, User
from relay_admin.catalog.models import Policy, Project, RateLimit
from relay_contract import tokens
from relay_contract.nouns import KeyMode, Payer, Scope

OVERLAP = timedelta(hours=24)
"""For so long a key works beside its successor, unless somebody says otherwise."""
MAX_OVERLAP = timedelta(days=90)

_KEPT = ("project", "policy", "rate_limit", "user")
_KEPT_VALUES = ("pays", "budget")
_LONGEST_STEM = 90


@dataclass(frozen=True, slots=True)
class MintedRelayKey:
    """A new relay key and its token, which nobody can read again."""

    relay_key: RelayKey
    token: str = field(repr=False)


@transaction.atomic
def relay_key_mint(
    *,
    project: Project,
    name: str,
    scopes: Sequence[Scope | str],
    mode: KeyMode | str = KeyMode.LIVE,
    policy: Policy | None = None,
    rate_limit: RateLimit | None = None,
    user: User | None = None,
    pays: Payer | str = Payer.PROJECT,
    budget: dict[str, Any] | None = None,
    captures_payloads: bool = False,
    allowed_networks: Sequence[str] = (),
    expires_at: datetime | Unsaid | None = UNSAID,
    rotates_days_before: int | None = None,
    may_be_endless: bool = True,
    created_by: User | None = None,
    token: str | None = None,
) -> MintedRelayKey:
    """A new relay key. `expires_at`: None never; unsaid, the project's default. `may_be_endless`: whoever makes it may
    make keys that never expire. `token`: one that was minted elsewhere, for catalog documents. Raises ValidationError.
    """
    now = timezone.now()
    expiry = first_expiry(project, expires_at, now)
    check_expiry(project, expiry, now, may_be_endless=may_be_endless)
    key = RelayKey(
        project=project,
        name=name,
        mode=KeyMode(mode),
        scopes=[str(Scope(scope)) for scope in scopes],
        policy=policy,
        rate_limit=rate_limit,
        user=user,
        pays=Payer(pays),
        budget=budget,
        captures_payloads=captures_payloads,
        allowed_networks=list(allowed_networks),
        expires_at=expiry,
        rotates_days_before=rotates_days_before,
        created_by=created_by,
    )
    token = tokens.mint(KeyMode(mode)).token if token is None else token
    _set_token(key, token)
    key.full_clean()
    key.save(force_insert=True)
    return MintedRelayKey(key, token)


@transaction.atomic
def relay_key_change(*, relay_key: RelayKey, changes: dict[str, Any], may_be_endless: bool = True) -> RelayKey:
    """Other values of columns that may change; the wallet goes with the user and who pays. Raises ValidationError."""
    key = RelayKey.objects.select_for_update(of=("self",)).select_related(*_KEPT).get(pk=relay_key.pk)
    if changes.get("expires_at", key.expires_at) != key.expires_at:
        check_expiry(key.project, changes["expires_at"], timezone.now(), may_be_endless=may_be_endless)
    for name, value in changes.items():
        setattr(key, name, value)
    key.full_clean()
    key.save(update_fields=[*changes, "wallet_id"])
    return key


@transaction.atomic
def relay_key_set_token(*, relay_key: RelayKey, token: str) -> RelayKey:
    """Replace the token of a key: the old one ends at once. Raises ValidationError."""
    _set_token(relay_key, token)
    relay_key.full_clean()
    relay_key.save(update_fields=["key_id", "token_hash"])
    return relay_key


def _set_token(key: RelayKey, token: str) -> None:
    parsed = relay_key_token_parse(token)
    if parsed.mode != key.mode:
        raise ValidationError({"mode": f"The token is a {parsed.mode} key and the row says {key.mode}."})
    key.key_id, key.token_hash = parsed.key_id, tokens.hash_token(token)


def relay_key_token_parse(token: str) -> tokens.ParsedKey:
    """What a token says of itself. ValidationError for text that is not a relay key."""
    parsed = tokens.parse(token)
    if parsed is None:
        raise ValidationError("Not a relay key: one looks like rk_live_ or rk_test_ and 50 letters and digits.")
    return parsed


@transaction.atomic
def relay_key_revoke(*, relay_key: RelayKey) -> bool:
    """End a key for good; the edges refuse it as soon as this is committed. False: it was revoked before."""
    now = timezone.now()
    is_first = RelayKey.objects.filter(pk=relay_key.pk, revoked_at=None).update(revoked_at=now) == 1
    relay_key.refresh_from_db(fields=["revoked_at"])
    return is_first


@transaction.atomic
def relay_key_rotate(
    *, relay_key: RelayKey, overlap: timedelta | None = OVERLAP, created_by: User | None = None
) -> MintedRelayKey:
    """A successor of the same project, mode, policy, limits, payer, scopes and networks, that lives for as long as the
    key was to. The key itself works for the overlap, though never longer than it would have; None: for as long. Raises
    ValidationError for a key that was revoked, has ended, or has a successor already."""
    key = RelayKey.objects.select_for_update(of=("self",)).select_related(*_KEPT).get(pk=relay_key.pk)
    now, ends_at = timezone.now(), key.ends_at
    if key.revoked_at is not None or (ends_at is not None and ends_at <= now):
        raise ValidationError("This key has ended. Mint a new one.")
    if key.has_successor:
        raise ValidationError("This key was rotated already. Rotate its successor.")
    if overlap is not None and not timedelta() <= overlap <= MAX_OVERLAP:
        raise ValidationError(f"The overlap is at most {MAX_OVERLAP.days} days.")
    minted = relay_key_mint(
        name=_successor_name(key),
        scopes=key.scopes,
        mode=key.mode,
        captures_payloads=key.captures_payloads,
        allowed_networks=key.allowed_networks,
        expires_at=successors_expiry(key, now),
        rotates_days_before=key.rotates_days_before,
        created_by=created_by,
        **{name: getattr(key, name) for name in (*_KEPT, *_KEPT_VALUES)},
    )
    key.successor, key.has_successor = minted.relay_key, True
    ends = [end for end in (ends_at, None if overlap is None else now + overlap) if end is not None]
    key.expires_at = min(ends) if ends else None
    key.save(update_fields=["successor", "has_successor", "expires_at"])
    return minted


def _successor_name(key: RelayKey) -> str:
    """The key's name with the next number that is free."""
    taken = set(RelayKey.objects.filter(project=key.project).values_list("name", flat=True))
    stem = re.sub(r"-\d{1,9}\Z", "", key.name)[:_LONGEST_STEM]
    return next(name for n in range(2, len(taken) + 3) if (name := f"{stem}-{n}") not in taken)


@transaction.atomic
def user_bootstrap(*, username: str, password: str, admin_token: str | None = None) -> dict[str, bool]:
    """The first superuser, and a token for it. What exists is left as it is, the password above all; where there is a
    superuser of another name, nothing is made.

    Returns what was made: `{"user": ..., "admin_token": ...}`. Raises ValidationError.
    """
    made = {"user": False, "admin_token": False}
    user = User.objects.filter(username=username).first()
    if user is None and User.objects.filter(is_superuser=True).exists():
        return made  # renamed or removed by somebody who is in charge: not to come back with an old password
    if user is None:
        if not password:
            raise ValidationError("The first user needs a password: set RELAY_BOOTSTRAP_ADMIN_PASSWORD.")
        user = User(username=username, email=f"{username}@localhost", is_staff=True, is_superuser=True)
        validate_password(password, user)
        user.set_password(password)
        user.full_clean()
        user.save()
        made["user"] = True
    if admin_token and not AdminToken.objects.filter(token_hash=tokens.hash_token(admin_token)).exists():
        name = _free_name(user, "bootstrap")
        admin_token_mint(user=user, name=name, token=admin_token)
        made["admin_token"] = True
    return made


def _free_name(user: User, name: str) -> str:
    taken: set[Any] = set(AdminToken.objects.filter(user=user).values_list("name", flat=True))
    return next(free for free in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if free not in taken)
