"""What says anything of anybody is in no cache."""

from typing import Any

import pytest
from django.test import Client

from tests.admin import rows


@pytest.mark.parametrize(
    "path",
    ["/auth/whoami", "/auth/login", "/api/v1/relay-keys", "/api/v1/sessions", "/api/v1/wallets", "/api/v1/nothing"],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_the_api_says_is_kept_nowhere(path: str, is_known: bool, token_of: Any, catalog: rows.Catalog) -> None:
    answer = Client().get(path, headers=token_of("superuser") if is_known else {})
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/account/sign-in", "/account/applications", "/"])
def test_pages_are_kept_nowhere(path: str, client_of: Any) -> None:
    assert "no-store" in client_of("superuser").get(path)["Cache-Control"]


def test_what_is_everybodys_may_be_kept(db: None) -> None:
    assert Client().get("/oauth/jwks")["Cache-Control"] == "public, max-age=300"
    picture = Client().get("/static/relay/favicon.svg")
    assert "max-age" in picture["Cache-Control"]
    picture.close()
