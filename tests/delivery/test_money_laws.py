"""The laws of money, after every step of any mix of calls, deliveries, payments, folds, posts, kills and flushes:

L1 every row balances and modes never mix, whoever writes; L2 all accounts of a mode sum up to nothing, so what is in
wallets, pools, earnings, revenue and suspense is what came from payments and promotions; L3 twice is once; L4 killed
and run again is not killed; L5 no prepaid account is below its overdraft but by what docs/reconcile.md names; L6 a
balance is the sum of its details, folded or not; L8 in the end Redis believes what the ledger says; L9 held is settled,
released or open.
"""

import os
from collections import Counter
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay_admin.ledger import accounts, codes, corrections, proofs, purse_drifts, reconcile, topups
from relay_admin.ledger.models import Account, TopUp
from relay_admin.ledger.providers.base import Event, EventKind
from relay_contract.ids import uuid7
from relay_contract.ledger import AccountKind
from relay_contract.nouns import KeyMode
from tests.delivery.conftest import settings_for
from tests.delivery.money_world import CREDIT, World, worlds
from tests.delivery.test_ledger_poster import BEGINNING, STATEMENTS

EXAMPLES = int(os.environ.get("RELAY_TEST_MONEY_EXAMPLES", "6"))
STEPS = 30
PAYMENTS, PROMOTIONS, REVENUE = 4, 6, 2  # of live
ANY = st.integers(0, 10**6)
SOME = st.integers(1, 20 * CREDIT)
KILLS = st.integers(0, 6)
PREPAID = [0, 1, 2]
ROWS = ("(%(a)s, 2, 0)", "(%(a)s, 2, -5)", "(%(a)s, 3, 5)", "(2, 2, 5)", "(99999998, 2, 5)")
CHARGES = ("(1, 'hold', 1)", "(0, 'settle', 1)", "(1, 'settle', -1)")
HOSTILE = (
    *(
        "INSERT INTO ledger_entry (source, kind, note, debit_id, credit_id, amount)"
        f" SELECT %(new)s, 1, '', row.* FROM (VALUES {row}) AS row"
        for row in ROWS
    ),
    *(
        "INSERT INTO ledger_charge (delivery_id, replay, request_id, project_id, target_id, key_mode, units, phase,"
        f" kind, micro_credits) SELECT %(new)s, 0, %(new)s, 1, 1, 'live', 1, row.* FROM (VALUES {row}) AS row"
        for row in CHARGES
    ),
    "UPDATE ledger_account SET mode = 'test' WHERE id = %(a)s",
    "UPDATE ledger_account SET id = id + 1 WHERE id = %(a)s",
    "UPDATE ledger_account SET overdraft_microcredits = -1 WHERE id = %(a)s",
)
"""As the owner of the tables."""
FROZEN = (
    "UPDATE ledger_entry SET amount = amount + 1",
    "DELETE FROM ledger_entry",
    "UPDATE ledger_charge SET micro_credits = micro_credits + 1",
    "DELETE FROM ledger_charge",
)
"""These too, where there are rows."""


class Money(RuleBasedStateMachine):
    """Steps; the laws are checked after each."""

    make: Any  # of a world, for each example

    @initialize()
    def begin(self) -> None:
        self.world: World = self.make()
        self.top_ups: list[tuple[TopUp, list[Event], set[str]]] = []
        self.taken: Counter[int] = Counter()  # credits that each top-up has given, less what went back
        for payer in self.world.payers:
            self.give_twice(payer, 9 * CREDIT)
        self.world.pass_time(5)

    def payer(self, number: int) -> Any:
        return self.world.payers[number % len(self.world.payers)]

    @rule(number=ANY, cost=st.integers(0, 6 * CREDIT))
    def call(self, number: int, cost: int) -> None:
        self.world.admit(self.payer(number), cost)

    @precondition(lambda self: self.world.calls)
    @rule(number=ANY, share=st.integers(0, 1000))
    def call_ends(self, number: int, share: int) -> None:
        call = self.world.calls[number % len(self.world.calls)]
        self.world.end_call(call, call.most * share // 1000)

    @precondition(lambda self: self.world.rows)
    @rule(number=ANY)
    def row_comes_again(self, number: int) -> None:
        row, _ = list(self.world.rows.values())[number % len(self.world.rows)]
        self.world.write(row)

    @rule(number=st.sampled_from(PREPAID), rows=st.integers(0, 3))
    def edge_is_killed(self, number: int, rows: int) -> None:
        self.world.kill_edge(self.payer(number), rows)

    @rule(number=st.sampled_from([0, 3, 4]))
    def delivery(self, number: int) -> None:
        self.world.accept(self.payer(number))

    @precondition(lambda self: self.world.deliveries)
    @rule(number=ANY, kind=st.sampled_from(["settle", "release"]))
    def delivery_ends_or_is_replayed(self, number: int, kind: str) -> None:
        each = self.world.deliveries[number % len(self.world.deliveries)]
        if each.is_over:
            self.world.replay(each)
        else:
            self.world.end_delivery(each, kind)

    @rule(number=ANY, amount=SOME)
    def grant_twice(self, number: int, amount: int) -> None:
        self.give_twice(self.payer(number), amount)

    def give_twice(self, payer: Any, amount: int) -> None:
        account, source = self.world.account(payer), uuid7()
        for is_first in (True, False):
            _, is_new = corrections.credits_grant(
                account=account, microcredits=amount, note="law", by=self.world.by, source=source
            )
            assert is_new == is_first
        self.world.move(PROMOTIONS + account.pk % 2, account.pk, amount)

    @rule(number=ANY, amount=SOME)
    def take_twice(self, number: int, amount: int) -> None:
        """What its purse does not have is taken all the same, and so may a second purse be asked for nothing."""
        payer, source = self.payer(number), uuid7()
        if self.world.left(payer) < amount:
            self.world.excused[payer.account] += amount
        for is_first in (True, False):
            _, is_new = corrections.account_adjust(
                account=self.world.account(payer), microcredits=-amount, against=AccountKind.REVENUE, note="law",
                by=self.world.by, source=source,
            )  # fmt: skip
            assert is_new == is_first
        self.world.move(payer.account, REVENUE + payer.account % 2, amount)

    @rule(number=ANY, overdraft=st.integers(0, 5 * CREDIT))
    def overdraft_changes(self, number: int, overdraft: int) -> None:
        payer = self.payer(number)
        corrections.account_limits_set(
            account=self.world.account(payer), overdraft=overdraft, low_balance=None, by=self.world.by
        )
        self.world.excused[payer.account] += max(0, self.world.overdraft[payer.account] - overdraft)
        self.world.overdraft[payer.account] = overdraft

    @rule(number=ANY, amount=SOME)
    def code_is_redeemed_once(self, number: int, amount: int) -> None:
        account = self.world.account(self.payer(number))
        if account.kind != AccountKind.WALLET:
            return
        made = codes.code_make(
            microcredits=amount, mode=KeyMode(account.mode), most_uses=2, expires_at=None, note="law", by=self.world.by
        )
        codes.code_redeem(text=made.text, account=account, by=self.world.by, address="192.0.2.1")
        with pytest.raises(codes.CodeRefusedError):
            codes.code_redeem(text=made.text, account=account, by=self.world.by, address="192.0.2.1")
        codes.attempt_succeeded("192.0.2.1", f"credit codes\0{self.world.by.pk}")
        self.world.move(PROMOTIONS + account.pk % 2, account.pk, amount)

    @rule(number=st.sampled_from([0, 1, 3]), amount=SOME, price=st.integers(1, 999))
    def paid_outside_twice(self, number: int, amount: int, price: int) -> None:
        payer, reference = self.payer(number), str(uuid4())
        for is_first in (True, False):
            top_up, is_new = topups.topup_record_outside(
                account=self.world.account(payer), microcredits=amount, price_minor=price, currency="eur",
                reference=reference, by=self.world.by,
            )  # fmt: skip
            assert is_new == is_first
        self.world.move(PAYMENTS, payer.account, amount)
        self.top_ups.append((top_up, [], set()))

    @rule(number=st.sampled_from([0, 1, 3]), amount=SOME, price=st.integers(1, 999), parts=st.lists(ANY, max_size=3))
    def checkout(self, number: int, amount: int, price: int, parts: list[int]) -> None:
        """Its events may come in any order, and again."""
        top_up = TopUp.objects.create(
            source=uuid7(), account_id=self.payer(number).account, microcredits=amount, price_minor=price,
            currency="eur", provider="stripe",
        )  # fmt: skip
        payment, kinds = str(uuid4()), [EventKind.REFUNDED, EventKind.DISPUTED, EventKind.REINSTATED]
        told = [(EventKind.PAID, price), *((kinds[part % 3], 1 + part % price) for part in parts)]
        events = [
            Event("stripe", str(uuid4()), kind, top_up.source if kind is EventKind.PAID else None, payment, payment,
                  of_it, "eur", is_live=True)
            for kind, of_it in told
        ]  # fmt: skip
        self.top_ups.append((top_up, events, set()))

    @precondition(lambda self: any(events for _, events, _ in self.top_ups))
    @rule(number=ANY)
    def event_comes_twice(self, number: int) -> None:
        every = [(top_up, event, told) for top_up, events, told in self.top_ups for event in events]
        top_up, event, told = every[number % len(every)]
        for _ in range(2):
            topups.event_apply(event)
        told.add(event.event_id)
        self.returned(top_up)

    def returned(self, top_up: TopUp) -> None:
        """What the model says of a checkout, by all that was told so far, in whatever order."""
        [(events, told)] = [(events, told) for each, events, told in self.top_ups if each is top_up]
        heard = [event for event in events if event.event_id in told]
        if not any(event.kind is EventKind.PAID for event in heard):
            return
        sums = {kind: [event.price_minor for event in heard if event.kind is kind] for kind in EventKind}
        back = max(sums[EventKind.REFUNDED], default=0) + sum(sums[EventKind.DISPUTED])
        back = min(max(back - sum(sums[EventKind.REINSTATED]), 0), top_up.price_minor)
        self.now_has(top_up, top_up.microcredits - top_up.microcredits * back // top_up.price_minor)

    def now_has(self, top_up: TopUp, credits_: int) -> None:
        change = credits_ - self.taken[top_up.pk]
        self.taken[top_up.pk] = credits_
        self.world.move(PAYMENTS, top_up.account_id, change)
        self.world.excused[top_up.account_id] += max(0, -change)

    @precondition(lambda self: any(not events for _, events, _ in self.top_ups))
    @rule(number=ANY)
    def refunded_outside(self, number: int) -> None:
        every = [top_up for top_up, events, _ in self.top_ups if not events]
        top_up = TopUp.objects.get(pk=every[number % len(every)].pk)
        if top_up.state != "paid":
            return
        refund = topups.topup_refund(top_up=top_up, price_minor=None, by=self.world.by)
        assert refund.microcredits == top_up.microcredits
        self.world.move(top_up.account_id, PAYMENTS, top_up.microcredits)
        self.world.excused[top_up.account_id] += top_up.microcredits

    @rule()
    def post(self) -> None:
        self.world.post()

    @rule(before=st.booleans())
    def posters_are_killed(self, before: bool) -> None:
        """One after the other, each a statement later."""
        for kill_at in range(1, STATEMENTS + 1):
            self.world.post(kill_at, before=before)

    @rule(kill_at=KILLS, before=st.booleans())
    def fold(self, kill_at: int, before: bool) -> None:
        self.world.fold(kill_at, before=before)

    @rule(kill_at=KILLS, before=st.booleans())
    def another_keeper(self, kill_at: int, before: bool) -> None:
        self.world.keep(kill_at, before=before)

    @rule(seconds=st.sampled_from([5, 10, 30]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule()
    def redis_is_flushed(self) -> None:
        self.world.flush()

    @rule(which=st.integers(0, len(HOSTILE) - 1), number=ANY)
    def somebody_writes_past_us(self, which: int, number: int) -> None:
        values = {"new": uuid4(), "a": self.payer(number % 4).account}
        with pytest.raises(psycopg.IntegrityError):
            self.world.run(self.world.queue._connection.execute(HOSTILE[which], values))
        for statement in FROZEN:
            table = "ledger_entry" if "entry" in statement else "ledger_charge"
            if self.world.sql(f"SELECT 1 FROM {table} LIMIT 1"):
                with pytest.raises(psycopg.IntegrityError):
                    self.world.sql(statement)

    @invariant()
    def laws(self) -> None:
        details, open_holds = self.details()
        has = accounts.balances(list(Account.objects.values_list("pk", flat=True)))
        for account, balance in has.items():  # L6
            assert (account, balance.posted) == (account, details[account])
            assert (account, balance.open_holds) == (account, open_holds[account])
            assert (account, balance.open_holds) == (account, self.world.open_holds[account])  # L9
        expected = self.world.expected()
        assert {k: v for k, v in details.items() if v} == {k: v for k, v in expected.items() if v}  # L3, L4
        for mode in KeyMode:  # L2
            of_kind = {line.kind: line.credit - line.debit for line in accounts.trial_balance() if line.mode == mode}
            given = -of_kind.pop("payments") - of_kind.pop("promotions")
            assert sum(of_kind.values()) == given
        self.no_purse_is_overdrawn(details, open_holds)
        assert proofs.drifts(BEGINNING) == []
        assert reconcile.problems() == []

    def details(self) -> tuple[Counter[int], Counter[int]]:
        """Of every row there is, added up here: what accounts have, and what deliveries hold."""
        has: Counter[int] = Counter()
        holds: Counter[int] = Counter()
        for row in self.world.sql("SELECT debit_id, credit_id, amount FROM ledger_entry"):
            assert row["amount"] > 0  # L1
            assert row["debit_id"] % 2 == row["credit_id"] % 2
            has[row["debit_id"]] -= row["amount"]
            has[row["credit_id"]] += row["amount"]
        wallets = {(payer.project_id, payer.mode): payer.account for payer in self.world.payers if not payer.user_id}
        wallets |= {(self.world.payers[0].project_id, "live"): self.world.payers[0].account}
        for row in self.world.sql("SELECT kind, project_id, key_mode, micro_credits AS amount FROM ledger_charge"):
            wallet = wallets[row["project_id"], row["key_mode"]]
            holds[wallet] += row["amount"] if row["kind"] == "hold" else -row["amount"]
            if row["kind"] == "settle":
                has[wallet] -= row["amount"]
                has[REVENUE + wallet % 2] += row["amount"]
        return has, holds

    def no_purse_is_overdrawn(self, details: Counter[int], open_holds: Counter[int]) -> None:
        due: Counter[int] = Counter()
        for row, _ in self.world.due():
            due[int(row.payer_id or 0)] += row.charge_microcredits
        for payer in self.world.payers:
            if payer.is_purse:  # L5
                account = payer.account
                left = details[account] - due[account] - open_holds[account] + self.world.overdraft[account]
                assert left + self.world.excused[account] >= 0, account

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            for call in list(self.world.calls):
                self.world.end_call(call, call.most)
            for _ in range(6):
                self.world.pass_time(25)
            self.laws()
            for payer in self.world.payers[:3]:  # L8
                balance = accounts.balance_of(payer.account)
                assert self.world.left(payer) == balance.available + balance.overdraft
            assert purse_drifts.drifts() == []
        finally:
            self.world.close()
            connection.close()


@pytest.mark.timeout(600)
def test_the_laws_hold_whatever_happens(database_url: str, redis_url: str) -> None:
    with worlds(database_url, redis_url, settings_for(database_url, redis_url).master_keys) as make:
        Money.make = staticmethod(make)
        run_state_machine_as_test(
            Money,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
