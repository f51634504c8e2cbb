"""The audit log: what gets into it, who is named, what never does, and that nobody takes anything out."""

import json
import runpy
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DatabaseError, connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from delivery import tasks
from relay_admin.access import services
from relay_admin.access.acting import Actor, Via, acting, acting_as
from relay_admin.access.audit import SUBJECTS
from relay_admin.access.audit_triggers import MAX_SHOWN_CHARACTERS, ROW_TRIGGER
from relay_admin.access.models import AuditEvent, User
from relay_admin.access.request_actor import request_actor
from relay_admin.catalog.lines import drafts
from relay_admin.catalog.models import (
    Endpoint,
    Line,
    LineDraft,
    Model,
    Project,
    RateLimit,
    Target,
    TargetSecret,
)
from relay_admin.deliveries.models import AlertRule, ReplayBatch
from relay_contract import nouns
from tests.admin import rows

MANAGE = Path(__file__).parents[2] / "manage.py"
NOT_NOUNS = {
    "access_admintoken",
    "access_externalidentity",
    "access_invitation",
    "access_authorization",
    "access_user",
    "access_user_groups",
    "access_user_user_permissions",
    "auth_group",
    "auth_group_permissions",
    "catalog_linedraft",
    "catalog_linerevision",
    "deliveries_alertrule",
    "deliveries_replaybatch",
    "ledger_creditcode",
    "ledger_topup",
}


class Since:
    """Events that were written since it was made, oldest first: the log outlives each test's rows."""

    def __init__(self) -> None:
        self._last = AuditEvent.objects.aggregate(last=models.Max("pk"))["last"] or 0

    def __call__(self, **wanted: Any) -> list[AuditEvent]:
        return list(AuditEvent.objects.filter(pk__gt=self._last, **wanted).order_by("pk"))

    def one(self, **wanted: Any) -> AuditEvent:
        [event] = self(**wanted)
        return event


@pytest.fixture
def since(db: None) -> Since:
    return Since()


def test_every_noun_is_audited_and_everything_that_rules_who_may_do_what(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, t.tgargs FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = %s",
            [ROW_TRIGGER],
        )
        found = dict(cursor.fetchall())
    assert set(found) == {noun.table for noun in nouns.NOUNS} | NOT_NOUNS
    assert {bytes(arguments).split(b"\0")[0].decode() for arguments in found.values()} == set(SUBJECTS)


def test_only_the_columns_that_changed(since: Since, catalog: rows.Catalog) -> None:
    Project.objects.filter(pk=catalog.project.pk).update(name="Shoes", is_archived=True)
    event = since.one(subject="catalog.project", action="update")
    assert event.before == {"name": "Shop", "is_archived": False}
    assert event.after == {"name": "Shoes", "is_archived": True}
    assert (event.subject_id, event.project_id, event.subject_name) == (catalog.project.pk, catalog.project.pk, "shop")
    made = since.one(subject="catalog.project", action="insert")
    assert made.before is None
    assert made.after == {"id": catalog.project.pk, "slug": "shop", "name": "Shop", "is_archived": False,
                          "description": "", "rate_limit_id": catalog.rate_limit.pk, "billing": "metered",
                          "live_wallet_id": catalog.project.live_wallet_id,
                          "test_wallet_id": catalog.project.test_wallet_id,
                          "live_pool_id": catalog.project.live_pool_id, "test_pool_id": catalog.project.test_pool_id,
                          "pool_cap_microcredits": 0, "markup_ppm": 0, "endless_keys": "anyone"}  # fmt: skip
    catalog.relay_key.delete()
    gone = since.one(subject="access.relaykey", action="delete")
    assert (gone.before["name"], gone.after, gone.project_id) == ("app", None, catalog.project.pk)


def test_what_changes_nothing_leaves_nothing(since: Since, catalog: rows.Catalog) -> None:
    before = len(since())
    catalog.project.save()  # updated_at
    Target.objects.filter(pk=catalog.target.pk).update(version=0)
    User.objects.create_user("ada", "ada@example.test")
    User.objects.filter(username="ada").update(last_login="2026-11-21T00:00Z")
    batch = ReplayBatch.objects.create(project=catalog.project)
    ReplayBatch.objects.filter(pk=batch.pk).update(replayed_count=7, credits=7)
    assert [(e.subject, e.action) for e in since()[before:]] == [
        ("access.user", "insert"),
        ("deliveries.replaybatch", "insert"),
    ]


@pytest.mark.parametrize("noun", ["line", "endpoint", "target", "secret", "draft", "rule", "batch", "key"])
def test_everything_of_a_project_is_found_by_it(noun: str, since: Since, catalog: rows.Catalog) -> None:
    start = Since()
    match noun:
        case "line":
            Line.objects.filter(pk=catalog.line.pk).update(is_enabled=False)
        case "endpoint":
            Endpoint.objects.filter(pk=catalog.endpoint.pk).update(is_enabled=False)
        case "target":
            Target.objects.filter(pk=catalog.target.pk).update(is_enabled=False)
        case "secret":
            TargetSecret.objects.filter(target=catalog.target).update(kind="v1a")
        case "draft":
            LineDraft.objects.create(line=catalog.line, document={}, base_number=1)
        case "rule":
            AlertRule.objects.create(project=catalog.project, kind="target_gone", endpoint=catalog.endpoint)
        case "batch":
            ReplayBatch.objects.create(project=catalog.project)
        case "key":
            services.relay_key_revoke(relay_key=catalog.relay_key)
    assert [event.project_id for event in start()] == [catalog.project.pk]


def test_parts_are_changes_of_what_they_are_a_part_of(since: Since, catalog: rows.Catalog) -> None:
    ada = rows.user("ada")
    start = Since()
    viewers = Group.objects.get(name="viewers")
    ada.groups.add(viewers)
    came = start.one()
    assert (came.subject, came.subject_id, came.action, came.before) == ("access.user", ada.pk, "update", None)
    assert came.after["group.group_id"] == viewers.pk
    start = Since()
    ada.groups.clear()
    assert start.one().before["group.group_id"] == viewers.pk


def test_no_secret_reaches_an_event(since: Since, catalog: rows.Catalog) -> None:
    target, endpoint = catalog.target, catalog.endpoint
    user = rows.user("ada", password=rows.PASSWORD)
    token = services.admin_token_mint(user=user, name="script").token
    canaries = ("canary-cert-5d1e", "canary-key-5d1e", "canary-hash-5d1e", "canary-document-5d1e", "canary-header-5d1e")
    Target.objects.filter(pk=target.pk).update(
        client_certificate="canary-cert-5d1e",
        sealed_client_key=b"canary-key-5d1e",
        sealed_auth_secret=b"canary-key-5d1e",
        headers={"x-secret": "canary-header-5d1e", "x-new": "canary-header-5d1e"},
    )
    Endpoint.objects.filter(pk=endpoint.pk).update(
        sealed_signature_secret=b"canary-key-5d1e", sealed_previous_signature_secret=b"canary-key-5d1e"
    )
    LineDraft.objects.create(line=catalog.line, document={"x": "canary-document-5d1e"}, base_number=1)
    User.objects.filter(pk=user.pk).update(password="canary-hash-5d1e")
    user.delete()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sealed_value FROM catalog_hostkey UNION ALL SELECT sealed_value FROM catalog_targetsecret"
        )
        sealed = [bytes(value) for (value,) in cursor.fetchall()]
        cursor.execute("SELECT token_hash FROM access_relaykey")
        sealed += [bytes(value) for (value,) in cursor.fetchall()]
    secrets = [*canaries, rows.HOST_KEY_VALUE, rows.SIGNING_SECRET, rows.HEADER_VALUE, catalog.token, token, "pbkdf2"]
    written = json.dumps([[event.before, event.after] for event in since()])
    for secret in [*secrets, *(one.encode().hex() for one in secrets), *(one.hex() for one in sealed)]:
        assert secret not in written
    changed = since.one(subject="catalog.target", action="update", after__has_key="client_certificate")
    assert changed.before == {"client_certificate": "", "sealed_client_key": "\\x", "sealed_auth_secret": "\\x",
                              "headers": {"x-secret": "(changed)"}}  # fmt: skip
    assert changed.after == {"client_certificate": "(changed)", "sealed_client_key": "(changed)",
                             "sealed_auth_secret": "(changed)",
                             "headers": {"x-secret": "(changed)", "x-new": "(changed)"}}  # fmt: skip


def test_no_binary_column_of_an_audited_table_is_shown(db: None) -> None:
    """A column that is added tomorrow, too: whatever is sealed or hashed is binary. A public key is neither."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, a.attname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.atttypid = 'bytea'::regtype AND NOT a.attisdropped"
            " WHERE t.tgname = %s AND a.attname <> 'public_der'"
            " AND access_audit_shown(a.attname::text, '\"canary\"', NULL, '{}') <> '\"(changed)\"'",
            [ROW_TRIGGER],
        )
        assert cursor.fetchall() == []


def test_a_long_value_shows_its_length(since: Since, catalog: rows.Catalog) -> None:
    Project.objects.filter(pk=catalog.project.pk).update(description="x" * MAX_SHOWN_CHARACTERS)
    event = since.one(subject="catalog.project", action="update")
    assert event.after == {"description": f"({MAX_SHOWN_CHARACTERS + 2} characters)"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE access_auditevent SET actor_name = 'nobody'",
        "DELETE FROM access_auditevent",
        "TRUNCATE access_auditevent",
    ],
)
def test_nothing_is_changed_or_taken_out(statement: str, since: Since, catalog: rows.Catalog) -> None:
    kept = list(AuditEvent.objects.values())
    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert list(AuditEvent.objects.values()) == kept
    assert kept


def test_retention_forgets_what_is_older_and_nothing_else(since: Since, catalog: rows.Catalog) -> None:
    young = len(since())
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO access_auditevent (at, via, actor_name, tool, action, subject, subject_name)"
            " SELECT now() - make_interval(days => 731), 'sql', '', '', 'update', 'catalog.host', ''"
            " FROM generate_series(1, 2001)"
        )
    tasks.forget_audit()
    assert not AuditEvent.objects.filter(at__lt=timezone.now() - timedelta(days=730)).exists()
    assert len(since()) == young
    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic():
        AuditEvent.objects.all().delete()


def _change(project: Project, name: str) -> None:
    with transaction.atomic():
        Project.objects.filter(pk=project.pk).update(name=name)


def _fail_after(project: Project, name: str) -> None:
    with transaction.atomic():
        _change(project, name)
        raise ZeroDivisionError


def _actor(name: str) -> Actor:
    return Actor(Via.ADMIN, user_name=name)


def test_two_users_in_turn_on_one_connection_and_a_command_between(since: Since, catalog: rows.Catalog) -> None:
    with acting(lambda: _actor("ada")):
        _change(catalog.project, "1")
    _change(catalog.project, "2")
    with acting_as(Via.COMMAND, "catalog"):
        _change(catalog.project, "3")
    with acting(lambda: _actor("bob")):
        _change(catalog.project, "4")
        with acting_as(Via.COMMAND, "replay"):
            _change(catalog.project, "5")
        _change(catalog.project, "6")
    with pytest.raises(ZeroDivisionError), acting(lambda: _actor("eve")):
        _fail_after(catalog.project, "7")
    _change(catalog.project, "8")
    with acting_as(Via.WORKER, "catalog.scheduled"):
        _change(catalog.project, "9")
    found = [(e.via, e.actor_name, e.tool) for e in since(subject="catalog.project", action="update")]
    sql = ("sql", connection.settings_dict["USER"], "")
    assert found == [
        ("admin", "ada", ""),
        sql,
        ("command", "", "catalog"),
        ("admin", "bob", ""),
        ("command", "", "replay"),
        ("admin", "bob", ""),
        sql,
        ("worker", "", "catalog.scheduled"),
    ]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_rollback_does_not_take_the_name_with_it() -> None:
    since, project = Since(), Project.objects.create(slug="shop", name="Shop")
    with acting(lambda: _actor("ada")):
        with pytest.raises(ZeroDivisionError):
            _fail_after(project, "rolled back")
        _change(project, "1")
        with transaction.atomic():
            with pytest.raises(ZeroDivisionError):
                _fail_after(project, "to a savepoint")
            _change(project, "2")
    found = [(e.after["name"], e.actor_name) for e in since(subject="catalog.project", action="update")]
    assert found == [("1", "ada"), ("2", "ada")]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_broken_transaction_leaves_no_name_on_the_connection() -> None:
    """A pooled connection goes to whoever comes next."""

    def view(_request: HttpRequest) -> HttpResponse:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE catalog_project SET name = 'x'")
            cursor.execute("SELECT 1 / 0")
        return HttpResponse()

    request = RequestFactory().post("/admin/")
    request.user = User.objects.create_user("ada", "ada@example.test")
    with pytest.raises(DatabaseError, match="division by zero"):
        request_actor(view)(request)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('relay.actor', true)")
        assert cursor.fetchone() == ("",)


def test_who_it_was_in_the_admin(since: Since, client_of, catalog: rows.Catalog) -> None:
    free = RateLimit.objects.create(slug="free", rules=[])
    client: Client = client_of("operators")
    assert client.post(f"/admin/catalog/ratelimit/{free.pk}/delete/", {"post": "yes"}, REMOTE_ADDR="2001:db8::7",
                       ).status_code == 302  # fmt: skip
    event = since.one(subject="catalog.ratelimit", action="delete")
    assert (event.via, event.actor_name, event.tool, event.address) == ("admin", "operators-member", "", "2001:db8::7")
    assert event.actor_id == User.objects.get(username="operators-member").pk


def test_who_it_was_in_the_api(since: Since, client_of, token_of, catalog: rows.Catalog) -> None:
    rule = {"kind": "target_gone", "endpoint": catalog.endpoint.pk}
    headers = token_of("operators")
    made = Client().post("/api/v1/alerts/rules", rule, "application/json", headers=headers, REMOTE_ADDR="192.0.2.7")
    assert made.status_code == 201
    event = since.one(subject="deliveries.alertrule")
    assert (event.via, event.actor_name, event.tool, event.address) == ("api", "operators-token", "test", "192.0.2.7")
    assert client_of("operators").delete(f"/api/v1/alerts/rules/{made.json()['id']}").status_code == 204
    event = since.one(subject="deliveries.alertrule", action="delete")
    assert (event.via, event.actor_name, event.tool) == ("api", "operators-member", "")


def test_who_it_was_under_asgi(since: Since, token_of, catalog: rows.Catalog) -> None:
    """As uvicorn calls it: the view runs in the thread, and so on the connection, of the middleware."""
    rule = {"kind": "target_gone", "endpoint": catalog.endpoint.pk}
    post = async_to_sync(AsyncClient().post)
    assert post("/api/v1/alerts/rules", rule, "application/json", headers=token_of("operators")).status_code == 201
    event = since.one(subject="deliveries.alertrule")
    assert (event.via, event.actor_name, event.tool) == ("api", "operators-token", "test")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_command_stands_there_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    since = Since()
    document = tmp_path / "catalog.yaml"
    document.write_text("version: 1\nprojects:\n  - slug: books\n    name: Books\n")
    monkeypatch.setattr(sys, "argv", ["manage.py", "catalog", "apply", str(document), "--yes"])
    runpy.run_path(str(MANAGE), run_name="__main__")
    event = since.one(subject="catalog.project", action="insert")
    assert (event.via, event.tool, event.actor_name, event.subject_name) == ("command", "catalog", "", "books")
    Project.objects.update(name="Others")
    assert since.one(action="update").via == "sql"


def test_what_a_worker_writes_on_its_own_connection(database_url: str) -> None:
    project = Project.objects.create(slug="shop", name="Shop")
    since = Since()
    for name in ("relay-delivery-record", "psql"):
        with psycopg.connect(database_url, application_name=name) as own:
            own.execute("UPDATE catalog_project SET name = name || '!' WHERE id = %s", [project.pk])
    worker, sql = since()
    assert (worker.via, worker.actor_name, worker.tool) == ("worker", "", "relay-delivery-record")
    assert (sql.via, sql.actor_name, sql.tool) == ("sql", connection.settings_dict["USER"], "psql")


def test_emptying_a_table_is_an_event(since: Since, catalog: rows.Catalog) -> None:
    start = Since()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE deliveries_alertrule CASCADE")
    event = start.one()
    assert (event.subject, event.action, event.subject_id, event.before, event.after) == (
        "deliveries.alertrule", "truncate", None, None, None)  # fmt: skip


def test_a_planned_publication_is_the_workers(since: Since, catalog: rows.Catalog) -> None:
    document = drafts.document_now(catalog.line)
    document["endpoints"][0]["targets"][0]["timeout_seconds"] = 7
    drafts.draft_put(line=catalog.line, document=document, draft_revision=0, by=None)
    LineDraft.objects.update(publish_at=timezone.now())
    tasks.publish()
    event = since.one(subject="catalog.target", action="update", after={"timeout_seconds": 7})
    assert (event.via, event.tool, event.actor_name) == ("worker", "catalog.scheduled", "")


WHO = {"anonymous": (302, 401), "viewers": (403, 403), "support": (403, 403), "operators": (200, 200)}


@pytest.mark.parametrize("who", WHO)
def test_operators_read_it_and_nobody_writes_it(who: str, since: Since, client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of(who)
    event = since.one(subject="catalog.project")
    page, api = WHO[who]
    changes = "/admin/access/auditevent/"
    assert client.get(changes).status_code == page
    assert client.get(f"{changes}{event.pk}/change/").status_code == page
    assert client.get("/api/v1/audit").status_code == api
    refused = 302 if who == "anonymous" else 403
    assert client.get(f"{changes}add/").status_code == refused
    assert client.post(f"{changes}{event.pk}/change/", {"actor_name": "x"}).status_code == refused
    assert client.post(f"{changes}{event.pk}/delete/", {"post": "yes"}).status_code == refused
    assert AuditEvent.objects.filter(pk=event.pk).values().get() == {**_columns(event)}


def _columns(event: AuditEvent) -> dict[str, Any]:
    return {field.attname: getattr(event, field.attname) for field in AuditEvent._meta.concrete_fields}


def test_the_page_shows_before_and_after_escaped(since: Since, client_of, catalog: rows.Catalog) -> None:
    Project.objects.filter(pk=catalog.project.pk).update(name="<b>bold</b>")
    event = since.one(subject="catalog.project", action="update")
    page = client_of("operators").get(f"/admin/access/auditevent/{event.pk}/change/").content.decode()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    assert "Shop" in page


def test_the_list_is_narrowed_and_read_from_place_to_place(since: Since, client_of, catalog: rows.Catalog) -> None:
    with acting(lambda: Actor(Via.API, user_name="ada")):
        for number in range(51):
            Project.objects.filter(pk=catalog.project.pk).update(name=f"name-{number}-")
    client: Client = client_of("operators")
    url = f"/admin/access/auditevent/?what=catalog.project&id_is={catalog.project.pk}&who=ada"
    first = client.get(url)
    events = since(actor_name="ada")
    assert [row.pk for row in first.context["cl"].result_list] == [event.pk for event in events[:0:-1]]
    assert f"before={events[1].pk}" in first.content.decode()
    assert [row.pk for row in client.get(f"{url}&before={events[1].pk}").context["cl"].result_list] == [events[0].pk]
    for nothing in ("who=ada&id_is=x", "who=bob", "who=ada&what=catalog.host", "who=ada&project=999999"):
        assert not client.get(f"/admin/access/auditevent/?{nothing}").context["cl"].result_list


@pytest.mark.parametrize("who", ["operators", "viewers"])
def test_each_page_leads_to_its_changes(who: str, client_of, catalog: rows.Catalog) -> None:
    page = client_of(who).get(f"/admin/catalog/project/{catalog.project.pk}/change/").content.decode()
    way = f"{reverse('admin:access_auditevent_changelist')}?what=catalog.project&amp;id_is={catalog.project.pk}"
    assert (way in page) is (who == "operators")


def test_the_api_narrows_and_goes_on(since: Since, token_of, catalog: rows.Catalog) -> None:
    with acting(lambda: Actor(Via.API, user_name="ada", tool="script", address="192.0.2.9")):
        for name in ("one", "two", "three"):
            Project.objects.filter(pk=catalog.project.pk).update(name=name)
    headers = token_of("operators")

    def ask(**query: Any) -> Any:
        return Client().get("/api/v1/audit", query, headers=headers).json()

    wanted = {"who": "ada", "project": "shop", "subject": "catalog.project", "subjectId": catalog.project.pk,
              "action": "update", "via": "api", "limit": 2}  # fmt: skip
    first = ask(**wanted)
    assert [each["after"] for each in first["results"]] == [{"name": "three"}, {"name": "two"}]
    rest = ask(**wanted, after=first["next"])
    event = since(actor_name="ada")[0]
    assert rest == {"results": [{"id": event.pk, "at": event.at.isoformat().replace("+00:00", "Z"), "via": "api",
                                 "actorId": None, "actorName": "ada", "tool": "script", "address": "192.0.2.9",
                                 "projectId": catalog.project.pk, "project": "shop", "action": "update",
                                 "subject": "catalog.project", "subjectId": catalog.project.pk,
                                 "subjectName": "shop", "before": {"name": "Shop"}, "after": {"name": "one"}}],
                    "next": None}  # fmt: skip
    assert ask(who="ada", since="2999-01-01T00:00Z")["results"] == []
    for wrong in ({"via": "magic"}, {"subject": "x"}, {"limit": 0}, {"after": "x"}, {"colour": "red"}):
        assert Client().get("/api/v1/audit", wrong, headers=headers).status_code == 400


@pytest.fixture
def thousand(tmp_path: Path) -> Iterator[Path]:
    document = tmp_path / "thousand.yaml"
    models_ = "".join(f"  - name: model-{number}\n" for number in range(1_000))
    document.write_text(f"version: 1\nmodels:\n{models_}")
    return document


def test_a_document_of_a_thousand_rows_leaves_a_thousand_events_of_bounded_size(since: Since, thousand: Path) -> None:
    with acting_as(Via.COMMAND, "catalog"):
        call_command("catalog", "apply", str(thousand), "--yes", verbosity=0)
    assert Model.objects.count() == 1_000
    events = since(subject="catalog.model")
    assert len(events) == 1_000
    assert {event.tool for event in events} == {"catalog"}
    assert max(len(json.dumps(event.after)) for event in events) < 400
