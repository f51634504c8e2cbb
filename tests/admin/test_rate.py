"""How often one caller may call the control API and the MCP server."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.test import Client

from relay_admin import redis_link
from relay_admin.access.admin_tokens import admin_token_mint
from relay_admin.access.services import relay_key_mint
from tests.admin import mcp_caller, rows

MOST = 3


@pytest.fixture(autouse=True)
def _three_a_minute(redis_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.API_CALLS_PER_MINUTE = MOST
    monkeypatch.setattr(redis_link, "_left_alone_until", 0.0)  # also put back


def token_of(name: str) -> str:
    return admin_token_mint(user=rows.user(name), name="t").token


def ask(token: str) -> Any:
    return Client().get("/api/v1/projects", headers={"Authorization": f"Bearer {token}"})


def refused(call: Callable[[], Any]) -> Any:
    """The answer to the first call too many; a minute may end while they are made."""
    for made in range(2 * MOST + 2):
        answer = call()
        if (answer.status_code if hasattr(answer, "status_code") else answer.status) == 429:
            assert made >= MOST
            return answer
    raise AssertionError("never refused")


def test_a_users_tokens_are_counted_together_and_other_callers_apart(catalog: rows.Catalog) -> None:
    user = rows.user("busy")
    tokens = [admin_token_mint(user=user, name=name).token for name in ("first", "second")]
    calls = iter(tokens * MOST * 2)
    answer = refused(lambda: ask(next(calls)))
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert (answer.json()["error"], set(answer.json())) == ("throttled", {"error", "message", "action"})
    key = relay_key_mint(project=catalog.project, name="control", scopes=["control"]).token
    assert ask(key).status_code == 200
    assert ask(token_of("calm")).status_code == 200


def test_counts_are_forgotten(catalog: rows.Catalog, redis_url: str) -> None:
    token = token_of("busy")
    refused(lambda: ask(token))
    with redis.Redis.from_url(redis_url) as client:
        assert all(0 < client.ttl(key) <= 120 for key in client.keys("{relay}:api:*"))
        client.flushall()
    assert ask(token).status_code == 200


def test_agents_are_told_to_wait_too(catalog: rows.Catalog) -> None:
    """Who calls is asked for each message, which counts."""
    token, ping = token_of("agent"), {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    said = refused(lambda: mcp_caller.send(ping, authorization=f"Bearer {token}"))
    assert said.document["error"] == "throttled"
    assert 1 <= int(said.headers["retry-after"]) <= 60


def test_without_redis_nobody_is_refused(catalog: rows.Catalog, settings: Any, free_port: int) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port}"
    token = token_of("busy")
    assert {ask(token).status_code for _ in range(MOST + 2)} == {200}


def test_zero_is_no_limit(catalog: rows.Catalog, settings: Any) -> None:
    settings.API_CALLS_PER_MINUTE = 0
    token = token_of("busy")
    assert {ask(token).status_code for _ in range(MOST + 2)} == {200}
