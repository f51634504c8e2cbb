"""Credits that a new user is given once, and mails about wallets that run low."""

import re
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from relay_admin.access.mails import mails_send
from relay_admin.access.models import Mail, Membership, User
from relay_admin.access.people import address_confirm, person_make
from relay_admin.ledger import folding
from relay_admin.ledger.accounts import balance_of
from relay_admin.ledger.gifts import gift_give, gift_source
from relay_admin.ledger.low_balances import low_balances_tell
from relay_admin.ledger.models import Account, Entry, LowBalanceTold
from relay_admin.ledger.posting import post
from relay_contract.ids import uuid7
from relay_contract.ledger import PROMOTIONS, REVENUE, AccountId, EntryKind, Leg
from relay_contract.nouns import KeyMode
from tests.admin import rows
from tests.mailbox import Mailbox, open_mailbox

ADA = "ada@example.test"
PAGE = "/account/balance"


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with open_mailbox() as box:
        settings.MAIL_URL, settings.MAIL_FROM = box.url, "Relay <relay@example.test>"
        settings.CONTROL_URL = "http://testserver"
        yield box


@pytest.fixture
def ada(db: None) -> User:
    made = person_make(address=ADA, password=rows.PASSWORD, is_verified=True)
    made.refresh_from_db()
    return made


def move(wallet: int, microcredits: int) -> None:
    """Into it, or out of it below 0; folded."""
    live, account = KeyMode.LIVE, AccountId(wallet)
    leg = (
        Leg(EntryKind.GRANT, PROMOTIONS[live], account, microcredits)
        if microcredits > 0
        else Leg(EntryKind.ADJUSTMENT, account, REVENUE[live], -microcredits)
    )
    post(leg, source=uuid7(), note="", by_id=None)
    fold()


def fold() -> None:
    with connection.cursor() as cursor:
        cursor.execute(folding.FOLD)


def a_day_passes() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ledger_lowtold SET told_at = told_at - interval '25 hours'")


# --- the gift ---


def gifts() -> list[tuple[int, int]]:
    found = Entry.objects.filter(kind=EntryKind.GIFT).order_by("credit_id")
    return list(found.values_list("credit_id", "amount"))


def test_without_the_setting_nobody_is_given_anything(ada: User) -> None:
    assert gifts() == []


@pytest.mark.usefixtures("db")
def test_a_new_user_is_given_it_once_their_address_is_theirs(settings: Any) -> None:
    settings.SIGNUP_GIFT_CREDITS = 5
    bob = person_make(address="bob@example.test", password=rows.PASSWORD, is_verified=False)
    assert gifts() == []
    address_confirm(user=bob, address=bob.email)
    bob.refresh_from_db()
    assert gifts() == [(bob.live_wallet_id, 5_000_000)]
    assert balance_of(bob.live_wallet_id).available == 5_000_000
    settings.SIGNUP_GIFT_CREDITS = 50
    address_confirm(user=bob, address="other@example.test")
    User.objects.filter(pk=bob.pk).update(email_verified_at=None)
    bob.refresh_from_db()
    address_confirm(user=bob, address="third@example.test")
    assert not gift_give(bob)
    assert gifts() == [(bob.live_wallet_id, 5_000_000)]


def test_whoever_was_known_before_is_no_new_user(ada: User, settings: Any) -> None:
    settings.SIGNUP_GIFT_CREDITS = 5
    address_confirm(user=ada, address="new@example.test")
    assert gifts() == []


def test_no_two_users_have_one_source() -> None:
    sources = {gift_source(number) for number in (1, 2, 2**31, 2**62 - 1)}
    assert len(sources) == 4
    assert {source.version for source in sources} == {7}
    assert all(source < uuid7() for source in sources)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_at_once_it_is_given_once(settings: Any) -> None:
    bob = person_make(address="bob@example.test", password=rows.PASSWORD, is_verified=True)
    settings.SIGNUP_GIFT_CREDITS = 5
    barrier, given = threading.Barrier(8), []

    def give() -> None:
        barrier.wait()
        try:
            given.append(gift_give(bob))
        finally:
            connection.close()

    threads = [threading.Thread(target=give) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(given), len(gifts())) == (1, 1)


# --- low balances ---


def followed(client: Client, mail: EmailMessage) -> str:
    """The page to which the mail's link leads."""
    [path] = re.findall(r"http://testserver(/\S+)", mail.get_content())
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_user_is_told_once_for_each_fall(ada: User, mailbox: Mailbox) -> None:
    client = Client()
    client.force_login(ada)
    assert "has 0 credits" in client.get(PAGE).content.decode()
    assert client.post(PAGE, {"low_balance": "2.5"}).status_code == 302
    assert 'value="2.5"' in client.get(PAGE).content.decode()
    assert low_balances_tell() == 0  # it never had anything
    move(ada.live_wallet_id, 3_000_000)
    assert low_balances_tell() == 0
    move(ada.live_wallet_id, -600_000)
    assert [low_balances_tell(), low_balances_tell(), mails_send()] == [1, 0, 1]
    [mail] = mailbox.mails
    assert mail["to"] == ADA
    assert "live wallet of your own has 2.4 credits left. You wanted to be told below 2.5." in mail.get_content()
    assert "has 2.4 credits" in followed(client, mail)
    move(ada.live_wallet_id, 1_000_000)
    assert low_balances_tell() == 0
    move(ada.live_wallet_id, -1_000_000)
    a_day_passes()
    assert low_balances_tell() == 0  # the same fall: it was never seen above for a day
    move(ada.live_wallet_id, 1_000_000)
    assert low_balances_tell() == 0
    move(ada.live_wallet_id, -1_000_000)
    assert [low_balances_tell(), mails_send()] == [1, 1]


@pytest.mark.parametrize("why", ["no limit", "unverified", "inactive", "filled", "no mail"])
def test_nobody_is_told_for_nothing(why: str, ada: User, mailbox: Mailbox, settings: Any) -> None:
    limit = None if why == "no limit" else 10
    Account.objects.filter(pk=ada.live_wallet_id).update(low_balance_microcredits=limit)
    User.objects.filter(pk=ada.pk).update(
        is_active=why != "inactive", **({"email_verified_at": None} if why == "unverified" else {})
    )
    if why == "no mail":
        settings.MAIL_URL = ""
    move(ada.live_wallet_id, 5)
    low_balances_tell()
    assert LowBalanceTold.objects.exists() == (why not in ("no limit", "no mail"))
    move(ada.live_wallet_id, 5_000)
    if why == "filled":
        assert Mail.objects.count() == 1
    mails_send()
    assert (mailbox.mails, Mail.objects.count()) == ([], 0)


def test_a_projects_owner_and_admins_are_told(mailbox: Mailbox, catalog: rows.Catalog) -> None:
    for role in ("owner", "admin", "developer", "support", "customer"):
        user = person_make(address=f"{role}@example.test", password=rows.PASSWORD, is_verified=True)
        Membership.objects.create(project=catalog.project, user=user, role=role)
    wallet = Account.objects.get(project_id=catalog.project.pk, kind="wallet", mode="live")
    Account.objects.filter(pk=wallet.pk).update(low_balance_microcredits=10)
    move(wallet.pk, 5)
    assert [low_balances_tell(), mails_send()] == [1, 2]
    assert [mail["to"] for mail in mailbox.mails] == ["owner@example.test", "admin@example.test"]
    assert "live wallet of the project shop" in mailbox.mails[0].get_content()
    client = Client()
    client.force_login(User.objects.get(email="owner@example.test"))
    assert 'aria-labelledby="entries"' in followed(client, mailbox.mails[0])


def test_a_limit_is_ones_own_and_an_amount(ada: User, mailbox: Mailbox) -> None:
    client = Client()
    assert client.get(PAGE).status_code == 302
    client.force_login(ada)
    for wrong in ("-1", "1e99", "0.0000001", str(10**15), "much", "NaN"):
        assert client.post(PAGE, {"low_balance": wrong}).status_code == 200, wrong
    client.post(PAGE, {"low_balance": "1", "account_id": "6", "wallet": "6"})
    assert list(Account.objects.exclude(low_balance_microcredits=None).values_list("pk", flat=True)) == [
        ada.live_wallet_id
    ]
    client.post(PAGE, {"low_balance": ""})
    assert not Account.objects.exclude(low_balance_microcredits=None).exists()
