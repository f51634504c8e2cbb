"""Import and export as a page: who may, what is shown, and that what is applied is what was shown."""

import re
from html import unescape
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from relay_admin.access.models import AuditEvent, RelayKey
from relay_admin.catalog import document, export, plan
from relay_admin.catalog.models import Host, Line, Policy, Project, Target
from relay_admin.document_page import MAX_BYTES
from tests.admin import rows

PAGE, DOWNLOAD = "/admin/catalog-document/", "/admin/catalog-document/download"
NEW = "version: 1\nprojects:\n  - slug: depot\n    name: Depot\n    lines:\n      - slug: v1\n"


def digest_in(page: str) -> str:
    found = re.search(r'name="digest" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


def planned(client: Client, text: str, **more: str) -> str:
    answer = client.post(PAGE, {"document": text, **more})
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def decided(client: Client, text: str, digest: str, **more: str) -> str:
    return planned(client, text, digest=digest, **more)


@pytest.mark.parametrize(
    ("who", "seen", "changed"),
    [
        ("anonymous", 302, 302),
        ("support", 403, 403),
        ("viewers", 403, 403),
        ("operators", 200, 200),
        ("superuser", 200, 200),
    ],
)
def test_who_may(client_of: Any, catalog: rows.Catalog, who: str, seen: int, changed: int) -> None:
    client: Client = client_of(who)
    assert (client.get(PAGE).status_code, client.get(DOWNLOAD).status_code) == (seen, seen)
    assert client.post(PAGE, {"document": NEW, "digest": "0"}).status_code == changed
    assert not Project.objects.filter(slug="depot").exists()


def test_a_reader_of_documents_may_not_import_one(client: Client, catalog: rows.Catalog) -> None:
    reader = rows.user("reader")
    nouns = ("ratelimit", "policy", "project", "line", "endpoint", "target", "host", "hostkey", "model", "modelalias",
             "pricing", "hostbinding")  # fmt: skip
    allowed = [*(f"catalog.view_{noun}" for noun in nouns), "access.view_relaykey", "catalog.change_target"]
    reader.user_permissions.add(*(rows.permission(name) for name in allowed))
    client.force_login(reader)
    assert "Show the plan" not in client.get(PAGE).content.decode()
    assert client.post(PAGE, {"document": NEW}).status_code == 403


def test_a_plan_is_shown_and_then_applied(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    page = planned(client, NEW)
    assert "1 to create" in page
    assert not Project.objects.filter(slug="depot").exists()
    done = decided(client, NEW, digest_in(page))
    assert "Applied: 2 rows changed." in done
    line = Line.objects.get(project__slug="depot")
    [event] = AuditEvent.objects.filter(subject="catalog.project", subject_id=line.project_id)
    assert (event.via, event.actor_name) == ("admin", "operators-member")
    assert "No changes: the catalog is as the document says." in planned(client, NEW)


def test_what_changes_is_shown_field_by_field(client_of: Any, catalog: rows.Catalog) -> None:
    text = "version: 1\npolicies:\n  - {slug: all, description: '<b>x', models: ['*'], rate_limit: calls}\n"
    answer = client_of("operators").post(PAGE, {"document": text}).content.decode()
    assert "<b>x" not in answer
    assert "models: <del>" in unescape(answer)
    assert "1 to change" in answer


def test_what_moved_meanwhile_is_shown_again_and_not_applied(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    text = "version: 1\npolicies:\n  - {slug: all, models: ['gpt-*'], rate_limit: calls}\n"
    digest = digest_in(planned(client, text))
    Policy.objects.filter(slug="all").update(models=["claude-*"])
    page = decided(client, text, digest)
    assert "The catalog changed since this was shown" in page
    assert "claude-*" in page
    assert Policy.objects.get(slug="all").models == ["claude-*"]
    assert "Applied" in decided(client, text, digest_in(page))
    assert Policy.objects.get(slug="all").models == ["gpt-*"]


@pytest.mark.parametrize("change", ["document", "prune", "overwrite"])
def test_a_decision_is_about_one_document_and_one_way(client_of: Any, catalog: rows.Catalog, change: str) -> None:
    client: Client = client_of("operators")
    digest = digest_in(planned(client, NEW))
    more = {"prune": "on"} if change == "prune" else {"overwrite": "on"} if change == "overwrite" else {}
    text = NEW.replace("Depot", "Other") if change == "document" else NEW
    page = decided(client, text, digest, **more)
    assert "The catalog changed since this was shown" in page
    assert not Project.objects.filter(slug="depot").exists()


def test_what_people_changed_is_shown_and_kept(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    wanted = document.read(NEW)
    plan.apply(wanted, {}, plan.make(wanted, {}))
    Project.objects.filter(slug="depot").update(description="by hand")
    page = planned(client, NEW)
    assert "Changed by people since a document was applied" in page
    assert "by hand" in page
    assert "digest" not in page
    both = NEW.replace("name: Depot", "name: Depot\n    description: by file")
    assert "line 5: description is 'by hand' since somebody changed it" in planned(client, both)
    page = planned(client, both, overwrite="on")
    decided(client, both, digest_in(page), overwrite="on")
    assert Project.objects.get(slug="depot").description == "by file"
    Project.objects.filter(slug="depot").delete()
    assert "deleted" in planned(client, NEW)


def test_pruning_is_asked_for_and_shown(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    text = "version: 1\nhosts: []\nmodels: []\n"
    assert "No changes" in planned(client, text)
    page = planned(client, text, prune="on")
    assert "1 to delete" in page
    decided(client, text, digest_in(page), prune="on")
    assert not Host.objects.exists()


def test_a_minted_key_is_shown_once(client_of: Any, catalog: rows.Catalog) -> None:
    text = NEW + "    relay_keys:\n      - {name: app, scopes: [relay]}\n"
    client: Client = client_of("operators")
    answer = client.post(PAGE, {"document": text, "digest": digest_in(planned(client, text))})
    assert "no-store" in answer["Cache-Control"]
    shown = re.search(r"rk_live_\w{50}", answer.content.decode())
    assert shown is not None
    assert RelayKey.objects.get(project__slug="depot").key_id in shown[0]


def test_a_file_is_read_as_well(client_of: Any, catalog: rows.Catalog) -> None:
    upload = SimpleUploadedFile("catalog.yaml", b"\xef\xbb\xbf" + NEW.replace("\n", "\r\n").encode())
    page = client_of("operators").post(PAGE, {"file": upload}).content.decode()
    client = client_of("superuser")
    assert "Applied" in decided(client, NEW, digest_in(page))  # the same document, pasted


BOMB = "a: &a [x]\n" + "\n".join(
    f"{chr(97 + n)}: &{chr(97 + n)} [*{chr(96 + n)}, *{chr(96 + n)}]" for n in range(1, 20)
)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({}, "Choose a file, or paste a document."),
        ({"document": " \n"}, "Choose a file, or paste a document."),
        ({"document": BOMB}, "line 1:"),
        ({"document": "[" * 5000}, "refused"),
        ({"document": "version: 1\nhosts: !!python/object/apply:os.system [id]"}, "line 2:"),
        ({"document": "version: 1\nx: 'open"}, "refused"),
        ({"document": "version: 1\nhosts: [{slug: h, base_url: 'http://h/', keys: [{name: k, value_env: REDIS_URL}]}]"},
         "The environment variable REDIS_URL is not set."),
        ({"file": SimpleUploadedFile("x", b"\xff\xfe\x00")}, "not UTF-8"),
        ({"file": SimpleUploadedFile("x", b"# " + b"x" * MAX_BYTES)}, "takes 2,000,000 bytes"),
    ],
)  # fmt: skip
def test_hostile_documents_are_refused_in_words(
    client_of: Any, catalog: rows.Catalog, sent: dict[str, Any], said: str
) -> None:
    before = export.export()
    answer = client_of("operators").post(PAGE, sent)
    assert answer.status_code == 200
    assert said in unescape(answer.content.decode())
    assert export.export() == before


def test_a_long_plan_stays_readable(client_of: Any, catalog: rows.Catalog) -> None:
    lines = "\n".join(f"  - {{slug: host-{number}, base_url: 'http://127.0.0.1:9/v1'}}" for number in range(300))
    client: Client = client_of("operators")
    text = f"version: 1\nhosts:\n{lines}\n"
    page = planned(client, text)
    assert "and 100 more, in the text below: all of them are applied" in page
    assert "+ host host-299" in page
    assert "Applied: 300 rows" in decided(client, text, digest_in(page))


def test_a_download_is_what_apply_reads(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    Project.objects.create(slug="other", name="Other")
    whole = client.get(DOWNLOAD)
    assert whole["Content-Disposition"] == 'attachment; filename="catalog.yaml"'
    assert "no-store" in whole["Cache-Control"]
    assert whole.content.decode() == export.as_yaml(export.export())
    assert rows.HOST_KEY_VALUE not in whole.content.decode()
    part = yaml.safe_load(client.get(DOWNLOAD, {"project": ["other", "nope"]}).content)
    assert part == {"version": 1, "projects": [{"slug": "other", "name": "Other"}]}
    assert "No changes" in planned(client, client.get(DOWNLOAD, {"project": "shop"}).content.decode())
    assert Target.objects.exists()
