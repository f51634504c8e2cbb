"""Fixtures of the control plane's tests."""

import pytest
from django.test import Client

from relay_admin.access import services
from tests.admin import rows


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
