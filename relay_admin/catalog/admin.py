"""Admin pages of the catalog. Forms check, `services` write whatever holds a secret."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import StackedInline, TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from relay_admin import pages
from relay_admin.catalog import services
from relay_admin.catalog.fields import HeadersField, LinesField, RulesField, SecretField
from relay_admin.catalog.models import (
    Endpoint,
    Host,
    HostBinding,
    HostKey,
    Line,
    Model,
    Policy,
    Project,
    RateLimit,
    Target,
)
from relay_contract.sealing import SealingError

DATES = ("created_at", "updated_at")
ABOUT: tuple[str, dict[str, Any]] = ("About this row", {"fields": ("description", *DATES)})


class CatalogAdmin(pages.RelayAdmin):
    """A noun's page: its own fields, then what every row carries."""

    readonly_fields: Any = DATES
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 2})}}


class RateLimitForm(forms.ModelForm):
    """Rules as rows."""

    rules = RulesField(
        required=False,
        help_text="Every rule must have room for a call. requests: calls in a sliding window. concurrency: calls in"
        " flight; the window is how long a lost caller holds its place. Save to get more rows, up to 8.",
    )


@admin.register(RateLimit)
class RateLimitAdmin(CatalogAdmin):
    """Named rules; whoever carries them counts for itself."""

    form = RateLimitForm
    list_display = ("slug", "rules_text", "description", "updated_at")
    search_fields = ("slug", "description")
    fieldsets = ((None, {"fields": ("slug", "rules")}), ABOUT)

    @display(description="rules")
    def rules_text(self, limit: RateLimit) -> str:
        """600 requests in 60 s."""
        return ", ".join(f"{r['amount']} {r['meter']} in {r['window_seconds']} s" for r in limit.rules) or "none"


class PolicyForm(forms.ModelForm):
    """Models one a line."""

    models = LinesField(
        forms.CharField(max_length=130),
        help_text="One model name a line. `*` at the end stands for any ending, `*` alone for every model; a leading"
        " `-` denies, and wins over the rest.",
    )


@admin.register(Policy)
class PolicyAdmin(CatalogAdmin):
    """Which models a key reaches."""

    form = PolicyForm
    list_display = ("slug", "models_text", "rate_limit", "description")
    list_filter = ("rate_limit",)
    search_fields = ("slug", "description", "models")
    autocomplete_fields = ("rate_limit",)
    fieldsets = ((None, {"fields": ("slug", "models", "rate_limit")}), ABOUT)

    @display(description="models")
    def models_text(self, policy: Policy) -> str:
        """The first few."""
        names = ", ".join(policy.models[:5])
        return f"{names}, …" if len(policy.models) > 5 else names or "none"


class LineInline(TabularInline):
    """Lines of a project."""

    model = Line
    fields = ("slug", "is_enabled")
    extra = 0
    show_change_link = True


@admin.register(Project)
class ProjectAdmin(CatalogAdmin):
    """A tenant."""

    list_display = ("slug", "name", "is_archived", "rate_limit", "updated_at")
    list_filter = ("is_archived", "rate_limit")
    search_fields = ("slug", "name", "description")
    autocomplete_fields = ("rate_limit",)
    fieldsets = ((None, {"fields": ("slug", "name", "is_archived", "rate_limit")}), ABOUT)
    inlines = [LineInline]


class EndpointInline(TabularInline):
    """Endpoints of a line."""

    model = Endpoint
    fields = ("slug", "is_enabled", "max_body_bytes")
    extra = 0
    show_change_link = True


@admin.register(Line)
class LineAdmin(CatalogAdmin):
    """A version of a project's API."""

    list_display = ("__str__", "project", "is_enabled", "updated_at")
    list_filter = ("is_enabled", "project")
    search_fields = ("slug", "project__slug", "description")
    autocomplete_fields = ("project",)
    list_select_related = ("project",)
    fieldsets = ((None, {"fields": ("project", "slug", "is_enabled")}), ABOUT)
    inlines = [EndpointInline]


class TargetForm(forms.ModelForm):
    """Headers and waits as lines."""

    headers = HeadersField(
        help_text="Sent with every delivery, one `Name: value` a line. Credentials of the receiver go here."
    )
    retry_schedule_seconds = LinesField(
        forms.IntegerField(),
        label="Retry schedule",
        help_text="Seconds to wait before each further attempt, one a line. Empty: one attempt only.",
    )


TARGET_FIELDS = ("name", "url", "delivery_mode", "is_enabled", "headers", "timeout_seconds", "retry_schedule_seconds")


class HidesHeaders:
    """Static headers are often credentials: who may not edit a target sees their names only."""

    @display(description="headers")
    def header_names(self, target: Target) -> str:
        """Names without values."""
        return ", ".join(sorted(target.headers)) or "none"

    def visible(self, fields: tuple[str, ...], *, may_edit: bool) -> tuple[str, ...]:
        """The fields with `headers` shown in the form that the reader may see."""
        return fields if may_edit else tuple("header_names" if name == "headers" else name for name in fields)


class TargetInline(HidesHeaders, StackedInline):
    """Targets of an endpoint."""

    model = Target
    form = TargetForm
    extra = 0
    collapsible = True
    show_change_link = True
    readonly_fields = ("signing_secret", "header_names")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """See HidesHeaders."""
        may_edit = self.has_change_permission(request, obj) or self.has_add_permission(request, obj)
        return self.visible((*TARGET_FIELDS, *secret_fields(request)), may_edit=may_edit)

    @display(description="signing secret")
    def signing_secret(self, target: Target) -> str | SafeString:
        """A link to the page that reveals it."""
        return signing_secret_link(target)


def secret_fields(request: HttpRequest) -> tuple[str, ...]:
    """The link to the signing secret, for who may follow it."""
    return ("signing_secret",) if request.user.has_perm("catalog.reveal_signing_secret") else ()


def signing_secret_link(target: Target) -> str | SafeString:
    """To the page that reveals or replaces a target's secret."""
    if target._state.adding:
        return "made when the target is saved"
    url = reverse("admin:catalog_target_signing_secret", args=[target.pk])
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Reveal or replace…</a>', url)


@admin.register(Endpoint)
class EndpointAdmin(CatalogAdmin):
    """What a caller posts to."""

    list_display = ("__str__", "line", "is_enabled", "target_count", "max_body_bytes", "rate_limit")
    list_filter = ("is_enabled", "line__project")
    search_fields = ("slug", "line__slug", "line__project__slug", "description")
    autocomplete_fields = ("line", "rate_limit")
    list_select_related = ("line__project", "rate_limit")
    readonly_fields = ("address", *DATES)
    fieldsets = ((None, {"fields": ("line", "slug", "address", "is_enabled", "max_body_bytes", "rate_limit")}), ABOUT)
    inlines = [TargetInline]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Endpoint]:
        """With the number of targets."""
        return super().get_queryset(request).annotate(targets_count=models.Count("targets"))

    @display(description="targets", ordering="targets_count")
    def target_count(self, endpoint: Endpoint) -> int:
        """How many, disabled ones too."""
        return int(getattr(endpoint, "targets_count", 0))

    @display(description="address")
    def address(self, endpoint: Endpoint) -> str:
        """Where callers post to."""
        if endpoint._state.adding:
            return f"{settings.EDGE_URL}/r/{{project}}/{{line}}/{{endpoint}}"
        return f"POST {settings.EDGE_URL}/r/{endpoint}"

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: ARG002
        """New targets get their secret."""
        targets = formset.save(commit=False)
        for target in formset.deleted_objects:
            target.delete()
        for target in targets:
            if target.pk is None:
                services.target_insert(target=target)
            else:
                target.save()
        formset.save_m2m()


@admin.register(Target)
class TargetAdmin(HidesHeaders, CatalogAdmin):
    """One destination."""

    form = TargetForm
    list_display = ("__str__", "url", "delivery_mode", "is_enabled", "timeout_seconds")
    list_filter = ("is_enabled", "delivery_mode", "endpoint__line__project")
    search_fields = ("name", "url", "endpoint__slug", "endpoint__line__project__slug", "description")
    autocomplete_fields = ("endpoint",)
    list_select_related = ("endpoint__line__project",)
    readonly_fields = ("header_names", "signing_secret", *DATES)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """See HidesHeaders."""
        may_edit = self.has_change_permission(request, obj) or self.has_add_permission(request)
        fields = self.visible(TARGET_FIELDS, may_edit=may_edit)
        sending = ("headers", "header_names", "timeout_seconds", "retry_schedule_seconds")
        return (
            (
                None,
                {"fields": ("endpoint", *(name for name in fields if name not in sending), *secret_fields(request))},
            ),
            ("How it is sent", {"fields": tuple(name for name in fields if name in sending)}),
            ABOUT,
        )

    @display(description="signing secret")
    def signing_secret(self, target: Target) -> str | SafeString:
        """A link to the page that reveals it."""
        return signing_secret_link(target)

    def save_model(self, request: HttpRequest, obj: Target, form: Any, change: bool) -> None:  # noqa: ARG002
        """A new target gets its secret."""
        if change:
            obj.save()
        else:
            services.target_insert(target=obj)

    def get_urls(self) -> list[URLPattern]:
        """And the page of the secret."""
        own = path(
            "<int:target_id>/signing-secret/",
            self.admin_site.admin_view(self.signing_secret_view),
            name="catalog_target_signing_secret",
        )
        return [own, *super().get_urls()]

    def signing_secret_view(self, request: HttpRequest, target_id: int) -> HttpResponse:
        """GET offers to reveal or replace it; a POST does, and is written to the history."""
        target = get_object_or_404(Target.objects.select_related("endpoint__line__project"), pk=target_id)
        may = self.has_view_permission(request, target) and request.user.has_perm("catalog.reveal_signing_secret")
        if not may:
            raise PermissionDenied
        if request.method != "POST":
            context = {
                **self.admin_site.each_context(request),
                "title": f"Signing secret of {target}",
                "opts": self.opts,
                "target": target,
            }
            return TemplateResponse(request, "relay/signing_secret.html", context)
        try:
            secret, said = self._do(request.POST.get("do", ""), target)
        except SealingError as error:
            return TemplateResponse(
                request,
                "relay/confirm.html",
                {
                    **self.admin_site.each_context(request),
                    "title": "The secret does not open",
                    "opts": self.opts,
                    "text": f"It is {error}. Replacing it makes a new one.",
                    "button": "Replace by a new secret",
                    "hidden": [("do", "rotate")],
                    "variant": "danger",
                    "back": ".",
                },
                status=409,
            )
        self.log_change(request, target, said)
        return pages.show_once(
            request,
            self,
            title=f"Signing secret of {target}",
            text="Whoever has this secret can sign deliveries as this relay. Give it to the target's owner only.",
            label="Signing secret",
            secret=secret,
            next_url=reverse("admin:catalog_target_change", args=[target.pk]),
        )

    def _do(self, wanted: str, target: Target) -> tuple[str, str]:
        match wanted:
            case "reveal":
                return services.target_signing_secret_reveal(target=target), "Revealed the signing secret."
            case "rotate":
                return services.target_signing_secret_rotate(target=target), "Replaced the signing secret."
            case _:
                raise PermissionDenied


class HostBindingInline(TabularInline):
    """Hosts of a model."""

    model = HostBinding
    fields = ("host", "wire_shape", "upstream_name", "priority", "is_enabled")
    autocomplete_fields = ("host",)
    extra = 0


@admin.register(Model)
class ModelAdmin(CatalogAdmin):
    """What callers write in `model`."""

    list_display = ("name", "owned_by", "is_enabled", "binding_count", "description")
    list_filter = ("is_enabled", "owned_by")
    search_fields = ("name", "owned_by", "description")
    fieldsets = ((None, {"fields": ("name", "owned_by", "is_enabled")}), ABOUT)
    inlines = [HostBindingInline]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Model]:
        """With the number of bindings."""
        return super().get_queryset(request).annotate(bindings_count=models.Count("bindings"))

    @display(description="hosts", ordering="bindings_count")
    def binding_count(self, model: Model) -> int:
        """How many hosts serve it."""
        return int(getattr(model, "bindings_count", 0))


@admin.register(HostBinding)
class HostBindingAdmin(CatalogAdmin):
    """A model on a host."""

    list_display = ("__str__", "wire_shape", "upstream_name", "priority", "is_enabled")
    list_filter = ("is_enabled", "wire_shape", "host")
    search_fields = ("model__name", "host__slug", "upstream_name", "description")
    autocomplete_fields = ("model", "host")
    list_select_related = ("model", "host")
    fieldsets = (
        (None, {"fields": ("model", "host", "wire_shape", "upstream_name", "priority", "is_enabled")}),
        ABOUT,
    )


class HostKeyInline(TabularInline):
    """Keys of a host; values are typed in on the key's own page."""

    model = HostKey
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
    search_fields = ("slug", "base_url", "description")
    inlines = [HostKeyInline]
    fieldsets = (
        (None, {"fields": ("slug", "base_url", "is_enabled")}),
        (
            "Timeouts",
            {"fields": ("connect_timeout_ms", "first_byte_timeout_ms", "idle_timeout_ms", "total_timeout_ms")},
        ),
        ABOUT,
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
    search_fields = ("name", "host__slug", "value_fingerprint", "description")
    autocomplete_fields = ("host",)
    list_select_related = ("host",)
    readonly_fields = ("value_fingerprint", "value_env", *DATES)
    fieldsets = (
        (None, {"fields": ("host", "name", "is_enabled")}),
        ("Credential", {"fields": ("value", "value_fingerprint", "value_env")}),
        ABOUT,
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who only looks is not offered a field."""
        may_edit = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        first, _, about = self.fieldsets
        if may_edit:
            return self.fieldsets if obj else (first, ("Credential", {"fields": ("value",)}), about)
        return (first, ("Credential", {"fields": ("value_fingerprint", "value_env")}), about)

    def save_model(self, request: HttpRequest, obj: HostKey, form: Any, change: bool) -> None:  # noqa: ARG002
        """The value goes to the sealer and nowhere else."""
        value = form.cleaned_data.get("value", "")
        if not change:
            services.host_key_insert(host_key=obj, value=value)
            return
        obj.save()
        if value:
            services.host_key_set_value(host_key=obj, value=value)
