"""What the catalog's pages share."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.catalog.fields import JsonField, LinesField, OptionalLinesField
from relay_admin.catalog.lines import revisions
from relay_admin.catalog.models import Line
from relay_contract.nouns import OFFERED_MODES

DATES = ("created_at", "updated_at")


def about(obj: models.Model | None) -> tuple[str, dict[str, Any]]:
    """The fieldset that every row's page ends with; a row that is being added has no dates yet."""
    return ("About this row", {"fields": ("description", *DATES) if obj else ("description",)})


class RelayFields:
    """Fields of endpoints and targets: lists are written in lines, and only modes that work are offered."""

    def formfield_for_dbfield(self, db_field: models.Field, request: HttpRequest, **kwargs: Any) -> Any:
        """The form field of a column."""
        if isinstance(db_field, ArrayField):
            kwargs.setdefault("form_class", OptionalLinesField if db_field.null else LinesField)
            kwargs.setdefault("rows", 3)
        elif isinstance(db_field, models.JSONField):
            kwargs.setdefault("widget", UnfoldAdminTextareaWidget(attrs={"rows": 6}))
            kwargs.setdefault("form_class", JsonField)
            kwargs.setdefault("empty_value", None if db_field.null else {})
        return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]  # of the admin class

    def formfield_for_choice_field(self, db_field: models.Field, request: HttpRequest, **kwargs: Any) -> Any:
        """The form field of a choice."""
        if db_field.name == "delivery_mode":
            kwargs["choices"] = [(str(mode), str(mode)) for mode in OFFERED_MODES]
        return super().formfield_for_choice_field(db_field, request, **kwargs)  # type: ignore[misc]


class KeepsRevisions:
    """Pages of lines, endpoints and targets: what is saved there becomes a revision of the line. Goes before the admin
    class; Django runs each of these pages in one transaction."""

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """Nobody else writes the line from here on."""
        row = super().save_form(request, form, change)  # type: ignore[misc]  # of the admin class
        revisions.lock(_lines(form, change))
        return row

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The row and those beside it are written by now."""
        super().save_related(request, form, formsets, change)  # type: ignore[misc]
        revisions.take(_lines(form, change), cast("User", request.user))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """One row."""
        lines = revisions.lines_of([obj])
        revisions.lock(lines)
        super().delete_model(request, obj)  # type: ignore[misc]
        revisions.take(lines, cast("User", request.user))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Those that were selected."""
        with transaction.atomic():
            lines = revisions.lines_of(queryset)
            revisions.lock(lines)
            super().delete_queryset(request, queryset)  # type: ignore[misc]
            revisions.take(lines, cast("User", request.user))


def _lines(form: Any, change: bool) -> list[Line]:
    """That of the form's row, and the one that it was moved away from."""
    found = revisions.lines_of([form.instance])
    if change and (before := form.initial.get("line")):
        found += Line.objects.filter(pk=before)
    if change and (before := form.initial.get("endpoint")):
        found += Line.objects.filter(endpoints=before)
    return found


class CatalogAdmin(pages.RelayAdmin):
    """A noun's page: its own fields, then what every row carries."""

    readonly_fields: Any = DATES
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 2})}}
    shown_instead: dict[str, str] = {}
    """Field -> the method that shows it to who may not edit: lists of objects are rows of a form, and else JSON."""
    links: dict[str, tuple[str, ...]] = {}
    """Method that shows a link -> the permissions that the page behind it asks for."""

    def may_edit(self, request: HttpRequest, obj: Any) -> bool:
        """Whether the page is a form."""
        return bool(self.has_change_permission(request, obj) if obj else self.has_add_permission(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """`fieldsets`, and what every row carries."""
        own = super().get_fieldsets(request, obj)
        if not self.may_edit(request, obj):
            own = [(title, {**options, "fields": self._shown(options["fields"])}) for title, options in own]
        hidden = {name for name, needed in self.links.items() if not request.user.has_perms(needed)}
        if hidden:
            own = [
                (title, {**options, "fields": tuple(name for name in options["fields"] if name not in hidden)})
                for title, options in own
            ]
        return (*own, about(obj))

    def _shown(self, fields: Any) -> tuple[str, ...]:
        flat = [name for field in fields for name in (field if isinstance(field, tuple) else (field,))]
        return tuple(dict.fromkeys(self.shown_instead.get(name, name) for name in flat))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """And the methods of `shown_instead`."""
        return (*super().get_readonly_fields(request, obj), *dict.fromkeys(self.shown_instead.values()))


class OriginFilter(admin.SimpleListFilter):
    """Who made a row."""

    title = "origin"
    parameter_name = "origin"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("seeded", "seeded"), ("people", "made by people")]

    def queryset(self, _request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        match self.value():
            case "seeded":
                return queryset.filter(template__isnull=False)
            case "people":
                return queryset.filter(template__isnull=True)
            case _:
                return queryset
