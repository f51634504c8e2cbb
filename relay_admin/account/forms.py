"""Forms of the account's pages. They read; services change."""

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from relay_admin.access.login_form import MAX_SIGN_IN_NAME
from relay_admin.access.models import User
from relay_admin.access.throttle import LoginThrottled
from relay_contract.credits import MICRO
from relay_contract.ledger import MAX_AMOUNT

MAX_PASSWORD = 4_096
_WRONG = "That is not the right name or e-mail address and password."
_NOT_YOURS = "That is not your password."
_LENGTH = "At least 12 characters."


def _password(label: str, autocomplete: str, help_text: str = "") -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, strip=False, max_length=MAX_PASSWORD, widget=widget, help_text=help_text)


class SignInForm(forms.Form):
    """`user` is who it is, once it is valid."""

    username = forms.CharField(
        label="E-mail address or username",
        max_length=MAX_SIGN_IN_NAME,
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false", "autofocus": True}
        ),
    )
    password = _password("Password", "current-password")

    def __init__(self, request: HttpRequest, data: Any = None) -> None:
        super().__init__(data)
        self._request = request
        self.user: User | None = None

    def clean(self) -> dict[str, Any]:
        """One error for an unknown name, a wrong password and an inactive account; another for who has to wait."""
        if self.errors:
            return self.cleaned_data
        self.user = _authenticated(self._request, self.cleaned_data["username"], self.cleaned_data["password"])
        if self.user is None:
            raise ValidationError(_WRONG)
        return self.cleaned_data


class AddressForm(forms.Form):
    """Where a mail is to go."""

    email = forms.EmailField(
        label="E-mail address", max_length=MAX_SIGN_IN_NAME, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )


class NewPasswordForm(forms.Form):
    """A password for somebody who proved otherwise who they are."""

    new_password = _password("New password", "new-password", _LENGTH)


class LowBalanceForm(forms.Form):
    """In credits."""

    low_balance = forms.DecimalField(
        label="Send me a mail when it falls below, in credits",
        required=False,
        min_value=0,
        max_value=MAX_AMOUNT // MICRO,
        max_digits=16,
        decimal_places=6,
        help_text="One mail for each fall. Empty: none.",
    )


class ConfirmForm(forms.Form):
    """A button."""


class OwnPasswordForm(forms.Form):
    """For what a browser that was left open must not be enough. Guesses are counted like those at the sign-in."""

    password = _password("Your password", "current-password")

    def __init__(self, request: HttpRequest, user: User, data: Any = None) -> None:
        super().__init__(data)
        self._request, self._user = request, user

    def clean_password(self) -> str:
        """Raises ValidationError, also for who has to wait."""
        password: str = self.cleaned_data["password"]
        if _authenticated(self._request, self._user.email, password) != self._user:
            raise ValidationError(_NOT_YOURS)
        return password


class ChangePasswordForm(OwnPasswordForm):
    """The old one, and a new one. Somebody with admin tokens may keep them: unsaid, they end."""

    new_password = _password("New password", "new-password", _LENGTH)
    keeps_admin_tokens = forms.BooleanField(
        label="Keep my admin tokens",
        required=False,
        help_text="Keep them only if nobody else can have known your password: with it they could make their own.",
    )

    def __init__(self, request: HttpRequest, user: User, data: Any = None) -> None:
        super().__init__(request, user, data)
        if not user.admin_tokens.exists():
            del self.fields["keeps_admin_tokens"]


class ChangeAddressForm(OwnPasswordForm, AddressForm):
    """The new address, with the password."""

    field_order = ["email", "password"]


def _authenticated(request: HttpRequest, username: str, password: str) -> User | None:
    try:
        return authenticate(request, username=username, password=password)  # type: ignore[return-value]  # ours
    except LoginThrottled as throttled:
        raise ValidationError(str(throttled), code="throttled") from None
