"""The tokens themselves: an access token says everything that an edge asks; a refresh token says nothing."""

import secrets
import time
from typing import Any

from django.conf import settings

from relay_admin.access.models import User
from relay_admin.access.oauth.keys import public_keys, signing_key
from relay_admin.access.oauth.models import Authorization, OAuthApplication
from relay_contract import access_tokens
from relay_contract.access_tokens import LIFE_SECONDS, Claims
from relay_contract.nouns import KeyMode

REFRESH_PREFIX = "rr_"


def access_token(request: Any) -> str:
    """A signed token for the oauthlib request, whose `authorization` a validator has set. Sets its `jti`."""
    authorization: Authorization = request.authorization
    application: OAuthApplication = request.client
    mode, now = KeyMode(application.mode), int(time.time())
    request.jti = secrets.token_urlsafe(16)
    claims = Claims(
        subject=request.user.pk,
        client_id=application.client_id,
        project_id=application.project_id,
        application_id=application.pk,
        authorization_id=authorization.pk,
        wallet_id=wallet_of(request.user, mode),
        mode=mode,
        scopes=tuple(request.scopes),
        cap_microcredits=authorization.cap_microcredits,
        issued_at=now,
        expires_at=now + LIFE_SECONDS,
        jti=request.jti,
    )
    kid, private = signing_key()
    return access_tokens.write(
        claims, issuer=settings.CONTROL_URL, audience=settings.EDGE_URL, kid=kid, private_key=private
    )


def refresh_token(_request: Any) -> str:
    """256 random bits."""
    return REFRESH_PREFIX + secrets.token_urlsafe(32)


def wallet_of(user: User, mode: KeyMode) -> int:
    """The account that pays for what an application of this mode calls."""
    return int(user.live_wallet_id if mode is KeyMode.LIVE else user.test_wallet_id)


def read(token: str) -> Claims:
    """What a token of ours says; whether it was revoked is another question. Raises TokenInvalid or TokenExpired."""
    reader = access_tokens.Reader(public_keys(), settings.CONTROL_URL, settings.EDGE_URL)
    return reader.read(token.encode(errors="replace"), time.time())
