"""Fields for lists and objects, previews: what is typed is what is stored, and there and back."""

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from relay_admin.catalog.fields import HeadersField, LinesField
from relay_admin.catalog.models import Endpoint, Policy, RateLimit, Target
from relay_admin.deliveries.preview import PREVIEW_BYTES, preview
from tests.admin import rows
from tests.admin.typed import new_target, offered


def test_lines_become_a_list() -> None:
    field = LinesField(forms.CharField(max_length=5))
    assert field.clean(" a \r\n\r\n*\n") == ["a", "*"]
    assert field.clean("") == []
    assert field.prepare_value(["a", "*"]) == "a\n*"
    with pytest.raises(ValidationError):
        field.clean("too long")
    with pytest.raises(ValidationError):
        LinesField(forms.IntegerField()).clean("5\nx")


def test_header_lines_become_an_object() -> None:
    field = HeadersField()
    assert field.clean("x-a: b\nAuthorization:  Bearer a:b \n\n") == {"x-a": "b", "Authorization": "Bearer a:b"}
    assert field.clean("") == {}
    with pytest.raises(ValidationError, match="Line 2: write a header as"):
        field.clean("a: b\nc")
    with pytest.raises(ValidationError, match="Line 2: a is here twice"):
        field.clean("a: b\na: c")


names = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(st.dictionaries(names, values, max_size=5))
def test_headers_go_there_and_back(headers: dict[str, str]) -> None:
    field = HeadersField()
    assert field.clean(field.prepare_value(headers)) == headers
    assert not field.has_changed(headers, field.prepare_value(headers))


def test_rules_are_written_in_rows(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = f"/admin/catalog/ratelimit/{catalog.rate_limit.pk}/change/"
    form = {
        "slug": "calls",
        "description": "",
        "rules-0-meter": "concurrency",
        "rules-0-amount": "5",
        "rules-0-window_seconds": "30",
        "rules-1-meter": "requests",
        "rules-1-amount": "",
        "rules-1-window_seconds": "",
        "rules-2-meter": "requests",
        "rules-2-amount": "7",
        "rules-2-window_seconds": "1",
    }
    assert client.post(url, form).status_code == 302
    stored = [
        {"meter": "concurrency", "amount": 5, "window_seconds": 30},
        {"meter": "requests", "amount": 7, "window_seconds": 1},
    ]
    assert RateLimit.objects.get().rules == stored
    page = client.get(url).content.decode()
    assert 'name="rules-1-amount" value="7"' in page
    for broken in (
        {"rules-0-amount": "many"},
        {"rules-0-amount": "0"},
        {"rules-0-meter": "moons"},
        {"rules-2-amount": ""},
    ):
        answer = client.post(url, {**form, **broken})
        assert answer.status_code == 200
        assert "error" in answer.content.decode()
        assert RateLimit.objects.get().rules == stored


def test_a_policy_is_written_in_lines(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = f"/admin/catalog/policy/{catalog.policy.pk}/change/"
    form = {"slug": "all", "models": "gpt-*\n-gpt-secret", "selection": "priority", "hold_seconds": "0",
            "unpriced": "allow"}  # fmt: skip
    assert client.post(url, form).status_code == 302
    assert Policy.objects.get().models == ["gpt-*", "-gpt-secret"]
    refused = client.post(url, {**form, "models": "a*b"})
    assert "write a model name" in refused.content.decode()
    assert Policy.objects.get().models == ["gpt-*", "-gpt-secret"]


def target_forms(*targets: dict[str, object]) -> dict[str, object]:
    form: dict[str, object] = {"targets-TOTAL_FORMS": len(targets), "targets-INITIAL_FORMS": 0,
                               "targets-MIN_NUM_FORMS": 0, "targets-MAX_NUM_FORMS": 1000}  # fmt: skip
    for index, target in enumerate(targets):
        form |= {f"targets-{index}-{name}": value for name, value in target.items()}
    return form


def test_targets_are_added_inside_their_endpoint(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    endpoint = offered(client, "/admin/catalog/endpoint/add/") | {
        "line": catalog.line.pk, "slug": "returns", "keeps_body": "until_delivered",
        "redactions": "card.number\nheader:x-a",
    }  # fmt: skip
    target = new_target(client) | {
        "name": "a", "url": "http://127.0.0.1:9/", "headers": "x-a: b", "retry_schedule_seconds": "1\n2",
    }  # fmt: skip
    private = {**endpoint, **target_forms({**target, "url": "http://10.0.0.1/"})}
    refused = client.post("/admin/catalog/endpoint/add/", private)
    assert refused.status_code == 200
    assert Endpoint.objects.count() == 1

    assert client.post("/admin/catalog/endpoint/add/", {**endpoint, **target_forms(target)}).status_code == 302
    added = Target.objects.get(name="a")
    assert added.endpoint.redactions == ["card.number", "header:x-a"]
    assert (str(added), added.headers, added.retry_schedule_seconds) == ("shop/v1/returns:a", {"x-a": "b"}, [1, 2])
    assert len(bytes(added.secrets.get().sealed_value)) > 40


def test_every_add_page_refuses_an_empty_form(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("superuser")
    pages = (
        *("catalog/ratelimit", "catalog/policy", "catalog/project", "catalog/line", "catalog/endpoint"),
        *("catalog/target", "catalog/host", "catalog/hostkey", "catalog/model", "catalog/hostbinding"),
        "catalog/pricing",
        *("access/relaykey", "access/admintoken", "access/user", "auth/group"),
    )
    got = {page: client.post(f"/admin/{page}/add/", target_forms()) for page in pages}
    assert {page: answer.status_code for page, answer in got.items()} == dict.fromkeys(pages, 200)
    assert [page for page, answer in got.items() if "This field is required" not in answer.content.decode()] == []


@given(st.binary(max_size=200))
def test_a_preview_is_text_or_hex(body: bytes) -> None:
    shown = preview(body)
    if shown.kind == "text":
        assert body[: shown.shown_bytes].decode() == shown.text
        assert len(body) - shown.shown_bytes <= 3
    else:
        assert b"".join(bytes.fromhex(line[10:57]) for line in shown.text.splitlines()) == body


def test_a_long_body_is_cut_between_characters() -> None:
    shown = preview("é".encode() * PREVIEW_BYTES)
    assert (shown.kind, shown.shown_bytes) == ("text", PREVIEW_BYTES)
    shown = preview(b"a" + "é".encode() * PREVIEW_BYTES)
    assert (shown.kind, shown.shown_bytes) == ("text", PREVIEW_BYTES - 1)
    assert preview(b"\x00" * 100_000).shown_bytes == 2048
