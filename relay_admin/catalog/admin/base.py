"""What the catalog's pages share."""

from typing import Any

from django.db import models
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from relay_admin import pages

DATES = ("created_at", "updated_at")


def about(obj: models.Model | None) -> tuple[str, dict[str, Any]]:
    """The fieldset that every row's page ends with; a row that is being added has no dates yet."""
    return ("About this row", {"fields": ("description", *DATES) if obj else ("description",)})


class CatalogAdmin(pages.RelayAdmin):
    """A noun's page: its own fields, then what every row carries."""

    readonly_fields: Any = DATES
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 2})}}

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """`fieldsets`, and what every row carries."""
        return (*super().get_fieldsets(request, obj), about(obj))
