"""SQL of what moved, from the deltas of both books. The fold and every balance read deltas through this alone."""

from relay_contract.ledger import REVENUE, AccountKind, EntryKind
from relay_contract.nouns import KeyMode

_WALLET = f"""ledger_account AS account ON account.kind = '{AccountKind.WALLET}'
        AND account.mode = charge.key_mode AND account.project_id = charge.project_id"""

MOVEMENTS = f"""
    SELECT account_id, day, kind::integer AS kind, debit, credit, 0::bigint AS open_holds, entries, generation,
        debit AS taken
    FROM {{entries}} AS entry
    UNION ALL
    SELECT account.id, charge.day, {EntryKind.DELIVERIES:d}, charge.settled, 0, charge.held - charge.unheld,
        charge.entries, charge.generation, charge.held
    FROM {{charges}} AS charge JOIN {_WALLET}
    UNION ALL
    SELECT CASE charge.key_mode WHEN '{KeyMode.TEST}' THEN {REVENUE[KeyMode.TEST]} ELSE {REVENUE[KeyMode.LIVE]} END,
        charge.day, {EntryKind.DELIVERIES:d}, 0, charge.settled, 0, charge.entries, NULL, 0
    FROM {{charges}} AS charge JOIN {_WALLET}
"""  # noqa: S608 (constants of the contract)
"""Of two relations with the deltas' columns. Deliveries are settled from the project's wallet to revenue; those of a
project that has none yet count for neither. `taken`: of what purses gave under `generation`."""

UNFOLDED = MOVEMENTS.format(entries="ledger_delta", charges="ledger_chargedelta")
"""Of all deltas there are: what balances and days do not have yet."""
