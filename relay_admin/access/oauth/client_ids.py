"""Ids and secrets of applications. A client id is public; a secret is shown once, and its hash is kept."""

import secrets

CLIENT_ID_PREFIX = "app_"
CLIENT_ID_BYTES = 12
CLIENT_SECRET_BYTES = 32


def client_id_new() -> str:
    """`app_` and 16 characters of URL-safe base64."""
    return CLIENT_ID_PREFIX + secrets.token_urlsafe(CLIENT_ID_BYTES)


def client_secret_new() -> str:
    """`as_` and 256 random bits."""
    return "as_" + secrets.token_urlsafe(CLIENT_SECRET_BYTES)
