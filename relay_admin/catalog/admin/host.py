"""Pages of hosts and of their keys, which are write-only."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display

from relay_admin.catalog import services
from relay_admin.catalog.admin.base import DATES, CatalogAdmin, OriginFilter, about
from relay_admin.catalog.admin.seeded import SeededAdmin
from relay_admin.catalog.fields import LinesField, SecretField
from relay_admin.catalog.models import Host, HostKey
from relay_admin.guard import EditableColumnsFormSet


class HasKeysFilter(admin.SimpleListFilter):
    """Whether a host can be called: without a key it serves nothing."""

    title = "keys"
    parameter_name = "has_keys"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "has keys"), ("no", "has none")]

    def queryset(self, _request: HttpRequest, queryset: models.QuerySet[Host]) -> models.QuerySet[Host]:
        match self.value():
            case "yes":
                return queryset.filter(keys_count__gt=0)
            case "no":
                return queryset.filter(keys_count=0)
            case _:
                return queryset


class HostKeyInline(TabularInline):
    """Keys of a host; values are typed in on the key's own page."""

    model = HostKey
    formset = EditableColumnsFormSet
    fields = ("name", "source", "is_enabled")
    readonly_fields = ("name", "source")
    extra = 0
    show_change_link = True
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """A new key needs its value."""
        return False

    @display(description="value")
    def source(self, key: HostKey) -> str:
        """Where it comes from."""
        return source_of(key)


def source_of(key: HostKey) -> str:
    """Where a key's value comes from: a reference, or the fingerprint of the sealed value."""
    return key.reference or f"sealed, {key.value_fingerprint}"


class HostForm(forms.ModelForm):
    """Paths one a line."""

    passthrough_paths = LinesField(
        forms.CharField(max_length=256),
        rows=3,
        help_text="What /passthrough/{host}/... may call below the base URL, one path a line; * at the end stands for"
        " any ending. Empty: nothing.",
    )


@admin.register(Host)
class HostAdmin(SeededAdmin):
    """A vendor's API surface."""

    form = HostForm
    list_display = ("slug", "base_url", "is_enabled", "key_count", "binding_count", "description")
    list_filter = ("is_enabled", HasKeysFilter, OriginFilter)
    empty_text = "A host is a vendor's API. Its keys are the credentials that calls go out with."
    search_fields = ("slug", "base_url", "description")
    inlines = [HostKeyInline]
    fieldsets = (
        (None, {"fields": ("slug", "base_url", "is_enabled", "add_key")}),
        (
            "Deadlines",
            {
                "fields": (
                    ("connect_timeout_ms", "first_byte_timeout_ms"),
                    ("first_token_timeout_ms", "idle_timeout_ms"),
                    "total_timeout_ms",
                )
            },
        ),
        ("Passthrough", {"fields": ("passthrough_paths",)}),
    )
    readonly_fields = ("add_key", *DATES)

    @display(description="keys")
    def add_key(self, host: Host) -> str | SafeString:
        """How many there are, and the way to one more: without a key a host serves nothing."""
        if host._state.adding:
            return "Save the host first: a key belongs to one."
        count = self.key_count(host)
        url = f"{reverse('admin:catalog_hostkey_add')}?host={host.pk}"
        link = format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Add a key…</a>', url)
        return format_html("{} {}", f"{count} below." if count else "None yet: nothing of it can be called.", link)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Host]:
        """With the number of keys and of models."""
        keys, served = models.Count("keys", distinct=True), models.Count("bindings__model", distinct=True)
        return super().get_queryset(request).annotate(keys_count=keys, models_count=served)

    @display(description="keys", ordering="keys_count")
    def key_count(self, host: Host) -> int:
        """How many, disabled ones too."""
        return int(getattr(host, "keys_count", 0))

    @display(description="models", ordering="models_count")
    def binding_count(self, host: Host) -> int:
        """How many it serves."""
        return int(getattr(host, "models_count", 0))


class HostKeyForm(forms.ModelForm):
    """The value is typed in and never shown. A key has it here, or a reference to where it is kept."""

    value = SecretField(
        required=False,
        help_text="The credential as the vendor issued it. It is sealed at once and cannot be read again.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and self.instance.sealed_value:
            self.fields["value"].label = "New value"
            self.fields["value"].help_text = "Leave it empty to keep the value that is there."

    def clean_value(self) -> str:
        """Checked here, so that a mistake is shown at its field."""
        value = str(self.cleaned_data["value"])
        try:
            return services.host_key_value_clean(value) if value else ""
        except ValidationError as error:
            raise ValidationError(error.messages) from None

    def clean(self) -> dict[str, Any]:
        """One of both."""
        cleaned = super().clean() or self.cleaned_data
        has_value = cleaned.get("value") or self.instance.sealed_value
        if not has_value and not cleaned.get("reference") and not {"value", "reference"} & set(self.errors):
            self.add_error("value", "This field is required, unless there is a reference.")
        return cleaned


@admin.register(HostKey)
class HostKeyAdmin(CatalogAdmin):
    """A real credential, write-only."""

    form = HostKeyForm
    list_display = ("__str__", "source", "value_env", "rate_limit", "is_enabled", "updated_at")
    list_filter = ("is_enabled", "host")
    empty_text = "A host key is a real credential of a host. It is sealed when it is saved, and never shown again."
    search_fields = ("name", "host__slug", "value_fingerprint", "reference", "description")
    autocomplete_fields = ("host", "rate_limit")
    list_select_related = ("host", "rate_limit")
    readonly_fields = ("value_fingerprint", "value_env", *DATES)
    fieldsets = (
        (None, {"fields": ("host", "name", "is_enabled", "rate_limit")}),
        ("Credential", {"fields": ("value", "reference", "value_fingerprint", "value_env")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who only looks is not offered a field."""
        first, (title, _) = self.fieldsets
        if not self.may_edit(request, obj):
            fields: tuple[str, ...] = ("reference", "value_fingerprint", "value_env")
        elif obj is None:
            fields = ("value", "reference")
        else:
            fields = ("value", "reference", "value_fingerprint", "value_env")
        return (first, (title, {"fields": fields}), about(obj))

    @display(description="value")
    def source(self, key: HostKey) -> str:
        """Where it comes from."""
        return source_of(key)

    def save_model(self, request: HttpRequest, obj: HostKey, form: Any, change: bool) -> None:
        """The value goes to the sealer and nowhere else."""
        value = form.cleaned_data.get("value", "")
        if not change:
            services.host_key_insert(host_key=obj, value=value)
            return
        super().save_model(request, obj, form, change)
        if value:
            services.host_key_set_value(host_key=obj, value=value)
