"""What a call's charge becomes: laws over any call, and what cannot be posted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.call_entries import DueCall, UnpostableError, posting_of
from relay_contract.ids import uuid7
from relay_contract.ledger import MAX_AMOUNT, MILLION, REVENUE, SUSPENSE, EntryKind, mode_of
from relay_contract.nouns import KeyMode

SHARES = st.integers(0, MILLION)


def due(**columns: object) -> DueCall:
    """A call that cost 900 and was marked up by 100, whose project keeps nine tenths of that."""
    values: dict[str, object] = {
        "id": uuid7(),
        "tries": 0,
        "mode": "live",
        "project_id": 7,
        "payer_id": 100,
        "charge": 1000,
        "markup": 100,
        "terms_id": 1,
        "pricing_id": 3,
        "pricing_version": 2,
        "generation": None,
        "is_known_payer": True,
        "owner_id": 104,
        "markup_ppm": 111_111,
        "owner_ppm": 900_000,
        "referral_ppm": 0,
        "referrer_id": None,
        "application_id": None,
    }
    return DueCall(**values | columns)  # type: ignore[arg-type]  # columns are of their types


@given(
    charge=st.integers(0, MAX_AMOUNT),
    share=SHARES,
    owner=SHARES,
    referral=SHARES,
    mode=st.sampled_from(list(KeyMode)),
    is_known=st.booleans(),
    has_owner=st.booleans(),
    has_terms=st.booleans(),
)
def test_the_rows_are_the_charge(
    *,
    charge: int,
    share: int,
    owner: int,
    referral: int,
    mode: KeyMode,
    is_known: bool,
    has_owner: bool,
    has_terms: bool,
) -> None:
    bit = mode is KeyMode.TEST
    call = due(
        mode=mode, charge=charge, markup=charge * share // MILLION, payer_id=100 + bit, is_known_payer=is_known,
        owner_id=104 + bit if has_owner else None, terms_id=1 if has_terms else None, owner_ppm=owner,
        referral_ppm=referral,
    )  # fmt: skip
    rows, note = posting_of(call)
    assert sum(row.amount for row in rows) == charge
    assert {row.debit for row in rows} <= {100 + bit if is_known else SUSPENSE[mode]}
    assert all(row.amount > 0 and row.debit != row.credit for row in rows)
    assert all(mode_of(each) is mode for row in rows for each in (row.debit, row.credit))
    assert len({row.kind for row in rows}) == len(rows)
    owned = sum(row.amount for row in rows if row.kind is EntryKind.MARKUP_OWNER)
    assert owned == (call.markup * owner // MILLION if is_known and has_terms and call.markup is not None else 0)
    assert bool(note) == (not is_known or (owned > 0 and not has_owner))


def test_a_payer_of_the_other_mode_is_nobody() -> None:
    rows, note = posting_of(due(payer_id=101))
    assert [(row.kind, row.debit, row.credit, row.amount) for row in rows] == [
        (EntryKind.USAGE, SUSPENSE[KeyMode.LIVE], REVENUE[KeyMode.LIVE], 900),
        (EntryKind.MARKUP_FEE, SUSPENSE[KeyMode.LIVE], REVENUE[KeyMode.LIVE], 100),
    ]
    assert note == "No live account 101, which it was charged to."


@pytest.mark.parametrize(
    "columns",
    [
        {"mode": None},
        {"charge": -1, "markup": 0},
        {"charge": 99},
        {"markup": -1},
        {"charge": MAX_AMOUNT + 1},
        {"markup_ppm": None, "owner_ppm": None, "referral_ppm": None},
    ],
)
def test_what_cannot_be_posted(columns: dict[str, object]) -> None:
    with pytest.raises(UnpostableError):
        posting_of(due(**columns))
