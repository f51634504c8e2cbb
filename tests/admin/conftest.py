"""Fixtures of the control plane's tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from relay_admin.access import services
from tests.admin import documented, rows


@pytest.fixture(scope="session", autouse=True)
def _answers_as_documented() -> Iterator[None]:
    """Every answer of the control API that a test gets is one that its OpenAPI document foresees."""
    ask = Client.request

    def asked(client: Client, **request: Any) -> Any:
        response = ask(client, **request)
        documented.check(response)
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "request", asked)
        yield


@pytest.fixture
def catalog(db: None) -> rows.Catalog:
    """One row of every noun."""
    return rows.catalog_rows()


@pytest.fixture
def client_of(db: None):
    """A signed-in client for `support`, `viewers`, `operators`, `superuser` or `anonymous`."""

    def make(who: str) -> Client:
        client = Client()
        if who == "superuser":
            client.force_login(rows.user("root", is_superuser=True))
        elif who != "anonymous":
            client.force_login(rows.user(f"{who}-member", who))
        return client

    return make


@pytest.fixture
def token_of(db: None):
    """Headers with an admin token of somebody in that group."""

    def make(who: str) -> dict[str, str]:
        user = rows.user("root-token", is_superuser=True) if who == "superuser" else rows.user(f"{who}-token", who)
        return {"Authorization": f"Bearer {services.admin_token_mint(user=user, name='test').token}"}

    return make
