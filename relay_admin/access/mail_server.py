"""Hands one plain text mail to the operator's mail server. Knows nothing of what is in it.

Never sends a password over a connection that is not encrypted, but for a server on this machine. Each wait has a
deadline. Costs a connection a mail.
"""

import smtplib
import ssl
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from django.utils import timezone

WAIT_SECONDS = 10.0
_PORTS = {"smtp": 587, "smtps": 465}


class MailRefused(Exception):
    """It was not handed over. `is_final`: trying again would change nothing. The text has no password in it."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        self.is_final = is_final
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails go, and who they are from."""

    host: str
    port: int
    is_tls: bool  # from the first byte; else by STARTTLS where it is offered
    user: str
    password: str = field(repr=False)
    sender: str

    @classmethod
    def of(cls, url: str, sender: str) -> "MailServer":
        """From `smtp(s)://user:password@host:port`, all of it percent-encoded where it must be."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            is_tls=parts.scheme == "smtps",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            sender=sender,
        )

    def send(self, *, to: str, subject: str, text: str) -> None:
        """Raises MailRefused."""
        try:
            message = message_of(sender=self.sender, to=to, subject=subject, text=text)
        except (ValueError, UnicodeError):
            raise MailRefused("no mail can be written to this address", is_final=True) from None
        try:
            with self._connect() as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as refused:
            codes = [code for code, _text in refused.recipients.values()]
            raise MailRefused("the server knows no such recipient", is_final=all(c >= 500 for c in codes)) from None
        except (smtplib.SMTPException, OSError) as error:
            raise MailRefused(type(error).__name__, is_final=False) from None

    def greet(self) -> None:
        """Signs in and leaves. Raises smtplib.SMTPException or OSError."""
        with self._connect():
            pass

    def _connect(self) -> smtplib.SMTP:
        if self.is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=WAIT_SECONDS, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=WAIT_SECONDS)
        try:
            self._begin(server)
        except BaseException:
            server.close()
            raise
        return server

    def _begin(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        is_private = self.is_tls
        if not self.is_tls and server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
            is_private = True
        if self.user:
            if not is_private and not _is_here(self.host):
                raise smtplib.SMTPNotSupportedError("no encryption, and so no password")
            server.login(self.user, self.password)


def message_of(*, sender: str, to: str, subject: str, text: str) -> EmailMessage:
    """Plain text. Whatever is in the texts, no header comes of it. ValueError for an address that cannot be one."""
    message = EmailMessage(policy=SMTP)
    message["From"] = _address(*parseaddr(sender))
    message["To"] = _address("", to)
    message["Subject"] = " ".join("".join(c if c.isprintable() else " " for c in subject).split())
    message["Date"] = format_datetime(timezone.now())
    message["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(text)
    return message


def _address(name: str, text: str) -> Address:
    local, _, domain = text.rpartition("@")
    if not local or not domain:
        raise ValueError("no address")
    return Address(name, username=local.strip('"'), domain=domain.encode("idna").decode())


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
