"""Access tokens as the control plane takes them: signed, young, and of somebody and something that still may."""

from relay_admin.access.oauth import issuing
from relay_admin.access.oauth.models import AccessToken, Revocation
from relay_contract.access_tokens import Claims
from relay_contract.errors import InvalidKey
from relay_contract.nouns import RevocationKind


def claims_of(text: str, *audiences: str) -> Claims | None:
    """What a token says that is good for one of these audiences, or for any; None for any other text."""
    found = live_token(text, *audiences)
    return None if found is None else found[0]


def live_token(text: str, *audiences: str) -> tuple[Claims, AccessToken] | None:
    """The same with its row, which has its user and application."""
    try:
        claims = issuing.read(text, *audiences)
    except InvalidKey:
        return None
    row = AccessToken.objects.select_related("application__project", "user", "authorization").filter(jti=claims.jti)
    found = row.first()
    if found is None or found.application is None or found.user is None:
        return None
    if not (found.user.is_active and found.application.is_usable() and found.authorization.revoked_at is None):
        return None
    return None if _is_revoked(claims) else (claims, found)


def _is_revoked(claims: Claims) -> bool:
    about = {
        (RevocationKind.JTI.value, claims.jti),
        (RevocationKind.GRANT.value, str(claims.authorization_id)),
        (RevocationKind.USER.value, str(claims.subject)),
        (RevocationKind.APPLICATION.value, str(claims.application_id)),
    }
    rows = Revocation.objects.filter(value__in=[value for _, value in about]).values_list(
        "kind", "value", "issued_before"
    )
    return any((kind, value) in about and claims.issued_at < before.timestamp() for kind, value, before in rows)
