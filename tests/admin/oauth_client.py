"""An application's half of the flows, by hand: every parameter of every request can be another one."""

import base64
import hashlib
import json
import secrets
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.test import Client

from relay_admin.access.oauth import services
from relay_admin.access.oauth.models import OAuthApplication

REDIRECT = "https://app.example/cb"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def application(project: Any, name: str = "writer", **columns: Any) -> OAuthApplication:
    """A public one that goes back to REDIRECT."""
    values = {"redirect_uris": REDIRECT, "allowed_origins": ["https://app.example"], **columns}
    return services.application_make(project=project, name=name, **values).application


def challenge_of(verifier: str) -> str:
    """S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class Flow:
    """One application and one user's browser."""

    def __init__(self, app: OAuthApplication, browser: Client) -> None:
        self.app, self.browser = app, browser
        self.verifier = secrets.token_urlsafe(48)

    def query(self, **other: Any) -> dict[str, str]:
        """An authorization request; None leaves a parameter out."""
        asked = {
            "response_type": "code",
            "client_id": self.app.client_id,
            "redirect_uri": REDIRECT,
            "scope": "inference offline_access",
            "state": "a state",
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **other,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def ask(self, **other: Any) -> Any:
        """The consent page, or what is there instead."""
        return self.browser.get("/oauth/authorize", self.query(**other))

    def decide(self, decision: str = "allow", cap: str = "", **other: Any) -> Any:
        """What the page's buttons do."""
        address = "/oauth/authorize?" + urlencode(self.query(**other))
        return self.browser.post(address, {"decision": decision, "cap_credits": cap})

    def code(self, **other: Any) -> str:
        """Of a user who says yes."""
        return told(self.decide(**other))["code"]

    def token(self, **form: Any) -> tuple[int, dict[str, Any]]:
        """Status and document of the token endpoint, in no browser."""
        sent = {"client_id": self.app.client_id, **form}
        return post("/oauth/token", {name: value for name, value in sent.items() if value is not None})

    def exchange(self, code: str, **other: Any) -> tuple[int, dict[str, Any]]:
        """A code for tokens."""
        form = {"code": code, "redirect_uri": REDIRECT, "code_verifier": self.verifier, **other}
        return self.token(grant_type="authorization_code", **form)

    def refresh(self, refresh_token: str, **other: Any) -> tuple[int, dict[str, Any]]:
        """The next pair."""
        return self.token(grant_type="refresh_token", refresh_token=refresh_token, **other)

    def tokens(self, **other: Any) -> dict[str, Any]:
        """A pair, from the start."""
        status, found = self.exchange(self.code(**other))
        assert status == 200, found
        return found


def told(response: Any) -> dict[str, str]:
    """What a redirect carries back to the application."""
    assert response.status_code == 302, response.content
    assert response["Location"].startswith(f"{REDIRECT}?"), response["Location"]
    return {name: value for name, [value] in parse_qs(urlsplit(response["Location"]).query).items()}


def post(address: str, form: dict[str, Any], **headers: Any) -> tuple[int, dict[str, Any]]:
    """As a program does: a form, no cookie."""
    response = Client(enforce_csrf_checks=True).post(
        address, urlencode(form), content_type="application/x-www-form-urlencoded", headers=headers
    )
    return response.status_code, json.loads(response.content)
