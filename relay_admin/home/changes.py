"""What changed: the newest events of the audit log and the newest publications of lines. Two look-ups by key."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.apps import apps
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince

from relay_admin.access.models import AuditEvent, User
from relay_admin.catalog.admin.draft_pages import VIEWING
from relay_admin.catalog.models import LineRevision

SHOWN_EVENTS = 10
SHOWN_PUBLICATIONS = 5
SEES_EVENTS = "access.view_auditevent"
_WORDS = {"insert": "made", "update": "changed", "delete": "deleted", "truncate": "emptied"}
_SOURCES = {"publish": "published", "edit": "edited", "rollback": "rolled back to", "import": "applied"}


@dataclass(frozen=True, slots=True)
class Change:
    """`who` did `what` to `whose`, whose page or record is at `url`. `note`: why, where somebody wrote it."""

    at: datetime
    who: str
    what: str
    whose: str
    url: str
    note: str = ""

    @property
    def ago(self) -> str:
        """How long, in words."""
        is_new = timezone.now() - self.at < timedelta(minutes=1)
        return "just now" if is_new else f"{timesince(self.at, depth=1)} ago"


def newest_changes(user: User) -> list[Change] | None:
    """None for who may not read the log."""
    if not user.has_perm(SEES_EVENTS):
        return None
    return [
        Change(
            at=event.at,
            who=event.actor_name or event.tool or "nobody signed in",
            what=_WORDS.get(event.action, event.action),
            whose=f"{_noun(event.subject)} {event.subject_name or event.subject_id or ''}".strip(),
            url=reverse("admin:access_auditevent_change", args=[event.pk]),
        )
        for event in AuditEvent.objects.order_by("-id")[:SHOWN_EVENTS]
    ]


def newest_publications(user: User) -> list[Change] | None:
    """Revisions of lines, whoever made them and however; None for who may not read them."""
    if not user.has_perms(VIEWING):
        return None
    rows = LineRevision.objects.select_related("line__project", "published_by").order_by("-pk")[:SHOWN_PUBLICATIONS]
    return [
        Change(
            at=row.published_at,
            who=row.published_by.get_username() if row.published_by else "a command",
            what=_SOURCES[row.source],
            whose=f"{row.line} revision {row.number}",
            url=reverse("admin:catalog_line_revision", args=[row.line_id, row.number]),
            note=row.note,
        )
        for row in rows
    ]


def _noun(label: str) -> str:
    """`catalog.hostkey` as its pages call it: `host key`."""
    try:
        return str(apps.get_model(label)._meta.verbose_name)
    except LookupError:
        return label
