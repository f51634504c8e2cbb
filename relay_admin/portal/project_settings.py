"""What a member may do about the project itself: leave it, and as its owner hand it over."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from relay_admin.access import memberships
from relay_admin.access.models import Membership
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.account.forms import ConfirmForm
from relay_admin.account.page import add_errors, user_of
from relay_admin.portal.member_forms import TransferForm
from relay_admin.portal.page import FORM_METHODS, Place, portal_page, project_of, shown


@require_safe
@portal_page
def page(request: HttpRequest, project: str) -> HttpResponse:
    """What it is, and what one may do."""
    return shown(request, "settings", project_of(request, project, Act.SEE_PROJECT))


@FORM_METHODS
@portal_page
def leave(request: HttpRequest, project: str) -> HttpResponse:
    """Asks; a POST ends one's membership."""
    place = project_of(request, project, Act.SEE_PROJECT)
    form = ConfirmForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            memberships.membership_remove(membership=_own(request, place))
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, f"You have left {place.project.name}.")
            return redirect("portal:projects")
    return shown(request, "leave", place, form=form)


@FORM_METHODS
@portal_page
def transfer(request: HttpRequest, project: str) -> HttpResponse:
    """To whom, confirmed by the project's short name."""
    place = project_of(request, project, Act.TRANSFER)
    form = TransferForm(place.project, request.POST if request.method == "POST" else None)
    if form.is_valid():
        to: Membership = form.cleaned_data["member"]
        try:
            memberships.ownership_transfer(owner=_own(request, place), to=to)
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, f"{to.user.email} owns {place.project.name} now; you are an admin of it.")
            return redirect("portal:settings", place.project.slug)
    return shown(request, "transfer", place, form=form)


def _own(request: HttpRequest, place: Place) -> Membership:
    return one_of(Membership, place.actor, Act.SEE_PROJECT, project=place.project, user=user_of(request))
