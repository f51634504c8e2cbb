"""The flows that there are: authorization code with PKCE, device code, refresh. oauthlib runs them.

Implicit, password and client credentials are not refused one by one: they are not built in.
"""

import logging
import re
from functools import cache
from typing import Any

from oauth2_provider.oauth2_backends import OAuthLibCore
from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc6749.endpoints import AuthorizationEndpoint, RevocationEndpoint, TokenEndpoint
from oauthlib.oauth2.rfc6749.grant_types import AuthorizationCodeGrant, RefreshTokenGrant
from oauthlib.oauth2.rfc6749.tokens import BearerToken
from oauthlib.oauth2.rfc8628.grant_types import DeviceCodeGrant

from relay_admin.access.oauth import issuing
from relay_admin.access.oauth.validator import DEVICE_GRANT, Validator
from relay_contract.access_tokens import LIFE_SECONDS

for _talkative in ("oauthlib", "oauth2_provider"):
    logging.getLogger(_talkative).setLevel(logging.INFO)  # below it they write codes and tokens down, as they are

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 section 4.2: a SHA-256 in base64url
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # section 4.1


class Server(AuthorizationEndpoint, TokenEndpoint, RevocationEndpoint):
    """Authorization, token and revocation endpoints over one validator."""

    def __init__(self) -> None:
        validator = Validator()
        bearer = BearerToken(validator, issuing.access_token, LIFE_SECONDS, issuing.refresh_token)
        code = AuthorizationCodeGrant(validator, post_auth=[_check_challenge], pre_token=[_check_verifier])
        AuthorizationEndpoint.__init__(
            self, default_response_type="code", default_token_type=bearer, response_types={"code": code}
        )
        TokenEndpoint.__init__(
            self,
            default_grant_type="authorization_code",
            default_token_type=bearer,
            grant_types={
                "authorization_code": code,
                "refresh_token": RefreshTokenGrant(validator),
                DEVICE_GRANT: DeviceCodeGrant(validator),
            },
        )
        RevocationEndpoint.__init__(self, validator)


def _check_challenge(request: Any) -> dict[str, Any]:
    """S256 alone, and a challenge that can be one. Raises OAuth2Error."""
    if request.code_challenge_method != "S256":
        raise errors.UnsupportedCodeChallengeMethodError(request=request)
    if not _CHALLENGE.fullmatch(request.code_challenge):
        raise errors.InvalidRequestError("code_challenge is a SHA-256 in base64url.", request=request)
    return {}


def _check_verifier(request: Any) -> None:
    """Raises OAuth2Error."""
    if request.code_verifier is not None and not _VERIFIER.fullmatch(request.code_verifier):
        raise errors.InvalidGrantError("code_verifier has 43 to 128 characters of RFC 7636.", request=request)


@cache
def core() -> OAuthLibCore:
    """Translates between Django's requests and oauthlib's. Holds nothing of a request."""
    return OAuthLibCore(Server())
