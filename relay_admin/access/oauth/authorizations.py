"""What users allow applications: given on the consent pages, shown and taken back on `/account/applications`."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from relay_admin.access.memberships import customer_join
from relay_admin.access.models import User
from relay_admin.access.oauth import revocation
from relay_admin.access.oauth.issuing import wallet_of
from relay_admin.access.oauth.models import Authorization, OAuthApplication
from relay_admin.access.oauth.scopes import SCOPES
from relay_admin.ledger.accounts import balance_of
from relay_contract.credits import MICRO
from relay_contract.nouns import KeyMode

_PPM = 10_000
"""Of a percent."""


def authorization_of(user: User, application: OAuthApplication) -> Authorization | None:
    """What they allow it now."""
    return Authorization.objects.filter(user=user, application=application, revoked_at=None).first()


def authorization_held(user: User, application: OAuthApplication) -> Authorization | None:
    """The same, locked for a code to be written (`revocation.hold_consent`). In a transaction. Raises ConsentOver."""
    seen = authorization_of(user, application)
    if seen is None:
        return None
    revocation.hold_consent(seen, user)
    return authorization_of(user, application)


@transaction.atomic
def authorization_give(
    *,
    user: User,
    application: OAuthApplication,
    scopes: Sequence[str],
    cap_microcredits: int | None,
    standing: Authorization | None = None,
    referral: str = "",
) -> Authorization:
    """Write down that the user, as they were recognised, said yes to these scopes and this cap. Scopes they allowed
    before stay. They are a customer of the project from then on; `referral`, somebody's code, counts at the first yes
    to any of its applications. `standing`: what they allowed when they said so.

    A cap that changes counts for tokens that are issued from now on: those of before end. Raises ConsentOver for a
    user who is another by now (`revocation.hold_consent`), and where `standing` was taken back meanwhile.
    """
    project = application.project
    is_first = not Authorization.objects.filter(user=user, application__project=project).exists()
    customer_join(project=project, user=user, referral=referral if is_first else "")
    row, is_new = Authorization.objects.select_for_update().get_or_create(
        user=user,
        application=application,
        defaults={"scopes": list(scopes), "cap_microcredits": cap_microcredits, "granted_at": timezone.now()},
    )
    revocation.hold_consent(row, user)
    if is_new:
        return row
    if standing is not None and row.revoked_at is not None:
        raise revocation.ConsentOver
    if row.revoked_at is None:
        if row.cap_microcredits != cap_microcredits:
            revocation.revoke_access(row.pk)
        scopes = [name for name in SCOPES if name in {*scopes, *row.scopes}]
    row.scopes, row.cap_microcredits = list(scopes), cap_microcredits
    row.granted_at, row.revoked_at = timezone.now(), None
    row.save()
    return row


def asked_context(user: User, application: OAuthApplication, scopes: Sequence[str]) -> dict[str, Any]:
    """What the pages that ask say."""
    markup_ppm = application.project.markup_ppm
    return {
        "application": application,
        "scopes": [SCOPES[name] for name in scopes],
        "spends": "inference" in scopes,
        "is_test": application.mode == KeyMode.TEST,
        "markup": f"{markup_ppm / _PPM:g}" if markup_ppm else "",
        "balance": Decimal(balance_of(wallet_of(user, KeyMode(application.mode))).available) / MICRO,
        "user": user,
    }


def cap_initial(given: Authorization | None) -> dict[str, Any]:
    """What the form for the cap begins with."""
    cap = None if given is None else given.cap_microcredits
    return {"cap_credits": None if cap is None else Decimal(cap) / MICRO}
