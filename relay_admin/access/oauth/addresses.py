"""What an application may call itself, where its users go back to, and which pages may call. Pure."""

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from relay_admin.access.oauth.models import OAuthApplication

MAX_ADDRESSES = 20
MAX_LENGTH = 300


def application_check(application: "OAuthApplication") -> None:
    """Raises ValidationError by field."""
    wrong: dict[str, str] = {}
    if not application.name.isprintable():
        wrong["name"] = "Users read it where they are asked: letters, signs and spaces, none of them invisible."
    redirects = application.redirect_uris.split()
    if not redirects and application.authorization_grant_type == application.GRANT_AUTHORIZATION_CODE:
        wrong["redirect_uris"] = "Name one at least: the authorization code flow ends there."
    for field, found, check in (
        ("redirect_uris", redirects, redirect_uri_fault),
        ("allowed_origins", application.allowed_origins, origin_fault),
    ):
        faults = [fault for each in found if (fault := check(each))]
        if len(found) > MAX_ADDRESSES:
            faults = [f"{MAX_ADDRESSES} at most."]
        if faults:
            wrong[field] = faults[0]
    if wrong:
        raise ValidationError(wrong)


def redirect_uri_fault(text: str) -> str:
    """What is wrong with a redirect URI, or nothing."""
    parsed = _parsed(text)
    if parsed is None or not _is_safe(parsed):
        return f"{text[:80]} is not taken: write https://host/path; http:// only for this machine's own addresses."
    if "#" in text:
        return f"{text[:80]} has a fragment, which no server sees."
    return ""


def origin_fault(text: str) -> str:
    """What is wrong with a page's origin, or nothing."""
    parsed = _parsed(text)
    if parsed is None or not _is_safe(parsed) or text != origin_of(text):
        return f"{text[:80]} is not an origin: write it as browsers do, e.g. https://app.example, without a slash."
    return ""


def origin_of(url: str) -> str:
    """`https://host` or `https://host:port`, as browsers write it."""
    parsed = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(parsed.scheme)
    name = parsed.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return f"{parsed.scheme}://{host}" + ("" if parsed.port in (None, usual) else f":{parsed.port}")


def _parsed(text: str) -> SplitResult | None:
    if not text.isascii() or not text.isprintable() or len(text) > MAX_LENGTH or set(text) & set(" \"<>\\^`{|}*;,'"):
        return None
    try:
        parsed = urlsplit(text)
        _ = parsed.port  # raises for what is none
    except ValueError:
        return None
    if not parsed.hostname or "@" in parsed.netloc or parsed.netloc.endswith(":"):
        return None
    return parsed


def _is_safe(parsed: SplitResult) -> bool:
    """Codes travel over TLS, or do not leave the machine; or the relay itself does without (development)."""
    if parsed.scheme == "https":
        return True
    return parsed.scheme == "http" and (_is_loopback(parsed.hostname or "") or settings.CONTROL_URL.startswith("http:"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
