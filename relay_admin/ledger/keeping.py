"""How the purses in Redis are kept, for operators: what the keeper last said, and how late calls are posted."""

from datetime import datetime

from django.db import connection
from django.utils import timezone

from relay_admin.ledger.models import Keeping

SILENT_SECONDS = 30
"""A keeper says something each five seconds; after so many nobody keeps the purses."""

# From the oldest end of a queue that is short where all is well.
_OLDEST_DUE = """
SELECT min(not_before) FROM (SELECT not_before FROM ledger_due WHERE tries < 5 ORDER BY id LIMIT 2000) AS oldest
"""


def keeping() -> list[tuple[str, str]]:
    """What it is about, and how it stands."""
    kept, now = Keeping.objects.first(), timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_DUE)
        [(oldest,)] = cursor.fetchall()
    due = ("Oldest call that is due", "none" if oldest is None else _ago(oldest, now))
    if kept is None:
        return [("Keeper", "no worker has kept the purses yet"), due]
    is_silent = (now - kept.at).total_seconds() > SILENT_SECONDS
    return [
        ("Keeper", f"silent: its last word is {_ago(kept.at, now)} old" if is_silent else "at work"),
        ("Money", "open" if kept.closed_since is None else f"closed for {_ago(kept.closed_since, now)}"),
        ("Generation", str(kept.generation)),
        ("Generations open", str(kept.open_generations)),
        ("Edge processes", str(kept.edges)),
        due,
    ]


def _ago(at: datetime, now: datetime) -> str:
    return f"{max(0, int((now - at).total_seconds()))} s"
