"""Pages of hosts and of their keys, which are write-only."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from relay_admin.catalog import services
from relay_admin.catalog.admin.base import DATES, CatalogAdmin, about
from relay_admin.catalog.fields import SecretField
from relay_admin.catalog.models import Host, HostKey
from relay_admin.guard import EditableColumnsFormSet


class HostKeyInline(TabularInline):
    """Keys of a host; values are typed in on the key's own page."""

    model = HostKey
    formset = EditableColumnsFormSet
    fields = ("name", "value_fingerprint", "is_enabled")
    readonly_fields = ("name", "value_fingerprint")
    extra = 0
    show_change_link = True
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """A new key needs its value."""
        return False


@admin.register(Host)
class HostAdmin(CatalogAdmin):
    """A vendor's API surface."""

    list_display = ("slug", "base_url", "is_enabled", "key_count", "description")
    list_filter = ("is_enabled",)
    empty_text = "A host is a vendor's API. Its keys are the credentials that calls go out with."
    search_fields = ("slug", "base_url", "description")
    inlines = [HostKeyInline]
    fieldsets = (
        (None, {"fields": ("slug", "base_url", "is_enabled")}),
        (
            "Timeouts",
            {"fields": ("connect_timeout_ms", "first_byte_timeout_ms", "idle_timeout_ms", "total_timeout_ms")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Host]:
        """With the number of keys."""
        return super().get_queryset(request).annotate(keys_count=models.Count("keys"))

    @display(description="keys", ordering="keys_count")
    def key_count(self, host: Host) -> int:
        """How many, disabled ones too."""
        return int(getattr(host, "keys_count", 0))


class HostKeyForm(forms.ModelForm):
    """The value is typed in and never shown."""

    value = SecretField(
        required=False,
        help_text="The credential as the vendor issued it. It is sealed at once and cannot be read again.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            self.fields["value"].required = True
        else:
            self.fields["value"].label = "New value"
            self.fields["value"].help_text = "Leave it empty to keep the value that is there."

    def clean_value(self) -> str:
        """Checked here, so that a mistake is shown at its field."""
        value = str(self.cleaned_data["value"])
        try:
            return services.host_key_value_clean(value) if value else ""
        except ValidationError as error:
            raise ValidationError(error.messages) from None


@admin.register(HostKey)
class HostKeyAdmin(CatalogAdmin):
    """A real credential, write-only."""

    form = HostKeyForm
    list_display = ("__str__", "host", "value_fingerprint", "value_env", "is_enabled", "updated_at")
    list_filter = ("is_enabled", "host")
    empty_text = "A host key is a real credential of a host. It is sealed when it is saved, and never shown again."
    search_fields = ("name", "host__slug", "value_fingerprint", "description")
    autocomplete_fields = ("host",)
    list_select_related = ("host",)
    readonly_fields = ("value_fingerprint", "value_env", *DATES)
    fieldsets = (
        (None, {"fields": ("host", "name", "is_enabled")}),
        ("Credential", {"fields": ("value", "value_fingerprint", "value_env")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who only looks is not offered a field."""
        may_edit = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        first, (title, credential) = self.fieldsets
        if not may_edit:
            credential = {"fields": ("value_fingerprint", "value_env")}
        elif obj is None:
            credential = {"fields": ("value",)}
        return (first, (title, credential), about(obj))

    def save_model(self, request: HttpRequest, obj: HostKey, form: Any, change: bool) -> None:
        """The value goes to the sealer and nowhere else."""
        value = form.cleaned_data.get("value", "")
        if not change:
            services.host_key_insert(host_key=obj, value=value)
            return
        super().save_model(request, obj, form, change)
        if value:
            services.host_key_set_value(host_key=obj, value=value)
