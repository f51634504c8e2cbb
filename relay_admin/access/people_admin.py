"""Admin pages of members and invitations."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.admin import TabularInline
from unfold.decorators import display

from relay_admin import pages
from relay_admin.access.invitations import invitation_check, invitation_create
from relay_admin.access.models import Invitation, Membership, User
from relay_admin.catalog.credit_fields import BudgetField, budget_in_words


class MembershipForm(forms.ModelForm):
    """Money in credits."""

    budget = BudgetField()


class MembershipInline(TabularInline):
    """Members, on their project's page."""

    model = Membership
    form = MembershipForm
    fields = ("user", "role", "has_own_budget", "budget")
    autocomplete_fields = ("user",)
    extra = 0

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who changes nothing reads an amount and its period."""
        fields = super().get_fields(request, obj)
        if self.has_change_permission(request, obj) or self.has_add_permission(request, obj):
            return fields
        return tuple("budget_text" if name == "budget" else name for name in fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """And what they read."""
        return (*super().get_readonly_fields(request, obj), "budget_text")

    @display(description="budget")
    def budget_text(self, member: Membership) -> str:
        """Theirs, or the project's."""
        return budget_in_words(member.user_budget)


class InvitationForm(forms.ModelForm):
    """Refuses what the service would."""

    def clean(self) -> dict[str, Any]:
        """Whether it may be made."""
        given = super().clean() or self.cleaned_data
        invitation_check(given.get("email", ""), given.get("project"), given.get("role", ""))
        return given


class InvitationAdmin(pages.MintingAdmin):
    """Who is asked to come into a project, or to sign up. Made and deleted, never changed."""

    form = InvitationForm
    empty_text = "An invitation is a link to a project, or to sign up. It is shown once, when it is made."
    list_display = ("email", "project", "role", "invited_by", "expires_at", "accepted_at")
    list_filter = ("project", "role")
    list_select_related = ("project", "invited_by")
    search_fields = ("email", "project__slug")
    autocomplete_fields = ("project",)
    readonly_fields = ("invited_by", "created_at", "expires_at", "accepted_at")
    fieldsets = ((None, {"fields": ("project", "email", "role", *readonly_fields)}),)
    add_fieldsets = ((None, {"fields": ("project", "email", "role")}),)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Invite them anew instead."""
        return False

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        """Its link waits in this request for `response_add`."""
        if change:
            raise PermissionDenied
        assert isinstance(request.user, User)
        wanted = {name: form.cleaned_data[name] for name in form.fields}
        minted = invitation_create(**wanted, by=request.user)
        obj.__dict__.update(minted.invitation.__dict__)
        request.minted_link = minted.link  # type: ignore[attr-defined]  # lives as long as the request

    def response_add(self, request: HttpRequest, obj: Invitation, post_url_continue: Any = None) -> HttpResponse:  # noqa: ARG002
        """The link, once."""
        return pages.show_once(
            request,
            self,
            title=f"Invitation of {obj.email}",
            text="This is the only time the link is shown: of its token the hash is stored. Whoever has it and this"
            " address can accept, once, until it expires. Where there is a mail server it is sent there too.",
            label="Link",
            secret=request.minted_link,  # type: ignore[attr-defined]  # set by save_model
            next_url=reverse("admin:access_invitation_changelist"),
        )
