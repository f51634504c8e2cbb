"""The Content-Security-Policy of every answer: the second wall, should something unescaped ever reach a page.

Nothing loads from, posts to or calls another site, so a script that got in has nobody to tell. In the admin inline
scripts and `eval` stay allowed: Unfold's Alpine.js works by both. Pages for everybody do without.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

STRICT_PREFIXES = ("/account/", "/portal/")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def content_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django middleware."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault(
            "Content-Security-Policy", STRICT_POLICY if request.path.startswith(STRICT_PREFIXES) else POLICY
        )
        return response

    return middleware
