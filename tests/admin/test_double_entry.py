"""Accounts and entries: laws under any mix of grants, deliveries, folds and kills; what Postgres refuses by itself."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from uuid import UUID, uuid4

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_admin.catalog.models import Project
from relay_admin.deliveries import endings, storage
from relay_admin.deliveries.models import LiveDelivery
from relay_admin.ledger import accounts, corrections, folding, proofs
from relay_admin.ledger.models import Account, Balance, ChargeDelta, Day, Delta, Entry
from relay_admin.ledger.posting import post
from relay_contract.ids import uuid7
from relay_contract.intake import DeadReason, DeliveryState
from relay_contract.ledger import MAX_AMOUNT, PROMOTIONS, REVENUE, AccountId, AccountKind, EntryKind, Leg, mode_of
from relay_contract.nouns import KeyMode
from tests.admin import rows

BEGINNING = date(2020, 1, 1)
CREDIT = 1_000_000
CHOSEN = "SELECT ctid AS place FROM deliveries_live WHERE id = %s FOR UPDATE"
ENDS = {
    kind: endings.end(CHOSEN, DeliveryState.DISCARDED, DeadReason.DISCARDED_BY_OPERATOR, f"'{kind}'")
    for kind in ("settle", "release")
}


def sql(statement: str, *parameters: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def fold() -> None:
    sql(folding.OPEN_ACCOUNTS)
    sql(folding.FOLD)


def account(project: Project, kind: AccountKind = AccountKind.WALLET, mode: str = "live") -> Account:
    return Account.objects.get(project_id=project.pk, kind=kind, mode=mode)


def grant_leg(wallet: int, amount: int) -> Leg:
    return Leg(EntryKind.GRANT, PROMOTIONS[mode_of(wallet)], AccountId(wallet), amount)


def test_a_project_has_its_accounts_from_the_start(catalog: rows.Catalog) -> None:
    made = Account.objects.filter(project_id=catalog.project.pk)
    assert sorted(made.values_list("kind", "mode")) == [
        (kind, mode) for kind in ("earnings", "pool", "wallet") for mode in ("live", "test")
    ]
    assert all(each.pk & 1 == (each.mode == "test") for each in made)
    assert account(catalog.project, mode="test").pk == account(catalog.project).pk + 1
    fixed = Account.objects.filter(project_id=None).values_list("pk", "kind", "mode")
    kinds = ("revenue", "payments", "promotions", "suspense")
    assert list(fixed) == [
        (2 * (at + 1) + (mode == "test"), kind, mode) for at, kind in enumerate(kinds) for mode in ("live", "test")
    ]


def test_accounts_outlive_their_project(catalog: rows.Catalog) -> None:
    other = Project.objects.create(slug="other", name="")
    wallet = account(other)
    post(grant_leg(wallet.pk, 5), source=uuid7(), note="x", by_id=None)
    other.delete()
    assert accounts.balance_of(wallet.pk).posted == 5
    assert accounts.balance_of(wallet.pk).project == ""


@pytest.mark.parametrize(
    "row",
    [
        {"amount": 0},
        {"amount": -1},
        {"credit": 6},  # itself
        {"credit": 3},  # of the other mode
        {"credit": 2_000_000},  # nobody's
    ],
)
def test_postgres_refuses_what_does_not_balance(db: None, row: dict[str, int]) -> None:
    values = {"debit": 6, "credit": 2, "amount": 1} | row
    with pytest.raises(IntegrityError), transaction.atomic():
        sql(
            "INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, note)"
            " VALUES (%s, 11, %s, %s, %s, '')",
            uuid7(),
            *values.values(),
        )
    assert not Entry.objects.exists()
    assert not Delta.objects.exists()


@pytest.mark.parametrize("statement", ["UPDATE ledger_entry SET amount = 1", "DELETE FROM ledger_entry"])
def test_entries_are_only_ever_added(catalog: rows.Catalog, statement: str) -> None:
    post(grant_leg(account(catalog.project).pk, 5), source=uuid7(), note="x", by_id=None)
    with pytest.raises(IntegrityError, match="only ever added to"), transaction.atomic():
        sql(statement)
    assert Entry.objects.get().amount == 5


def test_the_entries_are_not_truncated(db: None) -> None:
    sql("SET LOCAL relay.may_truncate = ''")
    with pytest.raises(IntegrityError, match="only ever added to"), transaction.atomic():
        sql("TRUNCATE ledger_entry")
    sql("SET LOCAL relay.may_truncate = 'on'")


def test_a_source_is_posted_once_and_whole(catalog: rows.Catalog) -> None:
    wallet, source = account(catalog.project).pk, uuid7()
    first = grant_leg(wallet, 5)
    second = Leg(EntryKind.ADJUSTMENT, AccountId(wallet), REVENUE[KeyMode.LIVE], 2)
    assert post(first, second, source=source, note="x", by_id=None) is True
    assert post(first, second, source=source, note="x", by_id=None) is False
    assert accounts.balance_of(wallet).posted == 3
    lone = uuid7()
    post(first, source=lone, note="x", by_id=None)
    with pytest.raises(ValueError, match="other legs"):
        post(first, second, source=lone, note="x", by_id=None)
    assert accounts.balance_of(wallet).posted == 8
    assert proofs.drifts(BEGINNING) == []


MODES = st.sampled_from(list(KeyMode))
AMOUNTS = st.integers(1, MAX_AMOUNT)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), MODES, AMOUNTS),
        st.tuples(st.just("again"), MODES, AMOUNTS),
        st.tuples(st.just("hold"), MODES, st.integers(0, 9 * CREDIT)),
        st.tuples(st.sampled_from(["settle", "release"]), st.integers(0, 99), st.just(0)),
        st.tuples(st.just("stream"), st.integers(0, 99), st.integers(0, 3 * CREDIT)),
        st.tuples(st.sampled_from(["fold", "killed fold"]), st.just(0), st.just(0)),
    ),
    min_size=3,
    max_size=14,
)


class Model:
    """What should be, beside what is."""

    def __init__(self, catalog: rows.Catalog) -> None:
        self.wallets = {mode: account(catalog.project, mode=mode).pk for mode in KeyMode}
        self.posted = dict.fromkeys(KeyMode, 0)
        self.held = dict.fromkeys(KeyMode, 0)
        self.revenue = dict.fromkeys(KeyMode, 0)
        self.sources: list[tuple[UUID, Leg]] = []
        self.open: list[tuple[UUID, KeyMode, int]] = []
        self.requests = {mode: rows.request_row(catalog, mode=mode) for mode in KeyMode}
        self.catalog = catalog

    def step(self, word: str, first: object, amount: int) -> None:
        match word, first:
            case "grant", KeyMode() as mode:
                self.posted[mode] += amount
                self.sources.append((uuid7(), grant_leg(self.wallets[mode], amount)))
                assert post(self.sources[-1][1], source=self.sources[-1][0], note="law", by_id=None)
            case "again", _:
                for source, leg in self.sources[-1:]:
                    assert not post(leg, source=source, note="law", by_id=None)
            case "hold", KeyMode() as mode:
                made = rows.delivery_row(
                    self.requests[mode], self.catalog.target, DeliveryState.PENDING, credits=amount
                )
                self.held[mode] += amount
                self.open.append((made.pk, mode, amount))
            case "fold", _:
                fold()
            case "killed fold", _:
                with transaction.atomic():
                    fold()
                    transaction.set_rollback(True)
            case _, int() as which if self.open:
                self.close(word, which, amount)

    def close(self, word: str, which: int, more: int) -> None:
        delivery, mode, held = self.open.pop(which % len(self.open))
        self.held[mode] -= held
        settled = {"settle": held, "release": 0, "stream": held + more}[word]
        self.posted[mode] -= settled
        self.revenue[mode] += settled
        for _ in range(2):  # whoever comes second adds nothing
            if word != "stream":
                sql(ENDS[word], delivery)
                continue
            sql(
                "INSERT INTO ledger_charge (delivery_id, replay, phase, kind, request_id, project_id, target_id,"
                " key_mode, micro_credits, units, held_microcredits)"
                " SELECT delivery_id, replay, 1, 'settle', request_id, project_id, target_id, key_mode, %s, 1,"
                " micro_credits FROM ledger_charge WHERE delivery_id = %s AND phase = 0 ON CONFLICT DO NOTHING",
                settled,
                delivery,
            )
            LiveDelivery.objects.filter(pk=delivery).delete()

    def check(self) -> None:
        for mode, wallet in self.wallets.items():
            found = accounts.balance_of(wallet)
            assert (found.posted, found.open_holds) == (self.posted[mode], self.held[mode])
            assert accounts.balance_of(REVENUE[mode]).posted == self.revenue[mode]
            lines = [line for line in accounts.trial_balance() if line.mode == mode]
            assert sum(line.debit for line in lines) == sum(line.credit for line in lines)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_mix_of_steps_is_balanced_at_every_moment(catalog: rows.Catalog, steps: list) -> None:
    with transaction.atomic():
        model = Model(catalog)
        for word, first, amount in steps:
            model.step(word, first, amount)
            model.check()
        assert proofs.drifts(BEGINNING) == []
        fold()
        model.check()
        assert proofs.drifts(BEGINNING) == []
        assert not Delta.objects.exists()
        assert not ChargeDelta.objects.exists()
        assert sum(line.amount for line in accounts.entries_page(model.wallets[KeyMode.LIVE], limit=99)) == sum(
            leg.amount for _, leg in model.sources if leg.credit == model.wallets[KeyMode.LIVE]
        )
        transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_posters_and_folders_at_once_some_killed(database_url: str) -> None:
    """Each source is posted by two threads; of each folder's transactions every second one is lost."""
    wallet = account(Project.objects.create(slug="busy", name="")).pk
    sources = [uuid7() for _ in range(60)]

    def posts() -> int:
        try:
            return sum(post(grant_leg(wallet, 7), source=source, note="race", by_id=None) for source in sources)
        finally:
            connection.close()

    def folds() -> list[int]:
        """The sums that were seen between folds."""
        seen = []
        with psycopg.connect(database_url) as folder:
            for turn in range(30):
                folder.execute(folding.FOLD)
                (folder.rollback if turn % 2 else folder.commit)()
                [(balance,)] = folder.execute(
                    f"SELECT sum(credit - debit)::bigint FROM ({accounts.TOTALS}) AS total"
                ).fetchall() or [(0,)]
                folder.commit()
                seen.append(balance or 0)
        return seen

    with ThreadPoolExecutor(4) as pool:
        posted = [pool.submit(posts) for _ in range(2)]
        folded = [pool.submit(folds) for _ in range(2)]
        assert sum(each.result() for each in posted) == 60
        assert {balance for each in folded for balance in each.result()} == {0}
    assert accounts.balance_of(wallet).posted == 420
    fold()
    assert accounts.balance_of(wallet).posted == 420
    assert Balance.objects.get(account_id=wallet).credit == 420
    assert proofs.drifts(BEGINNING) == []


def test_a_project_that_was_gone_before_gets_its_accounts_with_the_fold(catalog: rows.Catalog) -> None:
    Balance.objects.filter(account__project_id=catalog.project.pk).delete()
    sql("DELETE FROM ledger_account WHERE project_id = %s", catalog.project.pk)
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    assert [line for line in accounts.trial_balance() if line.debit or line.credit] == []
    fold()
    assert accounts.balance_of(account(catalog.project).pk).posted == -CREDIT
    assert proofs.drifts(BEGINNING) == []


def test_rows_that_retention_moves_are_not_counted_again(catalog: rows.Catalog) -> None:
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.PENDING)
    before = accounts.balance_of(account(catalog.project).pk)
    parent = next(each for each in storage.PARENTS if each.table == "ledger_charge")
    with transaction.atomic():
        storage._forget(parent, datetime.now(UTC).date())
    assert accounts.balance_of(account(catalog.project).pk) == before
    assert before.open_holds == CREDIT
    assert proofs.drifts(BEGINNING) == []


def test_days_are_exact_before_and_after_the_fold(catalog: rows.Catalog) -> None:
    wallet = account(catalog.project)
    post(grant_leg(wallet.pk, 5), source=uuid7(), note="x", by_id=None)
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    today = datetime.now(UTC).date()
    expected = [
        accounts.DayTotal(today, EntryKind.GRANT, 0, 5, 1),
        accounts.DayTotal(today, EntryKind.DELIVERIES, CREDIT, 0, 1),
    ]
    assert accounts.days(wallet.pk, today, today + timedelta(days=1)) == expected
    fold()
    assert accounts.days(wallet.pk, today, today + timedelta(days=1)) == expected
    assert accounts.days(wallet.pk, BEGINNING, today) == []


def test_entries_are_read_page_by_page(catalog: rows.Catalog) -> None:
    wallet = account(catalog.project).pk
    for amount in range(1, 6):
        post(grant_leg(wallet, amount), source=uuid7(), note="x", by_id=None)
    seen, before = [], accounts.NEWEST
    while page := accounts.entries_page(wallet, before, 2):
        seen += [line.amount for line in page]
        before = accounts.place_of(page[-1].place) or accounts.NEWEST
    assert seen == [5, 4, 3, 2, 1]
    assert [line.amount for line in accounts.entries_page(PROMOTIONS[KeyMode.LIVE], limit=2)] == [-5, -4]
    assert [accounts.place_of(text) for text in ("", "x.11", f"{uuid7()}.x", f"{uuid7()}.99")] == [None] * 4


def spoil_balance(wallet: int) -> None:
    Balance.objects.filter(account_id=wallet).update(credit=6)


def spoil_day(wallet: int) -> None:
    Day.objects.filter(account_id=wallet, kind=EntryKind.DELIVERIES).update(debit=1)


def spoil_holds(wallet: int) -> None:
    Balance.objects.filter(account_id=wallet).update(open_holds=9)


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (spoil_balance, {"mode_not_zero", "balance_differs"}),
        (spoil_day, {"balance_differs", "deliveries_differ"}),
        (spoil_holds, {"holds_differ"}),
        (lambda _: sql("INSERT INTO ledger_delta (account_id, day, kind, debit, credit, entries)"
                       " VALUES (2, '2026-01-01', 11, 0, 1, 1)"), {"mode_not_zero", "entries_differ"}),
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_found(catalog: rows.Catalog, spoil: Callable[[int], None], codes: set[str]) -> None:
    wallet = account(catalog.project).pk
    post(grant_leg(wallet, 5), source=uuid7(), note="x", by_id=None)
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    fold()
    assert proofs.drifts(BEGINNING) == []
    spoil(wallet)
    assert {drift.code for drift in proofs.drifts(BEGINNING)} == codes
    errors = StringIO()
    with pytest.raises(CommandError, match="sums are not those of their details"):
        call_command("credits", "check", stdout=StringIO(), stderr=errors)
    assert all(code in errors.getvalue() for code in codes)


@pytest.mark.parametrize(
    ("microcredits", "note", "source"),
    [(0, "why", None), (-1, "why", None), (MAX_AMOUNT + 1, "why", None), (1, " ", None), (1, "x" * 201, None),
     (1, "nul\x00", None), (1, "why", uuid4())],
)  # fmt: skip
def test_a_grant_that_cannot_be_posts_nothing(
    catalog: rows.Catalog, microcredits: int, note: str, source: UUID | None
) -> None:
    with pytest.raises(ValidationError):
        corrections.credits_grant(
            account=account(catalog.project), microcredits=microcredits, note=note, by=rows.user("op"), source=source
        )
    assert not Entry.objects.exists()


def test_the_relays_own_accounts_are_not_given_to(db: None) -> None:
    with pytest.raises(ValidationError):
        corrections.credits_grant(
            account=Account.objects.get(pk=2), microcredits=1, note="x", by=rows.user("op"), source=None
        )


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_edge_reads_and_writes_nothing_of_it(edge_database_url: str) -> None:
    tables = ("account", "entry", "delta", "chargedelta", "balance", "day")
    with psycopg.connect(edge_database_url, autocommit=True) as edge:
        for table in tables:
            for statement in (f"SELECT * FROM ledger_{table}", f"DELETE FROM ledger_{table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    edge.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            edge.execute("SELECT ledger_open_accounts(1)")


def test_an_account_that_is_not_there(db: None) -> None:
    with pytest.raises(Account.DoesNotExist):
        accounts.balance_of(10**15)
