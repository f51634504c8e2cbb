"""Access tokens for tests: one signing key a run, its row, and tokens that differ from a good one."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from relay_contract import nouns, token_keys
from relay_contract.access_tokens import LIFE_SECONDS, Claims, write
from tests.edge.nouns import APPLICATION, PROJECT

ISSUER = "http://control.test"
AUDIENCE = "http://edge.test"
KID = "test"
USER_ID = 17
PAGE = "https://app.example"
"""The origin that APPLICATION declares."""


@cache
def private_key() -> token_keys.PrivateKey:
    """Made once."""
    return token_keys.make()


def signing_key(**changes: Any) -> nouns.SigningKey:
    """The row of its public half."""
    row = nouns.SigningKey(nouns.SigningKeyId(1), KID, token_keys.public_der(private_key()), None)
    return replace(row, **changes)


def claims(now: float | None = None, **changes: Any) -> Claims:
    """Of a good token that was issued now."""
    issued_at = int(time.time() if now is None else now)
    good = Claims(
        subject=USER_ID,
        client_id=APPLICATION.client_id,
        project_id=PROJECT.id,
        application_id=APPLICATION.id,
        authorization_id=9,
        wallet_id=104,
        mode=APPLICATION.mode,
        scopes=("inference", "offline_access"),
        cap_microcredits=None,
        issued_at=issued_at,
        expires_at=issued_at + LIFE_SECONDS,
        jti="j" * 22,
    )
    return replace(good, **changes)


def written(said: Claims, **changes: str) -> str:
    """A signed token."""
    whose = {"issuer": ISSUER, "audience": AUDIENCE, "kid": KID} | changes
    return write(said, **whose, private_key=private_key())


def bearer(token: str) -> Mapping[str, str]:
    """The headers that show it."""
    return {"Authorization": f"Bearer {token}"}
