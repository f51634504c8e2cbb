"""Bearer admin tokens. A token acts as its user: with that user's permissions, and only while the account is active."""

from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from relay_admin.access.models import AdminToken, User
from relay_contract import tokens

MAX_HEADER_BYTES = 256


class AdminTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer ra_...`.

    Every bearer costs the same work, whatever is wrong with it: one hash and one look-up of that hash in an index. All
    get one answer, so it cannot be used to find out which tokens once existed.
    """

    def authenticate(self, request: Request) -> tuple[User, AdminToken] | None:
        """None where no bearer was sent, which leaves the call to the session."""
        header = get_authorization_header(request)
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        is_current = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        found = (
            AdminToken.objects.select_related("user")
            .filter(is_current, token_hash=tokens.hash_token(token.strip()[:MAX_HEADER_BYTES]), user__is_active=True)
            .first()
        )
        if found is None:
            raise AuthenticationFailed("The admin token is unknown, expired, or its user is not active.")
        return found.user, found

    def authenticate_header(self, _request: Request) -> str:
        """What makes an unauthenticated call a 401 and not a 403."""
        return "Bearer"
