"""Agents at the running product, with the official clients: an endpoint with three targets, a call, the delivery that
failed, its replay; and signing in."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import requests
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.clients.environments import NODE_HOME, node_clients
from tests.system.product import Product, wait_for
from tests.system.receiver import Receiver
from tests.system.test_oauth import REDIRECT, allow, browser, make

__all__ = ["browser"]  # a fixture
pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]


class Agent:
    """A client, and what its tools answer."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def use(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The SDK checks the answer by the tool's schema."""
        result = await self._client.call_tool(tool, arguments)
        assert not result.is_error, (tool, result.content)
        found: dict[str, Any] = result.structured_content
        return found

    async def until(self, is_so: Callable[[dict[str, Any]], Any], tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Asks again and again, for 30 s."""
        for _ in range(300):
            if is_so(found := await self.use(tool, **arguments)):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"still waiting for {tool}: {found}")


def test_the_python_client_sets_up_finds_and_replays(product: Product, receiver: Receiver) -> None:
    receiver.statuses["/agents/broken"] = 500
    asyncio.run(_sets_up_finds_and_replays(product, receiver))
    [first] = receiver.at("/agents/first")
    assert first.body == b'{"order":1}'
    assert receiver.at("/agents/broken")[-1].headers["relay-replay"] == "1"


async def _sets_up_finds_and_replays(product: Product, receiver: Receiver) -> None:
    headers = {"Authorization": f"Bearer {product.credentials['admin_token']}"}
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(f"{product.control_url}/mcp", http_client=http)) as client,
    ):
        assert "replay_deliveries" in {tool.name for tool in (await client.list_tools()).tools}
        agent = Agent(client)
        path, token = await _endpoint(agent, receiver)
        accepted = await asyncio.to_thread(wait_for, lambda: _sent(product.edge_url + path, token), "the endpoint")
        wanted = {"request": accepted["requestId"], "state": "dead"}
        [dead] = (await agent.until(lambda found: found["results"], "list_deliveries", **wanted))["results"]
        assert dead["target"]["name"] == "broken"
        attempts = (await agent.use("read_delivery", delivery=dead["id"]))["attempts"]
        assert [attempt["status"] for attempt in attempts] == [500, 500]
        receiver.statuses["/agents/broken"] = 200
        assert (await agent.use("preview_replay", ids=[dead["id"]]))["replayableCount"] == 1
        assert (await agent.use("replay_deliveries", ids=[dead["id"]]))["replayedCount"] == 1
        await agent.until(lambda found: found["state"] == "delivered", "read_delivery", delivery=dead["id"])
        events = (await agent.use("read_audit_log", project="agents", via="mcp"))["results"]
        assert {"catalog.target", "access.relaykey"} <= {event["subject"] for event in events}


async def _endpoint(agent: Agent, receiver: Receiver) -> tuple[str, str]:
    """Its address at the edge, and a key's token."""
    document = "version: 1\nprojects:\n  - slug: agents\n    name: Agents\n    lines: [{slug: v1}]\n"
    planned = await agent.use("plan_catalog", document=document)
    await agent.use("apply_catalog", document=document, plan=planned["plan"])
    line = {"project": "agents", "line": "v1"}
    begun = await agent.use("read_draft", **line)
    targets = [
        {"name": name, "url": f"{receiver.url}/agents/{name}", "retry_schedule_seconds": [1]}
        for name in ("first", "second", "broken")
    ]
    written = {**begun["document"], "endpoints": [{"slug": "orders", "targets": targets}]}
    saved = await agent.use("save_draft", **line, document=written, draftRevision=begun["draftRevision"])
    assert len((await agent.use("diff_draft", **line))["changes"]) == 4
    await agent.use("publish_draft", **line, draftRevision=saved["draftRevision"])
    key = await agent.use("mint_relay_key", project="agents", name="app", scopes=["relay"])
    [endpoint] = (await agent.use("list_endpoints", **line))["results"]
    return endpoint["path"], key["token"]


def _sent(url: str, token: str) -> dict[str, Any] | None:
    """What an accepted call is answered; None until the edge has heard of the endpoint."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = requests.post(url, b'{"order":1}', headers=headers, timeout=20)
    if answer.status_code in (401, 404):
        return None
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.timeout(700)  # the first test builds an environment
def test_the_javascript_client_does_the_same(product: Product, receiver: Receiver) -> None:
    receiver.statuses["/agents-js/broken"] = 500
    environ = {
        "PATH": os.environ["PATH"],
        "CONTROL_URL": product.control_url,
        "EDGE_URL": product.edge_url,
        "TOKEN": product.credentials["admin_token"],
        "TARGETS": receiver.url,
        "PROJECT": "agents-js",
    }
    command = [str(node_clients()), str(NODE_HOME / "programs" / "mcp_agent.mjs")]
    running = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with running:
        try:
            assert running.stdout
            said = running.stdout.readline()
            assert said == "mend the target\n", said + running.stdout.read()
            receiver.statuses["/agents-js/broken"] = 200
            said, _ = running.communicate("mended\n", timeout=60)
        finally:
            running.kill()
    assert running.returncode == 0, said
    assert receiver.at("/agents-js/broken")[-1].headers["relay-replay"] == "1"


class Kept:
    """Where a client keeps its application and tokens."""

    def __init__(self, client_id: str) -> None:
        self.tokens: OAuthToken | None = None
        self._client = OAuthClientInformationFull(
            client_id=client_id, redirect_uris=[AnyUrl(REDIRECT)], token_endpoint_auth_method="none"
        )

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError("the relay registers no clients")


def test_the_python_client_signs_in(product: Product, browser: requests.Session) -> None:
    kept = Kept(make(product, "agents", redirectUris=[REDIRECT], clientType="public")["clientId"])
    username = product.credentials["admin_username"]
    product.sql(
        "INSERT INTO access_membership (role, project_id, user_id, created_at) SELECT 'developer', p.id, u.id, now()"
        " FROM catalog_project p, access_user u WHERE p.slug = 'demo' AND u.username = %s"
        " ON CONFLICT (project_id, user_id) DO UPDATE SET role = 'developer'",
        username,
    )
    names, projects = asyncio.run(_signed_in(product, browser, kept))
    assert kept.tokens is not None
    assert set(str(kept.tokens.scope).split()) == {"control:read", "control", "offline_access"}
    assert "save_draft" in names
    assert "apply_catalog" not in names, "an operator who signs in is none here"
    assert projects == ["demo"]


async def _signed_in(product: Product, browser: requests.Session, kept: Kept) -> tuple[set[str], list[str]]:
    went: list[str] = []

    async def go(address: str) -> None:
        answer = await asyncio.to_thread(allow, browser, address)
        assert answer.status_code == 302, answer.text
        went.append(answer.headers["Location"])

    async def come_back() -> AuthorizationCodeResult:
        said = {name: value for name, [value] in parse_qs(urlsplit(went[-1]).query).items()}
        return AuthorizationCodeResult(code=said["code"], state=said["state"], iss=said["iss"])

    metadata = OAuthClientMetadata(client_name="agents", redirect_uris=[AnyUrl(REDIRECT)])
    provider = OAuthClientProvider(f"{product.control_url}/mcp", metadata, kept, go, come_back)
    async with (
        httpx2.AsyncClient(auth=provider) as http,
        Client(streamable_http_client(f"{product.control_url}/mcp", http_client=http)) as client,
    ):
        names = {tool.name for tool in (await client.list_tools()).tools}
        found = await Agent(client).use("list_projects")
        return names, [project["slug"] for project in found["results"]]
