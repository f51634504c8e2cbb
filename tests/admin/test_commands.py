"""What is run around the control plane: checks, migrations, first-run set-up, health."""

import io
from importlib import import_module
from pathlib import Path

import psycopg
import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from relay_admin.access.models import AdminToken, User
from relay_admin.catalog.models import Project
from relay_contract import tokens
from tests.admin import rows

ROOT = Path(__file__).resolve().parents[2]
GROUPS = "relay_admin.access.migrations.0003_groups"


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def test_the_checks_are_clean() -> None:
    call_command("check", fail_level="WARNING")


def test_models_and_migrations_agree(db: None) -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_the_groups_can_be_made_again_and_keep_what_was_added(db: None) -> None:
    support = Group.objects.get(name="support")
    before = set(support.permissions.values_list("codename", flat=True))
    assert before == {"view_request", "view_delivery", "view_attempt", "view_replaybatch", "view_payload",
                      "replay_delivery", "view_call", "view_trace", "view_breakerevent", "view_capture",
                      "view_alertrule", "view_alertevent", "view_account", "view_entry", "view_topup",
                      "view_creditcode", "view_invoice", "view_oauthapplication", "view_authorization"}  # fmt: skip
    support.permissions.remove(Permission.objects.get(codename="view_attempt"))
    support.permissions.add(Permission.objects.get(codename="view_target"))
    import_module(GROUPS).create_groups(apps, None)
    assert set(support.permissions.values_list("codename", flat=True)) == before | {"view_target"}
    assert Group.objects.count() == 3


def test_deliveries_are_stored_for_updates(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE oid = 'deliveries_live'::regclass")
        (options,) = cursor.fetchone()
    assert {"fillfactor=80", "autovacuum_vacuum_cost_delay=0", "autovacuum_vacuum_scale_factor=0.01"} <= set(options)


@pytest.fixture
def bootstrap(settings):
    """What the environment says at the first start."""
    settings.BOOTSTRAP_ADMIN_USERNAME = "admin"
    settings.BOOTSTRAP_ADMIN_PASSWORD = rows.PASSWORD
    settings.BOOTSTRAP_ADMIN_TOKEN = tokens.mint_admin().token
    return settings


def test_bootstrap_makes_the_first_user_once(bootstrap, db: None) -> None:
    assert run("bootstrap") == "bootstrap: user created\nbootstrap: admin token created\n"
    user = User.objects.get()
    assert (user.username, user.is_superuser, user.check_password(rows.PASSWORD)) == ("admin", True, True)
    header = {"Authorization": f"Bearer {bootstrap.BOOTSTRAP_ADMIN_TOKEN}"}
    assert Client().get("/auth/whoami", headers=header).json()["isSuperuser"] is True

    user.set_password("another sentence of mine")
    user.save()
    assert run("bootstrap") == "bootstrap: user left as it is\nbootstrap: admin token left as it is\n"
    assert User.objects.get().check_password("another sentence of mine")

    bootstrap.BOOTSTRAP_ADMIN_TOKEN = tokens.mint_admin().token
    assert run("bootstrap") == "bootstrap: user left as it is\nbootstrap: admin token created\n"
    assert sorted(AdminToken.objects.values_list("name", flat=True)) == ["bootstrap", "bootstrap-2"]


def test_bootstrap_brings_nobody_back_who_was_renamed(bootstrap, db: None) -> None:
    run("bootstrap")
    User.objects.update(username="boss")
    bootstrap.BOOTSTRAP_ADMIN_TOKEN = tokens.mint_admin().token
    assert run("bootstrap") == "bootstrap: user left as it is\nbootstrap: admin token left as it is\n"
    assert (User.objects.count(), AdminToken.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BOOTSTRAP_ADMIN_PASSWORD", "", "needs a password"),
        ("BOOTSTRAP_ADMIN_PASSWORD", "short", "too short"),
        ("BOOTSTRAP_ADMIN_PASSWORD", "password1234", "too common"),
        ("BOOTSTRAP_ADMIN_USERNAME", "two words", "valid username"),
        ("BOOTSTRAP_ADMIN_TOKEN", "ra_short", "Not an admin token"),
    ],
)
def test_bootstrap_makes_all_or_nothing(name: str, value: str, says: str, bootstrap, db: None) -> None:
    setattr(bootstrap, name, value)
    with pytest.raises(CommandError, match=says):
        run("bootstrap")
    assert (User.objects.count(), AdminToken.objects.count()) == (0, 0)


def test_prepare_fills_an_empty_catalog_once(bootstrap, db: None, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text("version: 1\nprojects: [{slug: demo, name: Demo}]\n")
    first = run("prepare", "--catalog", str(file))
    assert "Applying" not in first  # the test database is migrated
    assert "role relay_edge: may read 18 nouns" in first
    assert Project.objects.get().name == "Demo"
    Project.objects.update(name="Mine")
    assert "catalog: left as it is" in run("prepare", "--catalog", str(file))
    assert Project.objects.get().name == "Mine"


def test_prepare_says_how_an_empty_catalog_is_filled(bootstrap, db: None) -> None:
    assert "`manage.py catalog seed` adds known vendors" in run("prepare")
    Project.objects.create(slug="mine", name="Mine")
    assert "catalog seed" not in run("prepare")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_healthy_means_migrated(database_url: str) -> None:
    client = Client()
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("deliveries", "0001_initial")
    try:
        answer = client.get("/healthz")
    finally:
        recorder.record_applied("deliveries", "0001_initial")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "migrations": "1 missing: run `python manage.py migrate`"}


def test_unhealthy_when_postgres_is_away(free_port: int, monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", str(free_port))
    answer = Client().get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "checks": {"database": f"does not answer ({psycopg.OperationalError.__name__})", "migrations": "not known"},
    }


def test_every_page_forbids_what_comes_from_elsewhere(db: None) -> None:
    for page in ("/admin/login/", "/auth/login", "/healthz", "/nowhere"):
        policy = Client().get(page)["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy


def test_the_root_leads_to_the_admin(db: None) -> None:
    assert Client().get("/")["Location"] == "/account/sign-in"
    style = Client().get("/static/relay/admin.css")
    assert b".relay-secret" in style.getvalue()
    style.close()
