"""Making applications and their secrets. A secret leaves here once, as a return value; only its hash is stored."""

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from relay_admin.access.models import User
from relay_admin.access.oauth.client_ids import client_secret_new
from relay_admin.access.oauth.models import OAuthApplication
from relay_admin.access.oauth.revocation import revoke_application
from relay_admin.access.oauth.validator import hashed


@dataclass(frozen=True, slots=True)
class MadeApplication:
    """An application and its secret, which nobody can read again; a public one has none."""

    application: OAuthApplication
    secret: str = field(repr=False)


@transaction.atomic
def application_make(*, created_by: User | None = None, **columns: Any) -> MadeApplication:
    """A new application; its client id is ours to choose. Raises ValidationError."""
    application = OAuthApplication(user=created_by, **columns)
    secret = _new_secret(application)
    application.full_clean()
    application.save(force_insert=True)
    return MadeApplication(application, secret)


@transaction.atomic
def application_secret_renew(*, application: OAuthApplication) -> MadeApplication:
    """Another secret; the old one ends at once, and so does whatever it was good for. Public ones have none."""
    secret = _new_secret(application)
    application.save(update_fields=["client_secret", "updated"])
    revoke_application(application)
    return MadeApplication(application, secret)


def _new_secret(application: OAuthApplication) -> str:
    if application.client_type != OAuthApplication.CLIENT_CONFIDENTIAL:
        application.client_secret = ""
        return ""
    secret = client_secret_new()
    application.client_secret = hashed(secret)
    return secret
