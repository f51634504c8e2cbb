"""One row, four doors: what is changed by the admin, REST, an agent's tool or a document is what the three others show,
what the edge serves, and one line of one audit log that names the door."""

import asyncio
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
import requests
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.system.product import Product, wait_for
from tests.system.receiver import Receiver

PAGE = "/admin/catalog/endpoint/{}/change/"
pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]


class Form(HTMLParser):
    """What a browser would send of a page's form that posts: every field as it is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = self._textarea = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """HTMLParser's."""
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        match tag:
            case "input" if name and given.get("type") not in ("checkbox", "radio", "submit", "search"):
                self.fields[name] = value
            case "input" if name and "checked" in given:
                self.fields[name] = given.get("value") or "on"
            case "select":
                self._select = name
            case "option" if self._select and "selected" in given:
                self.fields[self._select] = value
            case "textarea":
                self._textarea = name
                self.fields[name] = ""

    def handle_endtag(self, tag: str) -> None:
        """HTMLParser's."""
        self._select = "" if tag == "select" else self._select
        self._textarea = "" if tag == "textarea" else self._textarea

    def handle_data(self, data: str) -> None:
        """HTMLParser's."""
        if self._textarea:
            self.fields[self._textarea] += data


class Doors:
    """The product, by each of its doors."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.api = requests.Session()
        self.api.headers["Authorization"] = f"Bearer {product.credentials['admin_token']}"
        self.admin = self.signed_in()

    def rest(self, method: str, path: str, **sent: Any) -> Any:
        answer = self.api.request(method, f"{self.product.control_url}/api/v1/{path}", timeout=20, **sent)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def use(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool of the MCP server did."""
        return asyncio.run(self._use(tool, arguments))

    async def _use(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": self.api.headers["Authorization"]}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(f"{self.product.control_url}/mcp", http_client=http)) as client,
        ):
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result.content
            found: dict[str, Any] = result.structured_content
            return found

    def signed_in(self) -> requests.Session:
        """Somebody's browser."""
        own, url, named = requests.Session(), self.product.control_url, self.product.credentials
        token = own.get(f"{url}/auth/login", timeout=20).json()["csrfToken"]
        person = {"username": named["admin_username"], "password": named["admin_password"]}
        answer = own.post(f"{url}/auth/login", json=person, headers={"X-CSRFToken": token}, timeout=20)
        assert answer.status_code == 200, answer.text
        return own

    def admin_save(self, endpoint: int, **fields: str) -> None:
        """The endpoint's page, as it was shown, with these fields."""
        url = f"{self.product.control_url}{PAGE.format(endpoint)}"
        shown = Form(self.admin.get(url, timeout=20).text).fields
        sent = {**shown, **fields, "csrfmiddlewaretoken": self.admin.cookies["csrftoken"]}
        answer = self.admin.post(url, sent, allow_redirects=False, timeout=20)
        assert answer.status_code == 302, answer.text

    def seen(self, endpoint: int) -> dict[str, int]:
        """The greatest body that the endpoint takes, as each door shows it."""
        row = self.rest("GET", "endpoints/doors/v1/orders")
        by_tool = self.use("read_row", kind="endpoints", row="doors/v1/orders")
        document = self.rest("GET", "catalog")
        [project] = [one for one in document["projects"] if one["slug"] == "doors"]
        [written] = project["lines"][0]["endpoints"]
        form = Form(self.admin.get(f"{self.product.control_url}{PAGE.format(endpoint)}", timeout=20).text)
        return {
            "api": row["maxBodyBytes"],
            "mcp": by_tool["maxBodyBytes"],
            "document": written["maxBodyBytes"],
            "admin": int(form.fields["max_body_bytes"]),
        }


def document_of(url: str, most: int) -> str:
    return (
        "version: 1\nprojects:\n  - slug: doors\n    name: Doors\n    lines:\n      - slug: v1\n        endpoints:\n"
        f"          - slug: orders\n            max_body_bytes: {most}\n"
        f"            targets: [{{name: sink, url: {url}/doors}}]\n"
    )


def test_what_is_changed_by_one_door_is_seen_by_all(product: Product, receiver: Receiver) -> None:
    doors = Doors(product)
    product.apply(document_of(receiver.url, 1001))
    key = doors.rest("POST", "relay-keys", json={"project": "doors", "name": "app", "scopes": ["relay"]})
    endpoint = doors.rest("GET", "endpoints/doors/v1/orders")["id"]

    def changed(most: int) -> None:
        """As every door shows it, and as the edge refuses a body of one byte more."""
        assert set(doors.seen(endpoint).values()) == {most}
        headers = {"Authorization": f"Bearer {key['token']}", "Content-Type": "application/json"}

        def holds() -> bool:
            url = f"{product.edge_url}/r/doors/v1/orders"
            bodies = [b'"%s"' % (b"x" * (size - 2)) for size in (most, most + 1)]
            given = [requests.post(url, body, headers=headers, timeout=20).status_code for body in bodies]
            return given == [202, 413]

        wait_for(holds, f"the edge to take {most} bytes", seconds=5)

    changed(1001)
    doors.rest("PATCH", "endpoints/doors/v1/orders", json={"maxBodyBytes": 1002})
    changed(1002)
    doors.use("change_row", kind="endpoints", row="doors/v1/orders", values={"maxBodyBytes": 1003})
    changed(1003)
    doors.admin_save(endpoint, max_body_bytes="1004")
    changed(1004)
    events = doors.rest("GET", f"audit?subject=catalog.endpoint&subjectId={endpoint}")["results"]
    assert [event["via"] for event in events] == ["admin", "mcp", "api", "command"]
    assert [event["after"]["max_body_bytes"] for event in events] == [1004, 1003, 1002, 1001]
