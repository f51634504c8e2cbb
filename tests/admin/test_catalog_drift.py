"""A document that is applied again and again beside people who change the catalog: nothing of theirs is lost unseen."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from relay_admin.catalog import document, plan, services
from relay_admin.catalog.models import AppliedEntry, HostKey, Policy, RateLimit, Target

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"VENDOR_KEY": "vendor-key-value", "NEW_KEY": "value-of-the-document"}
WANTED = """
version: 1
rate_limits:
  - slug: calls
    rules: [{meter: requests, amount: 600, window_seconds: 60}]
policies:
  - {slug: all, models: ["*"], rate_limit: calls}
hosts:
  - slug: vendor
    base_url: http://127.0.0.1:9/v1
    keys: [{name: main, value_env: VENDOR_KEY}]
projects:
  - slug: shop
    name: Shop
    lines:
      - slug: v1
        endpoints:
          - slug: orders
            targets:
              - {name: billing, url: "http://127.0.0.1:9/a", timeout_seconds: 10}
              - {name: stock, url: "http://127.0.0.1:9/b", timeout_seconds: 10}
"""


def planned(text: str, **how: bool) -> plan.Plan:
    return plan.make(document.read(text), ENVIRONMENT, **how)


def apply(text: str, **how: bool) -> plan.Plan:
    done = planned(text, **how)
    plan.apply(document.read(text), ENVIRONMENT, done, **how)
    return done


def refusals(text: str, **how: bool) -> list[str]:
    with pytest.raises(document.DocumentError) as refused:
        planned(text, **how)
    return [str(problem) for problem in refused.value.problems]


@pytest.fixture(autouse=True)
def _applied() -> None:
    apply(WANTED)


def set_timeout(name: str, seconds: int) -> None:
    Target.objects.filter(name=name).update(timeout_seconds=seconds)


def timeout_of(name: str) -> int:
    return int(Target.objects.get(name=name).timeout_seconds)


def test_what_nobody_touched_follows_the_document() -> None:
    changed = WANTED.replace(
        '"http://127.0.0.1:9/a", timeout_seconds: 10', '"http://127.0.0.1:9/a", timeout_seconds: 20'
    )
    apply(changed)
    assert (timeout_of("billing"), timeout_of("stock")) == (20, 10)
    apply(WANTED)
    assert timeout_of("billing") == 10


def test_what_people_changed_is_shown_and_kept_until_it_is_overwritten() -> None:
    set_timeout("billing", 30)
    found = planned(WANTED)
    assert (found.steps, [one.path for one in found.drift]) == ([], [("shop", "v1", "orders", "billing")])
    assert "! target shop/v1/orders/billing: changed since it was applied" in str(found)
    assert "    timeout_seconds: 30, and 10 in the document" in str(found)
    apply(WANTED)
    apply(WANTED)  # and it stays drift, however often the document is applied
    assert timeout_of("billing") == 30
    assert planned(WANTED).drift
    apply(WANTED, overwrite=True)
    assert timeout_of("billing") == 10
    assert not planned(WANTED).drift


def test_the_rest_of_a_row_that_people_changed_follows_the_document() -> None:
    set_timeout("billing", 30)
    apply(WANTED.replace("9/a", "9/new"))
    row = Target.objects.get(name="billing")
    assert (row.timeout_seconds, row.url) == (30, "http://127.0.0.1:9/new")


def test_what_is_taken_over_into_the_document_is_drift_no_more() -> None:
    set_timeout("billing", 30)
    taken_over = WANTED.replace("10}\n              - {name: stock", "30}\n              - {name: stock")
    assert not apply(taken_over)
    found = planned(taken_over)
    assert not found.drift
    apply(WANTED)  # known to be the document's from then on
    assert timeout_of("billing") == 10


def test_what_both_changed_is_refused_on_its_line() -> None:
    set_timeout("billing", 30)
    both = WANTED.replace("10}\n              - {name: stock", "20}\n              - {name: stock")
    line = both.splitlines().index(next(line for line in both.splitlines() if "billing" in line)) + 1
    [refusal] = refusals(both)
    assert refusal.startswith(f"line {line}: timeout_seconds is 30 since somebody changed it, and 20 here. Write it")
    assert timeout_of("billing") == 30
    apply(both, overwrite=True)
    assert timeout_of("billing") == 20


def test_what_people_deleted_is_not_made_again_unless_that_is_asked_for() -> None:
    Target.objects.get(name="billing").delete()
    found = apply(WANTED)
    assert [str(one) for one in found.drift] == ["! target shop/v1/orders/billing: deleted since it was applied"]
    assert not Target.objects.filter(name="billing").exists()
    apply(WANTED, overwrite=True)
    assert Target.objects.filter(name="billing").exists()
    assert not planned(WANTED).drift


def test_nothing_is_made_below_what_people_deleted() -> None:
    Target.objects.get(name="billing").endpoint.delete()
    found = planned(WANTED)
    assert [one.path for one in found.drift] == [("shop", "v1", "orders")]  # its targets went with it
    more = WANTED + '              - {name: third, url: "http://127.0.0.1:9/c"}\n'
    assert ["third needs shop/v1/orders, which somebody deleted" in text for text in refusals(more)] == [True]


def test_nothing_refers_to_what_people_deleted() -> None:
    Policy.objects.update(rate_limit=None)
    RateLimit.objects.get(slug="calls").delete()
    more = WANTED.replace("policies:\n", "policies:\n  - {slug: other, models: ['*'], rate_limit: calls}\n")
    assert ["policy other needs calls, which somebody deleted" in text for text in refusals(more)] == [True]
    apply(more, overwrite=True)
    assert Policy.objects.get(slug="other").rate_limit == Policy.objects.get(slug="all").rate_limit


def test_what_the_document_drops_and_people_changed_is_not_deleted_unseen() -> None:
    dropped = "\n".join(line for line in WANTED.splitlines() if "billing" not in line)
    set_timeout("billing", 30)
    [refusal] = refusals(dropped, prune=True)
    assert "billing is not here any more, and somebody changed its timeout_seconds" in refusal
    apply(dropped, prune=True, overwrite=True)
    assert not Target.objects.filter(name="billing").exists()
    assert not AppliedEntry.objects.filter(path__contains=["billing"]).exists()


def test_a_key_that_people_rotated_stays_rotated() -> None:
    key = HostKey.objects.get()
    services.host_key_set_value(host_key=key, value="value-of-an-operator", value_env="")
    apply(WANTED)
    key.refresh_from_db()
    assert key.value_fingerprint == services.fingerprint("value-of-an-operator")
    changed = WANTED.replace("value_env: VENDOR_KEY", "value_env: NEW_KEY")
    assert any("value is" in text for text in refusals(changed))
    apply(changed, overwrite=True)
    key.refresh_from_db()
    assert (key.value_fingerprint, key.value_env) == (services.fingerprint("value-of-the-document"), "NEW_KEY")


def test_what_a_document_over_the_api_changed_was_changed_by_people(token_of: Any) -> None:
    sent = {
        "document": WANTED.replace("timeout_seconds: 10", "timeout_seconds: 30").replace(", value_env: VENDOR_KEY", "")
    }
    client, headers = Client(), token_of("superuser")
    shown = client.post("/api/v1/catalog/plan", sent, "application/json", headers=headers).json()
    done = client.post("/api/v1/catalog/apply", sent | {"plan": shown["plan"]}, "application/json", headers=headers)
    assert (done.status_code, done.json()["changes"]) == (200, 2)
    assert len(apply(WANTED).drift) == 2
    assert timeout_of("billing") == 30


def test_nothing_that_is_kept_of_a_document_is_a_value_of_it() -> None:
    stored = str(list(AppliedEntry.objects.values()))
    assert "127.0.0.1" not in stored
    assert "vendor-key-value" not in stored


def test_before_the_first_apply_the_document_decides() -> None:
    AppliedEntry.objects.all().delete()  # as after an upgrade
    set_timeout("billing", 30)
    found = apply(WANTED)
    assert (len(found.steps), found.drift) == (1, [])
    assert timeout_of("billing") == 10


@pytest.mark.parametrize(
    ("change", "code"), [(lambda: None, 0), (lambda: set_timeout("billing", 30), 2)], ids=["as it says", "drift"]
)
def test_diff_ends_with_2_for_drift(change: Callable[[], None], code: int, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text(WANTED.replace("main, value_env: VENDOR_KEY", "main"))
    AppliedEntry.objects.filter(section="keys").delete()
    change()
    said = io.StringIO()
    if code:
        with pytest.raises(SystemExit) as ended:
            call_command("catalog", "diff", str(file), stdout=said)
        assert ended.value.code == code
        assert "Take this over into the document, or give --overwrite to undo it." in said.getvalue()
    else:
        call_command("catalog", "diff", str(file), stdout=said)
        assert "No changes: the catalog is as the document says." in said.getvalue()


def validate(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """As in a repository's pipeline: no database, no Redis, none of the secrets."""
    file = tmp_path / "catalog.yaml"
    file.write_text(text)
    nowhere = {"DATABASE_URL": "postgresql://relay:x@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
    return subprocess.run(
        [sys.executable, "manage.py", "catalog", "validate", str(file)],
        cwd=ROOT, env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_validate_needs_neither_database_nor_secrets(tmp_path: Path) -> None:
    done = validate(WANTED.replace("rate_limit: calls", "rate_limit: of-another-document"), tmp_path)
    assert (done.returncode, done.stdout) == (0, "The document is valid.\n"), done.stderr
    done = validate(
        WANTED.replace("timeout_seconds: 10", "timeout_seconds: -1").replace("slug: all", "slgu: all"), tmp_path
    )
    assert done.returncode == 1
    assert "Did you mean `slug`?" in done.stderr
    assert done.stderr.count("timeout_seconds: ") == 2
