"""Lists of the control API: what they may be asked, and a page of them. A page begins where the one before ended."""

from typing import Any, TypeVar

from django.db.models import QuerySet

from relay_admin.control_api.wire import Strict

Row = TypeVar("Row")


class Query(Strict):
    """What a list may be asked."""

    noun = "filter"


def page_of(rows: "QuerySet[Any, Row]", limit: int) -> tuple[list[Row], bool]:
    """The first `limit` rows, and whether there are more."""
    page = list(rows[: limit + 1])
    return page[:limit], len(page) > limit
