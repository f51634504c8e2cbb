"""The admin's first page: what waits for somebody, how to call the edge, and a sentence on every page there is.

A few look-ups by index, for who may see the traffic; nothing is counted past the badge's limit.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from relay_admin.catalog.models import Endpoint, Model
from relay_admin.deliveries import selectors
from relay_admin.sidebar import failure_count
from relay_admin.traffic.selectors import unpriced_models
from relay_contract.pricing import PriceMeter

LATE_SECONDS = 10
"""A due delivery is taken within a second. One that has waited for so long says that workers are missing or behind."""

UNPRICED_HOURS = 24
MOST_MODELS = 5
"""Named on the page; the list behind it has the rest."""


def context(request: HttpRequest, given: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK: the context of `templates/admin/index.html`."""
    given["is_start_page"] = True
    shown = {
        group["title"]: [item for item in group["items"] if item["has_permission"]]
        for group in given["sidebar_navigation"]
    }
    given["groups"] = [(title, items) for title, items in shown.items() if items]
    given["edge_url"] = settings.EDGE_URL
    given["sees_traffic"] = sees_traffic = request.user.has_perm("deliveries.view_delivery")
    given["failures"] = failure_count(request)
    due_at = selectors.oldest_due_at() if sees_traffic else None
    given["late_since"] = due_at if is_late(due_at) else None
    if request.user.has_perm("traffic.view_call"):
        since = timezone.now() - timedelta(hours=UNPRICED_HOURS)
        unpriced = unpriced_models(since)
        given |= {
            "sees_calls": True,
            "unpriced_since": since,
            "unpriced_count": sum(count for _, count in unpriced),
            "unpriced_models": [model for model, _ in unpriced[:MOST_MODELS]],
            "more_unpriced_models": max(0, len(unpriced) - MOST_MODELS),
        }
    given["endpoint"] = _example_endpoint() if request.user.has_perm("catalog.view_endpoint") else None
    given["model"] = _example_model() if request.user.has_perm("catalog.view_model") else None
    return given


def is_late(due_at: datetime | None) -> bool:
    """Whether a delivery that has been due since then should have been taken by now."""
    return due_at is not None and (timezone.now() - due_at).total_seconds() > LATE_SECONDS


def _example_endpoint() -> Endpoint | None:
    enabled = Endpoint.objects.filter(is_enabled=True, line__is_enabled=True, line__project__is_archived=False)
    return enabled.select_related("line__project").first()


def _example_model() -> str | None:
    served = Model.objects.filter(is_enabled=True, bindings__is_enabled=True, bindings__wire_shape="openai_chat")
    # Hosts of this shape serve embeddings too, which have no price for output.
    chats = served.filter(bindings__pricing__rates__contains=[{"meter": PriceMeter.OUTPUT}])
    found = chats.first() or served.first()
    return None if found is None else found.name
