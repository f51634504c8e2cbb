"""My projects, and a project's first page."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from relay_admin.access.budgets import spending_of
from relay_admin.access.models import Membership
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.account.page import user_of
from relay_admin.portal.page import portal_page, project_of, shown
from relay_admin.portal.quick_start import snippets_of


@require_safe
@portal_page
def listed(request: HttpRequest) -> HttpResponse:
    """All of them, with one's role in each."""
    mine = Membership.objects.filter(user=user_of(request), project__is_archived=False)
    rows = mine.select_related("project").order_by("project__name", "project__slug")
    return shown(request, "projects", memberships=rows)


@require_safe
@portal_page
def home(request: HttpRequest, project: str) -> HttpResponse:
    """What one may do here and spend, and first calls to paste."""
    place = project_of(request, project, Act.SEE_PROJECT)
    own = one_of(Membership, place.actor, Act.SEE_PROJECT, "project", project=place.project, user=user_of(request))
    return shown(
        request,
        "project",
        place,
        snippets=snippets_of(place.project),
        edge_url=settings.EDGE_URL,
        spending=spending_of(own),
    )
