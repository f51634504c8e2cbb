"""Pages of a kind's list, in an order of the caller's choice. `next` is where the page after begins: the last row's
value in that order and its id, so that rows that come or go meanwhile shift nothing."""

import base64
import binascii
import json
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework import serializers

from relay_admin.control_api.nouns.kinds import Kind
from relay_admin.control_api.paging import MAX_ID, page_of


def page(kind: Kind, rows: "QuerySet[Any, Any]", wanted: dict[str, Any]) -> tuple[list[Any], str | None]:
    """The rows that `kind.query` asked for, and `next`. Raises ValidationError for an `after` that is none."""
    rows = rows.filter(narrowed(kind, wanted))
    order = wanted["order"]
    column, sign = kind.orders[order.removeprefix("-")], "-" if order.startswith("-") else ""
    if "after" in wanted:
        value, pk = _read(wanted["after"], order, column)
        beyond = "lt" if sign else "gt"
        rows = rows.filter(Q(**{f"{column}__{beyond}": value}) | Q(**{column: value, f"pk__{beyond}": pk}))
    found, more = page_of(rows.order_by(f"{sign}{column}", f"{sign}pk"), wanted["limit"])
    return found, _written(found[-1], order, column) if more else None


def narrowed(kind: Kind, wanted: dict[str, Any]) -> Q:
    """What the filters and `search` ask for."""
    found = Q()
    for name, one in kind.filters.items():
        if name in wanted:
            found &= one.condition(wanted[name])
    if text := wanted.get("search"):
        anywhere = Q()
        for column in kind.search:
            anywhere |= Q(**{f"{column}__icontains": text})
        found &= anywhere
    return found


def _written(row: Any, order: str, column: str) -> str:
    value = getattr(row, column)
    value = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([order, value, row.pk]).encode()).decode()


def _read(text: str, order: str, column: str) -> tuple[Any, int]:
    refused = serializers.ValidationError({"after": ["Send the `next` of the page before, in the same order."]})
    try:
        [of, value, pk] = json.loads(base64.urlsafe_b64decode(text.encode()))
        if column in ("created_at", "updated_at"):
            value = datetime.fromisoformat(value)
    except (ValueError, TypeError, binascii.Error):
        raise refused from None
    kinds = {"pk": int, "created_at": datetime, "updated_at": datetime}
    is_value = isinstance(value, kinds.get(column, str)) and "\0" not in str(value)
    if of != order or not is_value or type(pk) is not int or not 0 <= pk <= MAX_ID:
        raise refused
    return value, pk
