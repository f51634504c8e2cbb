"""What a target is shown in its `Authorization` header, from its opened secret. Pure."""

import base64
import re

from relay_contract.nouns import AuthConfig, TargetAuth
from relay_contract.oauth2 import ClientAuth, ClientCredentials

_TOKEN = re.compile(r"[!-~]+")


def read_credential(kind: TargetAuth, config: AuthConfig, secret: str) -> str | ClientCredentials:
    """The header's value ("" for no header), or what its token is asked for with.

    Raises ValueError for a secret that no header carries, or settings of an unknown word; the text repeats neither.
    """
    match kind:
        case TargetAuth.NONE:
            return ""
        case TargetAuth.BEARER:
            if not _TOKEN.fullmatch(secret):
                raise ValueError("its token holds characters that HTTP does not allow")
            return f"Bearer {secret}"
        case TargetAuth.BASIC:
            pair = f"{config.username}:{secret}".encode()  # RFC 7617 section 2.1
            return "Basic " + base64.b64encode(pair).decode("ascii")
        case TargetAuth.OAUTH2:
            try:
                client_auth = ClientAuth(config.client_authentication)
            except ValueError:
                raise ValueError("its client authentication is neither basic nor body") from None
            return ClientCredentials(
                config.token_url, config.client_id, secret, client_auth, config.scope, config.audience
            )
