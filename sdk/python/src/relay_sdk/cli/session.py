"""Who a command acts as: RELAY_TOKEN, or whoever signed in with `relay login`."""

from __future__ import annotations

import os
from dataclasses import replace

from relay_sdk.cli.store import SignIn, Store
from relay_sdk.client import Relay
from relay_sdk.errors import SignInFailed
from relay_sdk.oauth import Application, Tokens, UserTokens

SCOPE = "account control offline_access"


def control(store: Store) -> Relay:
    """A client for the control plane. Raises SignInFailed, and ValueError for addresses that are missing."""
    token = os.environ.get("RELAY_TOKEN", "")
    if token:
        url = os.environ.get("RELAY_CONTROL_URL", "")
        if not url:
            raise ValueError("RELAY_TOKEN is set; set RELAY_CONTROL_URL as well.")
        return Relay(os.environ.get("RELAY_URL") or url, control_url=url, api_key=token)
    found = store.read()
    if found is None:
        raise SignInFailed("signed_out", "Nobody is signed in here. Run `relay login`, or set RELAY_TOKEN.")
    return Relay(found.url, control_url=found.control_url, token_provider=_provider(store, found))


def edge(store: Store, api_key: str | None) -> Relay:
    """A client for the edge, by a relay key: endpoints take nothing else. Raises ValueError without one."""
    key = api_key or os.environ.get("RELAY_KEY", "")
    if not key:
        raise ValueError("Endpoints take relay keys: set RELAY_KEY, or pass --api-key.")
    found = store.read()
    return Relay(os.environ.get("RELAY_URL") or (found.url if found else None), api_key=key)


def _provider(store: Store, found: SignIn) -> UserTokens:
    def load() -> Tokens | None:
        kept = store.read()
        return None if kept is None else kept.tokens

    return UserTokens(
        Application(found.control_url, found.client_id),
        found.tokens,
        save=lambda tokens: store.write(replace(found, tokens=tokens)),
        load=load,
        lock=store.lock,
    )
