"""Whether Redis counted of budgets, caps of authorizations and shares of pools what Postgres has of their period.

Compared is what stands still: it was the same before Postgres was asked and after it, and nothing of it is held. What
differs is looked at again, once the rows of whatever Redis had heard of are written; only what differs still, by the
same, is a drift. Postgres' word replaces it then.

A call counts in the period in which Redis let it in, and in Postgres in that in which it was received. So what was
received within NEAR of a period's beginning may be on either side of it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from relay_admin.ledger import budget_sql, purses
from relay_admin.ledger.drift_rows import with_rows
from relay_admin.ledger.drifts import MAX_SHOWN, Drift
from relay_admin.ledger.proof_sql import IS_CHARGED
from relay_contract import periods
from relay_contract.ids import uuid7_bound
from relay_contract.redis import keys

NEAR = timedelta(minutes=11)
"""A body may take ten minutes to come; clocks of edges, Redis and Postgres are nearer to each other than one."""
SETTLE_SECONDS = 3.0
"""Between two looks. Edges write rows within a fraction of a second, and say how old the oldest is each second."""
_BEAT_SECONDS = 1.0
_OF_ID = timedelta(hours=1)
"""A delivery's id is no older than its hold by so much."""
_OWNED_CHARGE = "charge.project_id, coalesce(charge.relay_key_id, 0), 0, 0, 0"
_MOVED = "date_trunc(%(period)s, now(), 'UTC')"
_NEAR = f"""
    SELECT {budget_sql.OWNED_CALL}, {_MOVED}, call.charge_microcredits FROM traffic_call AS call
    WHERE {IS_CHARGED} AND call.received_at >= %(since)s AND call.received_at < %(until)s
    UNION ALL
    SELECT {_OWNED_CHARGE}, {_MOVED}, charge.micro_credits FROM ledger_charge AS charge
    WHERE charge.phase = 0 AND charge.replay = 0 AND charge.at >= %(since)s AND charge.at < %(until)s
        AND charge.delivery_id >= %(first_id)s AND charge.delivery_id < %(last_id)s
"""  # noqa: S608 (constants)
_USED_NEAR = budget_sql.USED.replace(
    budget_sql.SOURCE,
    f" SELECT * FROM ({_NEAR}) AS near ({budget_sql.OWNED}, hour, charge) ",  # noqa: S608 (constants)
)
_NAMED = {
    "key": "budget of key {owner}",
    "project": "budget of project {owner}",
    "user": "budget of user {person} in project {owner}",
    "grant": "cap of authorization {owner}",
    "share": "share of user {person} in account {owner}",
}
"""By the scope of a budget. Those of the contract, and `share` for a user's of a pool."""


def _changed(subject: str, condition: str, owner: str = "subject_id") -> str:
    return f"""
SELECT EXISTS (SELECT 1 FROM access_auditevent
    WHERE {subject} AND {owner} = %(owner)s AND at >= %(since)s AND ({condition}))
"""  # noqa: S608 (constants)


_PERIOD = "before->'budget'->>'period' IS DISTINCT FROM after->'budget'->>'period'"
_GIVEN = {
    "key": _changed("subject = 'access.relaykey'", _PERIOD),
    "project": _changed("subject = 'catalog.project'", _PERIOD),
    "user": _changed(
        "subject IN ('catalog.project', 'access.membership')",
        "coalesce(before, after) ?| ARRAY['user_budget', 'has_own_budget']"
        " OR subject = 'access.membership' AND coalesce(before, after) ? 'budget'",
        "project_id",
    ),
    "grant": _changed(
        "subject = 'access.authorization'",
        "coalesce(before, after) ? 'cap_microcredits'"
        " AND (before->>'cap_microcredits' IS NULL OR after->>'cap_microcredits' IS NULL)",
    ),
}
"""By scope: whether the audit log knows since a moment that a budget of an owner was given, or its period changed."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A budget or share that stands still and whose two figures differ. Micro-credits."""

    kind: str  # of the purse
    owner: str
    period: periods.Period
    start: datetime
    found: purses.Count | None  # None: nothing was counted in this period
    expected: int

    @property
    def key(self) -> str:
        """In Redis."""
        return keys.purse(self.kind, self.owner)

    @property
    def bucket(self) -> int:
        """The number of the period."""
        return periods.index(self.period, round(self.start.timestamp() * 1000))

    @property
    def used(self) -> int:
        """As Redis believes."""
        return 0 if self.found is None else self.found.used

    def drift(self) -> Drift:
        """As it is shown."""
        scope, (owner, person) = self._whose()
        subject = _NAMED[scope].format(owner=owner, person=person)
        about = {"scope": scope, "owner": owner, "person": person, "start": self.start.isoformat()}
        since = f"{self.period} from {self.start:%Y-%m-%d}"
        return Drift("budget_differs", f"{subject}, {since}", self.expected, self.used, about)

    def was_given(self) -> bool:
        """Whether it was given within its period: Redis counts from then on, and Postgres knows of before."""
        scope, (owner, _) = self._whose()
        if scope == "share" or self.used > self.expected:
            return False
        with connection.cursor() as cursor:
            cursor.execute(_GIVEN[scope], {"owner": owner, "since": self.start})
            return bool(cursor.fetchone()[0])

    def _whose(self) -> tuple[str, tuple[int, int]]:
        """Scope, owner, and of some a person; else 0."""
        scope, _, rest = f"share:{self.owner}".partition(":") if self.kind == "c" else self.owner.partition(":")
        owner, _, person = rest.replace(":", ".").partition(".")
        return scope, (int(owner), int(person or 0))


def compared(settle_seconds: float = SETTLE_SECONDS) -> list[Compared]:
    """What differs, and is explained by nothing that is near the beginning of its period, nor by having been given
    within it. Raises RedisAwayError."""
    first = _differing()
    if not first:
        return []
    time.sleep(settle_seconds)
    if purses.unwritten_seconds() > max(settle_seconds - _BEAT_SECONDS, 0):
        return []  # rows are under way that Redis has heard of
    still = set(first)
    near = {period: (_near(period, -1), _near(period, 1)) for period in {each.period for each in first}}
    return [
        each
        for each in _differing()
        if each in still and not _is_near(each, *near[each.period]) and not each.was_given()
    ]


def drifts_of(found: list[Compared]) -> list[Drift]:
    """As they are shown, with the hours behind them."""
    return with_rows([each.drift() for each in found[:MAX_SHOWN]])


def recount(found: list[Compared]) -> None:
    """Redis is told what Postgres has, unless it has changed since. Raises RedisAwayError."""
    for each in found:
        purses.recount(each.key, each.bucket, each.found, each.expected)


def _differing() -> list[Compared]:
    before = purses.counts()
    used = _used(budget_sql.USED)
    after = purses.counts()
    if before is None or after is None:
        return []
    for key in before.keys() - {keys.purse(kind, owner) for kind, owner in used}:
        if key.startswith(keys.purse("c", "")):  # of which Postgres has nothing at all
            used["c", key.removeprefix(keys.purse("c", ""))] = (periods.Period.MONTH, _month(), 0)
    young = datetime.now(UTC) - NEAR
    found = []
    for (kind, owner), (period, start, spent) in used.items():
        each = Compared(kind, owner, period, start, None, spent)
        was, is_now = before.get(each.key), after.get(each.key)
        if was == is_now and start < young and (was is None or not was.is_held):
            counted = was if was is not None and was.bucket == each.bucket else None
            each = Compared(kind, owner, period, start, counted, spent)
            found += [each] if each.used != spent else []
    return found


def _used(statement: str, **parameters: Any) -> dict[tuple[str, str], tuple[periods.Period, datetime, int]]:
    """By kind and owner: period, its beginning, and what was used."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return {
            (kind, owner): (periods.Period(period), datetime.fromtimestamp(start_ms / 1000, UTC), spent)
            for kind, owner, period, start_ms, spent in cursor.fetchall()
        }


def _near(period: periods.Period, side: int) -> dict[tuple[str, str], int]:
    """By kind and owner: what was received within NEAR before (-1) or after (1) the beginning of this period."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT date_trunc(%s, now(), 'UTC')", [period])
        start = cursor.fetchone()[0]
    since, until = sorted((start, start + side * NEAR))
    found = _used(
        _USED_NEAR,
        period=period,
        since=since,
        until=until,
        first_id=uuid7_bound(int((since - _OF_ID).timestamp() * 1000)),
        last_id=uuid7_bound(int((until + _OF_ID).timestamp() * 1000)),
    )
    return {place: spent for place, (of_period, _, spent) in found.items() if of_period is period}


def _is_near(each: Compared, before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int]) -> bool:
    """Whether what is near the beginning of the period may be all of the difference."""
    place = each.kind, each.owner
    return -after.get(place, 0) <= each.used - each.expected <= before.get(place, 0)


def _month() -> datetime:
    return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
