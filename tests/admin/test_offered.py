"""What an operator may set is what works: forms, catalog documents and their description offer the same columns."""

from importlib import import_module
from typing import Any

import pytest
import yaml
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.test import RequestFactory

from relay_admin.catalog import services
from relay_admin.catalog.document import _Reader
from relay_admin.catalog.fields import PemField, SecretField
from relay_admin.catalog.models import Endpoint, Line, Project, Target
from relay_admin.catalog.offered import NOT_OFFERED
from relay_admin.catalog.sections import SECTIONS, Kind, is_same, kind
from relay_contract import nouns
from tests.admin import rows

SECTION_OF = {Project: "projects", Line: "lines", Endpoint: "endpoints", Target: "targets"}
MODELS = [pytest.param(model, id=model.__name__) for model in SECTION_OF]


def settable(model: type[models.Model]) -> set[str]:
    """Columns that people may write; what a row belongs to is where it stands in a document."""
    parent = SECTIONS[SECTION_OF[model]].parent_column
    own = {one.name for one in model._meta.fields if one.editable and not one.primary_key} - {parent}
    return own - NOT_OFFERED.get(model, frozenset())


@pytest.mark.parametrize("model", MODELS)
def test_documents_offer_what_works(model: type[models.Model]) -> None:
    assert set(SECTIONS[SECTION_OF[model]].fields) == settable(model)


@pytest.mark.parametrize("model", MODELS)
def test_forms_offer_what_works(model: type[models.Model], db: None) -> None:
    request = RequestFactory().get("/")
    request.user = rows.user("root", is_superuser=True)
    page = admin.site._registry[model]
    row = model()
    write_only = (SecretField, PemField)  # of no column
    fields = page.get_form(request, row).base_fields
    offered = {name for name, field in fields.items() if not isinstance(field, write_only)}
    assert offered - {SECTIONS[SECTION_OF[model]].parent_column} == settable(model)


def test_what_is_not_offered_is_a_column() -> None:
    for model, names in NOT_OFFERED.items():
        assert names <= {one.name for one in model._meta.fields}


def test_every_settable_column_has_a_form_in_documents() -> None:
    """Also those that are not offered yet: a room that offers one needs nothing but the tuple."""
    for model, names in NOT_OFFERED.items():
        assert {kind(SECTIONS[SECTION_OF[model]], name) for name in names}


def test_a_change_of_a_target_or_its_secrets_is_another_version(catalog: rows.Catalog) -> None:
    def version() -> int:
        return Target.objects.get().version

    first = version()
    Target.objects.update(name="billing")
    assert version() == first + 1
    catalog.target.save()  # a stale version is not written back
    assert version() == first + 2
    secret = services.target_secret_insert(target=catalog.target, kind=nouns.SecretKind.V1, value=rows.SIGNING_SECRET)
    assert version() == first + 4  # the row, then its sealed value
    secret.delete()
    assert version() == first + 5


def test_one_enabled_target_of_an_endpoint_answers_its_callers(catalog: rows.Catalog) -> None:
    def answering(name: str, **columns: Any) -> Target:
        return services.target_create(
            endpoint=catalog.endpoint, name=name, url="http://127.0.0.1:9/", delivery_mode="sync", **columns
        )

    answering("first")
    answering("off", is_enabled=False)
    with pytest.raises(ValidationError, match="answers its callers already"):
        answering("second")
    with pytest.raises(IntegrityError), transaction.atomic():
        Target.objects.filter(name="off").update(is_enabled=True)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"role": "shadow", "delivery_mode": "stream"}, "delivery_mode"),
        ({"delivery_mode": "stream", "mapping": {"body": {"whole": True}}}, "mapping"),
        ({"answer_mapping": {"body": {"whole": True}}}, "answer_mapping"),
        ({"mapping": {"whole": True}}, "mapping"),
        ({"conditions": {"path": "a..b", "is": 1}}, "conditions"),
        ({"conditions": {"path": "a", "is": 1}, "delivery_mode": "sync"}, "conditions"),
        ({"conditions": {"path": "a", "is": 1}, "delivery_mode": "stream"}, "conditions"),
        ({"auth_kind": "bearer", "headers": {"Authorization": "x"}}, "headers"),
        ({"delivery_mode": "stream", "rate_amount": 5}, "rate_amount"),
        ({"delivery_mode": "stream", "max_in_flight": 5}, "max_in_flight"),
        ({"client_certificate": "PEM"}, "client_certificate"),
        ({"compares_with": "billing"}, "compares_with"),
        ({"sample_permyriad": 500}, "sample_permyriad"),
        ({"role": "shadow", "compares_with": "nobody"}, "compares_with"),
        ({"role": "shadow", "ordering_key": "header:x-order"}, "ordering_key"),
        ({"auth_kind": "basic"}, "auth_config"),
        ({"auth_kind": "oauth2", "auth_config": {"client_id": "a"}}, "auth_config"),
        ({"auth_config": {"password": "a"}}, "auth_config"),
        ({"ordering_key": "order.id"}, "ordering_key"),
        ({"retry_on": ["sometimes"]}, "retry_on"),
        ({"conditions": ["event"]}, "conditions"),
    ],
)
def test_fields_of_a_target_that_do_not_go_together(catalog: rows.Catalog, columns: Any, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        services.target_create(endpoint=catalog.endpoint, name="other", url="http://127.0.0.1:9/", **columns)
    assert set(refused.value.message_dict) == {field}
    assert Target.objects.count() == 1


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"auth": "signature"}, "signature_preset"),
        ({"signature_preset": "hmac"}, "signature_config"),
        ({"signature_preset": "twilio"}, "signature_config"),
        ({"signature_preset": "moon"}, "signature_preset"),
        ({"signature_config": {"algorithm": "md5"}}, "signature_config"),
        ({"methods": []}, "methods"),
        ({"methods": ["TRACE"]}, "methods"),
        ({"content_types": ["json"]}, "content_types"),
        ({"allowed_networks": ["192.0.2.1/24"]}, "allowed_networks"),
        ({"json_schema": "x"}, "json_schema"),
        ({"json_schema": {"description": "x" * 65_536}}, "json_schema"),
        ({"idempotency_seconds": 5}, "idempotency_seconds"),
        ({"redactions": ["a..b"]}, "redactions"),
    ],
)
def test_fields_of_an_endpoint_that_cannot_be(catalog: rows.Catalog, columns: Any, field: str) -> None:
    endpoint = Endpoint(line=catalog.line, slug="other", **columns)
    with pytest.raises(ValidationError) as refused:
        endpoint.full_clean()
    assert set(refused.value.message_dict) == {field}


def test_a_secret_moves_to_its_row_and_one_that_does_not_open_stays_as_it_is() -> None:
    move = import_module("relay_admin.catalog.migrations.0006_relay_plane").resealed
    sealed = services.sealer().seal(rows.SIGNING_SECRET, "target:7")
    moved = move(sealed, 7, 9)
    assert services.sealer().unseal(moved, nouns.target_secret_binding(9)) == rows.SIGNING_SECRET
    assert move(sealed, 8, 9) == sealed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{all: [{path: a.b, is: 1}, {header: x, exists: true}, {path: c, is: null}]}",
         {"all": [{"path": "a.b", "is": 1}, {"header": "x", "exists": True}, {"path": "c", "is": None}]}),
        ("{gt: 0.25}", {"gt": 0.25}),
        ("{gt: 2.0}", {"gt": 2}),
        ("{is: '2026-01-01'}", {"is": "2026-01-01"}),
    ],
)  # fmt: skip
def test_json_is_read_as_yaml_says_it(text: str, value: Any) -> None:
    reader = _Reader()
    node = yaml.compose(text)
    assert node is not None
    read = reader.value(Kind.JSON, node)
    assert reader.problems == []
    assert is_same(Kind.JSON, read, value)


@pytest.mark.parametrize("text", ["{is: .inf}", "{is: .nan}", "{is: 0x10}", "{is: 2026-01-01}", "{a: 1, a: 2}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    reader = _Reader()
    node = yaml.compose(text)
    assert node is not None
    reader.value(Kind.JSON, node)
    assert len(reader.problems) == 1


def test_in_json_true_is_not_one() -> None:
    assert not is_same(Kind.JSON, {"const": True}, {"const": 1})
    assert is_same(Kind.JSON, {"a": 1, "b": 2}, {"b": 2, "a": 1})
