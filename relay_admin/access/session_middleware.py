"""Django's sessions, told who calls; and a new key for every sign-in."""

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.dispatch import receiver
from django.http import HttpRequest

from relay_admin.access.sessions import caller_of


class SessionMiddleware(DjangoSessionMiddleware):
    """See `sessions.py`."""

    def process_request(self, request: HttpRequest) -> None:
        """The session is read when somebody asks for it, so static files and health checks cost nothing."""
        super().process_request(request)
        request.session.caller = caller_of(  # type: ignore[attr-defined]  # our store's
            request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_USER_AGENT", "")
        )


@receiver(user_logged_in)
def cycle_key(request: HttpRequest, **_: Any) -> None:
    """Django keeps the key of somebody who signs in again as the same user, which whoever planted it then knows. What
    ends soon because nobody was signed in ends as sessions do from now on."""
    request.session.set_expiry(None)
    if request.session.session_key == request.COOKIES.get(settings.SESSION_COOKIE_NAME):
        request.session.cycle_key()
