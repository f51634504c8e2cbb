"""Django's SESSION_ENGINE: sessions that know whose they are, and from where and when they were seen.

The cookie's key is a bearer, so its SHA-256 is stored and not itself: who reads the table or a dump signs in as nobody.
A session that was revoked is a row that is gone. The next request with its cookie is nobody's, and a request that is
under way cannot bring the row back: saving is an UPDATE that then finds nothing.

Costs a request one look-up by an index, and once a minute an UPDATE of one row.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import IntegrityError, transaction
from django.utils import timezone

from relay_admin.access.models import Session

SEEN_SECONDS = 60
MAX_AGENT = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds the cookie, as their request says."""

    address: str | None
    agent: str


NOBODY = Caller(None, "")
"""Of a store that no request made: tests, and Django's own look-ups."""


def caller_of(address: str, agent: str) -> Caller:
    """From REMOTE_ADDR and the User-Agent header, neither of which is more than a claim."""
    text = "".join(letter for letter in agent if letter.isprintable())[:MAX_AGENT]
    try:
        # Without the zone of a link-local address, which Postgres does not take.
        return Caller(str(ipaddress.ip_address(address.partition("%")[0])), text)
    except ValueError:
        return Caller(None, text)  # behind a Unix socket


class SessionStore(SessionBase):
    """A session under its cookie's key. `row_id` is the row's, None until it was loaded or saved."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.caller = NOBODY
        self.row_id: int | None = None

    def load(self) -> dict[str, Any]:
        """What is in it; empty, and the key forgotten, for one that is unknown, expired or revoked."""
        assert self.session_key is not None
        now = timezone.now()
        row = Session.objects.filter(key_hash=key_hash(self.session_key), expires_at__gt=now).first()
        if row is None:
            self._session_key = None
            return {}
        self.row_id = row.pk
        self._note_seen(row)
        decoded: dict[str, Any] = self.decode(row.data)
        return decoded

    def exists(self, session_key: str) -> bool:
        """Whether the key is taken."""
        return Session.objects.filter(key_hash=key_hash(session_key)).exists()

    def create(self) -> None:
        """A row under a new key."""
        while True:
            self._session_key = self._get_new_session_key()
            try:
                self.save(must_create=True)
            except CreateError:
                continue  # somebody was given the same key in this moment
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:
        """Raises UpdateError for a session that has been revoked since it was loaded, CreateError for a taken key."""
        if self.session_key is None:
            self.create()
            return
        content = self._get_session(no_load=must_create)
        columns = {
            "data": self.encode(content),
            "user_id": content.get(SESSION_KEY),
            "expires_at": self.get_expiry_date(),
        }
        hashed = key_hash(self.session_key)
        if must_create:
            self._insert(key_hash=hashed, **columns)
        elif not Session.objects.filter(key_hash=hashed).update(**columns):
            raise UpdateError

    def delete(self, session_key: str | None = None) -> None:
        """End it, or the one of that key."""
        if ended := session_key or self.session_key:
            Session.objects.filter(key_hash=key_hash(ended)).delete()

    @classmethod
    def clear_expired(cls) -> None:
        """For `manage.py clearsessions`; the schedule prunes by itself."""
        Session.objects.filter(expires_at__lte=timezone.now()).delete()

    def _insert(self, **columns: Any) -> None:
        now = timezone.now()
        try:
            with transaction.atomic():
                row = Session.objects.create(
                    **columns, address=self.caller.address, agent=self.caller.agent, created_at=now, seen_at=now
                )
        except IntegrityError:
            raise CreateError from None
        self.row_id = row.pk

    def _note_seen(self, row: Session) -> None:
        """At most once a minute, however many requests come at once: the row's condition is asked again."""
        now = timezone.now()
        before = now - timedelta(seconds=SEEN_SECONDS)
        if row.seen_at <= before:
            seen = {"seen_at": now, "address": self.caller.address, "agent": self.caller.agent}
            Session.objects.filter(pk=row.pk, seen_at__lte=before).update(**seen)


def key_hash(session_key: str) -> bytes:
    """As it is stored."""
    return hashlib.sha256(session_key.encode()).digest()
