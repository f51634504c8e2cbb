"""Admin pages of applications and of what users allowed them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from oauth2_provider.models import get_id_token_model
from unfold.decorators import action, display

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.access.oauth import revocation, services
from relay_admin.access.oauth.models import AccessToken, Authorization, Grant, OAuthApplication, RefreshToken
from relay_contract.credits import MICRO

# The toolkit registers pages of its own, also for what nobody should look at.
admin.site.unregister([OAuthApplication, AccessToken, Grant, RefreshToken, get_id_token_model()])

_WHAT = ("project", "name", "homepage", "mode", "client_type", "authorization_grant_type")
_WHERE = ("redirect_uris", "allowed_origins")
_MAY = ("is_enabled", "policy", "rate_limit", "captures_payloads")


@admin.register(OAuthApplication)
class OAuthApplicationAdmin(pages.RelayAdmin):
    """Programs that users may allow to call in their name."""

    list_display = ("__str__", "client_id", "mode", "client_type", "policy", "is_enabled")
    list_filter = ("is_enabled", "mode", "client_type", "project", "policy")
    search_fields = ("name", "client_id", "project__slug")
    search_help_text = "Name, project or client id."
    empty_text = "An application asks users for leave to call models at their expense (OAuth 2)."
    autocomplete_fields = ("project", "policy", "rate_limit")
    list_select_related = ("project", "policy")
    readonly_fields = ("client_id", "user", "created")
    actions_detail = ["renew_secret", "revoke_tokens"]
    fieldsets = (
        (None, {"fields": (*_WHAT, "client_id")}),
        ("Where its users go", {"fields": _WHERE}),
        ("What it may do", {"fields": _MAY}),
        ("About this row", {"fields": ("user", "created")}),
    )
    add_fieldsets = (
        (None, {"fields": _WHAT}),
        ("Where its users go", {"fields": _WHERE}),
        ("What it may do", {"fields": _MAY}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What tokens and secrets were issued by stays."""
        fixed = ("project", "mode", "client_type", "authorization_grant_type") if obj else ()
        return (*super().get_readonly_fields(request, obj), *fixed)

    def save_model(self, request: HttpRequest, obj: OAuthApplication, form: Any, change: bool) -> None:
        """A confidential one is made with a secret, which waits in this request for `response_add`."""
        if change:
            super().save_model(request, obj, form, change)
            return
        assert isinstance(request.user, User)
        wanted = {name: form.cleaned_data[name] for name in form.fields}
        made = services.application_make(**wanted, created_by=request.user)
        obj.__dict__.update(made.application.__dict__)
        request.made_secret = made.secret  # type: ignore[attr-defined]  # lives as long as the request

    def response_add(self, request: HttpRequest, obj: OAuthApplication, post_url_continue: Any = None) -> HttpResponse:
        """The secret, once; a public one has none."""
        secret = request.made_secret  # type: ignore[attr-defined]  # set by save_model
        if not secret:
            return super().response_add(request, obj, post_url_continue)
        return self._shown_once(request, obj, secret)

    @action(description="New secret", permissions=["change"])
    def renew_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks, then replaces the secret and shows the new one, once."""
        application = get_object_or_404(OAuthApplication.objects.select_related("project"), pk=object_id)
        if application.client_type != OAuthApplication.CLIENT_CONFIDENTIAL:
            self.message_user(request, "A public application has no secret.", messages.WARNING)
            return redirect(self._page_of(application))
        if request.POST.get("confirmed") != "yes":
            text = "Replace its secret? The old one, and every token that it was good for, end at once."
            return self._confirm(request, application, "New secret", text)
        made = services.application_secret_renew(application=application)
        self.log_change(request, application, "Secret replaced.")
        return self._shown_once(request, application, made.secret)

    @action(description="Revoke all tokens", permissions=["change"])
    def revoke_tokens(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks, then ends every token of all its users."""
        application = get_object_or_404(OAuthApplication.objects.select_related("project"), pk=object_id)
        if request.POST.get("confirmed") != "yes":
            text = "End every token of all its users? What they allowed stays: each signs in again at the application."
            return self._confirm(request, application, "Revoke all tokens", text)
        revocation.revoke_application(application)
        self.log_change(request, application, "All tokens revoked.")
        self.message_user(request, "All its tokens are revoked.", messages.SUCCESS)
        return redirect(self._page_of(application))

    def _confirm(self, request: HttpRequest, application: OAuthApplication, button: str, text: str) -> HttpResponse:
        return pages.confirm(
            request,
            self,
            title=f"{button} of {application}",
            text=text,
            button=button,
            rows=[f"{application} ({application.client_id})"],
            hidden=[("confirmed", "yes")],
            variant="danger",
        )

    def _shown_once(self, request: HttpRequest, application: OAuthApplication, secret: str) -> HttpResponse:
        return pages.show_once(
            request,
            self,
            title=f"Application {application}",
            text="This is the only time the client secret is shown: only its hash is stored.",
            label="Client secret",
            secret=secret,
            next_url=self._page_of(application),
        )

    def _page_of(self, application: OAuthApplication) -> str:
        return reverse("admin:access_oauthapplication_change", args=[application.pk])


@admin.register(Authorization)
class AuthorizationAdmin(pages.ReadOnlyAdmin):
    """What users allow applications. They take it back on their own page; operators may here."""

    list_display = ("user", "application", "scopes_text", "cap", "granted_at", "revoked_at")
    list_filter = ("application",)
    list_select_related = ("user", "application__project")
    search_fields = ("user__username", "application__name", "application__client_id")
    search_help_text = "A user's name, or an application's name or client id."
    empty_text = "When a user says yes to an application, it is written down here."
    readonly_fields = ("user", "application", "scopes_text", "cap", "granted_at", "revoked_at")
    fieldsets = ((None, {"fields": readonly_fields}),)
    actions = ["revoke"]

    @display(description="scopes")
    def scopes_text(self, row: Authorization) -> str:
        """In words."""
        return ", ".join(row.scopes)

    @display(description="credits a month")
    def cap(self, row: Authorization) -> str:
        """What it may spend."""
        return "no cap" if row.cap_microcredits is None else f"{row.cap_microcredits / MICRO:g}"

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether this person may take back what others allow."""
        return bool(request.user.has_perm("access.delete_authorization"))

    @admin.action(description="Revoke selected authorizations", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Authorization]) -> None:
        """Their tokens end within about a second."""
        count = 0
        for row in queryset.select_related(None):
            if revocation.authorization_revoke(row):
                self.log_change(request, row, "Revoked.")
                count += 1
        self.message_user(request, f"Revoked: {count}.", messages.SUCCESS)
