"""What the portal's logs and the failure queue may be narrowed by. Each form stands in the page's address."""

from collections.abc import Iterable
from typing import Any

from django import forms

from relay_admin.deliveries import services
from relay_admin.deliveries.models import DEAD_REASONS
from relay_admin.deliveries.request_filters import OUTCOMES
from relay_admin.traffic.selectors import STATUS_CLASSES
from relay_contract.nouns import KeyMode

ANY = ("", "any")
Choices = Iterable[tuple[Any, str]]


class _Moment(forms.DateTimeField):
    """In UTC, by the browser's own widget."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class FilterForm(forms.Form):
    """Bound to the address; `wanted` is what was filled in."""

    since = _Moment(label="From, UTC", required=False)
    until = _Moment(label="Before, UTC", required=False)

    @property
    def wanted(self) -> dict[str, Any]:
        """Of a valid form."""
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}

    def offer(self, **choices: Choices) -> None:
        """What there is to choose from."""
        for name, offered in choices.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [ANY, *offered]


class CallFilter(FilterForm):
    """Of calls to models."""

    status = forms.ChoiceField(required=False, choices=[ANY, *((each, each) for each in STATUS_CLASSES)])
    model = forms.CharField(required=False, max_length=128)
    key = forms.TypedChoiceField(label="Key", required=False, coerce=int)
    mode = forms.ChoiceField(required=False, choices=[ANY, *((str(mode), str(mode)) for mode in KeyMode)])
    request = forms.CharField(label="Request id", required=False, max_length=128)
    field_order = ("request", "model", "status", "key", "mode", "since", "until")


class RequestFilter(FilterForm):
    """Of relay requests."""

    search = forms.CharField(
        label="Id", required=False, max_length=255, help_text="Whole: of a request, a delivery, or the caller's own."
    )
    endpoint = forms.TypedChoiceField(required=False, coerce=int)
    outcome = forms.ChoiceField(required=False, choices=[ANY, *((each, each) for each in OUTCOMES)])
    status = forms.ChoiceField(required=False, choices=[ANY, *((each, each) for each in STATUS_CLASSES)])
    event_type = forms.CharField(label="Event type", required=False, max_length=128)
    mode = forms.ChoiceField(required=False, choices=[ANY, *((str(mode), str(mode)) for mode in KeyMode)])
    field_order = ("search", "endpoint", "outcome", "status", "event_type", "mode", "since", "until")


class FailureFilter(FilterForm):
    """Of the failure queue: members are those of a replay's filter."""

    target = forms.TypedChoiceField(required=False, coerce=int)
    reason = forms.ChoiceField(required=False, choices=[ANY, *((str(key), text) for key, text in DEAD_REASONS.items())])
    status = forms.IntegerField(label="Last status", required=False, min_value=100, max_value=599)
    event_type = forms.CharField(label="Event type", required=False, max_length=128)
    field_order = ("target", "reason", "status", "event_type", "since", "until")


class PaceForm(forms.Form):
    """How fast to replay, and why."""

    pace = forms.DecimalField(
        required=False,
        min_value=services.MIN_PACE,
        max_value=services.MAX_PACE,
        max_digits=8,
        decimal_places=2,
        initial=services.DEFAULT_PACE,
        help_text="Deliveries a second. Empty: all at once.",
    )
    note = forms.CharField(
        required=False, max_length=200, help_text="Kept with the replay: what was mended, for example."
    )
