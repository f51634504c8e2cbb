"""The API's own document: who gets it, that it is valid and whole, and how it is made of the views. That it is true of
every answer is checked of all that the other tests get (`documented.py`)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.control_api.paging import Query
from relay_admin.control_api.reference import pages
from relay_admin.control_api.reference.handler_forms import Forms, UnknownFormError, forms_of
from relay_admin.control_api.reference.names import operation_name, words_of
from relay_admin.control_api.wire import Strict, read
from tests.admin import documented, rows

JSON = "application/json"
METHODS = ("get", "post", "put", "patch", "delete")


def test_it_is_valid_and_nothing_is_missing(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", file=str(tmp_path / "openapi.yaml"))


def test_it_is_openapi_3_1_with_both_ways_to_sign_in() -> None:
    found = documented.document()
    assert found["openapi"].startswith("3.1.")
    assert set(found["components"]["securitySchemes"]) == {"bearer", "session", "csrf", "relayKey"}
    assert found["paths"]["/api/v1/relay-keys"]["post"]["security"] == [{"bearer": []}, {"session": [], "csrf": []}]
    assert found["paths"]["/api/v1/relay-keys"]["get"]["security"] == [{"bearer": []}, {"session": []}]


def test_conditions_are_parameters_with_their_answers() -> None:
    paths = documented.document()["paths"]

    def conditions(path: str, method: str) -> dict[str, bool]:
        found = paths[path][method].get("parameters", [])
        return {one["name"]: one.get("required", False) for one in found if one["in"] == "header"}

    row = "/api/v1/hosts/{host_id}"
    assert conditions(row, "put") == {"If-Match": True}
    assert conditions(row, "patch") == conditions(row, "delete") == {"If-Match": False}
    assert conditions("/api/v1/host-keys/{host_key_id}/rotate", "post") == {"If-Match": False}
    assert conditions(row, "get") == {"If-None-Match": False}
    assert {"412", "428"} <= set(paths[row]["put"]["responses"])
    assert "304" in paths[row]["get"]["responses"]
    assert "ETag" in paths[row]["get"]["responses"]["200"]["headers"]
    assert all("429" in one["responses"] for one in paths["/api/v1/relay-keys"].values())


def test_those_who_are_known_get_it_made_once(token_of, client_of) -> None:
    for address in ("/api/v1/openapi.json", "/api/v1/openapi.yaml"):
        refused = Client().get(address)
        assert (refused.status_code, refused.json()["error"]) == (401, "missing_token")
    answer = Client().get("/api/v1/openapi.json", headers=token_of("viewers"))
    assert answer.headers["Content-Type"] == "application/vnd.oai.openapi+json"
    as_yaml = client_of("support").get("/api/v1/openapi.yaml").content
    assert answer.json() == json.loads(json.dumps(yaml.safe_load(as_yaml), default=str))
    assert pages.document() is pages.document()


def test_its_page_needs_no_other_site(client_of) -> None:
    assert Client().get("/api/v1/docs").headers["Location"] == "/account/sign-in?next=/api/v1/docs"
    answer = client_of("viewers").get("/api/v1/docs")
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
    page = answer.content.decode()
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(files) == 4
    assert all(finders.find(file.removeprefix("/static/")) for file in files)
    assert "<script>" not in page
    assert "csrftoken" in answer.cookies


def test_methods_that_are_not_in_it_are_refused(token_of) -> None:
    api, header = Client(), token_of("superuser")
    examples = {"project": "shop", "line": "v1", "endpoint": "orders", "kind": "entries", "word": "pause"}
    for path, operations in documented.document()["paths"].items():
        if path.startswith("/api/v1/relay-keys/self"):
            continue  # take no admin token, whatever the method
        words = {**dict.fromkeys(re.findall(r"{(\w+)}", path), "1"), **examples}
        for name in ("request_id", "call_id", "delivery_id"):
            words[name] = "01890000-0000-7000-8000-000000000000"
        for method in set(METHODS) - set(operations):
            answer = api.generic(method.upper(), path.format(**words), "{}", JSON, headers=header)
            assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed"), (method, path)
            assert answer.headers["Allow"]


def test_an_answer_that_it_does_not_foresee_fails() -> None:
    known = documented.validator("/auth/login", "get", "200", JSON)
    assert known.is_valid({"csrfToken": "x"})
    assert not known.is_valid({"csrfToken": "x", "more": 1})
    assert not known.is_valid({})
    refused = documented.validator("/auth/login", "post", "401", JSON)
    assert refused.is_valid({"error": "x", "message": "x", "action": "x"})
    assert not refused.is_valid({"detail": "x"})


class _Body(Strict):
    name = serializers.CharField()


def _by_another(form: type[Strict], call: Request) -> Any:
    return read(form, call.data)


class _View(APIView):
    form = _Body

    def get(self, call: Request) -> Response:
        return Response(read(Query, call.query_params))

    def post(self, call: Request) -> Response:
        return Response(_by_another(_Body, call))

    def patch(self, call: Request) -> Response:
        return Response(read(self.form, call.data, partial=True))

    def put(self, call: Request) -> Response:
        form = _Body if call.user else Query
        return Response(read(form, call.data))

    def delete(self, _call: Request) -> Response:
        return Response(status=204)


def test_forms_are_those_that_a_handler_reads() -> None:
    assert forms_of(_View.get, _View) == Forms(query=Query)
    assert forms_of(_View.post, _View) == Forms(body=_Body)
    assert forms_of(_View.patch, _View) == Forms(body=_Body, is_partial=True)
    assert forms_of(_View.delete, _View) == Forms()
    with pytest.raises(UnknownFormError, match=r"_View\.put reads form"):
        forms_of(_View.put, _View)


@pytest.mark.parametrize(
    ("method", "path", "name", "words"),
    [
        ("GET", "/api/v1/relay-keys", "listRelayKeys", "List relay keys"),
        ("GET", "/api/v1/relay-keys/{key_number}", "getRelayKey", "Get relay key"),
        ("POST", "/api/v1/relay-keys/{key_number}/rotate", "rotateRelayKey", "Rotate relay key"),
        ("POST", "/api/v1/wallets/{wallet_id}/grants", "createWalletGrant", "Create wallet grant"),
        ("PUT", "/api/v1/lines/{project}/{line}/draft", "replaceLineDraft", "Replace line draft"),
        ("GET", "/api/v1/wallets/{wallet_id}/entries", "listWalletEntries", "List wallet entries"),
        ("GET", "/api/v1/model-aliases/{modelalias_id}", "getModelAlias", "Get model alias"),
    ],
)  # fmt: skip
def test_operations_are_named_by_their_address(method: str, path: str, name: str, words: str) -> None:
    assert operation_name(method, path) == name
    assert words_of(name) == words


def test_a_filter_that_is_left_empty_is_refused(token_of, catalog: rows.Catalog) -> None:
    """It was meant to narrow the list, and everything would have been shown."""
    header = token_of("superuser")
    for query in ("project=", "limit=", "after="):
        answer = Client().get(f"/api/v1/relay-keys?{query}", headers=header)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [query[:-1]])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": 5}, "name"),
        ({"name": "n", "scopes": [True]}, "scopes"),
        ({"name": "n", "capturesPayloads": "yes"}, "capturesPayloads"),
        ({"name": "n", "rotatesDaysBefore": "3"}, "rotatesDaysBefore"),
        ({"name": "n", "expiresAt": 1.5}, "expiresAt"),
        ({"budget": {"microcredits": True, "period": "day"}}, "budget"),
    ],
)
def test_a_value_of_another_type_is_refused(body: Any, field: str, token_of, catalog: rows.Catalog) -> None:
    address = f"/api/v1/relay-keys/{catalog.relay_key.pk}"
    answer = Client().patch(address, body, JSON, headers=token_of("superuser"))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    catalog.relay_key.refresh_from_db()
    assert catalog.relay_key.name == "app"


def test_base64_that_is_none_is_the_callers_mistake(token_of, catalog: rows.Catalog) -> None:
    address = "/api/v1/endpoints/shop/v1/orders/dry-run"
    answer = Client().post(address, {"bodyBase64": "\u00cc"}, JSON, headers=token_of("superuser"))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["body"])


def test_an_address_with_a_line_break_is_answered_as_any_other(token_of) -> None:
    answer = Client().post("/api/v1/replays/1/a%0Ab", headers=token_of("superuser"))
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
