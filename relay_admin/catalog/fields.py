"""Form fields for columns that hold lists and objects, so that nobody has to write JSON."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.datastructures import MultiValueDict
from django.utils.safestring import SafeString, mark_safe
from unfold.widgets import INPUT_CLASSES, SELECT_CLASSES, UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget

from relay_admin.catalog import validators
from relay_contract import nouns

_RULE_FIELDS = ("meter", "amount", "window_seconds")
_MIN_ROWS = 3


class LinesField(SimpleArrayField):
    """A list, one item a line; empty lines do not count."""

    def __init__(self, base_field: forms.Field, *, rows: int = 6, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminTextareaWidget(attrs={"rows": rows}))
        kwargs.setdefault("required", False)
        super().__init__(base_field, delimiter="\n", **kwargs)

    def to_python(self, value: Any) -> Any:
        """Text or a list -> a list."""
        if isinstance(value, str):
            value = "\n".join(line.strip() for line in value.splitlines() if line.strip())
        return super().to_python(value)


class HeadersField(forms.CharField):
    """An object of text values, written as `Name: value` lines."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminTextareaWidget(attrs={"rows": 4, "placeholder": "x-tenant: blue"}))
        kwargs.setdefault("required", False)
        kwargs.setdefault("empty_value", {})
        super().__init__(strip=True, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Stored headers -> lines."""
        return "\n".join(f"{name}: {text}" for name, text in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        """Lines -> headers. What they may be is checked by the model."""
        headers: dict[str, str] = {}
        for number, line in enumerate((value or "").splitlines(), 1):
            name, colon, text = line.partition(":")
            if not line.strip():
                continue
            if not colon:
                raise ValidationError(f"Line {number}: write a header as `Name: value`.")
            if name.strip() in headers:
                raise ValidationError(f"Line {number}: {name.strip()} is here twice.")
            headers[name.strip()] = text.strip()
        return headers

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compares headers, not their spelling as lines."""
        try:
            return self.to_python(data) != (initial or {})
        except ValidationError:
            return True


class RulesWidget(forms.Widget):
    """Rules of a rate limit as rows of fields; a row without numbers does not count."""

    template_name = "relay/rules_widget.html"

    def get_context(self, name: str, value: Any, attrs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Existing rows and one to three empty ones."""
        context = super().get_context(name, value, dict(attrs or {}))
        given = value if isinstance(value, list) else []
        count = min(max(_MIN_ROWS, len(given) + 1), validators.MAX_RULES)
        empty = {"meter": str(nouns.Meter.REQUESTS), "amount": "", "window_seconds": ""}
        padded = [*given, *([empty] * (count - len(given)))]
        context["widget"] |= {
            "rows": [{"index": index, **row} for index, row in enumerate(padded)],
            "meters": [str(meter) for meter in nouns.Meter],
            "input_class": " ".join(INPUT_CLASSES),
            "select_class": " ".join(SELECT_CLASSES),
        }
        return context

    def render(self, name: str, value: Any, attrs: Mapping[str, Any] | None = None, renderer: Any = None) -> SafeString:  # noqa: ARG002
        """By the site's templates: Django's form renderer knows its own only."""
        return mark_safe(render_to_string(self.template_name, self.get_context(name, value, attrs)))  # noqa: S308

    def format_value(self, value: Any) -> Any:
        """Rows stay rows."""
        return value

    def value_from_datadict(self, data: Mapping[str, Any], _files: MultiValueDict, name: str) -> list[dict[str, Any]]:
        """The rows as they were typed."""
        rows = []
        for index in range(validators.MAX_RULES):
            row = {field: str(data.get(f"{name}-{index}-{field}", "")).strip() for field in _RULE_FIELDS}
            if row["amount"] or row["window_seconds"]:
                rows.append(row)
        return rows

    def value_omitted_from_data(self, data: Mapping[str, Any], _files: MultiValueDict, name: str) -> bool:
        """A form without the widget leaves the rules alone."""
        return f"{name}-0-meter" not in data


class RulesField(forms.Field):
    """`RateLimit.rules`."""

    widget = RulesWidget

    def prepare_value(self, value: Any) -> Any:
        """Stored rules are rows already."""
        return value

    def to_python(self, value: Any) -> list[dict[str, Any]]:
        """Typed rows -> rules; numbers only, the rest is checked by the model."""
        rules = []
        for number, row in enumerate(value or (), 1):
            try:
                rules.append({**row, "amount": int(row["amount"]), "window_seconds": int(row["window_seconds"])})
            except ValueError:
                raise ValidationError(f"Rule {number}: write whole numbers into both fields.") from None
        return rules

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compares rules."""
        try:
            return self.to_python(data) != (initial or [])
        except ValidationError:
            return True


class SecretField(forms.CharField):
    """A secret that is typed in and never comes back: the page is rendered without it, after an error too."""

    def __init__(self, **kwargs: Any) -> None:
        widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}, render_value=False)
        super().__init__(widget=widget, max_length=8192, **kwargs)
