"""What a call is charged, and how that is shared out: to the micro-credit, whatever the shares."""

from hypothesis import given
from hypothesis import strategies as st

from relay_contract.ledger import MILLION, REVENUE, AccountId, EntryKind, Terms, charge_of, legs
from relay_contract.nouns import KeyMode, TermsId

PAYER, OWNER, REFERRER = AccountId(100), AccountId(102), AccountId(104)
COSTS = st.integers(0, 10**12)
SHARES = st.integers(0, MILLION)
TERMS = st.builds(Terms, st.just(TermsId(1)), st.integers(0, 10 * MILLION), SHARES, SHARES)


@given(cost=COSTS, terms=TERMS, is_referred=st.booleans())
def test_the_rows_of_a_call_are_its_charge(cost: int, terms: Terms, is_referred: bool) -> None:
    charge, markup = charge_of(cost, terms.markup_ppm)
    referrer = REFERRER if is_referred else None
    rows = legs(PAYER, cost, markup, terms=terms, owner=OWNER, referrer=referrer)
    assert sum(row.amount for row in rows) == charge == cost + markup
    assert all(row.amount > 0 and row.debit == PAYER != row.credit for row in rows)
    assert len({row.kind for row in rows}) == len(rows)
    assert {row.credit for row in rows} <= {REVENUE[KeyMode.LIVE], OWNER, REFERRER}


def test_shares_as_an_owner_reads_them() -> None:
    terms = Terms(TermsId(1), 500_000, 800_000, 100_000)
    charge, markup = charge_of(1_000, terms.markup_ppm)
    rows = legs(PAYER, 1_000, markup, terms=terms, owner=OWNER, referrer=REFERRER)
    assert charge == 1_500
    assert {row.kind: (row.credit, row.amount) for row in rows} == {
        EntryKind.USAGE: (2, 1_000),
        EntryKind.MARKUP_OWNER: (OWNER, 360),
        EntryKind.MARKUP_REFERRAL: (REFERRER, 40),
        EntryKind.MARKUP_FEE: (2, 100),
    }


def test_without_terms_the_mark_up_is_the_relays() -> None:
    rows = legs(AccountId(101), 10, 5, terms=None, owner=AccountId(103))
    assert [(row.kind, row.credit, row.amount) for row in rows] == [
        (EntryKind.USAGE, 3, 10),
        (EntryKind.MARKUP_FEE, 3, 5),
    ]


def test_halves_are_charged() -> None:
    assert charge_of(1, 500_000) == (2, 1)
    assert charge_of(1, 499_999) == (1, 0)
