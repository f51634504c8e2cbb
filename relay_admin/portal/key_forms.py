"""Forms of a project's keys. They read; `access/services.py` changes."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from relay_admin.access.key_choices import policies_of, rate_limits_of
from relay_admin.access.models import RelayKey
from relay_admin.access.roles import Act
from relay_admin.portal.budget_forms import budget_initial, budget_typed, credits_field, period_field
from relay_admin.portal.page import Place
from relay_contract.nouns import KeyMode, Scope

_LOCAL = "%Y-%m-%dT%H:%M"
_MAX_NETWORKS_TEXT = 12_000
_SCOPES = {
    Scope.RELAY: "Send requests to endpoints",
    Scope.INFERENCE: "Call models",
    Scope.CONTROL: "Deploy and manage the project by the API",
}
_MODES = {KeyMode.TEST: "Test", KeyMode.LIVE: "Live"}
OVERLAPS = {0: "ends at once", 3_600: "works 1 hour more", 86_400: "works 24 hours more", 604_800: "works 7 days more",
            2_592_000: "works 30 days more"}  # fmt: skip
"""Seconds that a key works beside its successor."""


class KeyForm(forms.Form):
    """What may be changed of a key."""

    name = forms.CharField(max_length=100, help_text="Where it is used, such as checkout or nightly-report.")
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=[(str(scope), text) for scope, text in _SCOPES.items()],
        widget=forms.CheckboxSelectMultiple,
    )
    policy = forms.ModelChoiceField(
        None, required=False, empty_label="None: it reaches no model", help_text="Which models it reaches."
    )
    rate_limit = forms.ModelChoiceField(
        None, required=False, empty_label="None of its own", help_text="What it may use beside the project's limit."
    )
    budget_credits = credits_field("What it may spend. Empty: no budget of its own.", label="Budget, in credits")
    budget_period = period_field()
    allowed_networks = forms.CharField(
        label="Networks",
        required=False,
        max_length=_MAX_NETWORKS_TEXT,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="It works from these alone, one on a line, such as 192.0.2.0/24. Empty: from anywhere.",
    )
    expires_at = forms.DateTimeField(
        label="Expires, in UTC",
        required=False,
        input_formats=[_LOCAL, "%Y-%m-%dT%H:%M:%S"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_LOCAL),
        help_text="It works for 24 hours more, and answers say so. Empty: as the project's keys do.",
    )

    def __init__(self, place: Place, data: Any = None, key: RelayKey | None = None) -> None:
        super().__init__(data, initial=None if key is None else _initial(key))
        for name, choices in (("policy", policies_of(place.project)), ("rate_limit", rate_limits_of(place.project))):
            field = self.fields[name]
            assert isinstance(field, forms.ModelChoiceField)
            field.queryset = choices

    def clean_allowed_networks(self) -> list[str]:
        """By line, comma or space."""
        return list(self.cleaned_data["allowed_networks"].replace(",", " ").split())

    def clean_expires_at(self) -> datetime | None:
        """Not in the past, unless it stays what it was."""
        wanted: datetime | None = self.cleaned_data["expires_at"]
        if wanted is not None and wanted <= timezone.now() and "expires_at" in self.changed_data:
            raise ValidationError("That is over. To end a key now, revoke it.")
        return wanted

    def columns(self) -> dict[str, Any]:
        """Of a form that is valid, as a relay key has them."""
        found = dict(self.cleaned_data)
        found["budget"] = budget_typed(found)
        if "expires_at" not in self.changed_data:
            found.pop("expires_at")  # of a new key: the project's default; the field has minutes, the column more
        return found


class NewKeyForm(KeyForm):
    """The same, and its mode, which stays."""

    mode = forms.ChoiceField(
        choices=[(str(mode), text) for mode, text in _MODES.items()],
        widget=forms.RadioSelect,
        initial=str(KeyMode.TEST),
        help_text="Test keys have test money and limits of their own.",
    )
    field_order = ["name", "mode"]

    def __init__(self, place: Place, data: Any = None) -> None:
        super().__init__(place, data)
        offered = list(policies_of(place.project)[:2])
        if len(offered) == 1:
            self.initial["policy"] = offered[0]  # what nearly every key wants
        if not place.may(Act.MANAGE_KEYS):
            mode = self.fields["mode"]
            assert isinstance(mode, forms.ChoiceField)
            mode.choices = [(str(KeyMode.TEST), _MODES[KeyMode.TEST])]
            mode.help_text = "With your role you make test keys."


class RotateForm(forms.Form):
    """How long the key works beside its successor."""

    overlap = forms.TypedChoiceField(
        label="The key of now",
        choices=list(OVERLAPS.items()),
        coerce=lambda text: timedelta(seconds=int(text)),
        initial=86_400,
    )


def _initial(key: RelayKey) -> dict[str, Any]:
    return {
        **{name: getattr(key, name) for name in ("name", "scopes", "policy", "rate_limit", "expires_at")},
        "allowed_networks": "\n".join(key.allowed_networks),
        **budget_initial(key.budget),
    }
