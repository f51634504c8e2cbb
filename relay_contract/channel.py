"""The Postgres channel on which the control plane's triggers tell every edge what changed.

A payload is `"<table> <id>"`: equal payloads of one transaction fold into one, a rolled-back write says nothing, and it
never nears the 7,999 byte limit. It names the row and never carries it, so a late reader cannot apply an old value.
`<table> *` (TRUNCATE) asks for a full reload.
"""

from typing import NamedTuple

CHANNEL = "catalog_changed"

TRIGGER_FUNCTION = "relay_catalog_changed"
ROW_TRIGGER = "relay_catalog_changed_row"
TRUNCATE_TRIGGER = "relay_catalog_changed_all"


class Change(NamedTuple):
    """One changed row; `id` is None where the whole table changed."""

    table: str
    id: int | None


def parse(payload: str) -> Change | None:
    """A payload as sent by the trigger; None for anything else, which the listener treats as 'reload all'."""
    table, _, row = payload.partition(" ")
    if row == "*":
        return Change(table, None)
    return Change(table, int(row)) if table and row.isascii() and row.isdigit() else None
