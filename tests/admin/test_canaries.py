"""What people and money bring of secrets: each is made and used as in life, well and wrongly, and then looked for in
everything that the control plane wrote down, told or showed. The edge's are in `tests/edge/test_canaries.py`."""

import logging
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from relay_admin.access import services
from relay_admin.access.key_successors import relay_keys_rotate_due
from relay_admin.access.mails import mail_queue, mails_send
from relay_admin.access.models import MailKind, RelayKey, User
from relay_admin.access.people import person_make
from relay_admin.catalog.services import sealer
from relay_admin.ledger.models import Account
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import Flow
from tests.admin.test_secrets import every_page
from tests.mailbox import Mailbox, open_mailbox

JSON = "application/json"
STRIPE_KEY, STRIPE_HOOK, OIDC = "sk_live_51canary0key", "whsec_canary0hook", "canary-oidc-secret"
ADA = "ada@example.test"


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    """Everything that takes a secret is on; Stripe and the provider do not answer."""
    settings.MASTER_KEYS = (secrets.token_bytes(32),)
    settings.SIGNUP, settings.CONTROL_URL = "open", "http://testserver"
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = STRIPE_KEY, STRIPE_HOOK
    settings.STRIPE_URL = "http://127.0.0.1:1"
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = "http://127.0.0.1:1", "id", OIDC
    sealer.cache_clear()
    with open_mailbox() as box:
        settings.MAIL_URL, settings.MAIL_FROM = box.url, "Relay <relay@example.test>"
        yield box
    sealer.cache_clear()


class Told:
    """What was answered, but for the answers that are there to tell a secret."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, answer: Any) -> Any:
        headers = {name: value for name, value in answer.headers.items() if name != "Set-Cookie"}
        self.text += f"{answer.status_code} {headers} {answer.content.decode()}\n"
        return answer


def link(mailbox: Mailbox) -> str:
    """The path of the last mail's link, once what is due was sent."""
    mails_send()
    return urlsplit(mailbox.link()).path


def by_link(told: Told, mailbox: Mailbox) -> dict[str, str]:
    """Links of mails: opened, used with a password that is refused, used, and used again."""
    person_make(address=ADA, password=rows.PASSWORD, is_verified=True)
    asked = {"reset": ("/account/reset", ADA), "sign-up": ("/account/sign-up", "new@example.test")}
    found = {}
    for name, (page, address) in asked.items():
        told(Client().post(page, {"email": address}))
        found[name] = link(mailbox)
        for password in ("short", rows.PASSWORD[::-1], rows.PASSWORD[::-1]):
            answer = Client().post(found[name], {"new_password": password})
            if password == "short":
                assert answer.status_code == 200  # the form again, which is at the link's own address
            else:
                told(answer)
    return {name: path.rsplit("/", 1)[1] for name, path in found.items()}


def invitation(told: Told, headers: dict[str, str], mailbox: Mailbox) -> str:
    asked = {"email": "asked@example.test", "role": "viewer"}
    made = Client().post("/api/v1/projects/shop/invitations", asked, JSON, headers=headers).json()
    assert link(mailbox) == f"/account/invitation/{made['token']}"
    told(Client().get("/api/v1/projects/shop/invitations", headers=headers))
    told(Client().post(f"/account/invitation/{made['token']}", {"new_password": rows.PASSWORD}))
    told(Client().post(f"/account/invitation/{made['token']}", {"new_password": rows.PASSWORD}))
    return str(made["token"])


def oauth(told: Told, catalog: rows.Catalog, headers: dict[str, str]) -> dict[str, str]:
    """A code used twice, a refresh token used twice, a secret that is made and one that is wrong."""
    browser = Client()
    browser.force_login(User.objects.get(email=ADA))
    flow = Flow(oauth_client.application(catalog.project), browser)
    code = flow.code()
    _, pair = flow.exchange(code)
    _, next_pair = flow.refresh(pair["refresh_token"])
    said = [flow.refresh(pair["refresh_token"]), flow.exchange(code), flow.token(grant_type="refresh_token")]
    told.text += str(said)
    asked = {"project": "shop", "name": "server", "clientType": "confidential", "redirectUris": [oauth_client.REDIRECT]}
    made = Client().post("/api/v1/applications", asked, JSON, headers=headers).json()
    wrong = {"client_id": made["clientId"], "client_secret": made["clientSecret"], "code": code}
    told.text += str(flow.token(grant_type="authorization_code", **wrong))
    return {
        "code": code,
        "access": pair["access_token"],
        "refresh": pair["refresh_token"],
        "next refresh": next_pair["refresh_token"],
        "verifier": flow.verifier,
        "client secret": made["clientSecret"],
    }


def money(told: Told, catalog: rows.Catalog, headers: dict[str, str], settings: Any) -> dict[str, str]:
    """A code redeemed twice; a payment that cannot begin, and an event that Stripe did not sign."""
    wallet = Account.objects.get(project_id=catalog.project.pk, kind="wallet", mode="live")
    body = {"microcredits": 5, "mode": "live", "mostUses": 10, "expiresAt": None, "note": "fair"}
    code = Client().post("/api/v1/credit-codes", body, JSON, headers=headers).json()["code"]
    for text in (code, code, code[:-1] + "="):
        told(Client().post("/api/v1/credit-codes/redeem", {"code": text, "wallet": wallet.pk}, JSON, headers=headers))
    told(Client().post("/api/v1/top-ups", {"wallet": wallet.pk, "pack": "5:5:eur"}, JSON, headers=headers))
    told(Client().post("/hooks/stripe", b"{}", JSON, headers={"Stripe-Signature": "t=1,v1=00"}))
    told(Client().get("/account/oidc/begin"))
    return {"credit code": code, "its letters": code.replace("-", "")}


def successor(told: Told, catalog: rows.Catalog) -> str:
    now = timezone.now()
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(
        created_at=now - timedelta(days=29), expires_at=now + timedelta(days=1), rotates_days_before=7
    )
    assert relay_keys_rotate_due() == 1
    address, bearer = "/api/v1/relay-keys/self/successor", {"Authorization": f"Bearer {catalog.token}"}
    token = Client().post(address, {}, JSON, headers=bearer).json()["token"]
    told(Client().post(address, {}, JSON, headers=bearer))
    told(Client().post(address, {}, JSON, headers={"Authorization": f"Bearer {token}x"}))
    told(Client().post("/api/v1/relay-keys", {"name": token}, JSON, headers={"Authorization": f"Bearer {token}"}))
    return str(token)


def every_table() -> str:
    """All rows as JSON, bytes as hexadecimal."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT coalesce(string_agg(to_jsonb(t)::text, ' '), '') FROM \"{table}\" t")
            found.append(f"{table}: {cursor.fetchone()[0]}")
    return "\n".join(found)


def shown(root: User, catalog: rows.Catalog, headers: dict[str, str]) -> str:
    """Pages, histories and lists, to who may see everything."""
    client = Client()
    client.force_login(root)
    lists = ("access/auditevent", "access/session", "access/invitation", "access/oauthapplication", "access/user",
             "ledger/creditcode", "ledger/topup", "ledger/account")  # fmt: skip
    text = every_page(client, catalog)
    text += "".join(client.get(f"/admin/{page}/", follow=True).content.decode() for page in lists)
    for address in ("audit?limit=200", "relay-keys", "credit-codes", "top-ups", "sessions?user=*", "applications"):
        text += Client().get(f"/api/v1/{address}", headers=headers).content.decode()
    return text


def test_no_secret_of_people_or_money_is_written_or_told_elsewhere(
    catalog: rows.Catalog, mailbox: Mailbox, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "django.template")  # a line for each variable that a page leaves out
    told = Told()
    root = rows.user("root", is_superuser=True)
    admin_token = services.admin_token_mint(user=root, name="canary").token
    headers = {"Authorization": f"Bearer {admin_token}"}
    marks = {"an admin token": admin_token, "a relay key": catalog.token, "a password": rows.PASSWORD[::-1]}
    marks |= {"Stripe's key": STRIPE_KEY, "Stripe's webhook": STRIPE_HOOK, "the provider's secret": OIDC}
    marks |= by_link(told, mailbox)
    marks["an invitation"] = invitation(told, headers, mailbox)
    marks |= oauth(told, catalog, headers)
    marks |= money(told, catalog, headers, settings)
    marks["a successor"] = successor(told, catalog)
    browser = Client()
    signed_in = browser.post("/account/sign-in", {"username": ADA, "password": rows.PASSWORD[::-1]})
    assert signed_in.status_code == 302
    marks["a session"] = browser.cookies["sessionid"].value
    told(browser.get("/account/sessions"))
    mail_queue(kind=MailKind.CHANGED_PASSWORD, address=ADA)
    mails_send()

    mails = {mark: [m for m in mailbox.mails if mark in f"{m.items()} {m.get_content()}"] for mark in marks.values()}
    meant = {"reset", "sign-up", "an invitation"}
    assert {name: len(mails[mark]) for name, mark in marks.items()} == {name: int(name in meant) for name in marks}
    sinks = {"answers": told.text, "log": caplog.text, "tables": every_table(), "pages": shown(root, catalog, headers)}
    assert {name: ADA in sink for name, sink in sinks.items() if name in ("tables", "pages")} == {
        "tables": True, "pages": True,
    }  # fmt: skip
    assert "successor_gone" in sinks["answers"]
    assert "mail_sent" in caplog.text
    assert '"sealed_successor_token": "(changed)"' in sinks["tables"]
    for name, mark in marks.items():
        assert len(mark) >= 16, name
        for sink, text in sinks.items():
            assert mark not in text, f"{name} is in the {sink}: ...{text[max(0, text.index(mark) - 120) :][:160]}"
            assert mark.encode().hex() not in text, f"{name} is in the {sink}, in hexadecimal"
    assert not re.search(r"rk_live_[0-9A-Za-z]{50}", "".join(sinks.values()))
