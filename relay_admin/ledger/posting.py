"""Writes entries. The only way in which the control plane does."""

from uuid import UUID

from django.db import connection, transaction

from relay_contract.ledger import Leg

_POST = """
INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, note, by_id, generation)
SELECT %(source)s, kind, debit_id, credit_id, amount, %(note)s, %(by_id)s, %(generation)s::integer
FROM unnest(%(kinds)s::smallint[], %(debits)s::bigint[], %(credits)s::bigint[], %(amounts)s::bigint[])
    AS leg(kind, debit_id, credit_id, amount)
ON CONFLICT DO NOTHING
"""


def post(*legs: Leg, source: UUID, note: str, by_id: int | None, generation: int | None = None) -> bool:
    """All legs of a source, each of a kind of its own, in one statement. False: the source was posted before, and
    nothing is added. Raises IntegrityError for accounts that do not exist, are of two modes or one and the same.

    `generation`: of the purse that the debit was taken from.

    Raises ValueError where some of the legs were there and others not: a source is posted as a whole.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            _POST,
            {
                "source": source,
                "note": note,
                "by_id": by_id,
                "generation": generation,
                "kinds": [int(leg.kind) for leg in legs],
                "debits": [leg.debit for leg in legs],
                "credits": [leg.credit for leg in legs],
                "amounts": [leg.amount for leg in legs],
            },
        )
        if cursor.rowcount not in (0, len(legs)):
            raise ValueError(f"{source} was posted with other legs")
        return bool(cursor.rowcount)
