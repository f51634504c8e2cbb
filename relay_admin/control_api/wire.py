"""camelCase on the wire, snake_case in Python: the only place that turns one into the other. And JSON as it is read."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class JsonBody(JSONParser):
    """JSON that is nested too deep for Python's reader is the caller's mistake, not ours."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """As DRF does. Raises ParseError."""
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deep") from None


def camel_case(name: str) -> str:
    """`last_status` -> `lastStatus`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class CamelCaseSerializer(serializers.ModelSerializer):
    """Writes a model's fields under their wire names. For answers only."""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As DRF does, renamed."""
        return {camel_case(name): value for name, value in super().to_representation(instance).items()}
