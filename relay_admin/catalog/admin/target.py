"""Pages of targets, and the form that an endpoint's page shows too."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import StackedInline
from unfold.decorators import display

from relay_admin.catalog import row_services, services, target_credentials
from relay_admin.catalog.admin.base import DATES, CatalogAdmin, KeepsRevisions, RelayFields, about
from relay_admin.catalog.admin.target_secrets import SigningSecretPages, signing_secret_link
from relay_admin.catalog.admin.target_switch import SwitchesTargets
from relay_admin.catalog.fields import HeadersField, LinesField, PemField, SecretField
from relay_admin.catalog.models import Target, default_retry_schedule
from relay_admin.catalog.offered import offered_fieldsets
from relay_admin.catalog.row_services import OF_CREDENTIALS, TARGET_SECRETS


class TargetForm(forms.ModelForm):
    """Headers and waits as lines; credentials are typed in and never shown."""

    headers = HeadersField(
        help_text="Sent with every delivery, one “Name: value” a line. Credentials of the receiver go here."
    )
    retry_schedule_seconds = LinesField(
        forms.IntegerField(),
        label="Retry schedule",
        rows=10,
        initial=default_retry_schedule,
        help_text="Seconds to wait before each further attempt, one a line. The default ends after about three days."
        " Empty: one attempt only.",
    )
    auth_secret = SecretField(
        required=False,
        label="Authentication secret",
        help_text="The token, password or client secret. It is sealed at once and cannot be read again. Empty: the one"
        " that is there stays.",
    )
    client_key = PemField(
        required=False,
        label="Client key",
        help_text="The certificate's private key in PEM, without a password. Sealed at once. Empty: the one that is"
        " there stays.",
    )

    def clean_auth_secret(self) -> str:
        """Checked here, so that a mistake is shown at its field."""
        value = str(self.cleaned_data["auth_secret"])
        return target_credentials.auth_secret_clean(value) if value else ""

    def clean_client_key(self) -> str:
        """The same."""
        value = str(self.cleaned_data["client_key"])
        return target_credentials.client_key_clean(value) if value else ""

    def _post_clean(self) -> None:
        """What is shown to the target has its secret. Here, where the row is filled and not yet saved."""
        super()._post_clean()  # type: ignore[misc]  # Django's, called by full_clean
        if OF_CREDENTIALS & set(self.errors):
            return
        changed = None if self.instance._state.adding else self.changed_data
        secrets = {name: self.cleaned_data.get(name, "") for name in TARGET_SECRETS}
        for name, text in row_services.refusals(self.instance, changed, secrets).items():
            self.add_error(name if name in self.fields else None, text)

    def keep_secrets(self) -> None:
        """Seals what was typed in; the row is saved already."""
        if secret := self.cleaned_data.get("auth_secret"):
            target_credentials.target_auth_secret_set(target=self.instance, value=secret)
        if key := self.cleaned_data.get("client_key"):
            target_credentials.target_client_key_set(target=self.instance, value=key)


TARGET_FIELDSETS = offered_fieldsets(
    Target,
    (
        (None, ("name", "url", "delivery_mode", "is_enabled")),
        ("Which calls", ("role", "sample_permyriad", "compares_with", "compare_ignore", "conditions")),
        (
            "How it is sent",
            (
                "headers",
                "timeout_seconds",
                "retry_schedule_seconds",
                "retry_on",
                "expire_seconds",
                "disable_after_hours",
            ),
        ),
        ("What it becomes on the way", ("mapping", "answer_mapping")),
        (
            "What it wants to see",
            ("auth_kind", "auth_config", "auth_secret", "client_certificate", "client_key"),
        ),
        ("Pace", ("rate_amount", "rate_window_seconds", "max_in_flight", "has_breaker")),
        ("Order", ("ordering_key", "ordering_policy")),
        (
            "Streams",
            ("stream_total_seconds", "stream_idle_seconds", "stream_max_bytes", "heartbeat_seconds"),
        ),
    ),
)
TARGET_FIELDS = tuple(name for _, options in TARGET_FIELDSETS for name in options["fields"])


class HidesHeaders:
    """Static headers are often credentials: who may not edit a target sees their names only."""

    @display(description="headers")
    def header_names(self, target: Target) -> str:
        """Names without values."""
        return ", ".join(sorted(target.headers)) or "none"

    def visible(self, fields: tuple[str, ...], *, may_edit: bool) -> tuple[str, ...]:
        """The fields with `headers` shown in the form that the reader may see, and without what nobody may read."""
        if may_edit:
            return fields
        return tuple("header_names" if name == "headers" else name for name in fields if name not in TARGET_SECRETS)


class TargetInline(RelayFields, HidesHeaders, StackedInline):
    """Targets of an endpoint."""

    model = Target
    form = TargetForm
    extra = 0
    collapsible = True
    show_change_link = True
    readonly_fields = ("signing_secret", "header_names")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """See HidesHeaders."""
        may_edit = self.has_change_permission(request, obj)  # who may only add writes headers on a page of its own
        return self.visible((*TARGET_FIELDS, *secret_fields(request)), may_edit=may_edit)

    @display(description="signing secret")
    def signing_secret(self, target: Target) -> str | SafeString:
        """A link to the page that reveals it."""
        return signing_secret_link(target)


def secret_fields(request: HttpRequest) -> tuple[str, ...]:
    """The link to the signing secret, for who may follow it."""
    return ("signing_secret",) if request.user.has_perm("catalog.reveal_signing_secret") else ()


@admin.register(Target)
class TargetAdmin(SigningSecretPages, RelayFields, KeepsRevisions, HidesHeaders, SwitchesTargets, CatalogAdmin):
    """One destination."""

    form = TargetForm
    list_display = ("__str__", "url", "delivery_mode", "is_enabled", "timeout_seconds")
    list_filter = ("is_enabled", "delivery_mode", "endpoint__line__project")
    empty_text = "A target is a URL that gets every call of its endpoint: signed, retried, kept when it fails."
    search_fields = ("name", "url", "endpoint__slug", "endpoint__line__project__slug", "description")
    autocomplete_fields = ("endpoint",)
    list_select_related = ("endpoint__line__project",)
    readonly_fields = ("header_names", "signing_secret", *DATES)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """See HidesHeaders."""
        may_edit = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        (_, own), *others = (
            (title, self.visible(options["fields"], may_edit=may_edit)) for title, options in TARGET_FIELDSETS
        )
        return (
            (None, {"fields": ("endpoint", *own, *secret_fields(request))}),
            *((title, {"fields": names}) for title, names in others),
            about(obj),
        )

    @display(description="signing secret")
    def signing_secret(self, target: Target) -> str | SafeString:
        """A link to the page that reveals it."""
        return signing_secret_link(target)

    def save_model(self, request: HttpRequest, obj: Target, form: Any, change: bool) -> None:
        """A new target gets its secret."""
        if change:
            super().save_model(request, obj, form, change)
        else:
            services.target_insert(target=obj)
        if isinstance(form, TargetForm):
            form.keep_secrets()
