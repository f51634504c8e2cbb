"""Posts what calls are charged: a worker takes calls that are due, splits each charge, and writes the entries and the
sums of the hour, in one transaction. Killed anywhere, it has done all of it or nothing.

What Postgres refuses is halved until one call is left; that one, like one that cannot be split, waits with its error,
longer after each try, and holds up no other. Any number of posters take different calls.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import psycopg

from delivery.call_entries import DueCall, Posting, UnpostableError, posting_of
from delivery.database import Connection, DatabaseAway, Outage
from relay_contract import logs
from relay_contract.ledger import AccountKind

logger = logging.getLogger(__name__)

MOST = 4_000
"""Calls of one transaction: the more, the fewer sums are left to be folded."""
POSTERS = 2
"""Of a worker."""
LINGER_SECONDS = 0.2
"""Between looks at a queue that was not full: how late an entry may be, and what an idle worker asks of Postgres."""
MAX_ERROR = 200
_REFUSALS = (psycopg.IntegrityError, psycopg.DataError)

TAKE = f"""
WITH taken AS MATERIALIZED (
    DELETE FROM ledger_due WHERE id = ANY(ARRAY(
        SELECT id FROM ledger_due WHERE tries = 0 OR not_before <= now() ORDER BY id LIMIT %b FOR UPDATE SKIP LOCKED
    )) RETURNING id, tries
)
SELECT taken.id, taken.tries, call.mode, call.project_id, call.payer_id, call.charge_microcredits,
    call.markup_microcredits, call.terms_id, call.pricing_id, call.pricing_version, call.generation,
    payer.id IS NOT NULL, owner.id, terms.markup_ppm, terms.owner_ppm, terms.referral_ppm, referrer.id,
    call.application_id
FROM taken
    LEFT JOIN traffic_call AS call ON call.id = taken.id
    LEFT JOIN ledger_account AS payer ON payer.id = call.payer_id
    LEFT JOIN ledger_account AS owner ON owner.kind = '{AccountKind.EARNINGS}' AND owner.mode = call.mode
        AND owner.project_id = call.project_id
    LEFT JOIN ledger_terms AS terms ON terms.id = call.terms_id
    LEFT JOIN access_membership AS member ON member.project_id = call.project_id AND member.user_id = call.user_id
    LEFT JOIN ledger_account AS referrer ON referrer.kind = '{AccountKind.EARNINGS}' AND referrer.mode = call.mode
        AND referrer.user_id = member.referrer_id
"""  # noqa: S608 (a constant)

POST = """
INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, note, generation, project_id, terms_id, pricing_id,
    pricing_version, application_id)
SELECT * FROM unnest(%b::uuid[], %b::smallint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[], %b::integer[],
    %b::bigint[], %b::bigint[], %b::bigint[], %b::integer[], %b::bigint[])
ON CONFLICT DO NOTHING
"""

COUNT = """
INSERT INTO ledger_usagedelta (hour, project_id, mode, what, relay_key_id, user_id, application_id, model, target_id,
    payer_id, calls, charge, cost, markup, input_tokens, output_tokens, cache_read_tokens)
SELECT date_trunc('hour', received_at, 'UTC'), project_id, mode, 'call', coalesce(relay_key_id, 0),
    coalesce(user_id, 0), coalesce(application_id, 0), coalesce(nullif(model, ''), left(requested_model, 128)), 0,
    coalesce(payer_id, 0), count(*), sum(charge_microcredits), sum(coalesce(cost_nanousd, 0)),
    sum(markup_microcredits), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens)
FROM traffic_call WHERE id = ANY(%b::uuid[]) GROUP BY 1, 2, 3, 5, 6, 7, 8, 10
"""

_LATER = "least(tries + 1, 32767), %s, now() + make_interval(secs => least(2 ^ least(tries, 12), 3600))"
"""A second after the first try, twice as long after each, an hour in the end."""
PUT_BACK = f"""
INSERT INTO ledger_due (id, tries, error, not_before)
SELECT id, {_LATER % "error"} FROM unnest(%b::uuid[], %b::smallint[], %b::text[]) AS late(id, tries, error)
"""  # noqa: S608 (constants)
"""In the transaction that took them."""
DELAY = f"UPDATE ledger_due SET (tries, error, not_before) = ({_LATER % '%b::text'}) WHERE id = %b::uuid"  # noqa: S608
"""After that was refused: unless another has posted it since."""

Posted: TypeAlias = tuple[DueCall, Posting]
Late: TypeAlias = tuple[DueCall, str]


@dataclass
class Figures:
    """What the metrics page shows, since the process began."""

    calls: int = 0
    entries: int = 0
    put_back: int = 0


class Posters:
    """One for each connection, of which the first works alone until it leaves something: a backlog keeps more than one
    backend of Postgres busy. All methods belong to the event loop that `run` runs on."""

    def __init__(self, *connections: Connection) -> None:
        self.figures = Figures()
        self._posters = [Poster(connection, self.figures) for connection in connections]
        self._has_more = False

    async def run(self) -> None:
        """Until it is cancelled. Raises what is a mistake of ours, and no outage."""
        outage = Outage("ledger-poster")
        while True:
            try:
                has_more = await self.step()
            except DatabaseAway as away:
                await asyncio.sleep(outage.goes_on(away))
                continue
            outage.is_over()
            await asyncio.sleep(0 if has_more else LINGER_SECONDS)

    async def step(self) -> bool:
        """A step of each that works; True when there may be more at once. Raises DatabaseAway."""
        working = self._posters if self._has_more else self._posters[:1]
        self._has_more = False
        steps = await asyncio.gather(*(poster.step() for poster in working), return_exceptions=True)
        for step in steps:
            if isinstance(step, BaseException):
                raise step
        self._has_more = any(steps)
        return self._has_more


class Poster:
    """One connection's."""

    def __init__(self, connection: Connection, figures: Figures | None = None) -> None:
        self._connection = connection
        self._most = MOST
        self._taken: list[DueCall] = []
        self.figures = figures or Figures()

    async def step(self) -> bool:
        """Post what is due, MOST calls or fewer; True when there may be more at once. Raises DatabaseAway."""
        try:
            await self._post()
        except _REFUSALS as refusal:
            await self._bisect(refusal)
            return True
        has_more = len(self._taken) == self._most
        self._most = min(2 * self._most, MOST)
        return has_more

    async def _post(self) -> None:
        self._taken = []
        posted: list[Posted] = []
        late: list[Late] = []
        async with self._connection.transaction():
            rows = await self._connection.rows(TAKE, (self._most,))
            self._taken = [DueCall(*row) for row in rows]
            for call in self._taken:
                try:
                    posted.append((call, posting_of(call)))
                except UnpostableError as error:
                    late.append((call, str(error)))
            if posted:
                await self._connection.rows(POST, entry_columns(posted))
                await self._connection.rows(COUNT, ([call.id for call, _ in posted],))
            await self._put_back(late)
        self.figures.calls += len(posted)
        self.figures.entries += sum(len(posting.legs) for _, posting in posted)

    async def _bisect(self, refusal: psycopg.Error) -> None:
        """The transaction is gone and everything is due again: fewer the next time, or that one later."""
        if len(self._taken) > 1:
            self._most = len(self._taken) // 2
            return
        self._most = 1
        for call in self._taken:
            error = _error_text(str(refusal).partition("\n")[0])
            await self._connection.rows(DELAY, (error, call.id))
            self._tell_late([call.id], error)

    async def _put_back(self, late: Sequence[Late]) -> None:
        if late:
            ids, errors = [call.id for call, _ in late], [_error_text(error) for _, error in late]
            await self._connection.rows(PUT_BACK, (ids, [call.tries for call, _ in late], errors))
            self._tell_late(ids, errors[0])

    def _tell_late(self, ids: Sequence[UUID], error: str) -> None:
        self.figures.put_back += len(ids)
        fields = logs.log_fields(calls=len(ids), call_id=str(ids[0]), reason=error)
        logger.warning("calls_unpostable", extra=fields)


def _error_text(error: str) -> str:
    return error.replace("\0", "")[:MAX_ERROR]


def entry_columns(posted: Sequence[Posted]) -> list[list[UUID | int | str | None]]:
    """The parameters of POST."""
    rows = [
        (
            call.id,
            int(leg.kind),
            leg.debit,
            leg.credit,
            leg.amount,
            posting.note,
            call.generation,
            call.project_id,
            call.terms_id,
            call.pricing_id,
            call.pricing_version,
            call.application_id,
        )
        for call, posting in posted
        for leg in posting.legs
    ]
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(POST.count("%b"))]
