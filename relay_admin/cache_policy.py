"""The Cache-Control of every answer that names none: it says who somebody is, what they have or what they may do, and a
browser or a proxy that kept it would show it to whoever comes next. Static files and public documents name theirs.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def cache_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django middleware, inside of WhiteNoise's: static files do not come here."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return middleware
