"""What columns that hold objects are on the wire. Rules of their values are the model's; these say the names.

Documents with a language of their own (conditions, mappings, JSON Schemas, `authConfig`, `signatureConfig`, headers)
keep their names as they are.
"""

import math
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers

from relay_admin.catalog import prices, validators
from relay_admin.control_api.budget_body import BudgetBody
from relay_admin.control_api.wire import ChoiceField, Strict, camel_case
from relay_contract.nouns import CAPABILITIES, CAPABILITY_WORDS, Algorithm, FallbackCondition, Meter
from relay_contract.pricing import PriceMeter

_WHOLE = {"min_value": 0, "max_value": 2**63 - 1}


class Part(Strict):
    """An object inside a body. It is sent whole, in a PATCH too: DRF would let its fields be left out there."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As DRF does. Raises ValidationError."""
        if isinstance(data, dict):
            missing = [name for name, field in self.fields.items() if field.required and name not in data]
            if missing:
                raise serializers.ValidationError({name: ["This field is required."] for name in missing})
        return super().to_internal_value(data)


class RuleBody(Part):
    """One rule of a rate limit: so much of a meter in a window."""

    meter = ChoiceField([str(meter) for meter in Meter])
    amount = serializers.IntegerField(**_WHOLE)
    windowSeconds = serializers.IntegerField(source="window_seconds", **_WHOLE)  # noqa: N815  # as on the wire
    algorithm = ChoiceField([str(algorithm) for algorithm in Algorithm], required=False)
    burst = serializers.IntegerField(required=False, **_WHOLE)


class RateBody(Part):
    """What a meter costs: `usdPerMillion` tokens, or `usdPerThousand` calls or seconds, as text so that no reader makes
    it a float. `aboveTokens`: of larger prompts only."""

    meter = ChoiceField([str(meter) for meter in PriceMeter])
    usdPerMillion = serializers.CharField(max_length=40, required=False)  # noqa: N815  # as on the wire
    usdPerThousand = serializers.CharField(max_length=40, required=False)  # noqa: N815
    aboveTokens = serializers.IntegerField(default=0, **_WHOLE)  # noqa: N815

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As it is stored."""
        given = super().to_internal_value(data)
        meter = given["meter"]
        is_per_thousand = prices.is_per_thousand(meter)
        needed, other = ("usdPerMillion", "usdPerThousand")[:: -1 if is_per_thousand else 1]
        if needed not in given or other in given:
            raise serializers.ValidationError({needed: [f"{meter} has its price here, and here alone."]})
        try:
            nanousd = prices.nanousd_per_million(meter, given[needed])
        except ValueError as refused:
            raise serializers.ValidationError({needed: [f"{str(refused).capitalize()}."]}) from None
        return {"meter": meter, "nanousd_per_million": nanousd, "above_tokens": given.get("aboveTokens", 0)}

    def to_representation(self, instance: dict[str, Any]) -> dict[str, Any]:
        """As people read it."""
        meter = instance["meter"]
        name = "usdPerThousand" if prices.is_per_thousand(meter) else "usdPerMillion"
        usd = prices.usd_text(meter, instance["nanousd_per_million"])
        return {"meter": meter, name: usd, "aboveTokens": instance.get("above_tokens", 0)}


class FallbackBody(Part):
    """Which models stand behind these, and when."""

    models = serializers.ListField(child=serializers.CharField(max_length=130), allow_empty=False)
    when = serializers.ListField(
        child=ChoiceField([str(condition) for condition in FallbackCondition]), allow_empty=False
    )
    then = serializers.ListField(child=serializers.CharField(max_length=130), allow_empty=False)


def _capability(name: str) -> serializers.Field:
    column = {"required": False, "allow_null": True}
    words = CAPABILITY_WORDS.get(name)
    if name.endswith("_tokens"):
        return serializers.IntegerField(min_value=1, max_value=10**9, **column)
    if words is None:
        return serializers.BooleanField(**column)
    if name == "sampling_limits":
        return ChoiceField(list(words), **column)
    return serializers.ListField(child=ChoiceField(list(words)), **column)


class CapabilitiesBody(Part):
    """What is known of a model; what is left out, or null, is read from its name."""

    def get_fields(self) -> dict[str, Any]:
        """One for each capability, by its wire name."""
        return {camel_case(name): _capability(name) for name in CAPABILITIES}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """What is known, under the catalog's names."""
        given = super().to_internal_value(data)
        return {name: given[camel_case(name)] for name in CAPABILITIES if given.get(camel_case(name)) is not None}

    def to_representation(self, instance: dict[str, Any]) -> dict[str, Any]:
        """What is known."""
        return {camel_case(name): instance[name] for name in CAPABILITIES if instance.get(name) is not None}


class FreeJson(serializers.JSONField):
    """A document with a language of its own. Refuses what Postgres' JSON cannot hold."""

    def to_internal_value(self, data: Any) -> Any:
        """As it came. Raises ValidationError."""
        try:
            validators.json_document(data)  # before anybody walks it by recursion
        except DjangoValidationError as refused:
            raise serializers.ValidationError(refused.messages) from None
        for one in _leaves(data):
            if isinstance(one, float) and not math.isfinite(one):
                raise serializers.ValidationError("A number in it is too large.")
            if isinstance(one, str) and any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in one):
                raise serializers.ValidationError("A text in it holds a NUL or half a character.")
        return super().to_internal_value(data)


class FreeObject(FreeJson):
    """The same, where only an object makes sense. Django asks no validator about an empty list."""

    def to_internal_value(self, data: Any) -> Any:
        """As it came. Raises ValidationError."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("Write an object.")
        return super().to_internal_value(data)


class SchemaJson(FreeJson):
    """A JSON Schema: an object, or true or false."""

    def to_internal_value(self, data: Any) -> Any:
        """As it came. Raises ValidationError."""
        if not isinstance(data, dict | bool):
            raise serializers.ValidationError("A JSON Schema is an object.")
        return super().to_internal_value(data)


def _leaves(value: Any) -> Iterator[Any]:
    """Names and values, however deep, without recursion."""
    open_ = [value]
    while open_:
        match open_.pop():
            case dict() as one:
                open_ += [*one.keys(), *one.values()]
            case list() as one:
                open_ += one
            case leaf:
                yield leaf


class BudgetPart(Part, BudgetBody):
    """What may be spent in a calendar period, UTC."""


PARTS: dict[str, type[Part]] = {
    "rules": RuleBody,
    "rates": RateBody,
    "fallbacks": FallbackBody,
    "capabilities": CapabilitiesBody,
    "budget": BudgetPart,
    "user_budget": BudgetPart,
}
LISTED = ("rules", "rates", "fallbacks")
"""By column. Of LISTED there is a list, of the others one."""
