"""The pages of a line's configuration and of a dry run."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from relay_admin.catalog.lines import drafts
from relay_admin.catalog.models import LineDraft, Target
from tests.admin import rows


@pytest.fixture
def page(catalog: rows.Catalog) -> str:
    """Address of the line's configuration."""
    return f"/admin/catalog/line/{catalog.line.pk}/configuration/"


def document(catalog: rows.Catalog, **fields: Any) -> str:
    edited = drafts.document_now(catalog.line)
    edited["endpoints"][0]["targets"][0] |= fields
    return json.dumps(edited)


def test_from_draft_to_publication_and_back(catalog: rows.Catalog, page: str, client_of) -> None:
    client = client_of("operators")
    assert "There is no draft" in client.get(page).content.decode()
    saved = {"do": "save", "document": document(catalog, timeout_seconds=7), "draft_revision": 0, "base": 1}
    assert client.post(page, saved).status_code == 302
    shown = client.get(page).content.decode()
    assert "timeout_seconds" in shown
    assert rows.HEADER_VALUE not in shown
    assert "The draft was published or discarded" not in shown
    assert client.post(page, {"do": "publish", "draft_revision": 1, "note": "<b>faster</b>"}).status_code == 302
    assert Target.objects.get().timeout_seconds == 7
    assert "&lt;b&gt;faster&lt;/b&gt;" in client.get(page).content.decode()
    first = f"/admin/catalog/line/{catalog.line.pk}/revisions/1/"
    assert "Go back to revision 1" in client.get(first).content.decode()
    assert client.post(first, {"revision": 1}).status_code == 200  # somebody was faster
    assert Target.objects.get().timeout_seconds == 7
    assert client.post(first, {"revision": 2}).status_code == 302
    assert Target.objects.get().timeout_seconds == 30


def test_a_publication_is_planned_taken_back_and_discarded(catalog: rows.Catalog, page: str, client_of) -> None:
    client = client_of("operators")
    client.post(page, {"do": "save", "document": document(catalog, timeout_seconds=7), "draft_revision": 0, "base": 1})
    later = timezone.now() + timedelta(days=1)
    plan = {"do": "publish", "draft_revision": 1, "at_0": later.strftime("%Y-%m-%d"), "at_1": "12:00:00"}
    assert client.post(page, plan).status_code == 302
    assert LineDraft.objects.get().publish_at.date() == later.date()
    assert "It is to be published on" in client.get(page).content.decode()
    client.post(page, {"do": "unplan", "draft_revision": 1})
    assert LineDraft.objects.get().publish_at is None
    client.post(page, {"do": "discard", "draft_revision": 1})
    assert not LineDraft.objects.exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"document": "{"}, "valid JSON"),
        ({"document": "[1]"}, "Write an object"),
        ({"document": '{"endpoints": 1}'}, "is a list of entries"),
        ({"draft_revision": 4}, "not at 4"),
        ({"base": 9}, "not 9"),
    ],
)
def test_a_draft_that_cannot_be_saved_is_shown_again(
    catalog: rows.Catalog, page: str, client_of, fields: dict[str, Any], says: str
) -> None:
    given = {"do": "save", "document": document(catalog), "draft_revision": 0, "base": 1} | fields
    answer = client_of("operators").post(page, given)
    assert answer.status_code == 200
    assert says in answer.content.decode()
    assert not LineDraft.objects.exists()


def test_an_endpoint_is_tried(catalog: rows.Catalog, client_of) -> None:
    Target.objects.update(conditions={"path": "total", "gte": 500})
    client, page = client_of("operators"), f"/admin/catalog/endpoint/{catalog.endpoint.pk}/try/"
    assert client.get(page).status_code == 200
    sample = {"method": "POST", "headers": "x-shop: berlin", "body": '{"total": 120}'}
    shown = client.post(page, sample).content.decode()
    assert "It would be accepted" in shown
    assert "total is 120; wanted: gte 500" in shown
    sent = client.post(page, sample | {"body": '{"total": 900, "note": "<script>"}'}).content.decode()
    assert "x-shop" in sent
    assert "&lt;script&gt;" in sent
    assert rows.HEADER_VALUE not in sent
    assert "no draft" in client.post(page, sample | {"draft": "on"}).content.decode()
    assert client_of("viewers").get(page).status_code == 403


def test_who_sees_and_who_changes(catalog: rows.Catalog, page: str, client_of) -> None:
    for who in ("viewers", "support"):
        client = client_of(who)
        assert client.get(page).status_code == 403
        assert client.post(page, {"do": "publish"}).status_code == 403
    assert client_of("operators").post(page, {"do": "nonsense", "draft_revision": 1}).status_code == 403


@pytest.mark.parametrize(("who", "sees"), [("viewers", False), ("operators", True)])
def test_links_are_shown_to_who_may_follow_them(catalog: rows.Catalog, client_of, who: str, sees: bool) -> None:
    client = client_of(who)
    for row in (f"line/{catalog.line.pk}", f"endpoint/{catalog.endpoint.pk}"):
        shown = client.get(f"/admin/catalog/{row}/change/").content.decode()
        assert ("go back…" in shown or "What would become" in shown) is sees
