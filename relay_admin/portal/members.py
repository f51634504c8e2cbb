"""Who is in a project, and who is asked to come. The link of an invitation is in the one answer that made it."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from relay_admin.access import invitations, memberships
from relay_admin.access.mails import sends_mail
from relay_admin.access.models import Invitation, Membership
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.account.forms import ConfirmForm
from relay_admin.account.page import add_errors, user_of
from relay_admin.portal.member_forms import InviteForm, RoleForm
from relay_admin.portal.page import FORM_METHODS, Place, portal_page, project_of, shown

MOST_LISTED = 500


@FORM_METHODS
@portal_page
def listed(request: HttpRequest, project: str) -> HttpResponse:
    """Both; a POST invites, and shows the link."""
    place = project_of(request, project, Act.MANAGE_MEMBERS)
    form = InviteForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            minted = invitations.invitation_create(
                project=place.project, by=user_of(request), email=form.cleaned_data["email"],
                role=form.cleaned_data["role"],
            )  # fmt: skip
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            return shown(request, "invitation_made", place, minted=minted, is_mailed=sends_mail())
    members = rows_of(Membership, place.actor, Act.MANAGE_MEMBERS).filter(project=place.project)
    open_ones = rows_of(Invitation, place.actor, Act.MANAGE_MEMBERS).filter(
        project=place.project, accepted_at=None, expires_at__gt=timezone.now()
    )
    return shown(
        request,
        "members",
        place,
        form=form,
        members=members.select_related("user", "project").order_by("pk")[:MOST_LISTED],
        invitations=open_ones.select_related("invited_by").order_by("-pk"),
        is_mailed=sends_mail(),
    )


@FORM_METHODS
@portal_page
def one(request: HttpRequest, project: str, member_number: int) -> HttpResponse:
    """Another role."""
    place = project_of(request, project, Act.MANAGE_MEMBERS)
    member = _member(place, member_number)
    form = RoleForm(request.POST if request.method == "POST" else None, initial={"role": member.role})
    if form.is_valid():
        try:
            memberships.membership_change(membership=member, role=form.cleaned_data["role"])
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, f"{member.user.email} is {form.cleaned_data['role']} now.")
            return _onward(request, place, member)
    return shown(request, "member", place, form=form, member=member)


@FORM_METHODS
@portal_page
def remove(request: HttpRequest, project: str, member_number: int) -> HttpResponse:
    """Asks; a POST does."""
    place = project_of(request, project, Act.MANAGE_MEMBERS)
    member = _member(place, member_number)
    form = ConfirmForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            memberships.membership_remove(membership=member)
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, f"{member.user.email} is no member any more.")
            return _onward(request, place, member)
    return shown(request, "member_remove", place, form=form, member=member)


@require_POST
@portal_page
def take_back(request: HttpRequest, project: str, invitation_number: int) -> HttpResponse:
    """Ends an invitation. A member that came by it stays."""
    place = project_of(request, project, Act.MANAGE_MEMBERS)
    named = {"pk": invitation_number, "project": place.project}
    found = one_of(Invitation, place.actor, Act.MANAGE_MEMBERS, **named)
    found.delete()
    messages.success(request, f"The invitation of {found.email} is taken back.")
    return redirect("portal:members", place.project.slug)


def _member(place: Place, member_number: int) -> Membership:
    named = {"pk": member_number, "project": place.project}
    return one_of(Membership, place.actor, Act.MANAGE_MEMBERS, "user", **named)


def _onward(request: HttpRequest, place: Place, member: Membership) -> HttpResponse:
    """Who changed their own role may not see the list any more."""
    if member.user_id == user_of(request).pk:
        return redirect("portal:projects")
    return redirect("portal:members", place.project.slug)
