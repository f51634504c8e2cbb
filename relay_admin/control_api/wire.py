"""camelCase on the wire, snake_case in Python: the only place that turns one into the other. And how input is read."""

from collections.abc import Mapping
from typing import Any, NoReturn

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser

from relay_admin.access.scoping import Actor

MOST_QUOTED = 100


class JsonBody(JSONParser):
    """JSON that is nested too deep for Python's reader is the caller's mistake, not ours."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """As DRF does. Raises ParseError."""
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deep") from None


class AsIs(BaseContentNegotiation):
    """Whatever `Accept` says: errors are JSON, and the rest is what the address names."""

    def select_renderer(self, _request: Any, renderers: Any, _format_suffix: Any = None) -> Any:
        """DRF's."""
        return renderers[0], renderers[0].media_type

    def select_parser(self, _request: Any, parsers: Any) -> Any:
        """DRF's."""
        return parsers[0]


class ChoiceField(serializers.ChoiceField):
    """Says what it takes where it was given something else."""

    def fail(self, key: str, **values: Any) -> NoReturn:
        """DRF's. Raises ValidationError."""
        if key != "invalid_choice":
            super().fail(key, **values)
        given, taken = str(values["input"]), ", ".join(str(choice) for choice in self.choices)
        given = given if len(given) <= MOST_QUOTED else f"{given[:MOST_QUOTED]}..."
        raise serializers.ValidationError(f'"{given}" is none of {taken}.', code=key)


_TEXT = (serializers.CharField, serializers.UUIDField, serializers.DateTimeField, serializers.ChoiceField,
         serializers.SlugRelatedField, serializers.IPAddressField)  # fmt: skip


def _refusal(field: Any, value: Any) -> str | None:
    """Why a value of JSON is none of this field's, which DRF would make one: `"5"` of 5, and `True` of `"on"`. None
    where it is one, and where the field says it itself."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match field:
        case serializers.ListField() if isinstance(value, list):
            return next((said for each in value if (said := _refusal(field.child, each))), None)
        case serializers.BooleanField() if value is not None and not isinstance(value, bool):
            return "Send true or false."
        case serializers.IntegerField() | serializers.DecimalField() if value is not None and not is_number:
            return "Send a number."
        case _ if isinstance(field, _TEXT) and value is not None and not isinstance(value, str):
            return "Send text."
        case _:
            return None


class Strict(serializers.Serializer):
    """What a caller may send. A name that is not known is refused: it may have been meant to narrow what is done. So is
    a value of another type of JSON than the document says."""

    noun = "field"

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As DRF does, of nothing but its fields. Raises ValidationError."""
        if isinstance(data, dict):
            wrong = {name: [f"There is no such {self.noun}."] for name in sorted(set(data) - set(self.fields))}
            if not self.context.get("is_query"):  # which holds text alone
                refusals = {name: _refusal(self.fields[name], data[name]) for name in data if name not in wrong}
                wrong |= {name: [said] for name, said in refusals.items() if said}
            if wrong:
                raise serializers.ValidationError(wrong)
        found: dict[str, Any] = super().to_internal_value(data)
        return found


def read(form: type[Strict], data: Any, *, partial: bool = False, actor: Actor | None = None) -> dict[str, Any]:
    """What a body or a query string says, by that form; with `partial` only what was sent. `actor`: who asks, for forms
    that name a project. Raises ValidationError, also for a filter that is named and left empty: DRF would take the
    string for a form of a page, whose empty fields mean nothing, and show everything; and ParseError."""
    is_query = isinstance(data, QueryDict)
    context = {"actor": actor, "is_query": is_query}
    given = form(data=data.dict() if is_query else data, partial=partial, context=context)
    try:
        given.is_valid(raise_exception=True)
    except RecursionError:  # of who writes out what was sent, near the depth that JsonBody's reader takes
        raise ParseError("JSON parse error - nested too deep") from None
    return dict(given.validated_data)


def camel_case(name: str) -> str:
    """`last_status` -> `lastStatus`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class CamelCaseSerializer(serializers.ModelSerializer):
    """Writes a model's fields under their wire names. For answers only."""

    may_lack: frozenset[str] = frozenset()
    """Wire names that not every answer has."""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As DRF does, renamed."""
        return {camel_case(name): value for name, value in super().to_representation(instance).items()}
