"""camelCase on the wire, snake_case in Python: the only place that turns one into the other."""

from typing import Any

from rest_framework import serializers


def camel_case(name: str) -> str:
    """`last_status` -> `lastStatus`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class CamelCaseSerializer(serializers.ModelSerializer):
    """Writes a model's fields under their wire names. For answers only."""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As DRF does, renamed."""
        return {camel_case(name): value for name, value in super().to_representation(instance).items()}
