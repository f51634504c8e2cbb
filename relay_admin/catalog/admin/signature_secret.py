"""The page on which an endpoint's signature secret is set. Nothing on it shows one: providers have their own copy."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from relay_admin.catalog import services
from relay_admin.catalog.fields import SecretField
from relay_admin.catalog.models import Endpoint

_OVERLAPS = (
    (86_400, "for a day"),
    (3_600, "for an hour"),
    (services.MAX_OVERLAP_SECONDS, "for a week"),
    (0, "no longer: it may be known to others"),
)


class SignatureSecretForm(forms.Form):
    """A new secret, and what becomes of the one before."""

    secret = SecretField(label="Secret", help_text="What the provider shows, copied whole.")
    overlap_seconds = forms.TypedChoiceField(
        choices=_OVERLAPS,
        coerce=int,
        label="The present secret counts",
        widget=UnfoldAdminSelectWidget,
        help_text="The provider may go on signing with it meanwhile.",
    )


class SignatureSecretPage(admin.ModelAdmin):
    """Of the endpoints' admin: the page, and the line that leads to it."""

    @display(description="signature secret")
    def signature_secret(self, endpoint: Endpoint) -> str | SafeString:
        """Its state, and a link to the page that sets it."""
        if endpoint._state.adding:
            return "set once the endpoint is saved"
        url = reverse("admin:catalog_endpoint_signature_secret", args=[endpoint.pk])
        link = '{} <a class="text-primary-600 dark:text-primary-500" href="{}">Set or replace…</a>'
        return format_html(link, state_of(endpoint), url)

    def get_urls(self) -> list[URLPattern]:
        """And the page of the secret."""
        own = path(
            "<int:endpoint_id>/signature-secret/",
            self.admin_site.admin_view(self.signature_secret_view),
            name="catalog_endpoint_signature_secret",
        )
        return [own, *super().get_urls()]

    def signature_secret_view(self, request: HttpRequest, endpoint_id: int) -> HttpResponse:
        """GET shows the form; a POST sets the secret or ends an overlap, and is written to the history."""
        endpoint = get_object_or_404(Endpoint.objects.select_related("line__project"), pk=endpoint_id)
        if not self.has_change_permission(request, endpoint):
            raise PermissionDenied
        if request.POST.get("do") == "end":
            services.endpoint_signature_overlap_end(endpoint=endpoint)
            return self._done(request, endpoint, "Ended the overlap of signature secrets.")
        form = SignatureSecretForm(request.POST or None)
        if form.is_valid() and self._set(endpoint, form):
            return self._done(request, endpoint, "Set the signature secret.")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Signature secret of {endpoint}",
            "page_title": "Signature secret",
            "opts": self.opts,
            "media": self.media,
            "endpoint": endpoint,
            "state": state_of(endpoint),
            "overlaps": _overlaps(endpoint),
            "form": form,
        }
        return TemplateResponse(request, "relay/signature_secret.html", context)

    def _set(self, endpoint: Endpoint, form: Any) -> bool:
        secret, seconds = form.cleaned_data["secret"], form.cleaned_data["overlap_seconds"]
        try:
            if seconds:
                services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=secret, overlap_seconds=seconds)
            else:
                services.endpoint_signature_secret_set(endpoint=endpoint, secret=secret)
        except ValidationError as refused:
            form.add_error("secret", refused)
            return False
        return True

    def _done(self, request: HttpRequest, endpoint: Endpoint, said: str) -> HttpResponse:
        self.log_change(request, endpoint, said)
        messages.success(request, said)
        return HttpResponseRedirect(reverse("admin:catalog_endpoint_change", args=[endpoint.pk]))


def state_of(endpoint: Endpoint) -> str:
    """What callers meet, in words."""
    if not endpoint.sealed_signature_secret:
        return "None is set: signed calls are refused."
    if not services.endpoint_can_check_signatures(endpoint=endpoint):
        return "It cannot be used with this preset, or does not open: signed calls are refused."
    if _overlaps(endpoint):
        until = date_format(timezone.localtime(endpoint.previous_signature_until), "DATETIME_FORMAT")
        return f"Set; the one before counts until {until}."
    return "Set."


def _overlaps(endpoint: Endpoint) -> bool:
    until = endpoint.previous_signature_until
    return bool(endpoint.sealed_previous_signature_secret) and until is not None and until > timezone.now()
