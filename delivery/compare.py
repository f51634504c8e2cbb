"""Holds the answers of shadows against those of the targets they are compared with, and keeps what differs, without
what the endpoint's `redactions` hide.

Both sides of a pair wait in a table that is emptied here. A pair is compared once it is whole; a shadow whose sibling
has no answer after WAIT_SECONDS is told as that. Two workers that compare the same pair write it down once.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import msgspec

from delivery.database import Connection
from relay_contract.compare import ComparedAnswer, Comparison, compare, ignored_paths
from relay_contract.logs import log_fields
from relay_contract.redaction import Redaction
from relay_contract.shaping.paths import PathError, PathTree

logger = logging.getLogger(__name__)

MOST = 32
"""Pairs of one round: with the largest bodies a few MB."""
WAIT_SECONDS = 600
KEPT_SECONDS = 2 * WAIT_SECONDS
"""For how long a live target's answer waits for shadows that are tried again."""
MOST_FORGOTTEN = 1_000

PAIRS = f"""
SELECT shadow.delivery_id, shadow.request_id, shadow.target_id, sibling.id, shadow.revision,
    shadow.status, shadow.body, shadow.is_cut, shadow.duration_ms,
    live.status, live.body, live.is_cut, live.duration_ms, to_json(target.compare_ignore)::text,
    to_json(endpoint.redactions)::text
FROM deliveries_comparedanswer AS shadow
JOIN catalog_target AS target ON target.id = shadow.target_id
JOIN catalog_endpoint AS endpoint ON endpoint.id = target.endpoint_id
JOIN catalog_target AS sibling ON sibling.endpoint_id = target.endpoint_id AND sibling.name = target.compares_with
LEFT JOIN deliveries_comparedanswer AS live ON live.request_id = shadow.request_id AND live.target_id = sibling.id
WHERE shadow.is_shadow
    AND (live.delivery_id IS NOT NULL OR shadow.at < now() - make_interval(secs => {WAIT_SECONDS}))
ORDER BY shadow.at
LIMIT {MOST}
"""  # noqa: S608 (constants of this file)

_FIELDS = (
    ("delivery_id", "uuid"),
    ("request_id", "uuid"),
    ("target_id", "bigint"),
    ("baseline_target_id", "bigint"),
    ("revision", "integer"),
    ("verdict", "text"),
    ("status", "integer"),
    ("baseline_status", "integer"),
    ("duration_ms", "integer"),
    ("baseline_duration_ms", "integer"),
    ("differences", "text"),
)
_NAMES = ", ".join(name for name, _ in _FIELDS)

KEEP = f"""
WITH result AS MATERIALIZED (
    SELECT * FROM unnest({", ".join(f"%b::{kind}[]" for _, kind in _FIELDS)}) AS r({_NAMES})
),
taken AS (DELETE FROM deliveries_comparedanswer AS waiting USING result WHERE waiting.delivery_id = result.delivery_id)
INSERT INTO deliveries_comparison ({_NAMES}, at)
SELECT {_NAMES.replace("differences", "differences::jsonb")}, now() FROM result
ON CONFLICT DO NOTHING
RETURNING 1
"""  # noqa: S608 (constants of this file)

# Live answers whose shadows are through or never came, and shadows that are compared with nothing any more.
FORGET = f"""
DELETE FROM deliveries_comparedanswer WHERE delivery_id IN (
    SELECT delivery_id FROM deliveries_comparedanswer
    WHERE at < now() - make_interval(secs => {KEPT_SECONDS}) ORDER BY at LIMIT {MOST_FORGOTTEN} FOR UPDATE SKIP LOCKED
) RETURNING 1
"""  # noqa: S608 (constants of this file)


class Pair(NamedTuple):
    """A row of PAIRS. A status of None: that side never answered."""

    delivery_id: UUID
    request_id: UUID
    target_id: int
    baseline_target_id: int
    revision: int
    status: int | None
    body: bytes | None
    is_cut: bool
    duration_ms: int | None
    baseline_status: int | None
    baseline_body: bytes | None
    baseline_is_cut: bool | None
    baseline_duration_ms: int | None
    ignored: str  # JSON
    redactions: str  # JSON


async def compare_due(connection: Connection) -> bool:
    """One round. True: there may be more at once. Raises DatabaseAway."""
    pairs = [Pair(*row) for row in await connection.rows(PAIRS, ())]
    if pairs:
        values = await asyncio.to_thread(_compared, pairs)  # a large pair takes 40 ms
        await connection.rows(KEEP, [list(column) for column in zip(*values, strict=True)])
    forgotten = await connection.rows(FORGET, ())
    return len(pairs) == MOST or len(forgotten) == MOST_FORGOTTEN


def _compared(pairs: Sequence[Pair]) -> list[tuple[object, ...]]:
    """A row of _FIELDS for each."""
    return [_values(pair, comparison_of(pair)) for pair in pairs]


def comparison_of(pair: Pair) -> Comparison:
    """What a pair comes to. Pure."""
    baseline = _answer(pair.baseline_status, pair.baseline_body, bool(pair.baseline_is_cut))
    shadow = _answer(pair.status, pair.body, pair.is_cut)
    return compare(baseline, shadow, _ignored(pair.ignored), _redaction(pair.redactions))


def _answer(status: int | None, body: bytes | None, is_cut: bool) -> ComparedAnswer | None:
    return None if status is None else ComparedAnswer(status, body, is_cut)


@lru_cache(maxsize=256)
def _ignored(document: str) -> PathTree:
    try:
        return ignored_paths(msgspec.json.decode(document, type=list[str]))
    except (PathError, msgspec.DecodeError):  # not what a form or a document lets through: compare everything
        logger.warning("compare_ignore_unreadable", extra=log_fields(paths=document[:200]))
        return ignored_paths([])


@lru_cache(maxsize=256)
def _redaction(document: str) -> Redaction:
    return Redaction(msgspec.json.decode(document, type=list[str]))


def _values(pair: Pair, comparison: Comparison) -> tuple[object, ...]:
    differences = [{"path": one.path, "baseline": one.baseline, "shadow": one.shadow} for one in comparison.differences]
    return (
        pair.delivery_id,
        pair.request_id,
        pair.target_id,
        pair.baseline_target_id,
        pair.revision,
        str(comparison.verdict),
        pair.status,
        pair.baseline_status,
        pair.duration_ms,
        pair.baseline_duration_ms,
        msgspec.json.encode(differences).decode().replace("\\u0000", "\\ufffd"),
    )
