"""A new master key: every secret moves under it, nothing is lost, and it may be done twice."""

import io
import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from relay_admin.catalog import resealing, services
from relay_admin.catalog.models import HostKey, TargetSecret
from relay_contract import nouns
from relay_contract.sealing import Sealer
from tests.admin import rows

NEW = b"\x0a" * 32


@pytest.fixture
def rotated(catalog: rows.Catalog, settings: Any) -> Any:
    """The settings after a new key was put in front, over a catalog that the old one sealed."""
    old = settings.MASTER_KEYS
    settings.MASTER_KEYS = (NEW, *old)
    services.sealer.cache_clear()
    yield settings
    services.sealer.cache_clear()


def rotate(*arguments: str) -> str:
    output = io.StringIO()
    call_command("rotate_master_key", *arguments, stdout=output)
    return output.getvalue()


def sealed() -> tuple[bytes, bytes]:
    return bytes(HostKey.objects.get().sealed_value), bytes(TargetSecret.objects.get().sealed_value)


def test_every_secret_moves_under_the_new_key(rotated: Any, catalog: rows.Catalog) -> None:
    assert "host keys: 1 sealed anew, 0 under the first key already, 0 cannot be opened" in rotate()
    host_key, secret = sealed()
    alone = Sealer(NEW)
    assert alone.unseal(host_key, nouns.host_key_binding(catalog.host_key.pk)) == rows.HOST_KEY_VALUE
    assert alone.unseal(secret, nouns.target_secret_binding(catalog.target.secrets.get().pk)) == rows.SIGNING_SECRET


def test_a_dry_run_changes_nothing(rotated: Any, catalog: rows.Catalog) -> None:
    before = sealed()
    said = rotate("--dry-run")
    assert "host keys: 1 to seal anew" in said
    assert "signing secrets: 1 to seal anew" in said
    assert sealed() == before


def test_again_changes_nothing(rotated: Any, catalog: rows.Catalog) -> None:
    rotate()
    before = sealed()
    assert "host keys: 0 sealed anew, 1 under the first key already" in rotate()
    assert sealed() == before


def test_what_does_not_open_is_named_and_left_and_the_rest_is_done(rotated: Any, catalog: rows.Catalog) -> None:
    lost = services.host_key_create(host=catalog.host, name="lost", value="canary-lost")
    bytes_ = Sealer(b"\x0b" * 32).seal("canary-lost", nouns.host_key_binding(lost.pk))
    HostKey.objects.filter(pk=lost.pk).update(sealed_value=bytes_)
    output = io.StringIO()
    with pytest.raises(CommandError, match="RELAY_PREVIOUS_MASTER_KEYS"):
        call_command("rotate_master_key", stdout=output)
    said = output.getvalue()
    assert "host keys: 1 sealed anew, 0 under the first key already, 1 cannot be opened" in said
    assert f"  {lost.pk}: sealed with a master key that is not configured" in said
    assert "canary" not in said
    assert bytes(HostKey.objects.get(name="lost").sealed_value) == bytes_


def test_a_key_without_a_sealed_value_is_passed_over(rotated: Any, catalog: rows.Catalog) -> None:
    HostKey.objects.update(sealed_value=b"", reference="env:VENDOR_KEY")
    assert "host keys: 0 sealed anew, 0 under the first key already, 0 cannot be opened" in rotate()


def test_a_run_goes_through_all_batches(rotated: Any, catalog: rows.Catalog, monkeypatch: Any) -> None:
    monkeypatch.setattr(resealing, "BATCH", 2)
    rotated.MASTER_KEYS = rotated.MASTER_KEYS[1:]
    services.sealer.cache_clear()
    for number in range(6):
        services.host_key_create(host=catalog.host, name=f"key-{number}", value=f"value-{number}")
    rotated.MASTER_KEYS = (NEW, *rotated.MASTER_KEYS)
    services.sealer.cache_clear()
    assert "host keys: 7 sealed anew" in rotate()
    assert all(not services.sealer().needs_resealing(key.sealed_value) for key in HostKey.objects.all())


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_an_edit_at_the_same_moment_is_not_lost(settings: Any) -> None:
    """A new value that is not yet committed when the run reaches its row: the run waits, and keeps it."""
    catalog = rows.catalog_rows()
    old = settings.MASTER_KEYS
    settings.MASTER_KEYS = (NEW, *old)
    services.sealer.cache_clear()

    def run() -> None:
        try:
            resealing.secrets_reseal()
        finally:
            connection.close()

    other = threading.Thread(target=run)
    try:
        with transaction.atomic():
            services.host_key_set_value(host_key=catalog.host_key, value="edited-meanwhile")
            other.start()
            with connection.cursor() as cursor:
                for _ in range(2000):
                    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                    if cursor.fetchone()[0]:
                        break
                    other.join(0.01)
                else:
                    pytest.fail("the run never waited for the edit")
        other.join(20)
        assert not other.is_alive()
        assert services.host_key_opens(host_key=HostKey.objects.get())
        binding = nouns.host_key_binding(catalog.host_key.pk)
        assert Sealer(NEW).unseal(HostKey.objects.get().sealed_value, binding) == "edited-meanwhile"
    finally:
        services.sealer.cache_clear()
