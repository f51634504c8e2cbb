"""What Django's admin would let through and ours does not. Pages that show rows derive from `GuardedAdmin`.

Django trusts whoever may see a list: it lets the address compare any column of the row (`?headers__token__startswith=a`
tells a header's value letter by letter to somebody who is shown its name only), and answers an id or a NUL that no row
can have with a 500.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.contrib.admin import helpers
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import FieldDoesNotExist, SuspiciousOperation, ValidationError
from django.db import models
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.forms import PaginationInlineFormSet


def save_editable(row: models.Model) -> None:
    """Save a row that a form has filled, but for the columns that no form may edit.

    A form's row is as old as its page. Written whole, it would take back what happened since: a revocation, a new
    sealed secret.
    """
    columns = [column for column in row._meta.concrete_fields if not column.primary_key]
    row.save(update_fields=[one.name for one in columns if one.editable or getattr(one, "auto_now", False)])


class EditableColumnsFormSet(PaginationInlineFormSet):
    """Saves existing rows by `save_editable`."""

    def save_existing(self, form: Any, obj: models.Model, commit: bool = True) -> models.Model:  # noqa: ARG002
        """Django's `obj` is the form's own row."""
        row: models.Model = form.save(commit=False)
        if commit:
            save_editable(row)
        return row


class GuardedAdmin(ModelAdmin):
    """See the module."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Of the row's columns, those that one of the page's filters is about."""
        try:
            self.model._meta.get_field(lookup.split(LOOKUP_SEP, 1)[0])
        except FieldDoesNotExist:
            pass  # a filter's own parameter, or nothing
        else:
            filters = self.get_list_filter(request) if request else self.list_filter
            if not any(lookup == name or lookup.startswith(name + LOOKUP_SEP) for name in _filtered(filters)):
                return False
        return bool(super().lookup_allowed(lookup, value, request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """400 for a filter with a NUL, which Postgres takes in no text. The search box has its own message for it."""
        if any("\0" in value for name, values in request.GET.lists() if name != SEARCH_VAR for value in values):
            raise SuspiciousOperation("A filter holds a NUL character.")
        return super().changelist_view(request, extra_context)

    def response_action(self, request: HttpRequest, queryset: models.QuerySet) -> HttpResponse | None:
        """Refuses selected ids that are none."""
        key = self.model._meta.pk
        assert key is not None
        try:
            for text in request.POST.getlist(helpers.ACTION_CHECKBOX_NAME):
                key.to_python(text)
        except ValidationError:
            self.message_user(request, "Nothing was done: a selected row has no such id.", messages.ERROR)
            return None
        answer: HttpResponse | None = super().response_action(request, queryset)
        return answer

    def save_model(self, request: HttpRequest, obj: models.Model, form: Any, change: bool) -> None:
        """See `save_editable`."""
        if change:
            save_editable(obj)
        else:
            super().save_model(request, obj, form, change)


def _filtered(filters: Any) -> Iterator[str]:
    """The columns that `list_filter` names, and the parameters of its own filters."""
    for one in filters:
        name = one[0] if isinstance(one, tuple | list) else getattr(one, "parameter_name", one)
        if isinstance(name, str):
            yield name
