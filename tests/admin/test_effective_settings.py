"""What an operator is told of the variables that the control plane was started with."""

import ast
from pathlib import Path
from typing import Any

from django.test import Client

from relay_admin import settings as module
from relay_admin.control_api.effective_settings import HIDDEN, NOT_TOLD, SHOWN

ADDRESS = "/api/v1/settings"


def variables() -> set[str]:
    """Those that the settings read."""
    found = set()
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
        match node:
            case ast.Call(ast.Attribute(ast.Name("_env"), reader), [ast.Constant(str(name)), *_]) if reader != "refuse":
                found.add(name)
    return found


def test_every_variable_is_told_hidden_or_left_out_on_purpose() -> None:
    found = variables() | {"RELAY_MASTER_KEY", "RELAY_PREVIOUS_MASTER_KEYS"}  # which `master_keys` names itself
    assert found == {*SHOWN, *HIDDEN, *NOT_TOLD}


def test_secrets_are_told_as_set_or_not(token_of: Any, settings: Any) -> None:
    settings.STRIPE_SECRET_KEY, settings.MAIL_URL = "sk_canary", "smtp://user:canary@mail.example:587"
    settings.OIDC_DOMAINS = frozenset({"b.example", "a.example"})
    said = Client().get(ADDRESS, headers=token_of("operators"))
    told = {one["name"]: one for one in said.json()["results"]}
    assert list(told) == sorted(told)
    assert told["RELAY_STRIPE_SECRET_KEY"] == {
        "name": "RELAY_STRIPE_SECRET_KEY", "value": None, "isSecret": True, "isSet": True,
    }  # fmt: skip
    assert told["RELAY_STRIPE_WEBHOOK_SECRET"]["isSet"] is False
    assert told["RELAY_OIDC_DOMAINS"]["value"] == "a.example, b.example"
    assert told["RELAY_API_CALLS_PER_MINUTE"]["value"] == "3000"
    assert told["RELAY_OIDC_ISSUER"] == {"name": "RELAY_OIDC_ISSUER", "value": "", "isSecret": False, "isSet": False}
    for secret in ("canary", settings.SECRET_KEY, settings.REDIS_URL, settings.DATABASES["default"]["NAME"]):
        assert secret not in said.content.decode()


def test_operators_read_it_and_nobody_else(token_of: Any) -> None:
    for who, status in (("viewers", 403), ("support", 403), ("superuser", 200)):
        assert Client().get(ADDRESS, headers=token_of(who)).status_code == status
