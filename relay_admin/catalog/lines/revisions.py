"""What a line was configured as, each time that it changed. The line's `revision` is the number of the newest one.

Whoever changes a line's configuration calls `lock` first, writes, and calls `revision_take` in the same transaction:
the admin's forms, the control API, catalog documents and drafts all do. What the relay itself changes, such as a
target that it disables, makes no revision.
"""

import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from relay_admin.catalog.lines.documents import document_of, rows_of
from relay_admin.catalog.models import Endpoint, Line, LineRevision, Target
from relay_admin.catalog.sections import Path

if TYPE_CHECKING:
    from relay_admin.access.models import User


def lock(lines: Iterable[Line]) -> None:
    """Until the transaction ends nobody else writes the configuration of these lines. What they are before the first
    change that is recorded gets a revision too."""
    for line in hold(lines).filter(revisions=None):
        revision_take(line=line, by=None, source="import")


def hold(lines: Iterable[Line]) -> QuerySet[Line]:
    """The same for who is still to find out whether anything changes: nothing is recorded."""
    keys = {line.pk for line in lines} - {None}
    # Not FOR UPDATE, which inserts of endpoints would wait for. One order, so that two writers cannot wait in a ring.
    list(Line.objects.select_for_update(no_key=True).filter(pk__in=keys).order_by("pk").values_list("pk"))
    return Line.objects.filter(pk__in=keys)


def lines_at(paths: Collection[Path]) -> list[Line]:
    """Those of these lines, given as (project, line), that there are."""
    wanted = Q(pk=None)
    for project, slug in paths:
        wanted |= Q(project__slug=project, slug=slug)
    return list(Line.objects.filter(wanted)) if paths else []


def lines_of(rows: Iterable[Any]) -> list[Line]:
    """Those whose configuration these rows are part of; rows of other nouns have none."""
    found = []
    for row in rows:
        match row:
            case Line():
                found.append(row)
            case Endpoint():
                found.append(row.line)
            case Target():
                found.append(row.endpoint.line)
    return found


def take(lines: Iterable[Line], by: "User | None") -> None:
    """Record what somebody edited of these. A line that is deleted took its revisions with it."""
    for line in Line.objects.filter(pk__in={line.pk for line in lines} - {None}):
        revision_take(line=line, by=by, source="edit")


@transaction.atomic
def revision_take(*, line: Line, by: "User | None", source: str, note: str = "") -> LineRevision | None:
    """Record what the line is configured as now, where it is something new. Sets `line.revision`.

    The first record of a line has the number that its requests name already; each further one is the next.
    """
    hold([line])
    document = document_of(rows_of(line))
    newest = line.revisions.order_by("-number").first()
    if newest is not None and _is_same(newest.document, document):
        line.revision = newest.number
        return None
    line.revision = Line.objects.values_list("revision", flat=True).get(pk=line.pk)
    if newest is not None:
        line.revision += 1
        Line.objects.filter(pk=line.pk).update(revision=line.revision)
    return LineRevision.objects.create(
        line=line,
        number=line.revision,
        document=document,
        published_by=by,
        published_at=timezone.now(),
        note=note,
        source=source,
    )


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """In JSON, true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def revisions_begin() -> int:
    """Record lines that have no revision yet, as those of an older version. The number of them."""
    found = Line.objects.filter(revisions=None)
    for line in found:
        revision_take(line=line, by=None, source="import")
    return len(found)
