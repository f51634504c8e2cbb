"""Pages of targets, the form that an endpoint's page shows too, and the page of a signing secret."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import StackedInline
from unfold.decorators import display

from relay_admin import pages
from relay_admin.catalog import services
from relay_admin.catalog.admin.base import DATES, CatalogAdmin, KeepsRevisions, RelayFields, about
from relay_admin.catalog.fields import HeadersField, LinesField
from relay_admin.catalog.models import Target, default_retry_schedule
from relay_admin.catalog.offered import offered_fieldsets
from relay_contract.sealing import SealingError


class TargetForm(forms.ModelForm):
    """Headers and waits as lines."""

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


TARGET_FIELDSETS = offered_fieldsets(
    Target,
    (
        (None, ("name", "url", "delivery_mode", "is_enabled")),
        ("Which calls", ("role", "sample_permyriad", "compares_with", "compare_ignore", "conditions")),
        (
            "How it is sent",
            (
                "headers",
                "mapping",
                "answer_mapping",
                "auth_kind",
                "auth_config",
                "client_certificate",
                "timeout_seconds",
                "retry_schedule_seconds",
                "retry_on",
                "expire_seconds",
                "disable_after_hours",
            ),
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
        """The fields with `headers` shown in the form that the reader may see."""
        return fields if may_edit else tuple("header_names" if name == "headers" else name for name in fields)


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


def signing_secret_link(target: Target) -> str | SafeString:
    """To the page that reveals or replaces a target's secret."""
    if target._state.adding:
        return "made when the target is saved"
    url = reverse("admin:catalog_target_signing_secret", args=[target.pk])
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Reveal or replace…</a>', url)


@admin.register(Target)
class TargetAdmin(RelayFields, KeepsRevisions, HidesHeaders, CatalogAdmin):
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
                "page_title": "Signing secret",
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
                    "page_title": "The secret does not open",
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
