"""Drafts of lines: edited apart from what runs, compared with it, published at once or at a time, or thrown away.

Each write holds the line's lock (`revisions.lock`), and says which state of things it was made from: what somebody else
changed meanwhile is never overwritten, but refused with LineConflict.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from relay_admin.catalog import plan
from relay_admin.catalog.document import Document, DocumentError
from relay_admin.catalog.lines import documents, revisions
from relay_admin.catalog.lines.documents import Complaint, LineRefused
from relay_admin.catalog.models import Line, LineDraft, LineRevision, Target
from relay_admin.catalog.sections import Rows
from relay_contract import logs

if TYPE_CHECKING:
    from relay_admin.access.models import User

logger = logging.getLogger(__name__)

STAYS_DISABLED = "The relay disabled it: it stays so until somebody enables it on its page."
NEW_SECRET = "It gets a new signing secret, which its receiver must be given."  # noqa: S105 (a sentence)


class LineConflict(Exception):
    """Somebody was faster. `code` names what is stale; the text says how to go on."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Change:
    """One row that a publication would make, change or delete. `fields`: name, old and new, as shown."""

    action: str  # create, change or delete
    noun: str
    name: str
    fields: tuple[tuple[str, str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Diff:
    """What a document would change of what runs now. With `complaints` it cannot be published."""

    changes: tuple[Change, ...] = ()
    complaints: tuple[Complaint, ...] = ()


@dataclass(slots=True)
class _Prepared:
    rows: Rows
    plan: plan.Plan
    notes: dict[int, str] = field(default_factory=dict)  # by the step's place in the plan


def draft_of(line: Line) -> LineDraft | None:
    """The line's draft, if somebody began one."""
    return LineDraft.objects.select_related("updated_by").filter(line=line).first()


def document_now(line: Line) -> dict[str, Any]:
    """What runs."""
    return documents.document_of(documents.rows_of(line))


@transaction.atomic
def draft_put(
    *, line: Line, document: Mapping[str, Any], draft_revision: int, by: "User | None", base: int | None = None
) -> LineDraft:
    """Begin the draft (`draft_revision` 0) or replace the one that has this number.

    `base`: the line's revision that the document takes account of; None leaves it as it was. A draft may break rules,
    which its diff shows; it must be readable. An edit takes back a planned publication. Raises LineRefused or
    LineConflict.
    """
    _locked(line)
    draft = _at(line, draft_revision)
    if base is not None and base != line.revision:
        raise LineConflict("stale_base", f"The line is at revision {line.revision}, not {base}: see what it is now.")
    given_slug = document.get("slug", line.slug)
    if given_slug != line.slug:
        raise LineRefused([Complaint("slug", f"A draft cannot rename its line, which is {line.slug}.")])
    read = documents.read(document, documents.rows_of(line))
    if draft is None:
        draft = LineDraft(line=line, base_number=line.revision, draft_revision=0)
    draft.document, draft.updated_by = documents.written(read), by
    draft.draft_revision += 1
    draft.base_number = base or draft.base_number
    draft.publish_at, draft.publish_error = None, ""
    draft.save()
    return draft


@transaction.atomic
def draft_discard(*, line: Line, draft_revision: int) -> None:
    """Throw the draft away. Raises LineConflict unless it still has this number."""
    _locked(line)
    if draft := _at(line, draft_revision):
        draft.delete()


def draft_diff(draft: LineDraft) -> Diff:
    """What publishing it would change of what runs now."""
    return diff_of(draft.line, draft.document)


def diff_of(line: Line, document: Mapping[str, Any]) -> Diff:
    """What this document would change of what runs now."""
    try:
        prepared = _prepared(line, document)
    except LineRefused as refused:
        return Diff(complaints=tuple(refused.complaints))
    return Diff(tuple(_changes(prepared)))


@transaction.atomic
def draft_schedule(*, line: Line, draft_revision: int, at: datetime | None) -> LineDraft:
    """Publish it at that time, as it is now; None takes that back. Raises LineConflict, or LineRefused where it could
    not be published as things are."""
    _locked(line)
    draft = _existing(line, draft_revision)
    if at is not None:
        _check_base(line, draft)
        _prepared(line, draft.document)
    draft.publish_at, draft.publish_error = at, ""
    draft.save(update_fields=["publish_at", "publish_error", "updated_at"])
    return draft


@transaction.atomic
def draft_publish(*, line: Line, draft_revision: int, by: "User | None", note: str = "") -> LineRevision:
    """Make the draft what runs, whole or not at all. The edges have it within a second of the commit.

    Raises LineConflict where the draft or the line is another one by now, LineRefused where a rule is broken.
    """
    _locked(line)
    draft = _existing(line, draft_revision)
    _check_base(line, draft)
    revision = _apply(line, draft.document, by=by, note=note, source="publish")
    draft.delete()
    return revision


@transaction.atomic
def rollback(*, line: Line, number: int, revision: int, by: "User | None", note: str = "") -> LineRevision:
    """Publish what revision `number` was, as a new revision. `revision`: the one that runs, as the caller knows it.

    Raises LineRevision.DoesNotExist, LineConflict or LineRefused. A draft stays, and is stale from then on.
    """
    _locked(line)
    if revision != line.revision:
        raise LineConflict("stale_base", f"The line is at revision {line.revision}, not {revision}: see what it is.")
    wanted = line.revisions.get(number=number)
    return _apply(line, wanted.document, by=by, note=note or f"Back to revision {number}.", source="rollback")


def publish_due() -> int:
    """Publish drafts whose time has come; how many were. Several may run at once: each draft is published once.

    One that cannot be published keeps its time, has the reason in `publish_error`, and is not tried again until
    somebody edits or schedules it anew.
    """
    published = 0
    due = LineDraft.objects.filter(publish_at__lte=timezone.now(), publish_error="").order_by("publish_at")
    for line_id in list(due.values_list("line_id", flat=True)):
        with transaction.atomic():
            # The line's lock, as everybody takes it; a line that somebody writes at the moment has its turn next time.
            line = Line.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=line_id).first()
            draft = due.filter(line_id=line_id).first()
            if line is not None and draft is not None:
                published += _publish_at_its_time(line, draft)
    return published


def _publish_at_its_time(line: Line, draft: LineDraft) -> bool:
    try:
        with transaction.atomic():
            draft_publish(line=line, draft_revision=draft.draft_revision, by=draft.updated_by)
    except (LineConflict, LineRefused) as refused:
        logger.warning("scheduled_publish_refused", extra=logs.log_fields(line=str(line)))
        LineDraft.objects.filter(pk=draft.pk).update(publish_error=str(refused))
        return False
    return True


def _locked(line: Line) -> None:
    """Take the line's lock and know its revision."""
    revisions.lock([line])
    line.refresh_from_db(fields=["revision"])


def _at(line: Line, draft_revision: int) -> LineDraft | None:
    draft = draft_of(line)
    found = draft.draft_revision if draft else 0
    if found != draft_revision:
        now = f"is at {found}" if found else "was published or discarded"
        raise LineConflict("stale_draft", f"The draft {now}, not at {draft_revision}: read it again.")
    return draft


def _existing(line: Line, draft_revision: int) -> LineDraft:
    draft = _at(line, draft_revision)
    if draft is None:
        raise LineConflict("no_draft", "There is no draft.")
    return draft


def _check_base(line: Line, draft: LineDraft) -> None:
    if draft.base_number != line.revision:
        raise LineConflict(
            "stale_base",
            f"The draft was made from revision {draft.base_number} and the line is at {line.revision}. Look at its"
            f" difference to what runs now, and save it again as made from {line.revision}.",
        )


def _apply(line: Line, document: Mapping[str, Any], *, by: "User | None", note: str, source: str) -> LineRevision:
    prepared = _prepared(line, document)
    try:
        with transaction.atomic():
            plan.write(prepared.rows, prepared.plan)
    except DocumentError as error:
        raise LineRefused(documents.complaints_of(document, error)) from error
    revision = revisions.revision_take(line=line, by=by, source=source, note=note)
    if revision is None:
        raise LineConflict("no_change", f"This is what runs already, as revision {line.revision}.")
    return revision


def _prepared(line: Line, document: Mapping[str, Any]) -> _Prepared:
    """The plan of a document. Raises LineRefused."""
    rows = documents.rows_of(line)
    try:
        made = plan.make_of(rows, documents.read(document, rows))
    except DocumentError as error:
        raise LineRefused(documents.complaints_of({**document, "slug": line.slug}, error)) from error
    prepared = _Prepared(rows, made)
    for step in list(made.steps):
        if plan.would_enable(step):
            del step.fields["is_enabled"]
            prepared.notes[id(step)] = STAYS_DISABLED
        if step.section.model is Target and step.row is None:
            prepared.notes[id(step)] = NEW_SECRET
    return prepared


def _changes(prepared: _Prepared) -> Iterator[Change]:
    for step in prepared.plan.steps:
        action = "delete" if step.entry is None else "create" if step.row is None else "change"
        fields = tuple((name, old, new) for name, (old, new) in step.fields.items())
        note = prepared.notes.get(id(step), "")
        yield Change(action, step.section.noun, "/".join(step.path[1:]), fields, note)


def resolved(line: Line, document: Mapping[str, Any]) -> tuple[Rows, Document]:
    """A document of this line as it would be published, for a dry run. Raises LineRefused."""
    rows = documents.rows_of(line)
    return rows, documents.read(document, rows)
