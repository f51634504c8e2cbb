"""The secret that an endpoint's callers sign with: set by page, API and document, told to nobody, replaced whole."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from relay_admin.catalog import plan, services
from relay_admin.catalog.document import DocumentError, read
from relay_admin.catalog.models import Endpoint, Line
from relay_contract import nouns
from relay_contract.sealing import SealingError
from tests.admin import rows

FIRST, SECOND, THIRD = "canary-first-secret", "canary-second-secret", "canary-third-secret"
STANDARD = "whsec_Y2FuYXJ5LXN0YW5kYXJkLXNlY3JldA=="


@pytest.fixture
def endpoint(catalog: rows.Catalog) -> Endpoint:
    """One whose callers sign as GitHub does."""
    row = catalog.endpoint
    row.auth, row.signature_preset = nouns.EndpointAuth.SIGNATURE, nouns.SignaturePreset.GITHUB
    row.full_clean()
    row.save()
    return row


def stored(endpoint: Endpoint) -> tuple[str, str]:
    """The current secret and the one before, as an edge opens them; "" for none."""
    row = Endpoint.objects.get(pk=endpoint.pk)
    sealed = (
        (row.sealed_signature_secret, nouns.endpoint_signature_binding(row.pk)),
        (row.sealed_previous_signature_secret, nouns.endpoint_previous_signature_binding(row.pk)),
    )
    current, previous = (services.sealer().unseal(one, binding) if one else "" for one, binding in sealed)
    assert bool(row.previous_signature_until) == bool(previous)
    return current, previous


def test_set_and_rotated(endpoint: Endpoint) -> None:
    assert stored(endpoint) == ("", "")
    services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=FIRST)
    assert stored(endpoint) == (FIRST, "")
    before = timezone.now()
    services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=f" {SECOND}\n", overlap_seconds=60)
    assert stored(endpoint) == (SECOND, FIRST)
    until = Endpoint.objects.get().previous_signature_until
    assert before + timedelta(seconds=60) <= until <= timezone.now() + timedelta(seconds=60)
    services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=SECOND)  # once more: the overlap goes on
    assert stored(endpoint) == (SECOND, FIRST)
    assert Endpoint.objects.get().previous_signature_until == until
    services.endpoint_signature_overlap_end(endpoint=endpoint)
    assert stored(endpoint) == (SECOND, "")
    services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=THIRD)
    services.endpoint_signature_secret_set(endpoint=endpoint, secret=FIRST)
    assert stored(endpoint) == (FIRST, "")


def test_a_stale_row_does_not_bring_an_old_secret_back(endpoint: Endpoint) -> None:
    services.endpoint_signature_secret_set(endpoint=endpoint, secret=FIRST)
    stale = Endpoint.objects.get()
    services.endpoint_signature_secret_set(endpoint=endpoint, secret=SECOND)
    services.endpoint_signature_secret_rotate(endpoint=stale, secret=THIRD)
    assert stored(endpoint) == (THIRD, SECOND)


def test_one_that_does_not_open_is_replaced_without_an_overlap(endpoint: Endpoint) -> None:
    Endpoint.objects.update(sealed_signature_secret=b"not sealed")
    assert not services.endpoint_can_check_signatures(endpoint=Endpoint.objects.get())
    services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=FIRST)
    assert stored(endpoint) == (FIRST, "")
    sealed = bytes(Endpoint.objects.get().sealed_signature_secret)
    with pytest.raises(SealingError):  # in another row, or as the one before, it is of no use
        services.sealer().unseal(sealed, nouns.endpoint_previous_signature_binding(endpoint.pk))


@pytest.mark.parametrize("secret", ["", "   ", "line\nbreak", "caf\u00e9", "x" * 4097, "nul\0"])
def test_secrets_that_no_provider_has(endpoint: Endpoint, secret: str) -> None:
    for write in (services.endpoint_signature_secret_set, services.endpoint_signature_secret_rotate):
        with pytest.raises(ValidationError) as refused:
            write(endpoint=endpoint, secret=secret)
        assert "printable ASCII" in str(refused.value)
    assert stored(endpoint) == ("", "")


def test_the_preset_says_what_a_secret_looks_like(endpoint: Endpoint) -> None:
    endpoint.signature_preset = "standard_webhooks"
    with pytest.raises(ValidationError, match="neither `whsec_` and base64") as refused:
        services.endpoint_signature_secret_set(endpoint=endpoint, secret=FIRST)
    assert FIRST not in str(refused.value)
    services.endpoint_signature_secret_set(endpoint=endpoint, secret=STANDARD)
    assert services.endpoint_can_check_signatures(endpoint=endpoint)
    endpoint.signature_preset = ""
    with pytest.raises(ValidationError, match="Choose the signature preset first"):
        services.endpoint_signature_secret_set(endpoint=endpoint, secret=FIRST)
    for seconds in (0, -1, services.MAX_OVERLAP_SECONDS + 1):
        with pytest.raises(ValidationError, match="overlap for 1 to 604800 seconds"):
            services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=FIRST, overlap_seconds=seconds)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_sets_it_and_shows_it_to_nobody(client_of, endpoint: Endpoint) -> None:
    client: Client = client_of("operators")
    url = f"/admin/catalog/endpoint/{endpoint.pk}/signature-secret/"
    change = f"/admin/catalog/endpoint/{endpoint.pk}/change/"
    assert "None is set: signed calls are refused." in client.get(change).content.decode()
    for secret, seconds, said in ((FIRST, 86_400, "Set."), (SECOND, 3_600, "Set; the one before counts until")):
        answer = client.post(url, {"secret": secret, "overlap_seconds": seconds})
        assert (answer.status_code, answer["Location"]) == (302, change)
        seen = client.get(change).content.decode() + client.get(url).content.decode()
        assert said in seen
        assert FIRST not in seen
        assert SECOND not in seen
    assert stored(endpoint) == (SECOND, FIRST)
    assert client.post(url, {"do": "end"}).status_code == 302
    assert stored(endpoint) == (SECOND, "")
    client.post(url, {"secret": THIRD, "overlap_seconds": 0})
    assert stored(endpoint) == (THIRD, "")
    said = list(LogEntry.objects.order_by("id").values_list("change_message", flat=True))
    set_, ended = "Set the signature secret.", "Ended the overlap of signature secrets."
    assert said == [set_, set_, ended, set_]


def test_the_page_says_what_is_wrong_without_repeating_it(client_of, endpoint: Endpoint) -> None:
    Endpoint.objects.update(signature_preset="standard_webhooks")
    client: Client = client_of("operators")
    url = f"/admin/catalog/endpoint/{endpoint.pk}/signature-secret/"
    for data in ({"secret": FIRST, "overlap_seconds": 0}, {"secret": FIRST, "overlap_seconds": 7}, {"secret": FIRST}):
        answer = client.post(url, data)
        assert answer.status_code == 200
        assert FIRST not in answer.content.decode()
    assert stored(endpoint) == ("", "")


@pytest.mark.parametrize("who", ["anonymous", "viewers", "support"])
def test_who_may_not_set_it(who: str, client_of, endpoint: Endpoint) -> None:
    url = f"/admin/catalog/endpoint/{endpoint.pk}/signature-secret/"
    answer = client_of(who).post(url, {"secret": FIRST, "overlap_seconds": 0})
    assert answer.status_code == (302 if who == "anonymous" else 403)
    assert stored(endpoint) == ("", "")


def endpoint_form(endpoint: Endpoint, **changes: Any) -> dict[str, Any]:
    """The page of an endpoint as a browser sends it."""
    return {
        "line": endpoint.line_id,
        "slug": endpoint.slug,
        "is_enabled": "on",
        "max_body_bytes": 1000,
        "methods": "POST\nPUT",
        "content_types": "application/json",
        "auth": "relay_key",
        "allowed_networks": "192.0.2.0/24\n2001:db8::/32",
        "signature_preset": "",
        "signature_config": "",
        "json_schema": "",
        "event_type_from": "body:type",
        "idempotency_seconds": 0,
        "keeps_body": "retention",
        "targets-TOTAL_FORMS": 0,
        "targets-INITIAL_FORMS": 0,
    } | changes


def test_the_form_of_a_shield(client_of, endpoint: Endpoint) -> None:
    client: Client = client_of("operators")
    url = f"/admin/catalog/endpoint/{endpoint.pk}/change/"
    schema = {"type": "object", "required": ["type"]}
    answer = client.post(url, endpoint_form(endpoint, json_schema=json.dumps(schema)))
    assert answer.status_code == 302, answer.content.decode()
    row = Endpoint.objects.get()
    assert (row.methods, row.content_types, row.signature_config) == (["POST", "PUT"], ["application/json"], {})
    assert (row.allowed_networks, row.json_schema) == (["192.0.2.0/24", "2001:db8::/32"], schema)
    assert "POST</textarea>" in client.get("/admin/catalog/endpoint/add/").content.decode()
    shown = client.get(url).content.decode()
    assert "&quot;type&quot;: &quot;object&quot;" in shown
    assert client.post(url, endpoint_form(endpoint)).status_code == 302
    assert Endpoint.objects.get().json_schema is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"json_schema": '{"type": "what"}'}, "The schema is not valid at /type"),
        ({"json_schema": '{"pattern": "(?=a)"}'}, "looks around or back"),
        ({"json_schema": '{"$ref": "https://example.com/s"}'}, "leads out of the schema"),
        ({"json_schema": "{"}, "Enter a valid JSON."),
        ({"json_schema": "[" * 100 + "]" * 100}, "A JSON Schema is an object."),
        ({"json_schema": json.dumps({"enum": ["x" * 66_000]})}, "larger than 65536 bytes"),
        ({"auth": "signature"}, "Choose whose signature the callers carry."),
        ({"signature_config": '{"header": "x"}'}, "choose one"),
        ({"signature_preset": "hmac"}, "header is the name of a header"),
        ({"signature_preset": "hmac", "signature_config": '{"header": "x", "template": "x"}'}, "holds {body} once"),
        ({"signature_preset": "twilio"}, "public_url is that URL"),
        ({"signature_preset": "github", "signature_config": '{"header": "x"}'}, "is no setting of github"),
        ({"signature_config": "[]"}, "Write an object."),
        ({"allowed_networks": "192.0.2.7/24"}, "has host bits set"),
        ({"allowed_networks": "::ffff:192.0.2.0/120"}, "is IPv4: write 192.0.2.0/24."),
        ({"event_type_from": "body:a..b"}, "Write header:x-name"),
        ({"methods": "GET\nTRACE"}, "a method is one of"),
    ],
)
def test_what_no_edge_could_check_is_refused_when_it_is_saved(
    client_of, endpoint: Endpoint, changes: dict[str, Any], said: str
) -> None:
    answer = client_of("operators").post(
        f"/admin/catalog/endpoint/{endpoint.pk}/change/", endpoint_form(endpoint, **changes)
    )
    assert answer.status_code == 200
    shown = answer.content.decode().replace("&#x27;", "'").replace("&quot;", '"')
    assert said in shown
    row = Endpoint.objects.get()
    assert (row.methods, row.json_schema, row.allowed_networks) == (["POST"], None, [])


# --- the control API --------------------------------------------------------------------------------------------------


def test_the_api_sets_it(client_of, endpoint: Endpoint) -> None:
    client: Client = client_of("operators")
    url = f"/api/v1/endpoints/{endpoint}/signature-secret"

    def put(**body: Any) -> Any:
        return client.put(url, json.dumps(body), content_type="application/json")

    assert client.get(url).json() == {"preset": "github", "isUsable": False, "previousUntil": None}
    assert put(secret=FIRST).json() == {"preset": "github", "isUsable": True, "previousUntil": None}
    answer = put(secret=SECOND, overlapSeconds=60)
    until = Endpoint.objects.get().previous_signature_until
    assert datetime.fromisoformat(answer.json()["previousUntil"]) == until
    assert FIRST not in answer.content.decode()
    assert stored(endpoint) == (SECOND, FIRST)
    assert client.delete(url).json()["previousUntil"] is None
    assert stored(endpoint) == (SECOND, "")
    put(secret=FIRST)
    put(secret=THIRD, overlapSeconds=0)
    assert stored(endpoint) == (THIRD, "")
    for body in ({}, {"secret": ""}, {"secret": "caf\u00e9"}, {"secret": FIRST, "overlapSeconds": 604_801}):
        assert put(**body).status_code == 400
    assert stored(endpoint) == (THIRD, "")
    assert client.get(f"/api/v1/endpoints/{endpoint}2/signature-secret").status_code == 404


@pytest.mark.parametrize(("who", "status"), [("anonymous", 401), ("viewers", 403), ("support", 403)])
def test_who_may_not_ask_the_api(who: str, status: int, client_of, endpoint: Endpoint) -> None:
    client, url = client_of(who), f"/api/v1/endpoints/{endpoint}/signature-secret"
    answers = (
        client.get(url),
        client.put(url, json.dumps({"secret": FIRST}), content_type="application/json"),
        client.delete(url),
    )
    assert {answer.status_code for answer in answers} == {status}
    assert stored(endpoint) == ("", "")


# --- documents --------------------------------------------------------------------------------------------------------

DOCUMENT = """
version: 1
projects:
  - slug: shop
    name: Shop
    lines:
      - slug: v1
        endpoints:
          - slug: github
            auth: signature
            signature_preset: github
            signature_secret_env: GITHUB_SECRET
            json_schema: {type: object, properties: {a_b: {type: integer}}}
"""


def apply(text: str, **environment: str) -> str:
    """What the plan says; it was carried out."""
    document = read(text)
    planned = plan.make(document, environment)
    plan.apply(read(text), environment, planned)
    return str(planned)


def test_a_document_names_the_variable(catalog: rows.Catalog) -> None:
    Line.objects.filter(pk=catalog.line.pk).update(slug="v1")
    assert "+ endpoint shop/v1/github" in apply(DOCUMENT, GITHUB_SECRET=FIRST)
    endpoint = Endpoint.objects.get(slug="github")
    assert stored(endpoint) == (FIRST, "")
    assert apply(DOCUMENT, GITHUB_SECRET=FIRST) == "No changes: the catalog is as the document says."
    said = apply(DOCUMENT, GITHUB_SECRET=SECOND)
    assert "signature secret: (secret) -> (secret)" in said
    assert SECOND not in said
    assert stored(endpoint) == (SECOND, FIRST)
    without = DOCUMENT.replace("            signature_secret_env: GITHUB_SECRET\n", "")
    assert apply(without) == "No changes: the catalog is as the document says."
    assert stored(endpoint) == (SECOND, FIRST)


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        (DOCUMENT, {}, "GITHUB_SECRET is not set"),
        (DOCUMENT.replace("            signature_secret_env: GITHUB_SECRET\n", ""), {}, "need their secret"),
        (DOCUMENT, {"GITHUB_SECRET": "caf\u00e9"}, "printable ASCII"),
        (DOCUMENT.replace("preset: github", "preset: standard_webhooks"), {"GITHUB_SECRET": FIRST}, "`whsec_`"),
        (DOCUMENT.replace("type: object", "type: what"), {"GITHUB_SECRET": FIRST}, "The schema is not valid"),
        (DOCUMENT.replace("auth: signature\n", "auth: maybe\n"), {"GITHUB_SECRET": FIRST}, "auth: "),
    ],
)
def test_documents_that_no_edge_could_check(
    catalog: rows.Catalog, text: str, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(DocumentError) as refused:
        apply(text, **environment)
    assert said in str(refused.value)
    assert FIRST not in str(refused.value)
    assert Endpoint.objects.count() == 1


def test_names_inside_a_schema_are_the_operators(client_of, catalog: rows.Catalog) -> None:
    apply(DOCUMENT, GITHUB_SECRET=FIRST)
    document = client_of("superuser").get("/api/v1/catalog").json()
    lines = next(one for one in document["projects"] if one["slug"] == "shop")["lines"]
    [schema] = [one["jsonSchema"] for line in lines for one in line["endpoints"] if one["slug"] == "github"]
    assert schema == {"type": "object", "properties": {"a_b": {"type": "integer"}}}
    assert FIRST not in json.dumps(document)


def test_an_endpoint_is_not_enabled_without_its_secret(client_of, endpoint: Endpoint) -> None:
    """By page and document; disabled it may wait for one."""
    client: Client = client_of("operators")
    url = f"/admin/catalog/endpoint/{endpoint.pk}/change/"
    Endpoint.objects.update(auth="relay_key")
    signed = endpoint_form(endpoint, auth="signature", signature_preset="github")
    refused = client.post(url, signed)
    assert (refused.status_code, "need their secret" in refused.content.decode().replace("&#x27;", "'")) == (200, True)
    assert Endpoint.objects.get().auth == "relay_key"
    disabled = {name: value for name, value in signed.items() if name != "is_enabled"}
    assert client.post(url, disabled).status_code == 302
    assert client.post(url, signed).status_code == 200
    services.endpoint_signature_secret_set(endpoint=Endpoint.objects.get(), secret=FIRST)
    assert client.post(url, signed).status_code == 302
    assert Endpoint.objects.get().is_enabled
    added = client.post("/admin/catalog/endpoint/add/", {**signed, "slug": "other"})
    assert (added.status_code, Endpoint.objects.count()) == (200, 1)


def test_a_document_waits_for_the_secret_too(catalog: rows.Catalog) -> None:
    Line.objects.filter(pk=catalog.line.pk).update(slug="v1")
    text = DOCUMENT.replace("            signature_secret_env: GITHUB_SECRET\n", "            is_enabled: false\n")
    apply(text)
    row = Endpoint.objects.get(slug="github")
    assert (row.is_enabled, stored(row)) == (False, ("", ""))
    with pytest.raises(DocumentError, match="need their secret"):
        apply(text.replace("is_enabled: false", "is_enabled: true"))
    services.endpoint_signature_secret_set(endpoint=row, secret=FIRST)
    apply(text.replace("is_enabled: false", "is_enabled: true"))
    assert Endpoint.objects.get(slug="github").is_enabled
    Endpoint.objects.update(sealed_signature_secret=b"")  # as an older version left it: other changes go through
    apply(text.replace("is_enabled: false", "is_enabled: true").replace("name: Shop", "name: Store"))
