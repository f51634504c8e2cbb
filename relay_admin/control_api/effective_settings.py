"""`/api/v1/settings`: what the control plane was started with. Of a secret, and of an address that may hold a password,
no more than whether there is one. Edges and workers read their own environments."""

from collections.abc import Iterable
from typing import Any, TypedDict

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.control_api.answers import Rows, answers
from relay_admin.control_api.permissions import requires

SHOWN = {
    "RELAY_API_CALLS_PER_MINUTE": "API_CALLS_PER_MINUTE",
    "RELAY_BOOTSTRAP_ADMIN_USERNAME": "BOOTSTRAP_ADMIN_USERNAME",
    "RELAY_CONTROL_HOSTS": "ALLOWED_HOSTS",
    "RELAY_CONTROL_URL": "CONTROL_URL",
    "RELAY_CREDIT_PACKS": "CREDIT_PACKS",
    "RELAY_EDGE_INTERNAL_URL": "EDGE_INTERNAL_URL",
    "RELAY_EDGE_URL": "EDGE_URL",
    "RELAY_EGRESS_ALLOW": "EGRESS_ALLOW",
    "RELAY_LOG_LEVEL": "LOG_LEVEL",
    "RELAY_MAIL_FROM": "MAIL_FROM",
    "RELAY_OIDC_CLIENT_ID": "OIDC_CLIENT_ID",
    "RELAY_OIDC_DOMAINS": "OIDC_DOMAINS",
    "RELAY_OIDC_FOR": "OIDC_FOR",
    "RELAY_OIDC_ISSUER": "OIDC_ISSUER",
    "RELAY_REPLAY_CHARGE": "REPLAY_CHARGE",
    "RELAY_SIGNUP": "SIGNUP",
    "RELAY_SIGNUP_GIFT_CREDITS": "SIGNUP_GIFT_CREDITS",
    "RELAY_SPILL_DIR": "SPILL_FOLDER",
    "RELAY_STRIPE_URL": "STRIPE_URL",
}
"""Variable -> the setting that was made of it, which is told."""

HIDDEN = {
    "DATABASE_URL": "DATABASES",
    "REDIS_URL": "REDIS_URL",
    "RELAY_BOOTSTRAP_ADMIN_PASSWORD": "BOOTSTRAP_ADMIN_PASSWORD",
    "RELAY_BOOTSTRAP_ADMIN_TOKEN": "BOOTSTRAP_ADMIN_TOKEN",
    "RELAY_EDGE_DATABASE_URL": "EDGE_DATABASE_URL",
    "RELAY_MAIL_URL": "MAIL_URL",
    "RELAY_MASTER_KEY": "MASTER_KEYS",
    "RELAY_OIDC_CLIENT_SECRET": "OIDC_CLIENT_SECRET",
    "RELAY_SECRET_KEY": "SECRET_KEY",
    "RELAY_STRIPE_SECRET_KEY": "STRIPE_SECRET_KEY",
    "RELAY_STRIPE_WEBHOOK_SECRET": "STRIPE_WEBHOOK_SECRET",
}
"""Variable -> the setting, of which is told whether there is one."""

NOT_TOLD = ("RELAY_PORT", "RELAY_PREVIOUS_MASTER_KEYS")
"""The edge's, of which the default of RELAY_EDGE_URL is made; and keys that are on their way out."""


class SettingJson(TypedDict):
    """`value`: what counts, default included; null of a secret. `isSet`: whether there is any."""

    name: str
    value: str | None
    isSecret: bool
    isSet: bool


class SettingsView(APIView):
    """GET what the control plane was started with; docs name each variable in `.env.example`."""

    permission_classes = [requires("catalog.change_host")]

    @answers(Rows(SettingJson))
    def get(self, _call: Request) -> Response:
        """`{"results": [...]}`, by name. Secrets are not among the values."""
        found = [_shown(name, getattr(settings, place)) for name, place in SHOWN.items()]
        found += [_hidden(name, getattr(settings, place)) for name, place in HIDDEN.items()]
        return Response({"results": sorted(found, key=lambda one: one["name"])})


def _shown(name: str, value: Any) -> SettingJson:
    text = _text(value)
    return {"name": name, "value": text, "isSecret": False, "isSet": text != ""}


def _hidden(name: str, value: Any) -> SettingJson:
    return {"name": name, "value": None, "isSecret": True, "isSet": bool(value)}


def _text(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        parts = [str(one) for one in value]
        return ", ".join(sorted(parts) if isinstance(value, frozenset) else parts)
    return str(value)
