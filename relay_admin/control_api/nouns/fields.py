"""A column of the catalog as a field of the control API: its name, type, default and bounds come from the model, so
that forms cannot drift from it."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from rest_framework import serializers

from relay_admin.access.roles import Act
from relay_admin.access.scoping import rows_of
from relay_admin.catalog.sections import Section, column, is_required
from relay_admin.control_api.nouns.parts import LISTED, PARTS, FreeObject, SchemaJson
from relay_admin.control_api.wire import ChoiceField, camel_case
from relay_contract.nouns import OFFERED_MODES

RENAMED = {"url": "targetUrl"}
"""Columns whose wire name is another word."""


def wire_name(name: str) -> str:
    """`max_body_bytes` -> `maxBodyBytes`."""
    return RENAMED.get(name) or camel_case(name)


class PathField(serializers.CharField):
    """A row of a project, by its names from the outermost: `shop/v1` is a line. A stranger's is refused as one that
    does not exist. `wire.read` has to be given the actor."""

    def __init__(self, model: type[models.Model], lookups: tuple[str, ...], **options: Any) -> None:
        super().__init__(**options)
        self.model, self.lookups = model, lookups

    def to_internal_value(self, data: Any) -> Any:
        """The row. Raises ValidationError."""
        names = super().to_internal_value(data).split("/")
        if len(names) == len(self.lookups):
            rows = rows_of(self.model, self.context["actor"], Act.MANAGE_ENDPOINTS)
            row = rows.filter(**dict(zip(self.lookups, names, strict=True))).first()
            if row is not None:
                return row
        raise serializers.ValidationError(f"There is no such {self.model._meta.verbose_name}.")

    def to_representation(self, value: Any) -> str:
        """Its names."""
        return str(value)


class Flag(serializers.BooleanField):
    """Of a query: one that is not there says nothing, and not no."""

    default_empty_html = serializers.empty


def field_of(section: Section, name: str) -> serializers.Field:
    """The field of a column, named by `wire_name`."""
    found = column(section, name)
    options: dict[str, Any] = {"allow_null": True} if found.null else {}
    if wire_name(name) != name:
        options["source"] = name
    if is_required(section, name):
        options["required"] = True
    else:
        is_made = found.has_default() and callable(found.default)
        options["default"] = found.default if is_made else _plain(found.get_default())
    if found.help_text:
        options["help_text"] = str(found.help_text)
    return _field(found, options)


def _plain(value: Any) -> Any:
    """An enum's member becomes its text."""
    return str(value) if isinstance(value, str) else value


def _field(column: models.Field, options: dict[str, Any]) -> serializers.Field:  # noqa: C901, PLR0911 (a table)
    part = PARTS.get(column.name)
    if part is not None:
        return part(many=True, **options) if column.name in LISTED else part(**options)
    if column.name == "delivery_mode":
        return ChoiceField([str(mode) for mode in OFFERED_MODES], **options)
    if column.choices:
        words = [word for word, _ in column.choices]
        return ChoiceField(words, allow_blank=column.blank, **options)
    match column:
        case models.ForeignKey():
            return reference(column.related_model, **options)
        case ArrayField():
            return serializers.ListField(child=_field(column.base_field, {}), **options)
        case models.JSONField(name="headers"):
            value = serializers.CharField(allow_blank=True, trim_whitespace=False)
            return serializers.DictField(child=value, **options)
        case models.JSONField(name="json_schema"):
            return SchemaJson(**options)
        case models.JSONField():
            return FreeObject(**options)
        case models.BooleanField():
            return serializers.BooleanField(**options)
        case models.IntegerField():
            return serializers.IntegerField(**_bounds(column), **options)
        case _:
            longest = {"max_length": column.max_length} if column.max_length else {}
            return serializers.CharField(allow_blank=column.blank, trim_whitespace=False, **longest, **options)


def _bounds(column: models.Field) -> dict[str, int]:
    least = [one.limit_value for one in column.validators if isinstance(one, MinValueValidator)]
    most = [one.limit_value for one in column.validators if isinstance(one, MaxValueValidator)]
    return {"min_value": max(least), "max_value": min(most)}


def reference(model: Any, **options: Any) -> serializers.SlugRelatedField:
    """A row that is nobody's in particular, by the name that it is known by."""
    names = {one.name for one in model._meta.concrete_fields}
    key = "slug" if "slug" in names else "name"
    return serializers.SlugRelatedField(key, queryset=model._default_manager.all(), **options)


def on_the_wire(error: ValidationError) -> serializers.ValidationError:
    """What a model refused, under the names that were sent."""
    if not hasattr(error, "error_dict"):
        return serializers.ValidationError({"": error.messages})
    return serializers.ValidationError(
        {"" if name == "__all__" else wire_name(name): messages for name, messages in error.message_dict.items()}
    )
