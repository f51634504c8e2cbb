"""Calls through an application as their user sees them: invited, signed up, asked, charged, and out of it again."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_oauth import CHALLENGE, VERIFIER, spa
from tests.system.product import Product, wait_for
from tests.system.test_token_money import CREDIT, account, grant

__all__ = ["spa"]
pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]

EVE = "eve@example.test"
SENTENCE = "a long sentence of eve's"
EXCHANGE = """async ([server, form]) => {
    const answer = await fetch(server + "/oauth/token", {method: "POST", body: new URLSearchParams(form)});
    return (await answer.json()).access_token;
}"""
CALL = """async ([edge, token, body]) => {
    const answer = await fetch(edge + "/v1/chat/completions", {
        method: "POST", body, headers: {Authorization: "Bearer " + token, "Content-Type": "application/json"}});
    return [answer.status, await answer.json()];
}"""
BALANCE = """async ([control, token]) => {
    const answer = await fetch(control + "/api/v1/accounts", {headers: {Authorization: "Bearer " + token}});
    return (await answer.json()).results;
}"""
BODY = {"model": "demo-gpt", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}


def invite(product: Product) -> str:
    """The link."""
    said = product.manage(
        "shell", "-v0", "-c",
        "from relay_admin.access.invitations import invitation_create;"
        f"print(invitation_create(email={EVE!r}).link)",
    )  # fmt: skip
    return said.split()[-1]


def posted(product: Product, account_id: int) -> int:
    [(found,)] = product.sql(
        "SELECT coalesce(sum(CASE WHEN credit_id = %s THEN amount ELSE -amount END), 0)::bigint"
        " FROM ledger_entry WHERE %s IN (debit_id, credit_id)",
        *(account_id, account_id),
    )
    return int(found)


def test_from_the_invitation_to_the_last_call(product: Product, page: Page, spa: str) -> None:
    product.api("/api/v1/projects/demo/terms", {"markupPpm": 500_000, "ownerPpm": 1_000_000})
    made = product.api(
        "/api/v1/applications",
        {"project": "demo", "name": "Journal", "redirectUris": [f"{spa}/cb"], "allowedOrigins": [spa],
         "policy": "everything"},
    )  # fmt: skip
    page.goto(invite(product))
    page.get_by_label("New password").fill(SENTENCE)
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("You are invited")
    wallet, earnings = account(product, "wallet", user=EVE), account(product, "earnings", project="demo")
    grant(product, wallet, CREDIT)
    earned = posted(product, earnings)

    query = {
        "response_type": "code", "client_id": made["clientId"], "redirect_uri": f"{spa}/cb",
        "scope": "inference account", "state": "xyz", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    }  # fmt: skip
    page.goto(f"{product.control_url}/oauth/authorize?{urlencode(query)}")
    expect(page.get_by_role("heading", name="Allow Journal to use your account?")).to_be_visible()
    expect(page.get_by_text("1 credit", exact=False).first).to_be_visible()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_role("heading", name="Back at the application")).to_be_visible()
    found = re.search(r"code=([^&]+)&state=xyz&iss=", page.url)
    assert found, page.url
    form = {"grant_type": "authorization_code", "code": found[1], "redirect_uri": f"{spa}/cb",
            "client_id": made["clientId"], "code_verifier": VERIFIER}  # fmt: skip
    token = page.evaluate(EXCHANGE, [product.control_url, form])

    def call() -> Any:
        return page.evaluate(CALL, [product.edge_url, token, json.dumps(BODY)])

    wait_for(lambda: call()[0] == 200, "a wallet that pays")
    wait_for(lambda: posted(product, wallet) < CREDIT, "the charge")
    left = posted(product, wallet)
    shown = page.evaluate(BALANCE, [product.control_url, token])
    assert [each["balance"] for each in shown if each["id"] == wallet] == [left]
    [(charge, markup)] = product.sql(
        "SELECT charge_microcredits, markup_microcredits FROM traffic_call WHERE application_id = %s"
        " AND charge_microcredits > 0",
        made["id"],
    )
    assert (CREDIT - left, posted(product, earnings) - earned) == (charge, markup)
    assert markup > 0

    page.goto(f"{product.control_url}/account/applications")
    page.get_by_role("button", name="Revoke Journal").click()
    expect(page.get_by_text("Journal may not use your account any more.")).to_be_visible()
    page.goto(spa)
    status, said = wait_for(lambda: (answer := call())[0] == 401 and answer, "the revocation", seconds=10)
    assert (status, said["error"]["code"]) == (401, "token_revoked")
