"""Lists of the control API: what they may be asked, and a page of them. A page begins where the one before ended."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import QuerySet
from rest_framework import serializers

from relay_admin.control_api.wire import Strict

Row = TypeVar("Row")

MAX_PAGE = 200
MAX_ID = 2**63 - 1


class Query(Strict):
    """What a list may be asked."""

    noun = "filter"


class WalletRows(Query):
    """Of a list of rows that belong to wallets, newest first. `after` is the `next` of the page before."""

    wallet = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    after = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


def wallet_page(rows: "QuerySet[Any, Any]", wanted: dict[str, Any], shown: Callable[[Any], Any]) -> dict[str, Any]:
    """`{"results": [...], "next": id or null}` for what WalletRows was asked."""
    rows = rows.order_by("-pk")
    if "wallet" in wanted:
        rows = rows.filter(account_id=wanted["wallet"])
    if "after" in wanted:
        rows = rows.filter(pk__lt=wanted["after"])
    page, more = page_of(rows, wanted["limit"])
    return {"results": [shown(row) for row in page], "next": page[-1].pk if more else None}


def page_of(rows: "QuerySet[Any, Row]", limit: int) -> tuple[list[Row], bool]:
    """The first `limit` rows, and whether there are more."""
    page = list(rows[: limit + 1])
    return page[:limit], len(page) > limit
