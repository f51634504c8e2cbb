"""The admin's first page: what needs somebody, what passed, what changed, how to call the edge, every page there is.

It reads Postgres, and no other process: `attention.py`, `figures.py` and `changes.py` say what each part costs. What
the others say of themselves is fetched by the page when it is there (`live.py`).
"""

from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest

from relay_admin.access.models import User
from relay_admin.home import attention, changes, examples, first_steps, live, panels
from relay_admin.home.notes import waiting
from relay_admin.home.ranges import SPANS, span_of


def context(request: HttpRequest, given: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK: the context of `templates/admin/index.html`."""
    user = cast("User", request.user)
    shown = {
        group["title"]: [item for item in group["items"] if item["has_permission"]]
        for group in given["sidebar_navigation"]
    }
    span = span_of(request.GET.get("range", ""))
    notes = attention.notes(request)
    given |= {
        "is_start_page": True,
        "groups": [(title, items) for title, items in shown.items() if items],
        "notes": notes,
        "waiting": waiting(notes),
        "sees_processes": live.may_see(user),
        "spans": SPANS,
        "span": span,
        "panels": panels.panels_of(user, span),
        "changes": changes.newest_changes(user),
        "publications": changes.newest_publications(user),
        "edge_url": settings.EDGE_URL,
        "endpoint": examples.endpoint() if user.has_perm("catalog.view_endpoint") else None,
        "model": examples.model() if user.has_perm("catalog.view_model") else None,
        "may_begin": first_steps.may_see(user),
        "steps": first_steps.steps_at_home(request),
    }
    return given
