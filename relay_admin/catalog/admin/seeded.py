"""What pages of rows share that `catalog seed` may have made: what differs from the seed, and the way back."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.catalog import prices
from relay_admin.catalog.admin.base import CatalogAdmin
from relay_admin.catalog.models import SeededRow
from relay_admin.catalog.seed.seeding import template_differences, template_restore

_LISTED = 20
MAX_RESTORED = 900
"""The page that asks carries each row in a field, and Django takes a form of 1000."""


def in_words(field: str, value: Any) -> str:
    """A value as somebody reads it."""
    match value:
        case None | "":
            return "not set"
        case bool():
            return "yes" if value else "no"
        case list():
            return prices.in_words(value) if field == "rates" else ", ".join(map(str, value))
        case _:
            return str(value)


def label(field: str) -> str:
    """`capabilities.effort_levels` as people read it."""
    return field.removeprefix("capabilities.").replace("_", " ")


class SeededAdmin(CatalogAdmin):
    """See the module. A page's fieldsets get one more for a seeded row."""

    actions = ["to_template"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """With the comparison, for a row that was seeded."""
        *own, last = super().get_fieldsets(request, obj)
        seeded = [("Seeded", {"fields": ("seeded",)})] if obj and obj.template else []
        return (*own, *seeded, last)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """And the comparison."""
        return (*super().get_readonly_fields(request, obj), "seeded")

    @display(description="against the template")
    def seeded(self, row: SeededRow) -> str | SafeString:
        """What an operator changed, and a link to the page that takes it back."""
        found = template_differences(row)
        if not found:
            return "As it was seeded. A new seed keeps it current."
        lines = format_html_join(
            "",
            "<li>{}: {} here, {} seeded</li>",
            ((label(name), in_words(name, here), in_words(name, seeded)) for name, (here, seeded) in found.items()),
        )
        url = reverse(f"admin:{self._name}", args=[row.pk])
        link = format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Back to the template…</a>', url)
        return format_html(
            '<ul class="relay-list">{}</ul>These stay as they are when the vendor is seeded again. {}', lines, link
        )

    @property
    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_template"

    def get_urls(self) -> list[URLPattern]:
        """And the page that takes changes back."""
        own = path("<int:row_id>/template/", self.admin_site.admin_view(self.template_view), name=self._name)
        return [own, *super().get_urls()]

    def template_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """GET asks, POST restores."""
        row = get_object_or_404(self.model, pk=row_id)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        back = HttpResponseRedirect(
            reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row_id])
        )
        if request.method == "POST":
            self._restore(request, [row])
            return back
        return self._ask(request, [row], [])

    @admin.action(description="Back to the template", permissions=["change"])
    def to_template(self, request: HttpRequest, queryset: QuerySet[SeededRow]) -> HttpResponse | None:
        """Asks, then gives the selected rows the values back that were last seeded."""
        rows = [row for row in queryset[: MAX_RESTORED + 1] if template_differences(row)]
        if len(rows) > MAX_RESTORED:
            self.message_user(request, f"Take back at most {MAX_RESTORED} rows at a time.", messages.ERROR)
        elif not rows:
            self.message_user(request, "None of them differs from its template.", messages.WARNING)
        elif request.POST.get("confirmed") == "yes":
            self._restore(request, rows)
        else:
            hidden = [("action", "to_template"), ("confirmed", "yes")]
            return self._ask(request, rows, hidden + [(helpers.ACTION_CHECKBOX_NAME, str(row.pk)) for row in rows])
        return None

    def _ask(self, request: HttpRequest, rows: list[Any], hidden: list[tuple[str, str]]) -> HttpResponse:
        shown = [
            f"{row}: {', '.join(map(label, template_differences(row))) or 'nothing differs'}" for row in rows[:_LISTED]
        ]
        return pages.confirm(
            request,
            self,
            title="Back to the template",
            text="Give these fields the values back that were last seeded?",
            button="Take the changes back",
            rows=shown,
            more=max(0, len(rows) - _LISTED),
            hidden=hidden,
        )

    def _restore(self, request: HttpRequest, rows: list[Any]) -> None:
        count = 0
        for row in rows:
            try:
                changed = template_restore(row=row)
            except ValidationError as error:
                self.message_user(request, f"{row}: {' '.join(error.messages)}", messages.ERROR)
                continue
            self.log_change(request, row, f"Back to the template: {', '.join(changed)}.")
            count += 1
        if count:
            said = "1 row is" if count == 1 else f"{count} rows are"
            self.message_user(request, f"{said} as seeded.", messages.SUCCESS)
