"""What replaying means, in SQL: which deliveries a batch looks at, which of them it takes, what each costs, and one
step of a batch. The preview and the steps are made of the same parts, so that what was shown is what is done.

A step is one statement: it locks its batch, looks at the next deliveries in the order of their ids, moves those that
can be sent from history back into the queue, holds what they cost, and moves the batch's cursor past all of them. So a
runner that dies has done the whole step or nothing of it, and two runners never do the same one. Times are the
database's: a batch looks only at what had failed before it was started, never at its own failures.

What a prepaid project's deliveries cost is taken from its purse before the step (`NEEDS`), which then takes as many as
were paid; `replay_purses.py` and the workers' runner do it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection

from relay_admin.ledger import purses
from relay_contract.credits import MICRO, UNITS_SQL
from relay_contract.intake import DeliveryState
from relay_contract.nouns import Billing, DeliveryMode, KeyMode

MAX_STEP = 500
"""Deliveries of one step, and of each where the batch has no pace."""
STEP_SECONDS = 0.2
"""A batch with a pace takes what is due in so long, at least one."""
CATCH_UP_SECONDS = 1
"""A batch that could not run makes up for so much of its pace."""
CLOSED_SECONDS = 2
"""A batch that costs a prepaid project something waits while no purse pays."""
MAX_COUNTED = 100_000
"""A preview counts no further."""
MAX_REFUSED = 1_000
"""A batch names so many of the deliveries that it refused, and counts the rest."""


class ReplayState(StrEnum):
    """Where a batch stands."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"  # for good
    DONE = "done"


class ReplayCharge(StrEnum):
    """What a replay costs, against the delivery's first price."""

    FIRST_FREE = "first_free"  # nothing for the first within a day of the failure, then the full price
    FREE = "free"
    HALF = "half"
    FULL = "full"


FILTERS = ("project", "line", "endpoint", "target", "reason", "status", "error", "event_type", "since", "until")
"""Members of a batch's filter; ids of rows, texts, and times in ISO 8601. Or `ids` alone, which names deliveries."""

REFUSALS = {
    "not_found": "there is no such delivery",
    "not_dead": "it is not in the failure queue any more",
    "not_replayable": "its caller waited for the answer, and does not any more",
    "target_deleted": "its target was deleted",
    "payload_expired": "its body is past its retention",
    "insufficient_credits": "its prepaid project has too few credits left",
}

_COLUMN_FILTERS = {
    "project": "d.project_id = ({})::bigint",
    "target": "d.target_id = ({})::bigint",
    "reason": "d.dead_reason = {}",
    "status": "d.last_status = ({})::integer",
    "error": "d.last_error = {}",
    "since": "d.finished_at >= ({})::timestamptz",
    "until": "d.finished_at < ({})::timestamptz",
}
_REQUEST_FILTERS = {
    "line": "q.line_id = ({})::bigint",
    "endpoint": "q.endpoint_id = ({})::bigint",
    "event_type": "q.event_type = {}",
}


def _all(filters: Mapping[str, str]) -> str:
    member = "batch.filter->>'{}'"
    return " AND ".join(
        f"({member.format(name)} IS NULL OR {test.format(member.format(name))})" for name, test in filters.items()
    )


# Named deliveries, or those of the failure queue that match; a partial index has these in the order of their ids.
_LOOKED = f"""
named AS (
    SELECT name::uuid AS id FROM batch CROSS JOIN LATERAL jsonb_array_elements_text(batch.filter->'ids') AS ids(name)
    WHERE batch.cursor IS NULL OR name::uuid > batch.cursor ORDER BY 1 LIMIT (SELECT size FROM batch)
), matching AS (
    SELECT found.id FROM batch CROSS JOIN LATERAL (
        SELECT d.id FROM deliveries_finished d
        WHERE d.state = '{DeliveryState.DEAD}' AND d.finished_at <= batch.until
          AND d.id > coalesce(batch.cursor, '00000000-0000-0000-0000-000000000000') AND {_all(_COLUMN_FILTERS)}
          AND (NOT batch.filter ?| ARRAY[{", ".join(f"'{name}'" for name in _REQUEST_FILTERS)}] OR EXISTS (
              SELECT 1 FROM deliveries_request q WHERE q.id = d.request_id AND {_all(_REQUEST_FILTERS)}
          ))
        ORDER BY d.id LIMIT batch.size
    ) AS found
    WHERE NOT batch.filter ? 'ids'
), looked AS MATERIALIZED (
    SELECT id FROM named UNION SELECT id FROM matching
)"""  # noqa: S608 (constants of this file)

# A replay is priced by its batch's beginning, and not by the moment of its step: else a preview would not hold.
_PRICE = f"""CASE
    WHEN batch.charge = '{ReplayCharge.FREE}' THEN 0
    WHEN batch.charge = '{ReplayCharge.FIRST_FREE}' AND d.replay_count = 0
        AND d.finished_at > batch.until - interval '24 hours' THEN 0
    WHEN batch.charge = '{ReplayCharge.HALF}' THEN coalesce(first.micro_credits, {MICRO} * ({UNITS_SQL})) / 2
    ELSE coalesce(first.micro_credits, {MICRO} * ({UNITS_SQL})) END"""

_JUDGED = f"""
judged AS MATERIALIZED (
    SELECT looked.id, d.finished_at, d.dead_reason, first.relay_key_id, {_PRICE} AS price, target.expire_seconds,
        purse.account_id, CASE
            WHEN d.id IS NULL AND EXISTS (SELECT 1 FROM deliveries_live l WHERE l.id = looked.id) THEN 'not_dead'
            WHEN d.id IS NULL THEN 'not_found'
            WHEN d.state <> '{DeliveryState.DEAD}' THEN 'not_dead'
            WHEN d.mode <> '{DeliveryMode.ASYNC}' THEN 'not_replayable'
            WHEN target.id IS NULL THEN 'target_deleted'
            WHEN NOT EXISTS (SELECT 1 FROM deliveries_payload p WHERE p.request_id = d.request_id)
                THEN 'payload_expired'
            ELSE '' END AS refusal
    FROM batch CROSS JOIN looked
    LEFT JOIN LATERAL (SELECT * FROM deliveries_finished f WHERE f.id = looked.id) AS d ON true
    LEFT JOIN catalog_target AS target ON target.id = d.target_id
    LEFT JOIN LATERAL (
        SELECT c.relay_key_id, c.micro_credits FROM ledger_charge c WHERE c.delivery_id = d.id AND c.phase = 0
        ORDER BY c.replay LIMIT 1
    ) AS first ON true
    LEFT JOIN catalog_project AS project ON project.id = d.project_id
    LEFT JOIN ledger_balance AS purse ON purse.is_purse AND purse.account_id =
        CASE d.key_mode WHEN '{KeyMode.TEST}' THEN project.test_wallet_id ELSE project.live_wallet_id END
)"""  # noqa: S608 (constants of this file)

# What purses gave is enough for as many as it is, in the order of their ids. An account that is not named pays all.
_AFFORDED = """
afforded AS MATERIALIZED (
    SELECT judged.*, paid.generation, CASE
        WHEN refusal = '' AND price > 0 AND paid.amount < sum(price) FILTER (WHERE refusal = '')
            OVER (PARTITION BY judged.account_id ORDER BY judged.id) THEN 'insufficient_credits'
        ELSE refusal END AS outcome
    FROM judged LEFT JOIN (
        SELECT key::bigint AS account_id, (value->>0)::integer AS generation, (value->>1)::bigint AS amount
        FROM jsonb_each((SELECT paid FROM batch))
    ) AS paid USING (account_id)
)"""

_KEPT = (
    "id, request_id, project_id, target_id, shard, mode, is_shadow, is_compared, key_mode, revision, created_at,"
    " ordering_key, body_bytes, last_status, last_error"
)

_SIZE = f"""CASE WHEN pace_per_second IS NULL THEN {MAX_STEP}
        ELSE least({MAX_STEP}, greatest(1, ceil(pace_per_second * {STEP_SECONDS}))) END::integer"""
_IS_DUE = f"state = '{ReplayState.RUNNING}' AND next_at <= clock_timestamp() AND %b::bigint IN (0, id)"

# Rows are locked in one order, so that batches that overlap wait for each other and do not deadlock. One that another
# batch took meanwhile is gone when its turn comes.
STEP = f"""
WITH batch AS MATERIALIZED (
    SELECT due.*, coalesce(given.paid->'accounts', '{{}}') AS paid, {_SIZE} AS size
    FROM deliveries_replaybatch AS due CROSS JOIN (SELECT %b::jsonb AS paid) AS given
    WHERE {_IS_DUE} AND coalesce(due.cursor::text, '') = coalesce(given.paid->>'after', due.cursor::text, '')
    ORDER BY next_at, id LIMIT 1 FOR UPDATE OF due SKIP LOCKED
), {_LOOKED}, {_JUDGED}, {_AFFORDED}, chosen AS MATERIALIZED (
    SELECT d.id, afforded.relay_key_id, afforded.price, afforded.expire_seconds, afforded.account_id,
        CASE WHEN afforded.price > 0 THEN afforded.generation END AS generation
    FROM afforded JOIN deliveries_finished d ON d.id = afforded.id
    WHERE afforded.outcome = '' AND d.state = '{DeliveryState.DEAD}'
    ORDER BY d.id FOR UPDATE OF d
), gone AS (
    DELETE FROM deliveries_finished d USING chosen WHERE d.id = chosen.id
    RETURNING d.*, chosen.relay_key_id, chosen.price, chosen.expire_seconds, chosen.account_id, chosen.generation
), held AS (
    INSERT INTO ledger_charge (delivery_id, replay, phase, kind, request_id, project_id, relay_key_id, target_id,
        key_mode, micro_credits, units, generation)
    SELECT id, replay_count + 1, 0, 'hold', request_id, project_id, relay_key_id, target_id, key_mode, price,
        {UNITS_SQL}, generation
    FROM gone
), queued AS (
    INSERT INTO deliveries_live ({_KEPT}, state, next_attempt_at, expires_at, credits, replay_count, replay_batch_id)
    SELECT {_KEPT}, '{DeliveryState.PENDING}', clock_timestamp(),
        clock_timestamp() + make_interval(secs => expire_seconds), price, replay_count + 1, (SELECT id FROM batch)
    FROM gone
    RETURNING shard
), refused AS (
    SELECT id, coalesce(nullif(outcome, ''), 'not_dead') AS refusal
    FROM afforded WHERE NOT EXISTS (SELECT 1 FROM gone WHERE gone.id = afforded.id)
), said AS (
    SELECT * FROM refused ORDER BY id LIMIT (SELECT greatest(0, {MAX_REFUSED} - refused_count) FROM batch)
), counted AS (
    SELECT (SELECT count(*) FROM looked) AS looked, (SELECT count(*) FROM gone) AS replayed,
        (SELECT count(*) FROM refused) AS refused, (SELECT coalesce(sum(price), 0) FROM gone) AS credits
), moved AS (
    UPDATE deliveries_replaybatch AS b
    SET cursor = coalesce((SELECT id FROM looked ORDER BY id DESC LIMIT 1), b.cursor),
        replayed_count = batch.replayed_count + counted.replayed,
        refused_count = batch.refused_count + counted.refused,
        refused = batch.refused || (SELECT coalesce(jsonb_object_agg(id, refusal), '{{}}') FROM said),
        credits = batch.credits + counted.credits,
        state = CASE WHEN counted.looked < batch.size THEN '{ReplayState.DONE}' ELSE '{ReplayState.RUNNING}' END,
        ended_at = CASE WHEN counted.looked < batch.size THEN clock_timestamp() END,
        next_at = CASE WHEN batch.pace_per_second IS NULL THEN clock_timestamp()
            ELSE greatest(batch.next_at, clock_timestamp() - make_interval(secs => {CATCH_UP_SECONDS}))
                + make_interval(secs => (batch.size / batch.pace_per_second)::float8) END
    FROM batch, counted WHERE b.id = batch.id
    RETURNING b.id
)
SELECT moved.id, counted.looked, counted.replayed, coalesce((SELECT array_agg(DISTINCT shard) FROM queued), '{{}}'),
    coalesce((SELECT jsonb_object_agg(account_id, price) FROM (
        SELECT account_id, sum(price) AS price FROM gone WHERE generation IS NOT NULL GROUP BY account_id
    ) AS spent), '{{}}')
FROM moved, counted
"""  # noqa: S608 (constants of this file)
"""Parameters: what was taken for it (`Taken.as_json`), and a batch's id, or 0 for any that is due. Returns its id, how
many deliveries it looked at, how many of them it made due, their shards, and what of the taken was spent by account; no
row where no batch is due, or where it is not as it was taken for."""

NOTHING_TAKEN = "{}"
"""STEP's first parameter where no purse is asked."""

IS_PAID = f"SELECT EXISTS (SELECT 1 FROM catalog_project WHERE billing = '{Billing.PREPAID}')"  # noqa: S608 (a constant)
"""Whether purses are to be asked at all."""

NEEDS = f"""
WITH batch AS MATERIALIZED (
    SELECT due.*, {_SIZE} AS size FROM deliveries_replaybatch AS due WHERE {_IS_DUE} ORDER BY next_at, id LIMIT 1
), {_LOOKED}, {_JUDGED}
SELECT batch.id, coalesce(batch.cursor::text, ''), judged.account_id, array_agg(judged.price ORDER BY judged.id)
FROM batch LEFT JOIN judged ON judged.refusal = '' AND judged.account_id IS NOT NULL AND judged.price > 0
GROUP BY 1, 2, 3
"""  # noqa: S608 (constants of this file)
"""What the next step of a batch is going to cost, changing nothing. Parameter: as the last of STEP. Returns of each
prepaid account the batch's id and cursor, the account and the prices; one row without account where there is none."""

POSTPONE = f"""
UPDATE deliveries_replaybatch SET next_at = clock_timestamp() + make_interval(secs => {CLOSED_SECONDS})
WHERE id = %b::bigint AND state = '{ReplayState.RUNNING}'
"""  # noqa: S608 (constants of this file)
"""Of a batch: no purse pays at the moment."""

DUE_IN = f"""
SELECT extract(epoch FROM min(next_at) - clock_timestamp())::float8 FROM deliveries_replaybatch
WHERE state = '{ReplayState.RUNNING}'
"""  # noqa: S608 (constants of this file)
"""In how many seconds the next step of any batch is due; NULL where none runs."""

_PREVIEW = f"""
WITH batch AS MATERIALIZED (
    SELECT %b::jsonb AS filter, NULL::uuid AS cursor, clock_timestamp() AS until, %b::text AS charge,
        {MAX_COUNTED + 1} AS size, %b::jsonb AS paid
), {_LOOKED}, {_JUDGED}, {_AFFORDED}
SELECT outcome, dead_reason, count(*), sum(price)::bigint, min(finished_at), max(finished_at), account_id
FROM afforded GROUP BY outcome, dead_reason, account_id
"""  # noqa: S608 (constants of this file)


@dataclass(slots=True)
class Taken:
    """What purses gave for the next step of a batch: of each account the generation and the amount. Pure."""

    batch_id: int
    cursor: str
    accounts: dict[int, tuple[int, int]]

    def as_json(self) -> str:
        """STEP's parameter."""
        return json.dumps({"after": self.cursor, "accounts": self.accounts})

    def keep(self, spent: Mapping[str, int]) -> list[tuple[int, int, int]]:
        """From now on this was taken. Returns the rest, to be given back: account, amount, generation."""
        rest = []
        for account, (generation, amount) in self.accounts.items():
            kept = spent.get(str(account), 0)
            self.accounts[account] = generation, kept
            if amount > kept:
                rest.append((account, amount - kept, generation))
        return rest


@dataclass(frozen=True, slots=True)
class Preview:
    """What a batch would do if it began now."""

    matched: int  # at most MAX_COUNTED + 1, which means more than MAX_COUNTED
    replayable: int
    credits: int  # micro-credits that would be held
    by_reason: dict[str, int]  # DeadReason -> how many of those replayable
    by_refusal: dict[str, int]  # key of REFUSALS -> how many would stay
    oldest: datetime | None  # when the first and the last of those replayable failed
    newest: datetime | None

    @property
    def is_more(self) -> bool:
        """Whether there are more than were counted."""
        return self.matched > MAX_COUNTED


def preview(wanted: Mapping[str, Any], charge: str) -> Preview:
    """Reads what a batch with this filter and charge would meet."""
    rows = _previewed(wanted, charge, {})
    needed: dict[int, int] = {}
    for refusal, _, _, price, _, _, account_id in rows:
        if not refusal and price and account_id is not None:
            needed[account_id] = needed.get(account_id, 0) + price
    left = purses.available(list(needed))
    if any(needed[account_id] > amount for account_id, amount in left.items()):
        rows = _previewed(wanted, charge, {account_id: (0, max(amount, 0)) for account_id, amount in left.items()})
    return _preview_of(rows)


def _previewed(
    wanted: Mapping[str, Any], charge: str, paid: Mapping[int, tuple[int, int]]
) -> list[tuple[str, str, int, int, datetime, datetime, int | None]]:
    with connection.cursor() as cursor:
        cursor.execute(_PREVIEW, [json.dumps(dict(wanted)), charge, json.dumps(paid)])
        return list(cursor.fetchall())


def _preview_of(rows: Sequence[tuple[str, str, int, int, datetime, datetime, int | None]]) -> Preview:
    taken = [row for row in rows if not row[0]]
    refusals: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for refusal, reason, count, *_others in rows:
        counts, name = (refusals, refusal) if refusal else (reasons, reason)
        counts[name] = counts.get(name, 0) + count
    return Preview(
        matched=sum(row[2] for row in rows),
        replayable=sum(row[2] for row in taken),
        credits=sum(row[3] for row in taken),
        by_reason=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        by_refusal=refusals,
        oldest=min((row[4] for row in taken), default=None),
        newest=max((row[5] for row in taken), default=None),
    )
