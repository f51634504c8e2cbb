"""The admin's login form, which says so when somebody has to wait. Named in `sidebar.UNFOLD`."""

from typing import Any

from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from relay_admin.access.throttle import LoginThrottled


class LoginForm(AuthenticationForm):
    """See `throttle.py`."""

    def clean(self) -> dict[str, Any]:
        """Waiting is an error of the form."""
        try:
            cleaned: dict[str, Any] = super().clean()
        except LoginThrottled as throttled:
            raise ValidationError(str(throttled), code="throttled") from None
        return cleaned
