"""The portal's money: wallets, top-ups, codes, invoices and usage, by role, and for customers their own."""

import re
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from relay_admin.access.models import User
from relay_admin.access.roles import ACTS, Act, Role
from relay_admin.ledger import codes, corrections
from relay_admin.ledger.accounts import balance_of
from relay_admin.ledger.models import Account, Invoice, TopUp
from relay_contract.ids import uuid7
from relay_contract.ledger import AccountKind
from relay_contract.nouns import KeyMode
from tests.admin import rows
from tests.admin.stripe_server import StripeServer
from tests.admin.test_portal import member, person
from tests.admin.test_top_ups import CREDIT, event, stripe, tell  # noqa: F401 (a fixture)
from tests.admin.test_usage import posted

SHOP = "/portal/projects/shop"


def wallet_of(*, mode: str = "live", **owner: int) -> Account:
    return Account.objects.get(kind=AccountKind.WALLET, mode=mode, **owner)


@pytest.fixture
def wallet(catalog: rows.Catalog) -> Account:
    return wallet_of(project_id=catalog.project.pk)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.content
    return answer.content.decode()


def code(mode: KeyMode = KeyMode.LIVE, **more: Any) -> str:
    made = {"microcredits": 7 * CREDIT, "most_uses": 2, "expires_at": None, "note": "fair"} | more
    return codes.code_make(
        mode=mode, by=User.objects.filter(username="maker").first() or rows.user("maker"), **made
    ).text


@pytest.mark.parametrize("role", list(Role))
def test_who_sees_a_projects_wallet(catalog: rows.Catalog, wallet: Account, role: Role) -> None:
    client = member(catalog.project, role)
    sees, manages = Act.SEE_MONEY in ACTS[role], Act.MANAGE_MONEY in ACTS[role]
    addresses = (f"{SHOP}/wallet", f"/portal/wallets/{wallet.pk}", f"/portal/wallets/{wallet.pk}/entries.csv")
    assert [client.get(each).status_code for each in addresses] == [200 if sees else 403] * 3
    assert ("Redeem" in client.get(addresses[0]).content.decode()) == manages
    redeemed = client.post(f"/portal/wallets/{wallet.pk}/codes", {"code": code()})
    assert redeemed.status_code == (302 if manages else 403)
    assert balance_of(wallet.pk).posted == (7 * CREDIT if manages else 0)
    assert (f"{SHOP}/wallet" in page(client, f"{SHOP}/")) == sees


def test_a_wallets_page(catalog: rows.Catalog, wallet: Account) -> None:
    operator = rows.user("root")
    for number in range(52):
        corrections.credits_grant(account=wallet, microcredits=CREDIT, note=f"gift {number}", by=operator)
    test = wallet_of(project_id=catalog.project.pk, mode="test")
    corrections.credits_grant(account=test, microcredits=3 * CREDIT, note="for tests", by=operator)
    client = member(catalog.project, "owner")
    first = page(client, f"{SHOP}/wallet")
    assert '<strong class="figure">52</strong>' in first
    assert ("gift 51" in first, "gift 1<" in first, "for tests" in first) == (True, False, False)
    [older] = re.findall(rf'href="(/portal/wallets/{wallet.pk}\?before=[^"]+)"', first)
    last = page(client, older)
    assert ("gift 2<" in last, "gift 1<" in last, "gift 0<" in last, "Older" in last) == (False, True, True, False)
    other = page(client, f"{SHOP}/wallet?mode=test")
    assert ("for tests" in other, "gift" in other) == (True, False)


def test_ones_own_wallet_is_nobody_elses(catalog: rows.Catalog) -> None:
    ada, bob = person("ada"), person("bob")
    theirs = wallet_of(user_id=ada.pk)
    mine = signed_in(ada)
    assert "Your wallet" in page(mine, "/portal/wallet")
    assert mine.post(f"/portal/wallets/{theirs.pk}/codes", {"code": code()}).status_code == 302
    assert '<strong class="figure">7</strong>' in page(mine, f"/portal/wallets/{theirs.pk}")
    owner = member(catalog.project, "owner")
    for stranger in (signed_in(bob), owner):
        assert page(stranger, f"/portal/wallets/{theirs.pk}", 404).count("Not found") > 0
        assert stranger.post(f"/portal/wallets/{theirs.pk}/codes", {"code": code()}).status_code == 404


def test_a_code_that_is_refused_says_why(catalog: rows.Catalog, wallet: Account) -> None:
    client = member(catalog.project, "owner")
    text = code()
    assert client.post(f"/portal/wallets/{wallet.pk}/codes", {"code": text.lower()}).status_code == 302
    for typed, why in ((text, "before"), ("AAAA", "no such code"), (code(KeyMode.TEST), "for test"), ("", "required")):
        answer = client.post(f"/portal/wallets/{wallet.pk}/codes", {"code": typed})
        assert (answer.status_code, why in answer.content.decode()) == (400, True), typed
    for _ in range(20):
        answer = client.post(f"/portal/wallets/{wallet.pk}/codes", {"code": "BBBB"})
    assert (answer.status_code, "Retry-After" in answer) == (429, True)
    assert balance_of(wallet.pk).posted == 7 * CREDIT


def test_without_keys_nothing_is_sold(catalog: rows.Catalog, wallet: Account) -> None:
    client = member(catalog.project, "owner")
    assert "checkout" not in page(client, f"{SHOP}/wallet")
    assert client.post(f"/portal/wallets/{wallet.pk}/top-ups", {"pack": "5000:500:eur"}).status_code == 404


def test_a_top_up_from_the_button_to_the_credits(
    catalog: rows.Catalog,
    wallet: Account,
    stripe: StripeServer,  # noqa: F811
    settings: Any,
) -> None:
    client = member(catalog.project, "owner")
    assert "checkout" not in page(client, f"{SHOP}/wallet?mode=test")  # Stripe's keys are live ones
    shown = page(client, f"{SHOP}/wallet")
    [source] = re.findall(r'name="id" value="([^"]+)"', shown)
    form = {"pack": "5000:500:eur", "id": source}
    for _ in range(2):  # a form that is sent twice is one top-up
        begun = client.post(f"/portal/wallets/{wallet.pk}/top-ups", form)
        assert 'href="https://checkout.stripe.com/c/pay/cs_live_1"' in begun.content.decode()
    top_up = TopUp.objects.get()
    back = f"/portal/wallets/{wallet.pk}/top-ups/{source}"
    assert {sent["success_url"] for sent in stripe.forms} == {settings.CONTROL_URL + back}
    waiting = client.get(back)
    assert (waiting["Refresh"], "Waiting for the payment" in waiting.content.decode()) == ("3", True)
    assert balance_of(wallet.pk).posted == 0
    assert tell(event("completed", top_up, id="cs_live_1")).json()["outcome"] == "credited"
    paid = client.get(back)
    assert ("Refresh" in paid, "The credits are in the wallet." in paid.content.decode()) == (False, True)
    assert '<strong class="figure">5,000</strong>' in page(client, f"{SHOP}/wallet")
    assert member(catalog.project, "viewer").get(back).status_code == 403
    assert signed_in(person("stranger")).get(back).status_code == 404


@pytest.mark.parametrize("form", [{"pack": "1:1:eur"}, {"pack": "5000:500:eur", "id": "x"}, {}])
def test_forms_that_are_none_begin_nothing(
    catalog: rows.Catalog,
    wallet: Account,
    stripe: StripeServer,  # noqa: F811
    form: dict[str, str],
) -> None:
    form = {"id": str(uuid7()), **form} if "pack" in form else form
    client = member(catalog.project, "owner")
    assert client.post(f"/portal/wallets/{wallet.pk}/top-ups", form).status_code == 400
    assert (TopUp.objects.count(), stripe.forms) == (0, [])


def test_a_provider_that_fails(catalog: rows.Catalog, wallet: Account, stripe: StripeServer) -> None:  # noqa: F811
    stripe.answer = 500, b"{}"
    client = member(catalog.project, "owner")
    form = {"pack": "5000:500:eur", "id": str(uuid7())}
    answer = client.post(f"/portal/wallets/{wallet.pk}/top-ups", form)
    assert (answer.status_code, "Nothing was charged" in answer.content.decode()) == (502, True)


def test_invoices(catalog: rows.Catalog, wallet: Account) -> None:
    invoice = Invoice.objects.create(
        year=2026, number=1, account=wallet, owner="shop", period_start=date(2026, 10, 1),
        period_end=date(2026, 11, 1), opening_microcredits=0, closing_microcredits=-CREDIT,
        lines=[{"kind": "usage", "entries": 1, "debit": CREDIT, "credit": 0}], payments=[],
    )  # fmt: skip
    client = member(catalog.project, "support")
    address = f"/portal/wallets/{wallet.pk}/invoices/{invoice.pk}"
    assert f'href="{address}"' in page(client, f"{SHOP}/wallet")
    assert f'href="{address}/csv"' in page(client, address)
    assert page(client, f"{address}/csv").splitlines()[-1] == f"{invoice},closing,,,{-CREDIT},,"
    own = wallet_of(user_id=User.objects.get(email="support@example.test").pk)
    assert client.get(f"/portal/wallets/{own.pk}/invoices/{invoice.pk}").status_code == 404


@pytest.mark.parametrize("by", ["model", "key", "app", "user", "endpoint"])
@pytest.mark.parametrize("span", ["day", "week", "month", "quarter", "nonsense"])
def test_usage_of_a_project(catalog: rows.Catalog, by: str, span: str) -> None:
    now = timezone.now()
    for model in ("alpha", "alpha", "beta"):
        posted(catalog, now, model)
    posted(catalog, now, "gamma", mode="test")
    posted(catalog, now - timedelta(days=100), "delta")
    shown = page(member(catalog.project, "viewer"), f"{SHOP}/usage?by={by}&range={span}")
    assert 'role="img" aria-label="Calls to models: 3 in all' in shown
    assert 'aria-label="Tokens: 3,768 in all' in shown
    assert "gamma" not in shown
    assert "delta" not in shown
    assert ("alpha" in shown) == (by == "model")
    assert (f'<th scope="row">{catalog.relay_key.name}</th>' in shown) == (by == "key")
    assert "style=" not in shown  # the policy would refuse it


def test_ones_own_usage_is_of_ones_own_calls(catalog: rows.Catalog) -> None:
    ada = person("ada")
    posted(catalog, timezone.now(), "alpha", user_id=ada.pk)
    posted(catalog, timezone.now(), "beta")
    shown = page(signed_in(ada), "/portal/usage")
    assert ("alpha" in shown, "beta" in shown, "Calls to models: 1 in all" in shown) == (True, False, True)
    assert "Nothing was used" in page(signed_in(person("bob")), "/portal/usage")
