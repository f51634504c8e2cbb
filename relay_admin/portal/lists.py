"""Lists that are read from one place to the next: the address carries the place, and the filters stay in it."""

from uuid import UUID

from django.http import HttpRequest


def after_of(request: HttpRequest) -> UUID | None:
    """Where the page before ended; None for the first page, and for text that is no place."""
    try:
        return UUID(request.GET.get("after", ""))
    except ValueError:
        return None


def older_address(request: HttpRequest, last: object) -> str:
    """Of the page that comes after `last`."""
    query = request.GET.copy()
    query["after"] = str(last)
    return f"?{query.urlencode()}"
