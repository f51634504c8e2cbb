"""Calls with access tokens through a whole edge process: rows, refusals, pages in browsers, revocation."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from psycopg import AsyncConnection

from relay_contract import nouns as meaning
from relay_contract.access_tokens import LIFE_SECONDS
from relay_contract.nouns import RevocationKind
from relay_edge.resource_metadata import PATH, metadata_url
from tests.edge import nouns
from tests.edge.admitting import client
from tests.edge.conftest import until
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.money import open_money
from tests.edge.test_observed_calls import CALL, insert_catalog
from tests.edge.tokens import AUDIENCE, ISSUER, PAGE, USER_ID, bearer, claims, signing_key, written
from tests.edge.vendor import Vendor

CHAT = "/v1/chat/completions"
OTHER_PAGE = "https://other.example"
METADATA = f'resource_metadata="{AUDIENCE}{PATH}"'
READABLE = {
    "access-control-allow-origin": PAGE, "access-control-expose-headers": "*", "vary": "origin",
}  # fmt: skip
ADDRESSES = {"RELAY_CONTROL_URL": f"{ISSUER}/", "RELAY_EDGE_URL": AUDIENCE}


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with Vendor() as running:
        yield running


@pytest.fixture
def urls(edge_database_url: str, redis_url: str) -> tuple[str, str]:
    """Of Postgres and Redis."""
    return edge_database_url, redis_url


@pytest.fixture
async def edge(
    urls: tuple[str, str], vendor: Vendor, owner: AsyncConnection[Any], tmp_path: Path, free_port: int
) -> AsyncIterator[InsideEdge]:
    """Knows two applications, each with a page of its own; a third is disabled."""
    with client(urls[1]) as connection:
        open_money(connection, {claims().wallet_id: 10**12})
    await insert_catalog(owner, vendor, key=signing_key())
    second = nouns.numbered(nouns.APPLICATION, 2, client_id="app_other", allowed_origins=(OTHER_PAGE,))
    third = nouns.numbered(second, 3, client_id="app_third", is_enabled=False, allowed_origins=("https://off.example",))
    await nouns.insert(owner, second, third)
    async with inside_edge(tmp_path, free_port, *urls, **ADDRESSES) as running:
        await until(lambda: running.edge.records.is_connected, "a connection for rows")
        yield running


async def ask(
    edge: InsideEdge, token: str | None = None, method: str = "POST", path: str = CHAT, **headers: str
) -> ClientResponse:
    """An answer, read whole."""
    shown: Mapping[str, str] = {} if token is None else bearer(token)
    document = CALL if method == "POST" else None
    async with edge.client.request(method, f"{edge.url}{path}", json=document, headers={**shown, **headers}) as answer:
        await answer.read()
        return answer


def cors_of(answer: ClientResponse) -> dict[str, str]:
    lines = {name.lower(): value for name, value in answer.headers.items()}
    return {name: value for name, value in lines.items() if name.startswith("access-control-") or name == "vary"}


async def code_of(answer: ClientResponse) -> str:
    document = await answer.json()
    return str(document["error"]["code"] if isinstance(document["error"], dict) else document["error"])


async def test_a_call_is_made_and_its_row_names_application_and_user(
    edge: InsideEdge, vendor: Vendor, owner: AsyncConnection[Any]
) -> None:
    answer = await ask(edge, written(claims()))
    assert answer.status == 200
    assert cors_of(answer) == {}
    [call] = vendor.calls
    assert b"eyJ" not in repr(call).encode()  # the token ends here

    async def row() -> Any:
        cursor = await owner.execute("SELECT project_id, relay_key_id, application_id, user_id FROM traffic_call")
        return await cursor.fetchone()

    assert await until(row, "the call's row") == (1, None, 1, USER_ID)


async def test_models_are_listed_and_explained(edge: InsideEdge) -> None:
    token = written(claims())
    listed = await ask(edge, token, "GET", "/v1/models")
    assert "demo-gpt" in [each["id"] for each in (await listed.json())["data"]]
    assert (await ask(edge, token, "POST", "/api/resolve")).status == 200


def unsigned() -> str:
    head, payload, _ = written(claims()).split(".")
    return f"{head}.{payload}.{'A' * 342}"


@pytest.mark.parametrize(
    ("token", "code", "challenge"),
    [
        (lambda: None, "missing_key", f"Bearer {METADATA}"),
        (unsigned, "invalid_token", f'Bearer error="invalid_token", {METADATA}'),
        (lambda: written(claims(), audience=ISSUER), "invalid_token", f'Bearer error="invalid_token", {METADATA}'),
        (
            lambda: written(claims(time.time() - LIFE_SECONDS)),
            "token_expired",
            f'Bearer error="invalid_token", {METADATA}',
        ),
        (
            lambda: written(claims(application_id=3, client_id="app_third")),
            "token_revoked",
            f'Bearer error="invalid_token", {METADATA}',
        ),
    ],
    ids=["none", "forged", "elsewhere", "expired", "disabled"],
)
async def test_a_refusal_says_where_tokens_are_to_be_had_and_a_declared_page_may_read_it(
    edge: InsideEdge, vendor: Vendor, token: Any, code: str, challenge: str
) -> None:
    for origin, readable in ((None, {}), (PAGE, READABLE), ("https://off.example", {}), ("null", {})):
        answer = await ask(edge, token(), **({} if origin is None else {"Origin": origin}))
        assert (answer.status, await code_of(answer)) == (401, code)
        assert answer.headers["www-authenticate"] == challenge
        assert cors_of(answer) == readable
    assert vendor.calls == []


async def test_endpoints_take_no_tokens(edge: InsideEdge) -> None:
    answer = await ask(edge, written(claims()), path="/r/demo/v1/events", Origin=PAGE)
    assert (answer.status, await code_of(answer)) == (403, "scope_missing")
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="relay"'
    assert cors_of(answer) == READABLE


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.mark.parametrize("path", [CHAT, "/anthropic/v1/messages", "/r/demo/v1/events", "/passthrough/vendor/v1/files"])
async def test_a_preflight_is_answered_for_what_any_enabled_application_declares(edge: InsideEdge, path: str) -> None:
    for origin in (PAGE, OTHER_PAGE):
        answer = await ask(edge, None, "OPTIONS", path, Origin=origin, **PREFLIGHT)
        assert answer.status == 204
        assert cors_of(answer) == {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
            "access-control-allow-headers": "authorization, *",
            "access-control-max-age": "600",
            "vary": "origin",
        }
    strangers: list[dict[str, str]] = [
        {"Origin": "https://off.example", **PREFLIGHT},
        {"Origin": "https://APP.example", **PREFLIGHT},
        {"Origin": f"{PAGE}.evil.example", **PREFLIGHT},
        {"Origin": "null", **PREFLIGHT},
        {"Origin": f"{PAGE}, {PAGE}", **PREFLIGHT},
        {"Origin": PAGE},
        PREFLIGHT,
    ]
    for headers in strangers:
        refused = await ask(edge, None, "OPTIONS", path, **headers)
        assert refused.status in (401, 405)
        assert "access-control-allow-methods" not in cors_of(refused)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_page_of_the_tokens_own_application_reads_the_answer(edge: InsideEdge, is_stream: bool) -> None:
    headers = {**bearer(written(claims())), "Origin": PAGE}
    async with edge.client.post(f"{edge.url}{CHAT}", json={**CALL, "stream": is_stream}, headers=headers) as answer:
        await answer.read()
    assert (answer.status, cors_of(answer)) == (200, READABLE)
    missing = {**CALL, "model": "none"}
    async with edge.client.post(f"{edge.url}{CHAT}", json=missing, headers=headers) as refused:
        await refused.read()
    assert (refused.status, cors_of(refused)) == (404, READABLE)


@pytest.mark.parametrize(
    "origin", [OTHER_PAGE, "null", "https://evil.example", f"{PAGE}/", "https://caf\u00e9.example"]
)
async def test_nobody_elses_page_calls_with_the_token(edge: InsideEdge, vendor: Vendor, origin: str) -> None:
    answer = await ask(edge, written(claims()), Origin=origin)
    assert (answer.status, await code_of(answer)) == (403, "origin_not_allowed")
    assert cors_of(answer) == {}
    assert vendor.calls == []


async def test_a_relay_key_is_no_pages_business(edge: InsideEdge) -> None:
    answer = await ask(edge, nouns.TOKEN.token, Origin=PAGE)
    assert (answer.status, cors_of(answer)) == (200, {})


async def test_the_document_names_who_issues_tokens(edge: InsideEdge) -> None:
    answer = await ask(edge, None, "GET", PATH, Origin=PAGE)
    assert (answer.status, cors_of(answer)) == (200, READABLE)
    assert await answer.json() == {
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["inference"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Relay",
    }
    assert cors_of(await ask(edge, None, "GET", PATH, Origin="https://evil.example")) == {}
    assert (await ask(edge, None, "DELETE", PATH)).status == 405


def test_the_document_of_an_edge_below_a_path_is_where_the_rfc_puts_it() -> None:
    assert metadata_url("https://relay.example.com") == f"https://relay.example.com{PATH}"
    assert metadata_url("https://example.com:8443/relay") == f"https://example.com:8443{PATH}/relay"


async def test_users_of_an_application_do_not_share_their_idempotency_keys(edge: InsideEdge, vendor: Vendor) -> None:
    mine, theirs = written(claims()), written(claims(subject=18))
    once = {"Idempotency-Key": "1"}
    answers = [await ask(edge, token, **once) for token in (mine, theirs, nouns.TOKEN.token)]
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, None, None]
    assert len(vendor.calls) == 3
    again = await ask(edge, mine, **once)
    assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
    assert len(vendor.calls) == 3


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RevocationKind.JTI, "j" * 22),
        (RevocationKind.GRANT, "9"),
        (RevocationKind.USER, "17"),
        (RevocationKind.APPLICATION, "1"),
    ],
)
async def test_a_revocation_ends_a_token_that_was_in_use(
    edge: InsideEdge, vendor: Vendor, owner: AsyncConnection[Any], kind: RevocationKind, value: str
) -> None:
    token = written(claims())
    assert (await ask(edge, token)).status == 200
    now = datetime.now(UTC) + timedelta(seconds=1)
    row = meaning.Revocation(meaning.RevocationId(2), kind, value, now, now + timedelta(seconds=LIFE_SECONDS))
    await nouns.insert(owner, row)

    async def is_refused() -> bool:
        return (await ask(edge, token)).status == 401

    await until(is_refused, "the refusal")
    served = len(vendor.calls)
    assert await code_of(await ask(edge, token)) == "token_revoked"
    assert len(vendor.calls) == served
    stays = replace(claims(), jti="k" * 22, authorization_id=10, subject=18, application_id=2, client_id="app_other")
    assert (await ask(edge, written(stays))).status == 200
