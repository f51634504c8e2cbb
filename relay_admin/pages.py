"""What the admin's pages share: read-only pages, lists that do not count, confirmations, and a secret shown once."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.paginator import InfinitePaginator

from relay_admin.guard import GuardedAdmin

__all__ = ["InfinitePaginator", "MintingAdmin", "ReadOnlyAdmin", "RelayAdmin", "confirm", "page_before", "show_once"]


class RelayAdmin(GuardedAdmin):
    """A page of the catalog."""

    list_per_page = 50
    show_full_result_count = False
    list_filter_submit = False
    warn_unsaved_form = True
    compressed_fields = False
    empty_title = "Nothing here yet"
    empty_text = ""
    """What an empty list says: what its rows are, or what would bring one here."""


class ReadOnlyAdmin(RelayAdmin):
    """A page that nobody edits, superusers included."""

    compressed_fields = True
    show_facets = admin.ShowFacets.NEVER  # each count in the filter would read the table
    has_history = False
    """Whether somebody's actions are written to the history of these rows; without them its button is left out."""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Without a button that leads to an empty page."""
        shown = {"show_history": self.has_history}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002
        """Rows come from the edge and the workers."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002
        """They are what happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:  # noqa: ARG002
        """Retention deletes them."""
        return False


class MintingAdmin(RelayAdmin):
    """A page whose rows are made with a token."""

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One button: what comes next is the token, whatever would have been pressed."""
        only_save = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **only_save})


def confirm(
    request: HttpRequest,
    model_admin: admin.ModelAdmin,
    *,
    title: str,
    text: str,
    button: str,
    rows: Iterable[object] = (),
    more: int = 0,
    hidden: Iterable[tuple[str, str]] = (),
    variant: str = "primary",
) -> HttpResponse:
    """A page that asks before something is done: a POST to the same address with the `hidden` fields.

    `rows` are listed, `more` says how many others there are. `variant` is a button of unfold's: primary or danger.
    """
    context = _context(request, model_admin, title) | {
        "text": text,
        "button": button,
        "rows": list(rows),
        "more": more,
        "hidden": list(hidden),
        "variant": variant,
        "back": page_before(request),
    }
    return TemplateResponse(request, "relay/confirm.html", context)


def show_once(
    request: HttpRequest,
    model_admin: admin.ModelAdmin,
    *,
    title: str,
    text: str,
    label: str,
    secret: str,
    next_url: str,
) -> HttpResponse:
    """A page with a secret, rendered into this one answer: it is in no session, message, log or cache."""
    context = _context(request, model_admin, title) | {
        "text": text,
        "label": label,
        "secret": secret,
        "next_url": next_url,
    }
    response = TemplateResponse(request, "relay/show_once.html", context)
    response["Cache-Control"] = "no-store"
    return response


def page_before(request: HttpRequest) -> str:
    """Where "Take me back" leads: never to another site, which may have led here."""
    referer = request.META.get("HTTP_REFERER", "")
    is_ours = url_has_allowed_host_and_scheme(referer, {request.get_host()}, require_https=request.is_secure())
    return referer if is_ours else "."


def _context(request: HttpRequest, model_admin: admin.ModelAdmin, title: str) -> dict[str, Any]:
    site: Mapping[str, Any] = model_admin.admin_site.each_context(request)
    return {**site, "title": title, "page_title": title, "opts": model_admin.model._meta, "media": model_admin.media}
