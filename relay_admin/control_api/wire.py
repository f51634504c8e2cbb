"""camelCase on the wire, snake_case in Python: the only place that turns one into the other. And how input is read."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from relay_admin.access.scoping import Actor


class JsonBody(JSONParser):
    """JSON that is nested too deep for Python's reader is the caller's mistake, not ours."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """As DRF does. Raises ParseError."""
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deep") from None


class Strict(serializers.Serializer):
    """What a caller may send. A name that is not known is refused: it may have been meant to narrow what is done."""

    noun = "field"

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As DRF does, of nothing but its fields. Raises ValidationError."""
        unknown = set(data) - set(self.fields) if isinstance(data, dict) else set()
        if unknown:
            raise serializers.ValidationError({name: [f"There is no such {self.noun}."] for name in sorted(unknown)})
        found: dict[str, Any] = super().to_internal_value(data)
        return found


def read(form: type[Strict], data: Any, *, partial: bool = False, actor: Actor | None = None) -> dict[str, Any]:
    """What a body or a query string says, by that form; with `partial` only what was sent. `actor`: who asks, for forms
    that name a project. Raises ValidationError."""
    given = form(data=data, partial=partial, context={"actor": actor})
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def camel_case(name: str) -> str:
    """`last_status` -> `lastStatus`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class CamelCaseSerializer(serializers.ModelSerializer):
    """Writes a model's fields under their wire names. For answers only."""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As DRF does, renamed."""
        return {camel_case(name): value for name, value in super().to_representation(instance).items()}
