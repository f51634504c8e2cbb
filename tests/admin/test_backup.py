"""A back-up, restored elsewhere, is the same database; and what cannot be restored is refused before it does harm."""

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from psycopg.sql import SQL, Identifier

from relay_admin.access.models import User
from relay_admin.access.oauth.keys import signing_keys_turn
from relay_admin.backup.archive import Archive, BackupError
from relay_admin.backup.dump import backup
from relay_admin.ledger.corrections import credits_grant
from relay_admin.ledger.models import Account
from relay_admin.own_connection import own_connection
from relay_contract.credits import MICRO
from relay_contract.intake import DeliveryState
from tests.admin import rows

ROOT = Path(__file__).resolve().parents[2]
NAME = "restored"
TABLES = """
SELECT relname::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1
"""
ROWS = "SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM public.{} AS t"
SEQUENCES = "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def elsewhere(database_url: str) -> Iterator[str]:
    """Where the drill puts what it keeps."""
    yield database_url.rsplit("/", 1)[0] + f"/{NAME}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        database.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")  # type: ignore[arg-type]  # a constant


def all_of(url: str) -> tuple[dict[str, Any], list[Any]]:
    """How many rows each table has, with a hash of them in order, and every sequence's last number."""
    with psycopg.connect(url, autocommit=True) as database:
        names = [name for (name,) in database.execute(TABLES)]
        found = {name: database.execute(SQL(ROWS).format(Identifier(name))).fetchone() for name in names}
        return found, database.execute(SEQUENCES).fetchall()


def traffic() -> None:
    """A row of most kinds, with odd texts in them, and money that adds up."""
    catalog = rows.catalog_rows()
    catalog.project.description = "tabs\tand\\N, lines\r\nand \u2028 a \\. on a line\n\\.\n" + "\N{SNOWMAN}" * 300
    catalog.project.save()
    request = rows.request_row(catalog)
    rows.delivery_row(request, catalog.target, DeliveryState.PENDING)
    rows.call_row(catalog)
    signing_keys_turn()
    account = Account.objects.get(pk=catalog.project.live_wallet_id)
    credits_grant(account=account, microcredits=7 * MICRO, note="for the drill", by=User.objects.create_user("giver"))


@pytest.mark.timeout(180)
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_what_is_restored_is_what_was_backed_up(database_url: str, elsewhere: str, tmp_path: Path) -> None:
    traffic()
    file = tmp_path / "relay.backup"
    said = io.StringIO()
    call_command("backup", str(file), stdout=said)
    assert "RELAY_MASTER_KEY" in said.getvalue()
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]  # no draft is left

    drill = [sys.executable, str(ROOT / "deploy" / "restore_drill.py"), str(file), "--keep", NAME]
    environment = os.environ | {"DATABASE_URL": database_url}
    done = subprocess.run(drill, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every account is what its details say" in done.stdout
    assert "doctor: the database is as it should be" in done.stdout
    there, here = all_of(elsewhere), all_of(database_url)
    assert there[0] == here[0]
    assert there[1] == here[1]
    with psycopg.connect(elsewhere, autocommit=True) as database:
        assert database.execute("SELECT description FROM catalog_project").fetchone()[0].startswith("tabs\tand\\N")
        with pytest.raises(psycopg.errors.RestrictViolation):  # triggers are awake again
            database.execute("DELETE FROM ledger_entry")

    again = subprocess.run(drill[:-2], env=environment | {"DATABASE_URL": elsewhere, "RELAY_MASTER_KEY": ""},
                           capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert again.returncode == 1
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        assert database.execute("SELECT datname FROM pg_database WHERE datname LIKE 'relay_drill_%'").fetchall() == []


def test_a_database_with_anything_in_it_is_refused(db: None, tmp_path: Path) -> None:
    file = tmp_path / "relay.backup"
    call_command("backup", str(file), stdout=io.StringIO())
    with pytest.raises(CommandError, match="is not empty"):
        call_command("restore", str(file))
    with pytest.raises(CommandError, match="is there already"):
        call_command("backup", str(file))


def test_a_file_that_is_no_whole_backup_is_refused(db: None, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is no back-up, or was cut short"):
        call_command("restore", str(tmp_path / "nothing"))
    file = tmp_path / "relay.backup"
    with own_connection(3) as database:
        backup(database, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(CommandError, match="is no back-up, or was cut short"):
        call_command("restore", str(file))
    with zipfile.ZipFile(io.BytesIO(whole)) as made:
        start = made.getinfo("tables/auth_permission.copy").header_offset + 200
    file.write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
    with pytest.raises(BackupError, match="auth_permission is damaged"):
        b"".join(Archive(file).text("auth_permission"))


def test_another_releases_database_is_not_backed_up(db: None, tmp_path: Path) -> None:
    with own_connection(3) as database:
        database.autocommit = False
        database.execute("DELETE FROM django_migrations WHERE app = 'ledger' AND name = '0009_keeping'")
        with pytest.raises(BackupError, match="other migrations than this release"):
            backup(database, tmp_path / "relay.backup")
        database.rollback()
    assert list(tmp_path.iterdir()) == []
