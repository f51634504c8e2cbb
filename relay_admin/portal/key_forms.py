"""Forms of a project's keys. They read; `access/services.py` changes."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from relay_admin.access.key_choices import policies_of, rate_limits_of
from relay_admin.access.key_life import may_make_endless
from relay_admin.access.models import MAX_ROTATES_DAYS, RelayKey, User
from relay_admin.access.roles import Act
from relay_admin.portal.budget_forms import budget_initial, budget_typed, credits_field, period_field
from relay_admin.portal.page import Place
from relay_contract.nouns import KeyMode, Payer, Scope

_LOCAL = "%Y-%m-%dT%H:%M"
_MAX_NETWORKS_TEXT = 12_000
_SCOPES = {
    Scope.RELAY: "Send requests to endpoints",
    Scope.INFERENCE: "Call models",
    Scope.CONTROL: "Deploy and manage the project by the API",
}
_MODES = {KeyMode.TEST: "Test", KeyMode.LIVE: "Live"}
_PAYERS = {Payer.PROJECT: "The project's wallet", Payer.USER: "The project's pool for me, then my own wallet"}
OVERLAPS = {0: "ends at once", 3_600: "works 1 hour more", 86_400: "works 24 hours more", 604_800: "works 7 days more",
            2_592_000: "works 30 days more", 7_776_000: "works 90 days more"}  # fmt: skip
"""Seconds that a key works beside its successor."""
_LIVES = {7: "in 7 days", 30: "in 30 days", 90: "in 90 days", 365: "in a year"}
_KEPT, _DATE, _NEVER = "", "date", "never"  # kept: as it is; of a new key the project's default
_PROJECTS = ("scopes", "rate_limit", "captures_payloads")
"""What of a key is the project's to say, where the key is not, but its user's own."""
_TEST_ALONE = "With your role you make test keys, and live ones that you pay for yourself."


def manages(place: Place, mode: str) -> bool:
    """Whether the project's keys of this mode are theirs to make and change, or only what they pay for themselves."""
    return place.may(Act.MANAGE_KEYS if mode == KeyMode.LIVE else Act.MANAGE_TEST_KEYS)


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
    expiry = forms.ChoiceField(
        label="It expires", required=False, help_text="It works for 24 hours more, and answers say so."
    )
    expires_at = forms.DateTimeField(
        label="That date, in UTC",
        required=False,
        input_formats=[_LOCAL, "%Y-%m-%dT%H:%M:%S"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_LOCAL),
    )
    rotates_days_before = forms.IntegerField(
        label="Rotated by itself, days before it expires",
        required=False,
        min_value=1,
        max_value=MAX_ROTATES_DAYS,
        help_text="Then a successor with as long a life is made, and both work until this one ends. Its token is told"
        " once: here, or to whoever holds this key. Empty: you rotate it.",
    )
    captures_payloads = forms.BooleanField(
        label="Keep what is sent and answered with it",
        required=False,
        help_text="Redacted, for some days, for those in the project who may see content.",
    )

    def __init__(self, place: Place, data: Any = None, key: RelayKey | None = None) -> None:
        super().__init__(data, initial=None if key is None else _initial(key))
        for name, choices in (("policy", policies_of(place.project)), ("rate_limit", rate_limits_of(place.project))):
            field = self.fields[name]
            assert isinstance(field, forms.ModelChoiceField)
            field.queryset = choices
        expiry = self.fields["expiry"]
        assert isinstance(expiry, forms.ChoiceField)
        expiry.choices = _expiries(place, key)
        if key is not None and not manages(place, key.mode):
            self._leave_to_the_project()

    def _leave_to_the_project(self) -> None:
        for name in _PROJECTS:
            del self.fields[name]

    def clean_allowed_networks(self) -> list[str]:
        """By line, comma or space."""
        return list(self.cleaned_data["allowed_networks"].replace(",", " ").split())

    def clean(self) -> dict[str, Any]:
        """A date goes with the choice of a date, and is not in the past."""
        found, date = self.cleaned_data, self.cleaned_data.get("expires_at")
        is_dated = found.get("expiry") == _DATE
        if "expires_at" not in self.errors and is_dated != (date is not None):
            said = "Say when." if is_dated else "Choose “on the date below” above, or leave this empty."
            self.add_error("expires_at", said)
        elif date is not None and date <= timezone.now():
            self.add_error("expires_at", "That is over. To end a key now, revoke it.")
        return found

    def columns(self) -> dict[str, Any]:
        """Of a form that is valid, as a relay key has them."""
        found = dict(self.cleaned_data)
        found["budget"] = budget_typed(found)
        expiry = found.pop("expiry")
        if expiry == _KEPT:
            del found["expires_at"]
        elif expiry not in (_DATE, _NEVER):
            found["expires_at"] = timezone.now() + timedelta(days=int(expiry))
        return found


class NewKeyForm(KeyForm):
    """The same, and what stays: its mode, and who pays. `user` is who makes it."""

    mode = forms.ChoiceField(
        choices=[(str(mode), text) for mode, text in _MODES.items()],
        widget=forms.RadioSelect,
        initial=str(KeyMode.TEST),
        help_text="Test keys have test money and limits of their own.",
    )
    pays = forms.ChoiceField(
        label="Its calls are paid from",
        choices=[(str(payer), text) for payer, text in _PAYERS.items()],
        widget=forms.RadioSelect,
        initial=str(Payer.PROJECT),
        required=False,
        help_text="A key that you pay for is yours: others in the project can only revoke it.",
    )
    field_order = ["name", "mode", "pays"]

    def __init__(self, place: Place, user: User, data: Any = None) -> None:
        super().__init__(place, data)
        self._place, self._user = place, user
        offered = list(policies_of(place.project)[:2])
        if len(offered) == 1:
            self.initial["policy"] = offered[0]  # what nearly every key wants
        self._is_own = not place.may(Act.MANAGE_TEST_KEYS)
        if self._is_own:
            del self.fields["pays"]
            self._leave_to_the_project()
        elif not place.may(Act.MANAGE_KEYS):
            self.fields["mode"].help_text = _TEST_ALONE

    def clean(self) -> dict[str, Any]:
        """A key that is its maker's own and not the project's is for models alone."""
        found = super().clean()
        found["pays"] = str(Payer.USER) if self._is_own else found.get("pays") or str(Payer.PROJECT)
        if self._is_own or "mode" not in found or manages(self._place, found["mode"]):
            return found
        if found["pays"] == Payer.PROJECT:
            self.add_error("mode", _TEST_ALONE)
            return found
        if found.get("scopes", [Scope.INFERENCE]) != [Scope.INFERENCE]:
            self.add_error("scopes", "A live key of your own is for calling models.")
        for name in ("rate_limit", "captures_payloads"):
            if found.get(name):
                self.add_error(name, "Of a live key of your own this is not yours to say.")
        return found

    def columns(self) -> dict[str, Any]:
        """As above."""
        found = {"scopes": [str(Scope.INFERENCE)], **super().columns()}
        return {**found, "user": self._user} if found["pays"] == Payer.USER else found


class RotateForm(forms.Form):
    """How long the key works beside its successor."""

    overlap = forms.TypedChoiceField(
        label="The key of now",
        choices=list(OVERLAPS.items()),
        coerce=lambda text: timedelta(seconds=int(text)),
        initial=86_400,
    )


def _expiries(place: Place, key: RelayKey | None) -> list[tuple[str, str]]:
    """What may be chosen of it, in words; the first is what it is if nobody chooses."""
    project = place.project
    is_endless_allowed = may_make_endless(place.actor, project)
    longest = project.longest_key_life_days or max(_LIVES)
    lives = [(str(days), text) for days, text in _LIVES.items() if days <= longest]
    never = [(_NEVER, "never")] if is_endless_allowed else []
    if key is not None:
        kept = f"as now: {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "as now: never"
        first = [(_KEPT, kept)]
    elif project.key_life_days is not None:
        first = [(_KEPT, f"in {project.key_life_days} days, as keys of this project do")]
    else:
        first, never = ([(_KEPT, "never")], []) if is_endless_allowed else ([], [])
    return [*first, *lives, *never, (_DATE, "on the date below")]


def _initial(key: RelayKey) -> dict[str, Any]:
    return {
        **{name: getattr(key, name) for name in ("name", "scopes", "policy", "rate_limit")},
        **{name: getattr(key, name) for name in ("rotates_days_before", "captures_payloads")},
        "allowed_networks": "\n".join(key.allowed_networks),
        **budget_initial(key.budget),
    }
