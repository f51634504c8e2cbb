"""The tokens themselves: an access token says everything that an edge asks; a refresh token says nothing."""

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings

from relay_admin.access.models import User
from relay_admin.access.oauth.keys import public_keys, signing_key
from relay_admin.access.oauth.models import Authorization, OAuthApplication
from relay_admin.access.oauth.revocation import issued_from
from relay_admin.access.oauth.scopes import AT_CONTROL, INFERENCE
from relay_contract import access_tokens
from relay_contract.access_tokens import LIFE_SECONDS, Claims
from relay_contract.errors import TokenInvalid
from relay_contract.nouns import KeyMode

REFRESH_PREFIX = "rr_"


def access_token(request: Any) -> str:
    """A signed token for the oauthlib request, whose `authorization` a validator has set. Sets its `jti`."""
    authorization: Authorization = request.authorization
    application: OAuthApplication = request.client
    mode = KeyMode(application.mode)
    now = max(int(time.time()), issued_from(authorization))  # at most a second ahead, which readers allow
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
        claims, issuer=settings.CONTROL_URL, audience=_audiences(claims.scopes), kid=kid, private_key=private
    )


def _audiences(scopes: Sequence[str]) -> list[str]:
    """Where these scopes mean something (RFC 8707 section 2 has clients say so; here each scope is one place's): the
    edges take `inference`, the control plane AT_CONTROL, and neither takes a token that is for the other alone."""
    is_for_control = not AT_CONTROL.isdisjoint(scopes)
    found = [settings.EDGE_URL] if INFERENCE in scopes or not is_for_control else []
    return list(dict.fromkeys([*found, settings.CONTROL_URL] if is_for_control else found))


def refresh_token(_request: Any) -> str:
    """256 random bits."""
    return REFRESH_PREFIX + secrets.token_urlsafe(32)


def wallet_of(user: User, mode: KeyMode) -> int:
    """The account that pays for what an application of this mode calls."""
    return int(user.live_wallet_id if mode is KeyMode.LIVE else user.test_wallet_id)


def read(token: str, *audiences: str) -> Claims:
    """What a token of ours for one of these audiences says, of any where none is named; whether it was revoked is
    another question. Raises TokenInvalid or TokenExpired."""
    keys, octets = public_keys(), token.encode(errors="replace")
    *others, last = audiences or (settings.EDGE_URL, settings.CONTROL_URL)
    for audience in others:
        with suppress(TokenInvalid):
            return access_tokens.Reader(keys, settings.CONTROL_URL, audience).read(octets, time.time())
    return access_tokens.Reader(keys, settings.CONTROL_URL, last).read(octets, time.time())
