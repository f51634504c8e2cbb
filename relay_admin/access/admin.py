"""Admin pages of people and bearers. A token is shown in the answer that made it and nowhere else."""

from datetime import date, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectMultipleWidget

from relay_admin import pages
from relay_admin.access import services, session_services
from relay_admin.access.admin_tokens import admin_token_mint, check_projects, projects_of
from relay_admin.access.agents import agent_words
from relay_admin.access.audit_admin import AuditEventAdmin
from relay_admin.access.key_life import check_expiry
from relay_admin.access.key_successors import SuccessorGoneError, relay_key_successor_reveal
from relay_admin.access.models import AdminToken, AuditEvent, Invitation, RelayKey, Session, User, every_scope
from relay_admin.access.oauth import admin as _oauth  # noqa: F401  # registers its pages
from relay_admin.access.people_admin import InvitationAdmin
from relay_admin.access.stand_ins import stand_ins
from relay_admin.access.token_scopes import SCOPES
from relay_admin.catalog.credit_fields import BudgetField
from relay_admin.catalog.models import Project
from relay_admin.deliveries.admin.base import TimeRangeFilter
from relay_admin.guard import GuardedAdmin
from relay_contract import nouns, tokens
from relay_contract.sealing import SealingError

_LISTED = 20
_RIGHTS = ("scopes", "policy", "rate_limit", "captures_payloads", "allowed_networks")
_LIFE = ("expires_at", "rotates_days_before")
_MONEY = ("pays", "budget")
MAX_REVOKED = 900
"""The page that asks carries each key in a field, and Django takes a form of 1000."""

NEVER = "In UTC. Empty: it does not expire."
GRACE = timedelta(seconds=nouns.KEY_GRACE_SECONDS)

admin.site.unregister(Group)
admin.site.register(AuditEvent, AuditEventAdmin)
admin.site.register(Invitation, InvitationAdmin)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, GuardedAdmin):
    """Operators, support, viewers, and whatever is added."""


class NewUserForm(UserCreationForm):
    """Names the address too: it is unique."""

    class Meta:
        model = User
        fields = ("username", "email")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, GuardedAdmin):
    """People who sign in."""

    form = UserChangeForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    add_fieldsets = ((None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),)
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")


class StateFilter(admin.SimpleListFilter):
    """Whether a key works."""

    title = "state"
    parameter_name = "key_state"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in ("active", "stopped", "expired", "revoked")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[RelayKey]) -> QuerySet[RelayKey]:
        now = timezone.now()
        has_grace = Q(has_successor=False, expires_at__gt=now - GRACE)
        works = Q(expires_at=None) | Q(expires_at__gt=now) | has_grace
        match self.value():
            case "active":
                return queryset.filter(works, revoked_at=None, payer_is_active=True)
            case "stopped":
                return queryset.filter(works, revoked_at=None, payer_is_active=False)
            case "expired":
                return queryset.exclude(works).filter(revoked_at=None)
            case "revoked":
                return queryset.exclude(revoked_at=None)
            case _:
                return queryset


class RelayKeyForm(forms.ModelForm):
    """Scopes as boxes to tick."""

    scopes = forms.MultipleChoiceField(
        choices=[(str(scope), str(scope)) for scope in nouns.Scope],
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
        help_text="relay: POST /r/{project}/...; inference: /v1/...; control: the control API, of its project.",
    )
    budget = BudgetField(help_text="What its calls may spend in a calendar period, UTC. Empty: no budget.")

    def clean(self) -> dict[str, Any]:
        """An end within what the project allows, where it is a new one."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        project = cleaned.get("project") or (self.instance.project if self.instance.pk else None)
        if project is not None and "expires_at" in self.changed_data and "expires_at" in cleaned:
            check_expiry(project, cleaned["expires_at"], timezone.now(), may_be_endless=True)
        return cleaned


@admin.register(RelayKey)
class RelayKeyAdmin(pages.MintingAdmin):
    """Bearers of apps."""

    form = RelayKeyForm
    list_display = ("__str__", "shown_token", "mode", "scopes_text", "policy", "user", "state", "expires_at", "used_on")
    list_filter = (StateFilter, "mode", "project", "policy", "captures_payloads")
    search_fields = ("name", "key_id", "project__slug", "user__username")
    empty_text = "A relay key is what an app calls with. It is shown once, when it is made."
    search_help_text = "Name, project, user, or the public part of the key; console: those of the test console."
    autocomplete_fields = ("project", "policy", "rate_limit")
    list_select_related = ("project", "policy", "user", "use")
    readonly_fields = ("shown_token", "state", "used_on", "successor", "revoked_at", "created_by", "created_at")
    actions = ["revoke"]
    actions_detail = ["rotate", "successor_token"]
    fieldsets = (
        (None, {"fields": ("project", "name", "user", "mode", "shown_token", "state")}),
        ("What it may do", {"fields": _RIGHTS}),
        ("How long", {"fields": _LIFE}),
        ("Who pays", {"fields": _MONEY}),
        ("About this row", {"fields": ("used_on", "successor", "revoked_at", "created_by", "created_at")}),
    )
    add_fieldsets = (
        (None, {"fields": ("project", "name", "user", "mode")}),
        ("What it may do", {"fields": _RIGHTS}),
        ("How long", {"fields": _LIFE}),
        ("Who pays", {"fields": _MONEY}),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RelayKey], search_term: str
    ) -> tuple[QuerySet[RelayKey], bool]:
        """In lists and boxes to choose from. Those of the test console are there for who looks for `console`."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        return (found if "console" in search_term else found.exclude(stand_ins())), may_repeat

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A key keeps its project and mode: they are what its holder was given."""
        fixed = ("project", "mode") if obj else ()
        return (*super().get_readonly_fields(request, obj), *fixed)

    @display(description="key")
    def shown_token(self, key: RelayKey) -> str:
        """The public part."""
        return f"rk_{key.mode}_{key.key_id}…"

    @display(description="last used on", ordering="use__last_on")
    def used_on(self, key: RelayKey) -> date | None:
        """By the usage hours."""
        return key.last_used_on

    @display(description="scopes")
    def scopes_text(self, key: RelayKey) -> str:
        """In words."""
        return ", ".join(key.scopes)

    @display(
        description="state",
        label={
            "active": "success",
            "expiring": "warning",
            "stopped": "danger",
            "expired": "danger",
            "revoked": "danger",
        },
    )
    def state(self, key: RelayKey) -> str:
        """Whether it works."""
        return key.state(timezone.now())

    def save_model(self, request: HttpRequest, obj: RelayKey, form: Any, change: bool) -> None:
        """A new key is minted; its token waits in this request for `response_add`."""
        if change:
            super().save_model(request, obj, form, change)
            return
        assert isinstance(request.user, User)
        wanted = {name: form.cleaned_data[name] for name in form.fields}
        if wanted["expires_at"] is None:
            del wanted["expires_at"]  # the project's default
        minted = services.relay_key_mint(**wanted, created_by=request.user)
        # The admin goes on with its own object: to log it, and to find its page.
        obj.__dict__.update(minted.relay_key.__dict__)
        request.minted_token = minted.token  # type: ignore[attr-defined]  # lives as long as the request

    def response_add(self, request: HttpRequest, obj: RelayKey, post_url_continue: Any = None) -> HttpResponse:  # noqa: ARG002
        """The token, once."""
        return pages.show_once(
            request,
            self,
            title=f"Relay key {obj}",
            text="This is the only time the key is shown: only its hash is stored. Copy it to where it will be used."
            " If it gets lost, revoke it and mint another.",
            label="Relay key",
            secret=request.minted_token,  # type: ignore[attr-defined]  # set by save_model
            next_url=reverse("admin:access_relaykey_change", args=[obj.pk]),
        )

    def has_rotate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:  # noqa: ARG002
        """Rotating mints one key and ends another."""
        return self.has_add_permission(request) and self.has_change_permission(request)

    @action(description="Rotate", permissions=["rotate"])
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks, then mints a successor and shows its token, once."""
        key = get_object_or_404(RelayKey.objects.select_related("project"), pk=object_id)
        back = reverse("admin:access_relaykey_change", args=[key.pk])
        if request.method != "POST" or request.POST.get("confirmed") != "yes":
            return pages.confirm(
                request,
                self,
                title=f"Rotate {key}",
                text="Mint a successor with the same rights? This key works for 24 hours more, and then ends.",
                button="Rotate",
                rows=[f"{key} ({self.shown_token(key)})"],
                hidden=[("confirmed", "yes")],
            )
        assert isinstance(request.user, User)
        try:
            minted = services.relay_key_rotate(relay_key=key, created_by=request.user)
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), messages.ERROR)
            return redirect(back)
        successor = minted.relay_key
        self.log_change(request, key, f"Rotated: {successor} takes its place.")
        self.log_addition(request, successor, f"Takes the place of {key}.")
        return pages.show_once(
            request,
            self,
            title=f"Relay key {successor}",
            text="This is the only time the key is shown: only its hash is stored. Put it where the old one is used.",
            label="Relay key",
            secret=minted.token,
            next_url=reverse("admin:access_relaykey_change", args=[successor.pk]),
        )

    @action(description="Show the successor's key", permissions=["rotate"])
    def successor_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks, then shows the token of a successor that was made by itself, once."""
        key = get_object_or_404(RelayKey.objects.select_related("project"), pk=object_id)
        back = reverse("admin:access_relaykey_change", args=[key.pk])
        if request.method != "POST" or request.POST.get("confirmed") != "yes":
            return pages.confirm(
                request,
                self,
                title=f"The successor of {key}",
                text="Show it? It is shown once: whoever uses this key cannot read it any more afterwards.",
                button="Show",
                rows=[f"{key} ({self.shown_token(key)})"],
                hidden=[("confirmed", "yes")],
            )
        try:
            minted = relay_key_successor_reveal(relay_key=key)
        except (SuccessorGoneError, SealingError) as gone:
            self.message_user(request, str(gone), messages.ERROR)
            return redirect(back)
        self.log_change(request, key, f"Told the token of {minted.relay_key}.")
        return pages.show_once(
            request,
            self,
            title=f"Relay key {minted.relay_key}",
            text="This is the only time the key is shown: only its hash is stored. Put it where the old one is used.",
            label="Relay key",
            secret=minted.token,
            next_url=reverse("admin:access_relaykey_change", args=[minted.relay_key.pk]),
        )

    @admin.action(description="Revoke selected relay keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[RelayKey]) -> HttpResponse | None:
        """Asks, then ends them for good."""
        keys = list(queryset.select_related("project").filter(revoked_at=None)[: MAX_REVOKED + 1])
        if len(keys) > MAX_REVOKED:
            self.message_user(request, f"Revoke at most {MAX_REVOKED} keys at a time.", messages.ERROR)
            return None
        if not keys:
            self.message_user(request, "These keys are revoked already.", messages.WARNING)
            return None
        if request.POST.get("confirmed") != "yes":
            one = len(keys) == 1
            return pages.confirm(
                request,
                self,
                title="Revoke relay keys",
                text=f"Revoke {'this key' if one else f'these {len(keys)} keys'}? Calls with "
                f"{'it are' if one else 'them are'} refused within about a second, and there is no way back.",
                button="Revoke",
                rows=[f"{key} ({self.shown_token(key)})" for key in keys[:_LISTED]],
                more=max(0, len(keys) - _LISTED),
                hidden=[
                    ("action", "revoke"),
                    ("confirmed", "yes"),
                    *((helpers.ACTION_CHECKBOX_NAME, str(key.pk)) for key in keys),
                ],
                variant="danger",
            )
        count = 0
        for key in keys:
            if services.relay_key_revoke(relay_key=key):
                self.log_change(request, key, "Revoked.")
                count += 1
        self.message_user(request, f"{count} relay key{' is' if count == 1 else 's are'} revoked.", messages.SUCCESS)
        return None


class AdminTokenForm(forms.ModelForm):
    """Says whose rights a token has, and how many of them."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        initial=every_scope,
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
        help_text="control: everything its user may; an area: that alone; with :read: to read it alone.",
    )
    projects = forms.ModelMultipleChoiceField(
        Project.objects.all(),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget(),
        help_text="It acts in these alone, in its user's role there. None chosen: everywhere its user may.",
    )

    def clean(self) -> dict[str, Any]:
        """No project chosen is no bound."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        cleaned["projects"] = list(cleaned.get("projects") or ()) or None
        if "user" in cleaned:
            check_projects(cleaned["user"], cleaned["projects"])
        return cleaned

    class Meta:
        help_texts = {"expires_at": NEVER, "user": "The token can do no more than this user can."}


@admin.register(AdminToken)
class AdminTokenAdmin(pages.MintingAdmin):
    """Bearers of the control API. Made and deleted, never changed."""

    form = AdminTokenForm
    empty_text = "An admin token is what a script calls the control API with. It is shown once, when it is made."
    list_display = ("name", "user", "scopes_text", "projects_text", "expires_at", "created_at")
    list_filter = ("user",)
    search_fields = ("name", "user__username")
    autocomplete_fields = ("user",)
    readonly_fields = ("scopes_text", "projects_text", "parent", "created_at")
    fieldsets = (
        (None, {"fields": ("user", "name", "scopes_text", "projects_text", "parent", "expires_at", "created_at")}),
    )
    add_fieldsets = ((None, {"fields": ("user", "name", "scopes", "projects", "expires_at")}),)

    @display(description="scopes")
    def scopes_text(self, token: AdminToken) -> str:
        """In words."""
        return ", ".join(token.scopes)

    @display(description="projects")
    def projects_text(self, token: AdminToken) -> str:
        """By name."""
        found = projects_of(token)
        return "every one of its user's" if found is None else ", ".join(project.slug for project in found)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Mint another one instead."""
        return False

    def save_model(self, request: HttpRequest, obj: AdminToken, form: Any, change: bool) -> None:
        """A token acts as its user, so only a superuser may mint for somebody else."""
        if change:
            raise PermissionDenied
        wanted = {name: form.cleaned_data[name] for name in form.fields}
        if wanted["user"] != request.user and not request.user.is_superuser:
            raise PermissionDenied
        minted = admin_token_mint(**wanted)
        obj.__dict__.update(minted.admin_token.__dict__)
        request.minted_token = minted.token  # type: ignore[attr-defined]  # lives as long as the request

    def response_add(self, request: HttpRequest, obj: AdminToken, post_url_continue: Any = None) -> HttpResponse:  # noqa: ARG002
        """The token, once."""
        token = request.minted_token  # type: ignore[attr-defined]  # set by save_model
        return pages.show_once(
            request,
            self,
            title=f"Admin token {tokens.display(token)}",
            text="This is the only time the token is shown: only its hash is stored.",
            label="Admin token",
            secret=token,
            next_url=reverse("admin:access_admintoken_changelist"),
        )


@admin.register(Session)
class SessionAdmin(pages.ReadOnlyAdmin):
    """Everybody's sessions. One's own are on the page "My sessions", which needs no permission."""

    list_display = ("user", "browser", "address", "seen_at", "created_at", "expires_at")
    list_filter = (("seen_at", TimeRangeFilter),)
    list_filter_submit = True
    list_select_related = ("user",)
    search_fields = ("user__username", "user__email")
    search_help_text = "A user's name or e-mail address."
    readonly_fields = ("user", "browser", "agent", "address", "seen_at", "created_at", "expires_at")
    fieldsets = ((None, {"fields": readonly_fields}),)
    actions = ["revoke"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:  # noqa: ARG002
        """Those that have not expired."""
        return session_services.current_sessions()

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether this person may sign others out."""
        return request.user.has_perm(session_services.REVOKE_PERMISSION)

    @display(description="browser")
    def browser(self, session: Session) -> str:
        """In words."""
        return agent_words(session.agent)

    @admin.action(description="Revoke selected sessions", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        """Their next request has to sign in again."""
        assert isinstance(request.user, User)
        count = session_services.sessions_revoke(queryset, by=request.user)
        self.message_user(request, f"{count} session{' is' if count == 1 else 's are'} revoked.", messages.SUCCESS)
