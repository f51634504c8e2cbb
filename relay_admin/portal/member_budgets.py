"""What users may spend in a project: what each is given, and what one member has instead."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from relay_admin.access import budgets, memberships
from relay_admin.access.models import Membership
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.account.page import add_errors
from relay_admin.portal.budget_forms import MemberBudgetForm, UserBudgetForm, budget_initial
from relay_admin.portal.page import FORM_METHODS, portal_page, project_of, shown


@FORM_METHODS
@portal_page
def of_all(request: HttpRequest, project: str) -> HttpResponse:
    """Of each user who has no other."""
    place = project_of(request, project, Act.MANAGE_MEMBERS)
    form = UserBudgetForm(
        request.POST if request.method == "POST" else None, initial=budget_initial(place.project.user_budget)
    )
    if form.is_valid():
        try:
            budgets.user_budget_set(project=place.project, budget=form.budget())
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, "What each user may spend is saved, and counts within a second.")
            return redirect("portal:members", place.project.slug)
    return shown(request, "members_budget", place, form=form)


@FORM_METHODS
@portal_page
def of_one(request: HttpRequest, project: str, member_number: int) -> HttpResponse:
    """Of one member; a GET shows how much of it is used."""
    place = project_of(request, project, Act.MANAGE_MEMBERS)
    named = {"pk": member_number, "project": place.project}
    member = one_of(Membership, place.actor, Act.MANAGE_MEMBERS, "user", "project", **named)
    form = MemberBudgetForm(member, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            memberships.membership_budget_set(membership=member, **form.columns())
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, f"The budget of {member.user.email} is saved, and counts within a second.")
            return redirect("portal:members", place.project.slug)
    return shown(request, "member_budget", place, form=form, member=member, spending=budgets.spending_of(member))
