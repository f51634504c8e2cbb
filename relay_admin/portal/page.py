"""What the portal's pages share: whose project it is, how one is answered, and the 404 that a stranger gets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_http_methods

from relay_admin.access.roles import ACTS, Act, Role
from relay_admin.access.scoping import Actor, actor_of, one_of
from relay_admin.account.page import signed_in
from relay_admin.catalog.models import Project

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]
FORM_METHODS = require_http_methods(["GET", "HEAD", "POST"])


@dataclass(frozen=True, slots=True)
class Place:
    """A project, and who asks in it: for `rows_of(..., place.actor, ...)`."""

    project: Project
    actor: Actor
    role: Role

    def may(self, act: Act | str) -> bool:
        """Whether the role allows it; templates ask by the act's word."""
        return Act(act) in ACTS[self.role]

    @property
    def acts(self) -> frozenset[str]:
        """For templates: `{% if "keys.manage" in place.acts %}`."""
        return frozenset(str(act) for act in ACTS[self.role])


def project_of(request: HttpRequest, slug: str, act: Act) -> Place:
    """The project that the address names. Http404 for one that is a stranger's, archived or nowhere, all alike;
    PermissionDenied for a member whose role does not allow it. Operators come by a role too: theirs is the admin."""
    actor = actor_of(request)
    project = one_of(Project, actor, act, slug=slug, is_archived=False)
    return Place(project, actor, actor.roles[project.pk])


def shown(
    request: HttpRequest, name: str, place: Place | None = None, *, status: int = 200, **context: Any
) -> HttpResponse:
    """A page of `templates/portal/`. With a place its base shows the project's sections."""
    return TemplateResponse(request, f"portal/{name}.html", {"place": place, **context}, status=status)


def portal_page(view: View[P]) -> View[P]:
    """A page for who is signed in, in no cache. What is not theirs is answered as what is not there."""

    @signed_in
    @wraps(view)
    def answer(request: HttpRequest, *args: P.args, **keywords: P.kwargs) -> HttpResponse:
        try:
            return view(request, *args, **keywords)
        except Http404:
            text = "There is nothing at this address, or it is not yours to see."
            return shown(request, "said", status=404, title="Not found", text=text)
        except PermissionDenied as refused:
            return shown(request, "said", status=403, title="Not with your role", text=str(refused))

    return answer
