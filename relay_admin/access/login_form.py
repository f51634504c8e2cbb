"""The admin's login form, named in `sidebar.UNFOLD`: takes e-mail addresses too, and says when somebody has to wait."""

from typing import Any

from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from relay_admin.access.throttle import LoginThrottled

MAX_SIGN_IN_NAME = 254
"""The longest e-mail address; names are shorter."""


class LoginForm(AuthenticationForm):
    """See `throttle.py`."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        field = self.fields["username"]
        field.label, field.max_length = "Username or e-mail", MAX_SIGN_IN_NAME
        field.widget.attrs["maxlength"] = MAX_SIGN_IN_NAME

    def clean(self) -> dict[str, Any]:
        """Waiting is an error of the form."""
        try:
            cleaned: dict[str, Any] = super().clean()
        except LoginThrottled as throttled:
            raise ValidationError(str(throttled), code="throttled") from None
        return cleaned
