"""Admin pages of credit codes. A code is shown in the answer that made it and nowhere else."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.ledger import codes
from relay_admin.ledger.amounts import credits_text
from relay_admin.ledger.models import CreditCode
from relay_contract.credits import MICRO
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.nouns import KeyMode


class CreditCodeForm(forms.ModelForm):
    """Amounts in credits."""

    credits = forms.DecimalField(
        max_digits=16,
        decimal_places=6,
        min_value=Decimal(1) / MICRO,
        max_value=Decimal(MAX_AMOUNT) / MICRO,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="For each who redeems it. From promotions.",
    )

    class Meta:
        model = CreditCode
        fields = ("mode", "most_uses", "expires_at", "note")

    def clean_most_uses(self) -> int:
        """As the service takes it."""
        most: int = self.cleaned_data["most_uses"]
        if not 0 < most <= codes.MAX_USES:
            raise forms.ValidationError(f"A code is used 1 to {codes.MAX_USES} times.")
        return most


class CreditCodeAdmin(pages.RelayAdmin):
    """Made and ended, never changed."""

    form = CreditCodeForm
    list_display = ("__str__", "amount", "mode", "used", "is_enabled", "expires_at", "note", "created_at")
    list_filter = ("mode", "is_enabled")
    search_fields = ("hint", "note")
    search_help_text = "The code's last letters, or its note."
    empty_text = "Whoever has a credit code gets its credits, each user once. It is shown once, when it is made."
    actions = ["disable"]
    readonly_fields = ("amount", "used", "is_enabled", "by_id", "created_at")
    fieldsets = (
        (None, {"fields": ("amount", "mode", "used", "expires_at", "note")}),
        ("About this row", {"fields": ("is_enabled", "by_id", "created_at")}),
    )
    add_fieldsets = ((None, {"fields": ("credits", "mode", "most_uses", "expires_at", "note")}),)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of no row: make another one. Of the list: disabling."""
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Redemptions name it."""
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One button: what comes next is the code, whatever would have been pressed."""
        only_save = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **only_save})

    def save_model(self, request: HttpRequest, obj: CreditCode, form: Any, change: bool) -> None:
        """By the service, which has the code."""
        if change:
            raise PermissionDenied
        asked = form.cleaned_data
        assert isinstance(request.user, User)
        made = codes.code_make(
            microcredits=int(asked["credits"] * MICRO),
            mode=KeyMode(asked["mode"]),
            most_uses=asked["most_uses"],
            expires_at=asked["expires_at"],
            note=asked["note"],
            by=request.user,
        )
        obj.__dict__.update(made.row.__dict__)
        request.made_code = made.text  # type: ignore[attr-defined]  # lives as long as the request

    def response_add(self, request: HttpRequest, obj: CreditCode, post_url_continue: Any = None) -> HttpResponse:  # noqa: ARG002
        """The code, once."""
        return pages.show_once(
            request,
            self,
            title=f"Credit code {obj}",
            text="This is the only time the code is shown: only its hash is stored.",
            label="Credit code",
            secret=request.made_code,  # type: ignore[attr-defined]  # set by save_model
            next_url=reverse("admin:ledger_creditcode_changelist"),
        )

    @display(description="credits")
    def amount(self, code: CreditCode) -> str:
        """For each who redeems it."""
        return credits_text(code.microcredits)

    @display(description="used")
    def used(self, code: CreditCode) -> str:
        """How often, and how often it may be."""
        return f"{code.uses:,} of {code.most_uses:,}"

    @admin.action(description="Disable selected codes", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[CreditCode]) -> None:
        """What was redeemed stays."""
        count = 0
        for code in queryset:
            if codes.code_disable(code=code):
                self.log_change(request, code, "Disabled.")
                count += 1
        self.message_user(request, f"{count} code{' is' if count == 1 else 's are'} disabled.", messages.SUCCESS)
