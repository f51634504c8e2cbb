"""Addresses of the authorization server."""

from django.urls import path

from relay_admin.access.oauth import applications_page, consent, device, endpoints, metadata

urlpatterns = [
    path(".well-known/oauth-authorization-server", metadata.server),
    path(".well-known/oauth-protected-resource", metadata.resource, name="oauth-resource"),
    path(".well-known/oauth-protected-resource/mcp", metadata.mcp_resource, name="mcp-resource"),
    path("oauth/authorize", consent.authorize, name="oauth-authorize"),
    path("oauth/token", endpoints.token, name="oauth-token"),
    path("oauth/revoke", endpoints.revoke, name="oauth-revoke"),
    path("oauth/introspect", endpoints.introspect, name="oauth-introspect"),
    path("oauth/userinfo", endpoints.userinfo, name="oauth-userinfo"),
    path("oauth/jwks", metadata.jwks, name="oauth-jwks"),
    path("oauth/device", device.device_authorization, name="oauth-device"),
    path("oauth/device/code", device.code_page, name="oauth-device-code"),
    path("account/applications", applications_page.page, name="account-applications"),
]
