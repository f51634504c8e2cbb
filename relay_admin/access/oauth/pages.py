"""What the pages for people share: a strict policy, no framing, and no address of ours told to anybody.

`same-origin` and not `no-referrer`: with that browsers call the origin of our own form `null`, which is no origin that
CSRF protection could trust.
"""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from relay_contract.credits import MICRO

MOST_CREDITS = 10**9


class CapForm(forms.Form):
    """What an application may spend a month."""

    cap_credits = forms.DecimalField(
        label="At most, in credits a month",
        required=False,
        min_value=0,
        max_value=MOST_CREDITS,
        decimal_places=6,
        help_text="Empty: as much as your balance allows.",
    )

    def microcredits(self) -> int | None:
        """Of a form that is valid."""
        found = self.cleaned_data["cap_credits"]
        return None if found is None else int(found * MICRO)


def page(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200, form_target: str = ""
) -> HttpResponse:
    """`form_target`: the origin that the form's answer leads to. Chromium applies form-action to redirects too."""
    response = TemplateResponse(request, template, context, status=status)
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none';"
        f" form-action 'self' {form_target}".rstrip()
    )
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-store"
    return response
