"""Pages of endpoints, with their targets."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin.catalog import row_services, services
from relay_admin.catalog.admin import try_page
from relay_admin.catalog.admin.base import DATES, CatalogAdmin, KeepsRevisions, RelayFields
from relay_admin.catalog.admin.signature_secret import SignatureSecretPage
from relay_admin.catalog.admin.target import TargetInline
from relay_admin.catalog.models import Endpoint
from relay_admin.catalog.offered import offered_fieldsets
from relay_admin.guard import save_editable


class EndpointForm(forms.ModelForm):
    """Refuses an endpoint that could check none of its calls."""

    def _post_clean(self) -> None:
        """Here, where the row is filled and not yet saved. What was so before does not stop another change."""
        super()._post_clean()  # type: ignore[misc]  # Django's, called by full_clean
        changed = None if self.instance._state.adding else self.changed_data
        for name, text in row_services.refusals(self.instance, changed, {}).items():
            if name not in self.errors:
                self.add_error(name, text)


@admin.register(Endpoint)
class EndpointAdmin(SignatureSecretPage, RelayFields, KeepsRevisions, CatalogAdmin):
    """What a caller posts to."""

    form = EndpointForm
    list_display = ("__str__", "line", "is_enabled", "target_count", "max_body_bytes", "rate_limit")
    list_filter = ("is_enabled", "line__project")
    empty_text = "An endpoint is an address that your apps post to. Each call goes to all its targets."
    search_fields = ("slug", "line__slug", "line__project__slug", "description")
    autocomplete_fields = ("line", "rate_limit")
    list_select_related = ("line__project", "rate_limit")
    readonly_fields = ("address", "try_it", "signature_secret", *DATES)
    fieldsets = offered_fieldsets(
        Endpoint,
        (
            (None, ("line", "slug", "address", "try_it", "is_enabled", "max_body_bytes", "rate_limit")),
            (
                "Who may call",
                ("auth", "allowed_networks", "signature_preset", "signature_config", "signature_secret"),
            ),
            ("What it takes", ("methods", "content_types", "json_schema", "event_type_from", "idempotency_seconds")),
            ("What is kept and shown", ("keeps_body", "redactions")),
        ),
    )
    links = {"try_it": try_page.NEEDED}
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
        return f"{' '.join(endpoint.methods)} {settings.EDGE_URL}/r/{endpoint}"

    @display(description="try it")
    def try_it(self, endpoint: Endpoint) -> str | SafeString:
        """A link to the dry run."""
        if endpoint._state.adding:
            return "once the endpoint is saved"
        url = reverse("admin:catalog_endpoint_try", args=[endpoint.pk])
        link = '<a class="text-primary-600 dark:text-primary-500" href="{}">What would become of a call…</a>'
        return format_html(link, url)

    def get_urls(self) -> list[URLPattern]:
        """And the page of the dry run."""
        view = self.admin_site.admin_view(lambda request, endpoint_id: try_page.page(request, self, endpoint_id))
        return [path("<int:endpoint_id>/try/", view, name="catalog_endpoint_try"), *super().get_urls()]

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: ARG002
        """New targets get their secret."""
        targets = formset.save(commit=False)
        for target in formset.deleted_objects:
            target.delete()
        for target in targets:
            if target.pk is None:
                services.target_insert(target=target)
            else:
                save_editable(target)
        for target_form in formset.initial_forms + formset.extra_forms:
            if target_form.has_changed() and target_form.instance.pk:
                target_form.keep_secrets()
        formset.save_m2m()
