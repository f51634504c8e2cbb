"""Applying a document while somebody else writes the same lines, on connections of their own."""

from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction

from relay_admin.catalog import document, export, plan
from relay_admin.catalog.lines import drafts
from relay_admin.catalog.models import Line, Target
from tests.admin import rows
from tests.system.product import wait_for

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


class Applying(Thread):
    """Applies what it planned, on a connection of its own; `said` is what it was refused with."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._wanted = document.read(text)
        self._plan = plan.make(self._wanted, {})
        self.said = ""

    def run(self) -> None:
        try:
            plan.apply(self._wanted, {}, self._plan)
        except document.DocumentError as error:
            self.said = str(error)
        finally:
            connection.close()


def is_waiting() -> bool:
    """Whether a connection waits for a row that this one has locked."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


def with_timeout(seconds: int) -> str:
    """The catalog, with this for the timeout of its target."""
    whole: dict[str, Any] = export.export()
    projects = {"version": whole["version"], "projects": whole["projects"]}
    [line] = projects["projects"][0]["lines"]
    line["endpoints"][0]["targets"][0]["timeout_seconds"] = seconds
    for project in projects["projects"]:
        project.pop("relay_keys", None)
        project.pop("rate_limit", None)
    return export.as_yaml(projects)


def publish(line: Line, seconds: int) -> None:
    changed = drafts.document_now(line)
    changed["endpoints"][0]["targets"][0]["timeout_seconds"] = seconds
    drafts.draft_put(line=line, document=changed, draft_revision=0, by=None, base=line.revision)
    drafts.draft_publish(line=line, draft_revision=1, by=None)


def test_an_apply_does_not_undo_what_was_published_while_it_waited() -> None:
    line = rows.catalog_rows().line
    applying = Applying(with_timeout(7))
    with transaction.atomic():
        publish(line, 9)
        applying.start()
        wait_for(is_waiting, "a connection that waits")
    applying.join(30)
    assert "changed since the plan was made" in applying.said
    assert Target.objects.get().timeout_seconds == 9
    newest = line.revisions.order_by("-number")[0]
    assert newest.document["endpoints"][0]["targets"][0]["timeout_seconds"] == 9


def test_of_two_applies_at_once_the_second_sees_the_first() -> None:
    rows.catalog_rows()
    first, second = Applying(with_timeout(7)), Applying(with_timeout(9))
    with transaction.atomic():
        Line.objects.select_for_update().get()
        first.start()
        wait_for(is_waiting, "a connection that waits")
        second.start()
    first.join(30)
    second.join(30)
    assert (first.said, "changed since the plan was made" in second.said) == ("", True)
    assert Target.objects.get().timeout_seconds == 7
