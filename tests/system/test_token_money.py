"""A user's calls through an application on the running product: the project's pool pays, then the user's wallet, then
nobody; the user's own cap holds; and the ledger has each charge as the call was charged, to the micro-credit."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

from relay_contract.ledger import REVENUE, EntryKind
from relay_contract.nouns import KeyMode
from tests.browser.steps import PASSWORD
from tests.system.product import Product, wait_for
from tests.system.test_oauth import REDIRECT, allow, field, make

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

SMALL = {"model": "demo-gpt", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}
CREDIT = 1_000_000
TERMS = {"markupPpm": 500_000, "ownerPpm": 800_000, "referralPpm": 250_000}


def make_people(product: Product, *names: str) -> None:
    """Without any rights."""
    for name in names:
        product.manage(
            "shell", "-v0", "-c",
            "import os; from relay_admin.access.models import User;"
            f"User.objects.create_user({name!r}, {name + '@example.test'!r}, os.environ['PERSON_PASSWORD'])",
            PERSON_PASSWORD=PASSWORD,
        )  # fmt: skip


def browser_of(product: Product, name: str) -> requests.Session:
    """Signed in."""
    session = requests.Session()
    page = session.get(f"{product.control_url}/account/sign-in", timeout=20)
    token = field(page.text, "csrfmiddlewaretoken")
    form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": token}
    answer = session.post(page.url, form, headers={"Referer": page.url}, timeout=20, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    return session


def token_of(product: Product, made: dict[str, Any], browser: requests.Session, cap: str = "", **asked: str) -> str:
    """What the application gets when this user says yes."""
    client = OAuth2Session(
        made["clientId"], token_endpoint_auth_method="none", scope="inference account", redirect_uri=REDIRECT,
        code_challenge_method="S256",
    )  # fmt: skip
    verifier = generate_token(64)
    address, _ = client.create_authorization_url(
        f"{product.control_url}/oauth/authorize", code_verifier=verifier, **asked
    )
    back = allow(browser, address, cap)
    [code] = parse_qs(urlsplit(back.headers["Location"]).query)["code"]
    token = client.fetch_token(f"{product.control_url}/oauth/token", code=code, code_verifier=verifier)
    return str(token["access_token"])


@dataclass
class Users:
    """One application's user."""

    product: Product
    token: str

    def call(self) -> requests.Response:
        return requests.post(
            f"{self.product.edge_url}/v1/chat/completions",
            json=SMALL, headers={"Authorization": f"Bearer {self.token}"}, timeout=20,
        )  # fmt: skip

    def refused(self) -> dict[str, Any]:
        """As a 402."""
        answer = self.call()
        assert answer.status_code == 402, answer.text
        found: dict[str, Any] = answer.json()["error"]
        return found

    def charged(self) -> tuple[str, int, int, int]:
        """Call, payer, charge and mark-up of the next call that is let in."""
        before = len(self.rows())
        wait_for(lambda: self.call().status_code == 200, "somebody who pays")
        wait_for(lambda: len(self.rows()) == before + 1, "its row")
        return self.rows()[-1]

    def rows(self) -> list[Any]:
        return self.product.sql(
            "SELECT id, payer_id, charge_microcredits, markup_microcredits FROM traffic_call"
            " WHERE application_id IS NOT NULL AND charge_microcredits > 0"
            " AND user_id = (SELECT id FROM access_user WHERE username = 'uma') ORDER BY received_at, id"
        )

    def entries(self, call: str) -> list[tuple[Any, ...]]:
        """Kind, both accounts, amount and application, when they are posted."""
        statement = (
            "SELECT kind, debit_id, credit_id, amount, application_id FROM ledger_entry WHERE source = %s ORDER BY kind"
        )
        return wait_for(lambda: self.product.sql(statement, call), "its entries")


def account(product: Product, kind: str, **owner: str) -> int:
    [(name, value)] = owner.items()
    table, column, key = {
        "project": ("catalog_project", "slug", "project_id"),
        "user": ("access_user", "username", "user_id"),
    }[name]
    [(found,)] = product.sql(
        f"SELECT a.id FROM ledger_account a JOIN {table} o ON o.id = a.{key}"
        f" WHERE a.kind = %s AND a.mode = 'live' AND o.{column} = %s",
        kind, value,
    )  # fmt: skip
    return int(found)


def grant(product: Product, wallet: int, microcredits: int) -> None:
    product.api(f"/api/v1/wallets/{wallet}/grants", {"microcredits": microcredits, "note": "for a test"})


def test_pool_then_wallet_then_nobody(product: Product) -> None:
    make_people(product, "uma", "rolf")
    product.api("/api/v1/projects/demo/terms", TERMS)
    made = make(product, "pooled", redirectUris=[REDIRECT], policy="everything")
    browser = browser_of(product, "uma")
    [(code,)] = product.sql("SELECT referral_code FROM access_user WHERE username = 'rolf'")
    user = Users(product, token_of(product, made, browser, referral=code))
    wallet, pool = account(product, "wallet", user="uma"), account(product, "pool", project="demo")
    revenue = REVENUE[KeyMode.LIVE]

    # Nobody has anything: the user's wallet is named, with the mark-up in what is needed.
    refused = wait_for(lambda: (said := user.refused())["code"] == "insufficient_credits" and said, "the terms")
    assert refused["details"]["wallet"] == wallet
    needed = int(refused["details"]["needed_microcredits"])

    # The pool pays the whole of a call while the user's month is within the cap: once here.
    product.sql("UPDATE catalog_project SET pool_cap_microcredits = %s WHERE slug = 'demo'", needed)
    grant(product, account(product, "wallet", project="demo"), 1_000_000 * CREDIT)  # other tests have spent of it
    moved = product.api("/api/v1/transfers", {"project": "demo", "from": "wallet", "microcredits": 10 * needed})
    assert moved["toAccountId"] == pool
    call, payer, charge, markup = user.charged()
    assert (payer, markup) == (pool, 0)
    assert user.entries(call) == [(EntryKind.USAGE, pool, revenue, charge, made["id"])]
    product.sql("UPDATE catalog_project SET pool_cap_microcredits = %s WHERE slug = 'demo'", charge)
    refused = wait_for(lambda: (said := user.refused())["code"] == "insufficient_credits" and said, "the pool's cap")
    assert refused["details"]["wallet"] == wallet

    # Then the user's wallet does, with the mark-up and everybody's share of it.
    grant(product, wallet, CREDIT)
    call, payer, charge, markup = user.charged()
    owned = markup * TERMS["ownerPpm"] // 1_000_000
    referred = owned * TERMS["referralPpm"] // 1_000_000
    assert (payer, owned > referred > 0) == (wallet, True)
    assert user.entries(call) == [
        (EntryKind.USAGE, wallet, revenue, charge - markup, made["id"]),
        (EntryKind.MARKUP_OWNER, wallet, account(product, "earnings", project="demo"), owned - referred, made["id"]),
        (EntryKind.MARKUP_REFERRAL, wallet, account(product, "earnings", user="rolf"), referred, made["id"]),
        (EntryKind.MARKUP_FEE, wallet, revenue, markup - owned, made["id"]),
    ]
    header = {"Authorization": f"Bearer {user.token}"}
    said = requests.get(f"{product.control_url}/api/v1/accounts", headers=header, timeout=20).json()["results"]
    assert [each["balance"] for each in said if each["id"] == wallet] == [CREDIT - charge]

    # What the user set for the application holds although both could pay.
    [(authorization,)] = product.sql("SELECT max(id) FROM access_authorization")
    revoked = product.api(f"/api/v1/authorizations/{authorization}/revoke", {})
    assert revoked["revokedAt"]
    wait_for(lambda: user.call().status_code == 401, "the revocation", seconds=10)
    capped = Users(product, token_of(product, made, browser, cap="0.000001"))
    refused = capped.refused()
    assert (refused["code"], refused["details"]["scope"]) == ("budget_exceeded", "grant")
    assert json.dumps(refused["details"]["limit_microcredits"]) == "1"
    product.sql("UPDATE catalog_project SET pool_cap_microcredits = 0 WHERE slug = 'demo'")
