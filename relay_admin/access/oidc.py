"""Who somebody of the OpenID Connect provider is here. Asks nothing of the network: see `oidc_client.py`.

An account that exists is never given to whoever comes with its e-mail address: its owner signs in and links it.
"""

from enum import StrEnum

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from relay_admin.access.models import ExternalIdentity, User
from relay_admin.access.oidc_client import Person
from relay_admin.access.people import person_make


class Refusal(StrEnum):
    """Why somebody is not let in, in words for them."""

    NO_ADDRESS = "The provider does not say that your e-mail address is yours."
    HAS_ACCOUNT = (
        "There is an account with your e-mail address. Sign in with its password, and connect this sign-in there."
    )
    NOT_INVITED = "New accounts are not made this way here. Ask whoever runs this relay."
    NOT_FOR_YOU = "This sign-in is not for your account. Use your password."


class NotLetIn(Exception):
    """With the `Refusal` as its text."""


def offers_oidc() -> bool:
    """Whether there is a provider."""
    return bool(settings.OIDC_ISSUER)


@transaction.atomic
def person_enter(person: Person) -> User:
    """The user that they are, made if need be. Raises NotLetIn."""
    identity = ExternalIdentity.objects.select_related("user").filter(issuer=person.issuer, subject=person.subject)
    if (known := identity.first()) is not None:
        if not known.user.is_active or not _is_for(person, is_staff=known.user.is_staff):
            raise NotLetIn(Refusal.NOT_FOR_YOU)
        return known.user
    if not person.email:
        raise NotLetIn(Refusal.NO_ADDRESS)
    is_staff = _may_be_staff(person)
    if not _is_for(person, is_staff=is_staff) or not (is_staff or settings.SIGNUP == "open"):
        raise NotLetIn(Refusal.NOT_INVITED)
    try:
        user = person_make(address=person.email, password=None, is_verified=True)
    except ValidationError:
        raise NotLetIn(Refusal.HAS_ACCOUNT) from None
    if is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
    identity_link(person=person, user=user)
    return user


def identity_link(*, person: Person, user: User) -> None:
    """From now on this person signs in as the user. Raises NotLetIn for one who is linked to somebody else."""
    try:
        with transaction.atomic():
            identity, _ = ExternalIdentity.objects.get_or_create(
                issuer=person.issuer, subject=person.subject, defaults={"user": user, "email": person.email}
            )
    except IntegrityError:
        raise NotLetIn(Refusal.NOT_FOR_YOU) from None
    if identity.user_id != user.pk:
        raise NotLetIn(Refusal.NOT_FOR_YOU)


def identity_unlink(*, user: User) -> bool:
    """False where it is their only way in."""
    if not user.has_usable_password():
        return False
    user.external_identities.all().delete()
    return True


def _is_for(person: Person, *, is_staff: bool) -> bool:
    """Whether the operator offers it to such people. Staff comes with an address of a domain that is listed."""
    if is_staff:
        return _may_be_staff(person)
    match settings.OIDC_FOR:
        case "staff":
            return False
        case "customers":
            return not settings.OIDC_DOMAINS or _domain(person) in settings.OIDC_DOMAINS
        case _:
            return True


def _may_be_staff(person: Person) -> bool:
    return settings.OIDC_FOR != "customers" and _domain(person) in settings.OIDC_DOMAINS


def _domain(person: Person) -> str:
    return person.email.rpartition("@")[2].lower()
