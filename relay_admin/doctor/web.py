"""How people and apps reach the deployment: names, TLS with its cookies, mail."""

import smtplib
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings

from relay_admin.access.mail_server import MailServer
from relay_admin.doctor.finding import Finding, broken, ok, warning


def examine() -> Iterator[Finding]:
    """Asks the mail server whether it lets us in, where there is one; sends nothing."""
    yield names(settings.CONTROL_URL, settings.ALLOWED_HOSTS)
    yield tls(settings.CONTROL_URL, settings.EDGE_URL, has_secure_cookies=settings.SESSION_COOKIE_SECURE)
    yield mail(settings.MAIL_URL, settings.MAIL_FROM, settings.SIGNUP)


def names(control_url: str, allowed: list[str]) -> Finding:
    """Whether the control plane answers to the name that people reach it by."""
    host = urlsplit(control_url).hostname or ""
    if "*" in allowed:
        return warning(
            "web.names", "the control plane answers to every name", "Name its own in RELAY_CONTROL_HOSTS instead of *."
        )
    if not any(_matches(f"[{host}]" if ":" in host else host, pattern) for pattern in allowed):
        return broken(
            "web.names",
            f"the control plane does not answer to {host}, the name in RELAY_CONTROL_URL",
            "Add it to RELAY_CONTROL_HOSTS.",
        )
    return ok("web.names", f"answers to {', '.join(allowed)}")


def tls(control_url: str, edge_url: str, *, has_secure_cookies: bool) -> Finding:
    """Who reads the traffic reads keys and sessions, but on the machine itself."""
    clear = [url for url in (control_url, edge_url) if url.startswith("http:") and not _is_here(url)]
    if clear:
        return warning(
            "web.tls",
            f"{' and '.join(clear)} without TLS: whoever reads the traffic has keys and sessions",
            "Put a TLS proxy before it and write https:// in RELAY_CONTROL_URL and RELAY_EDGE_URL.",
        )
    return ok("web.tls", "TLS, secure cookies" if has_secure_cookies else "this machine alone")


def mail(url: str, sender: str, signup: str) -> Finding:
    """Whether the mail server takes our connection and password."""
    if not url:
        if signup == "off":
            return ok("web.mail", "none is sent, and nobody can sign up")
        return warning(
            "web.mail",
            "no mail is sent: invitations and new passwords are handed over by hand",
            "Set RELAY_MAIL_URL and RELAY_MAIL_FROM.",
        )
    server = MailServer.of(url, sender)
    try:
        server.greet()
    except (smtplib.SMTPException, OSError) as error:
        return broken(
            "web.mail",
            f"{server.host}:{server.port} does not take us ({type(error).__name__})",
            "Correct RELAY_MAIL_URL, or see that server's log.",
        )
    return ok("web.mail", f"{server.host}:{server.port} lets us in")


def _matches(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith(".") and f".{host}".endswith(pattern))


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
