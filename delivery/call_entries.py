"""What a call's charge becomes in the ledger. Pure: the edge decided what is charged, to whom and under which terms;
here it is only split.

A payer that nobody knows, or that is of the other mode, is no reason to lose a charge: suspense owes it until somebody
has looked, and nobody earns on it meanwhile.
"""

from typing import NamedTuple
from uuid import UUID

from relay_contract.ledger import MAX_AMOUNT, SUSPENSE, EntryKind, Leg, Terms, legs, mode_of
from relay_contract.nouns import AccountId, KeyMode, TermsId


class UnpostableError(Exception):
    """Why a call cannot be posted as it is."""


class DueCall(NamedTuple):
    """A call to be posted, and what is known of the accounts and terms that it names."""

    id: UUID
    tries: int  # so far
    mode: str | None  # None: the call is gone
    project_id: int | None
    payer_id: int | None
    charge: int | None
    markup: int | None
    terms_id: int | None
    pricing_id: int | None
    pricing_version: int | None
    generation: int | None
    is_known_payer: bool
    owner_id: int | None  # the earnings account of its project in its mode
    markup_ppm: int | None  # None, like the two below: there are no such terms
    owner_ppm: int | None
    referral_ppm: int | None
    referrer_id: int | None  # the earnings account of who brought the user, in the call's mode
    application_id: int | None


class Posting(NamedTuple):
    """The rows of a call, none for one of charge 0, and what somebody has to know about them."""

    legs: tuple[Leg, ...]
    note: str


def posting_of(call: DueCall) -> Posting:
    """Its rows add up to exactly its charge. Raises UnpostableError."""
    if call.mode is None or call.payer_id is None or call.charge is None or call.markup is None:
        raise UnpostableError("The call is not there any more.")
    if not 0 <= call.markup <= call.charge <= MAX_AMOUNT:
        raise UnpostableError(f"It is charged {call.charge}, of which {call.markup} are mark-up.")
    if not call.is_known_payer or mode_of(call.payer_id) != call.mode:
        suspense = SUSPENSE[KeyMode(call.mode)]
        rows = legs(suspense, call.charge - call.markup, call.markup, terms=None, owner=suspense)
        return Posting(rows, f"No {call.mode} account {call.payer_id}, which it was charged to.")
    owner = SUSPENSE[KeyMode(call.mode)] if call.owner_id is None else AccountId(call.owner_id)
    referrer = None if call.referrer_id is None else AccountId(call.referrer_id)
    rows = legs(
        AccountId(call.payer_id),
        call.charge - call.markup,
        call.markup,
        terms=_terms_of(call),
        owner=owner,
        referrer=referrer,
    )
    is_owned = call.owner_id is not None or all(row.kind is not EntryKind.MARKUP_OWNER for row in rows)
    return Posting(rows, "" if is_owned else f"Project {call.project_id} has no earnings account.")


def _terms_of(call: DueCall) -> Terms | None:
    """Without terms all of a mark-up is the relay's."""
    if call.terms_id is None:
        return None
    if call.markup_ppm is None or call.owner_ppm is None or call.referral_ppm is None:
        raise UnpostableError(f"There are no terms {call.terms_id}.")
    return Terms(TermsId(call.terms_id), call.markup_ppm, call.owner_ppm, call.referral_ppm)
