"""Accounts as their owners make and change them. Who signs up has no rights in the admin: `is_staff` is False.

Ending sessions and links when a password changes is done by triggers, whoever changes it.
"""

import secrets
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from relay_admin.access.mails import mail_queue
from relay_admin.access.models import MailKind, User
from relay_admin.ledger.gifts import gift_give

_TAKEN = "Somebody has this e-mail address already."


def person_make(*, address: str, password: str | None, is_verified: bool) -> User:
    """A new account without any rights, named like its address. `is_verified`: it is known to be its owner's.
    Without a password they sign in with the OpenID Connect provider.

    Raises ValidationError with `password` or `email` in it.
    """
    user = User(username=_free_name(address), email=address, email_verified_at=timezone.now() if is_verified else None)
    if password is not None:
        _check_password(password, user)
    user.set_password(password)
    user.full_clean()
    with transaction.atomic():
        _saved(user)
        gift_give(user)
    return user


@transaction.atomic
def password_set(*, user: User, password: str, keeps_admin_tokens: bool = False) -> None:
    """Ends their sessions and links, and unless they are to be kept their admin tokens: whoever had the password could
    have made some. Raises ValidationError with `password` in it."""
    _check_password(password, user)
    user.set_password(password)
    user.save(update_fields=["password"])
    if not keeps_admin_tokens:
        user.admin_tokens.all().delete()
    mail_queue(kind=MailKind.CHANGED_PASSWORD, address=user.email, user=user)


@transaction.atomic
def address_confirm(*, user: User, address: str) -> None:
    """The address that they followed a link to is theirs. Raises ValidationError with `email` in it."""
    before, is_first = user.email, user.email_verified_at is None
    if user.username == before:
        user.username = _free_name(address) if address != before else before
    user.email, user.email_verified_at = address, timezone.now()
    _saved(user, update_fields=["username", "email", "email_verified_at"])
    if is_first:
        gift_give(user)
    if before.lower() != address.lower():
        mail_queue(kind=MailKind.CHANGED_ADDRESS, address=before)


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as weak:
        raise ValidationError({"password": weak.messages}) from None


def _saved(user: User, **options: Any) -> None:
    try:
        with transaction.atomic():
            user.save(**options)
    except IntegrityError:
        raise ValidationError({"email": _TAKEN}) from None


def _free_name(address: str) -> str:
    """The address, where it can be a name and nobody has it."""
    try:
        User._meta.get_field("username").clean(address, None)
    except ValidationError:
        return _made_up_name()
    return _made_up_name() if User.objects.filter(username=address).exists() else address


def _made_up_name() -> str:
    return f"person-{secrets.token_hex(6)}"
