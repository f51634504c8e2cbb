"""Drafts, publication, revisions and rollback of a line."""

import copy
import json
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_admin.catalog import document as catalog_document
from relay_admin.catalog import export, plan
from relay_admin.catalog.lines import documents, drafts, revisions
from relay_admin.catalog.lines.documents import KEPT, LineRefused
from relay_admin.catalog.lines.drafts import LineConflict
from relay_admin.catalog.models import Line, LineDraft, LineRevision, RateLimit, Target
from tests.admin import rows

JSON = "application/json"
ADDRESS = "/api/v1/lines/shop/v1"
SECOND = {"name": "second", "url": "http://127.0.0.1:9/second"}


def edited(line: Line, **fields: Any) -> dict[str, Any]:
    """What runs, with other fields of its only target."""
    document = copy.deepcopy(drafts.document_now(line))
    document["endpoints"][0]["targets"][0] |= fields
    return document


def put(line: Line, document: dict[str, Any], number: int = 0, **more: Any) -> LineDraft:
    return drafts.draft_put(line=line, document=document, draft_revision=number, by=None, **more)


def publish(line: Line, document: dict[str, Any]) -> LineRevision:
    draft = put(line, document)
    return drafts.draft_publish(line=line, draft_revision=draft.draft_revision, by=None)


def test_a_draft_is_published_as_a_revision_and_rolled_back(catalog: rows.Catalog) -> None:
    line, secret = catalog.line, catalog.target.secrets.get().pk
    before = drafts.document_now(line)
    document = edited(line, timeout_seconds=7)
    document["endpoints"][0]["targets"].append(SECOND)
    draft = put(line, document)
    assert drafts.document_now(line) == before
    changes = {(one.action, one.name): one for one in drafts.draft_diff(draft).changes}
    assert changes["change", "v1/orders/billing"].fields == (("timeout_seconds", "30", "7"),)
    assert changes["create", "v1/orders/second"].note == drafts.NEW_SECRET
    assert len(changes) == 2
    published = drafts.draft_publish(line=line, draft_revision=1, by=None, note="faster")
    assert (published.number, published.note, published.source) == (2, "faster", "publish")
    assert Line.objects.get().revision == 2
    assert not LineDraft.objects.exists()
    assert Target.objects.get(name="billing").secrets.get().pk == secret
    assert published.document == drafts.document_now(line)
    back = drafts.rollback(line=line, number=1, revision=2, by=None)
    assert (back.number, back.source, back.note) == (3, "rollback", "Back to revision 1.")
    assert back.document == before == drafts.document_now(line)
    assert list(line.revisions.order_by("number").values_list("number", flat=True)) == [1, 2, 3]


def test_a_document_holds_no_credential_and_keeps_it(catalog: rows.Catalog) -> None:
    catalog.target.headers = {"x-secret": rows.HEADER_VALUE, "x-tenant": "blue"}
    catalog.target.save()
    document = edited(catalog.line, timeout_seconds=7)
    assert document["endpoints"][0]["targets"][0]["headers"] == {"x-secret": KEPT, "x-tenant": "blue"}
    document["endpoints"][0]["targets"][0]["headers"]["x-tenant"] = "green"
    publish(catalog.line, document)
    assert Target.objects.get().headers == {"x-secret": rows.HEADER_VALUE, "x-tenant": "green"}
    with connection.cursor() as cursor:
        for table in ("catalog_linerevision", "catalog_linedraft"):
            cursor.execute(f"SELECT string_agg(document::text, '') FROM {table}")
            assert rows.HEADER_VALUE not in (cursor.fetchone()[0] or "")


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        ({"headers": {"authorization": "Bearer abc"}}, "endpoints[0].targets[0].headers", "credential"),
        ({"headers": {"x-token": KEPT}}, "endpoints[0].targets[0].headers", "no header x-token"),
        ({"signing_secret_env": "HOME"}, "endpoints[0].targets[0].signing_secret_env", "no part of a line's document"),
        ({"timeout_seconds": "x"}, "endpoints[0].targets[0].timeout_seconds", "whole number"),
        ({"colour": "x"}, "endpoints[0].targets[0].colour", "no field"),
        ({"name": None}, "endpoints[0].targets[0]", "needs `name`"),
        ({"url": "a\0b"}, "", "cannot"),
        ({"url": "\ud800"}, "", "not YAML"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_place(
    catalog: rows.Catalog, change: dict[str, Any], place: str, says: str
) -> None:
    with pytest.raises(LineRefused) as refused:
        put(catalog.line, edited(catalog.line, **change))
    [found] = refused.value.complaints
    assert says in found.text
    assert found.place.startswith(place)


def test_nesting_and_size_are_bounded(catalog: rows.Catalog) -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    for document in ({"endpoints": deep}, {"description": "x" * 5_000_000}):
        with pytest.raises(LineRefused):
            put(catalog.line, document)


def test_a_rule_is_shown_in_the_diff_and_refused_at_publication(catalog: rows.Catalog) -> None:
    document = edited(catalog.line, url="http://169.254.169.254/")
    document["endpoints"][0]["rate_limit"] = "nowhere"
    draft = put(catalog.line, document)
    complaints = drafts.draft_diff(draft).complaints
    assert [one.place for one in complaints] == ["endpoints[0].rate_limit", "endpoints[0].targets[0].url"]
    with pytest.raises(LineRefused):
        drafts.draft_publish(line=catalog.line, draft_revision=1, by=None)
    assert Target.objects.get().url == catalog.target.url
    assert LineDraft.objects.exists()


def test_a_stale_draft_is_never_written_over(catalog: rows.Catalog) -> None:
    line = catalog.line
    put(line, edited(line, timeout_seconds=7))
    for number in (0, 2):
        with pytest.raises(LineConflict) as conflict:
            put(line, edited(line, timeout_seconds=8), number)
        assert conflict.value.code == "stale_draft"
    assert put(line, edited(line, timeout_seconds=8), 1).draft_revision == 2
    with pytest.raises(LineConflict):
        drafts.draft_discard(line=line, draft_revision=1)
    drafts.draft_discard(line=line, draft_revision=2)
    with pytest.raises(LineConflict):
        drafts.draft_publish(line=line, draft_revision=2, by=None)


def test_a_draft_of_an_older_revision_is_saved_again_first(catalog: rows.Catalog) -> None:
    line = catalog.line
    put(line, edited(line, timeout_seconds=7))
    catalog.target.timeout_seconds = 9
    catalog.target.save()
    assert revisions.revision_take(line=line, by=None, source="edit").number == 2
    with pytest.raises(LineConflict) as conflict:
        drafts.draft_publish(line=line, draft_revision=1, by=None)
    assert conflict.value.code == "stale_base"
    with pytest.raises(LineConflict):
        put(line, edited(line, timeout_seconds=7), 1, base=1)
    put(line, edited(line, timeout_seconds=7), 1, base=2)
    assert drafts.draft_publish(line=line, draft_revision=2, by=None).number == 3


def test_nothing_new_makes_no_revision(catalog: rows.Catalog) -> None:
    with pytest.raises(LineConflict) as conflict:
        publish(catalog.line, drafts.document_now(catalog.line))
    assert conflict.value.code == "no_change"
    revisions.lock([catalog.line])
    assert revisions.revision_take(line=catalog.line, by=None, source="edit") is None
    assert LineRevision.objects.count() == 1


def test_answering_moves_from_one_target_to_another_in_one_publication(
    catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "OFFERED_MODES", ("async", "sync", "stream"))
    line = catalog.line
    Target.objects.update(delivery_mode="sync")
    document = edited(line, delivery_mode="async")
    document["endpoints"][0]["targets"].insert(0, SECOND | {"name": "answers", "delivery_mode": "sync"})
    publish(line, document)
    assert dict(Target.objects.values_list("name", "delivery_mode")) == {"answers": "sync", "billing": "async"}
    both = edited(line, delivery_mode="sync")
    both["endpoints"][0]["targets"][1]["delivery_mode"] = "sync"
    draft = put(line, both)
    assert drafts.draft_diff(draft).complaints


def test_what_the_relay_disabled_stays_so(catalog: rows.Catalog) -> None:
    document = edited(catalog.line, timeout_seconds=7)
    Target.objects.update(is_enabled=False, gone_at=timezone.now())
    draft = put(catalog.line, document)
    [change] = drafts.draft_diff(draft).changes
    assert change.note == drafts.STAYS_DISABLED
    assert change.fields == (("timeout_seconds", "30", "7"),)
    published = drafts.draft_publish(line=catalog.line, draft_revision=1, by=None)
    assert not Target.objects.get().is_enabled
    assert published.document["endpoints"][0]["targets"][0]["is_enabled"] is False


def test_targets_are_matched_by_name_whatever_their_order(catalog: rows.Catalog) -> None:
    document = edited(catalog.line)
    document["endpoints"][0]["targets"] = [SECOND, *document["endpoints"][0]["targets"]]
    publish(catalog.line, document)
    before = dict(Target.objects.values_list("name", "pk"))
    document["endpoints"][0]["targets"].reverse()
    with pytest.raises(LineConflict):
        publish(catalog.line, document)
    assert dict(Target.objects.values_list("name", "pk")) == before


def test_publishing_leaves_other_lines_alone(catalog: rows.Catalog) -> None:
    other = Line.objects.create(project=catalog.project, slug="v2")
    other.endpoints.create(slug="orders")
    publish(catalog.line, {"endpoints": []})
    assert not catalog.line.endpoints.exists()
    assert other.endpoints.count() == 1
    assert not other.revisions.exists()


def test_a_planned_publication_happens_once_in_its_time(catalog: rows.Catalog) -> None:
    line = catalog.line
    put(line, edited(line, timeout_seconds=7))
    at = timezone.now() + timedelta(hours=1)
    assert drafts.draft_schedule(line=line, draft_revision=1, at=at).publish_at == at
    assert drafts.publish_due() == 0
    LineDraft.objects.update(publish_at=timezone.now())
    assert drafts.publish_due() == 1
    assert drafts.publish_due() == 0
    assert Target.objects.get().timeout_seconds == 7
    assert Line.objects.get().revision == 2


def test_an_edit_takes_a_plan_back(catalog: rows.Catalog) -> None:
    put(catalog.line, edited(catalog.line, timeout_seconds=7))
    drafts.draft_schedule(line=catalog.line, draft_revision=1, at=timezone.now())
    assert put(catalog.line, edited(catalog.line, timeout_seconds=8), 1).publish_at is None
    assert drafts.publish_due() == 0


def test_a_plan_that_fails_says_why_and_is_not_tried_again(catalog: rows.Catalog) -> None:
    RateLimit.objects.create(slug="short", rules=[])
    document = edited(catalog.line)
    document["endpoints"][0]["rate_limit"] = "short"
    put(catalog.line, document)
    drafts.draft_schedule(line=catalog.line, draft_revision=1, at=timezone.now())
    RateLimit.objects.filter(slug="short").delete()
    assert drafts.publish_due() == 0
    draft = LineDraft.objects.get()
    assert "endpoints[0].rate_limit" in draft.publish_error
    assert draft.publish_at is not None
    drafts.draft_schedule(line=catalog.line, draft_revision=1, at=None)
    assert LineDraft.objects.get().publish_error == ""


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_publications_at_once_one_wins() -> None:
    line = rows.catalog_rows().line
    put(line, edited(line, timeout_seconds=7))
    LineDraft.objects.update(publish_at=timezone.now())
    results: list[object] = []
    start = Barrier(3)

    def run(publication: Any) -> None:
        start.wait()
        try:
            results.append(publication())
        except LineConflict as conflict:
            results.append(conflict.code)
        finally:
            connection.close()

    ways = [
        lambda: drafts.draft_publish(line=Line.objects.get(), draft_revision=1, by=None).number,
        lambda: drafts.draft_publish(line=Line.objects.get(), draft_revision=1, by=None).number,
        drafts.publish_due,
    ]
    threads = [Thread(target=run, args=[way]) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Line.objects.get().revision == 2
    assert line.revisions.count() == 2
    assert Target.objects.get().timeout_seconds == 7


TARGETS = st.dictionaries(
    st.sampled_from(["a", "b", "billing"]),
    st.fixed_dictionaries(
        {},
        optional={
            "timeout_seconds": st.integers(1, 60),
            "is_enabled": st.booleans(),
            "retry_schedule_seconds": st.lists(st.integers(1, 9), max_size=3),
            "headers": st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.text("abc ", max_size=3).map(str.strip)),
            "description": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
        },
    ),
    max_size=3,
)


@given(st.lists(st.dictionaries(st.sampled_from(["orders", "refunds"]), TARGETS, max_size=2), min_size=2, max_size=4))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_revision_comes_back_as_it_was(catalog: rows.Catalog, wanted: list[dict[str, Any]]) -> None:
    line = catalog.line
    for one in wanted:
        endpoints = [
            {
                "slug": slug,
                "targets": [{"name": name, "url": "http://127.0.0.1:9/"} | fields for name, fields in targets.items()],
            }
            for slug, targets in one.items()
        ]
        try:
            publish(line, {"endpoints": endpoints})
        except LineConflict:
            drafts.draft_discard(line=line, draft_revision=1)
    for revision in list(line.revisions.order_by("number")):
        line.refresh_from_db()
        try:
            back = drafts.rollback(line=line, number=revision.number, revision=line.revision, by=None)
        except LineConflict:
            assert drafts.document_now(line) == revision.document
        except LineRefused:  # of the first: the credential went with its target
            assert KEPT in json.dumps(revision.document, ensure_ascii=False)
        else:
            assert back.document == revision.document == drafts.document_now(line)
    [project] = export.export()["projects"]
    assert project["lines"] == [documents.document_of(documents.rows_of(line))]


def test_a_catalog_document_makes_a_revision_of_each_line_that_it_changes(catalog: rows.Catalog) -> None:
    text = export.as_yaml(export.export())
    unchanged = catalog_document.read(text)
    plan.apply(unchanged, {}, plan.make(unchanged, {}))
    assert not LineRevision.objects.exists()
    changed = catalog_document.read(text.replace("name: billing", "name: billing\n                timeout_seconds: 3"))
    plan.apply(changed, {}, plan.make(changed, {}))
    assert [(one.number, one.source) for one in catalog.line.revisions.all()] == [(2, "import"), (1, "import")]
    assert Line.objects.get().revision == 2


def test_forms_make_revisions(catalog: rows.Catalog, client_of) -> None:
    client = client_of("operators")
    page = f"/admin/catalog/line/{catalog.line.pk}/change/"
    form = {
        "project": catalog.project.pk,
        "slug": "v1",
        "description": "now with words",
        "endpoints-TOTAL_FORMS": 0,
        "endpoints-INITIAL_FORMS": 0,
    }
    assert client.post(page, form).status_code == 302  # `is_enabled` is not ticked
    newest = catalog.line.revisions.first()
    assert (newest.number, newest.source, newest.published_by.username) == (2, "edit", "operators-member")
    assert newest.document["is_enabled"] is False
    assert client.post(page, form).status_code == 302
    assert catalog.line.revisions.count() == 2
    gone = client.post(f"/admin/catalog/target/{catalog.target.pk}/delete/", {"post": "yes"})
    assert gone.status_code == 302
    newest = catalog.line.revisions.first()
    assert newest.number == 3
    assert "targets" not in newest.document["endpoints"][0]
    assert Line.objects.get().revision == 3


@pytest.fixture
def api(client: Client, token_of) -> Any:
    """Calls of the control API by an operator: method, path under the line, body -> status and body."""
    headers = token_of("operators")

    def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = client.generic(
            method, ADDRESS + path, b"" if body is None else json.dumps(body).encode(), JSON, headers=headers
        )
        return answer.status_code, answer.json() if answer.content else None

    return call


def test_the_api_from_draft_to_rollback(catalog: rows.Catalog, api) -> None:
    status, running = api("GET", "/draft")
    assert (status, running["draftRevision"], running["revision"]) == (200, 0, 1)
    document = running["document"]
    document["endpoints"][0]["targets"][0]["timeout_seconds"] = 7
    status, draft = api("PUT", "/draft", {"document": document, "draftRevision": 0})
    assert (status, draft["draftRevision"], draft["updatedBy"]) == (200, 1, "operators-token")
    status, diff = api("GET", "/diff")
    assert status == 200
    assert diff["isStale"] is False
    assert diff["problems"] == []
    assert diff["changes"] == [
        {
            "action": "change",
            "noun": "target",
            "name": "v1/orders/billing",
            "fields": [{"name": "timeout_seconds", "old": "30", "new": "7"}],
            "note": "",
        }
    ]
    status, published = api("POST", "/publish", {"draftRevision": 1, "note": "faster"})
    assert (status, published["number"], published["publishedBy"]) == (200, 2, "operators-token")
    status, listed = api("GET", "/revisions?limit=1")
    assert (listed["revision"], [one["number"] for one in listed["results"]], listed["next"]) == (2, [2], 2)
    assert [one["number"] for one in api("GET", "/revisions?before=2")[1]["results"]] == [1]
    status, first = api("GET", "/revisions/1")
    assert first["rollback"]["changes"][0]["fields"] == [{"name": "timeout_seconds", "old": "7", "new": "30"}]
    status, back = api("POST", "/revisions/1/rollback", {"revision": 2})
    assert (status, back["number"], back["source"]) == (200, 3, "rollback")
    assert api("GET", "/draft")[1]["document"] == first["document"]


def test_the_api_says_how_to_go_on(catalog: rows.Catalog, api) -> None:
    document = edited(catalog.line, timeout_seconds=7)
    api("PUT", "/draft", {"document": document, "draftRevision": 0})
    cases: list[tuple[str, str, Any, int, str]] = [
        ("PUT", "/draft", {"document": document, "draftRevision": 0}, 409, "stale_draft"),
        ("PUT", "/draft", {"document": document, "draftRevision": 1, "baseRevision": 9}, 409, "stale_base"),
        ("PUT", "/draft", {"document": {"endpoints": 1}, "draftRevision": 1}, 422, "line_refused"),
        ("PUT", "/draft", {"document": [], "draftRevision": 1}, 400, "invalid"),
        ("PUT", "/draft", {"document": document, "draft": 1, "draftRevision": 1}, 400, "invalid"),
        ("POST", "/publish", {"draftRevision": 4}, 409, "stale_draft"),
        ("POST", "/publish", {"draftRevision": 1, "at": "2020-01-01T00:00:00Z"}, 400, "invalid"),
        ("POST", "/revisions/1/rollback", {"revision": 7}, 409, "stale_base"),
        ("POST", "/revisions/9/rollback", {"revision": 1}, 404, "not_found"),
        ("GET", "/revisions/99999999999999999999", None, 404, "not_found"),
        ("DELETE", "/draft", None, 400, "invalid"),
    ]
    for method, path, body, status, code in cases:
        got, said = api(method, path, body)
        assert (got, said["error"]) == (status, code), (method, path, said)
        assert said["action"]
    later = (timezone.now() + timedelta(days=1)).isoformat()
    status, planned = api("POST", "/publish", {"draftRevision": 1, "at": later})
    assert status == 202
    assert planned["publishAt"]
    assert api("POST", "/publish", {"draftRevision": 1, "at": None})[1]["publishAt"] is None
    assert api("DELETE", "/draft?draftRevision=1") == (204, None)
    assert api("GET", "/diff")[0] == 404


def test_who_may_not_edit_targets_reads_no_document(catalog: rows.Catalog, client: Client, token_of) -> None:
    for who in ("viewers", "support"):
        headers = token_of(who)
        for path in ("/draft", "/diff", "/revisions", "/revisions/1"):
            assert client.get(ADDRESS + path, headers=headers).status_code == 403
        for path in ("/publish", "/revisions/1/rollback"):
            assert client.post(ADDRESS + path, headers=headers).status_code == 403
