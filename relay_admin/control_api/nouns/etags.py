"""`ETag` of a row and `If-Match` of a write (RFC 9110, 8.8.3 and 13.1.1): a change of what somebody else has changed
meanwhile is refused, not made."""

import json
from datetime import datetime
from typing import Any

from django.db.models import Model
from django.utils.crypto import salted_hmac
from django.utils.http import parse_etags
from rest_framework.exceptions import APIException
from rest_framework.request import Request


class StaleRow(APIException):
    """The row is another one than the caller has read."""

    status_code = 412
    default_code = "stale_row"
    default_detail = "Somebody has changed the row since you read it. Nothing was changed."
    action = "Read it again, and send its ETag in If-Match."


class NoCondition(APIException):
    """RFC 6585, 3: what replaces a row has to say which."""

    status_code = 428
    default_code = "if_match_needed"
    default_detail = "PUT writes every field, so it has to say in If-Match what it replaces."
    action = "Send the ETag of your last GET in If-Match, or `*` to replace whatever is there. PATCH needs none."


def etag_of(row: Model) -> str:
    """Another one whenever any column of the row is another. Keyed, since columns that a reader is not shown are part
    of it."""
    columns = [(column.attname, column.value_from_object(row)) for column in row._meta.concrete_fields]
    written = json.dumps(columns, default=_written, sort_keys=True)
    return f'"{salted_hmac("relay.control_api.etag", written, algorithm="sha256").hexdigest()[:32]}"'


def check(call: Request, row: Model, *, is_needed: bool = False) -> None:
    """Raises StaleRow for a row that is not the one of If-Match, and NoCondition where that is needed and not there.

    Weak tags match nothing (RFC 9110, 8.8.3.2).
    """
    given = call.headers.get("If-Match", "")
    if not given:
        if is_needed:
            raise NoCondition
        return
    tags = parse_etags(given)
    if "*" not in tags and etag_of(row) not in tags:
        raise StaleRow


def is_known(call: Request, row: Model) -> bool:
    """Whether the caller has the row as it is, by If-None-Match (RFC 9110, 13.1.2)."""
    tags = parse_etags(call.headers.get("If-None-Match", ""))
    return "*" in tags or etag_of(row) in {tag.removeprefix("W/") for tag in tags}


def _written(value: Any) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case bytes() | memoryview() | bytearray():
            return bytes(value).hex()
        case _:
            return str(value)
