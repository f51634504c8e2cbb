"""What clients may know beforehand: RFC 8414, RFC 9728, RFC 7517. The toolkit's own offers what is not there."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import reverse

from relay_admin.access.oauth.cors import shared
from relay_admin.access.oauth.keys import public_keys, signing_key
from relay_admin.access.oauth.scopes import ACCOUNT, CONTROL, CONTROL_READ, SCOPES
from relay_admin.access.oauth.validator import DEVICE_GRANT
from relay_contract import token_keys

MAX_AGE_SECONDS = 300
"""Keys are published a day before they sign: whoever keeps a copy for some minutes misses nothing."""

_CLIENT_AUTH = ["none", "client_secret_basic", "client_secret_post"]


def server_metadata() -> dict[str, Any]:
    """RFC 8414 section 2, with `iss` of RFC 9207."""
    return {
        "issuer": settings.CONTROL_URL,
        "authorization_endpoint": url_of("oauth-authorize"),
        "token_endpoint": url_of("oauth-token"),
        "revocation_endpoint": url_of("oauth-revoke"),
        "introspection_endpoint": url_of("oauth-introspect"),
        "userinfo_endpoint": url_of("oauth-userinfo"),
        "device_authorization_endpoint": url_of("oauth-device"),
        "jwks_uri": url_of("oauth-jwks"),
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_GRANT],
        "token_endpoint_auth_methods_supported": _CLIENT_AUTH,
        "revocation_endpoint_auth_methods_supported": _CLIENT_AUTH,
        "introspection_endpoint_auth_methods_supported": _CLIENT_AUTH[1:],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "protected_resources": [settings.EDGE_URL, settings.CONTROL_URL],
        "service_documentation": f"{settings.CONTROL_URL}/",
    }


@shared("GET")
def server(_request: HttpRequest) -> JsonResponse:
    """`/.well-known/oauth-authorization-server`."""
    return _public(server_metadata())


@shared("GET")
def resource(_request: HttpRequest) -> JsonResponse:
    """`/.well-known/oauth-protected-resource` of this plane, where `account` is good for /oauth/userinfo and
    for what is the user's own at /api/v1."""
    return _resource(settings.CONTROL_URL, ACCOUNT, CONTROL_READ, CONTROL)


@shared("GET")
def mcp_resource(_request: HttpRequest) -> JsonResponse:
    """The same of the MCP server: RFC 9728 section 3.1 puts the resource's path behind. Clients ask for all of these
    scopes, and users say yes or no to all."""
    return _resource(f"{settings.CONTROL_URL}/mcp", CONTROL_READ, CONTROL)


def _resource(address: str, *scopes: str) -> JsonResponse:
    return _public(
        {
            "resource": address,
            "authorization_servers": [settings.CONTROL_URL],
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
        }
    )


@shared("GET")
def jwks(_request: HttpRequest) -> JsonResponse:
    """The public keys. There is one from the first time that anybody asks."""
    signing_key()
    return _public({"keys": [token_keys.jwk(kid, key) for kid, key in public_keys().items()]})


def url_of(name: str) -> str:
    """The public address of a route."""
    return settings.CONTROL_URL + reverse(name)


def _public(document: dict[str, Any]) -> JsonResponse:
    return JsonResponse(document, headers={"Cache-Control": f"public, max-age={MAX_AGE_SECONDS}"})
