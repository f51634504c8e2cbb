"""Form fields for columns that hold lists and objects, so that nobody has to write JSON."""

import json
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget


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


class OptionalLinesField(LinesField):
    """A list that may be none at all, which is what an empty field means."""

    def clean(self, value: Any) -> Any:
        """Text or a list -> a list, or None."""
        return super().clean(value) or None


class JsonField(forms.JSONField):
    """JSON as people read it; an empty field is `empty_value`."""

    def __init__(self, *, empty_value: Any = None, **kwargs: Any) -> None:
        self._empty_value = empty_value
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Stored JSON -> indented text, and nothing where nothing is stored."""
        if value is None or value == self._empty_value:
            return ""
        shown = super().prepare_value(value)
        return shown if value is shown else json.dumps(value, indent=2, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        """Text -> JSON."""
        found = super().clean(value)
        return self._empty_value if found is None else found

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Nothing and `empty_value` are one."""
        return bool(super().has_changed(None if initial == self._empty_value else initial, data))


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


class SecretField(forms.CharField):
    """A secret that is typed in and never comes back: the page is rendered without it, after an error too."""

    def __init__(self, **kwargs: Any) -> None:
        widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}, render_value=False)
        super().__init__(widget=widget, max_length=8192, **kwargs)


class PemField(forms.CharField):
    """A private key over several lines, as write-only as a `SecretField`."""

    def __init__(self, **kwargs: Any) -> None:
        widget = _WriteOnlyTextarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false"})
        super().__init__(widget=widget, max_length=65_536, **kwargs)


class _WriteOnlyTextarea(UnfoldAdminTextareaWidget):
    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:  # noqa: ARG002
        """Without what was typed in, after an error too."""
        return super().get_context(name, None, attrs)
