"""Admin pages of top-ups: the list, one with its refunds, and the pages that begin, record and refund one."""

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.ledger import topups
from relay_admin.ledger.amounts import credits_text, price_text
from relay_admin.ledger.models import Account, TopUp, TopUpState
from relay_admin.ledger.providers.base import ProviderError
from relay_admin.ledger.providers.stripe import provider
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7
from relay_contract.ledger import MAX_AMOUNT, AccountKind

ADD, REFUND = "ledger.add_topup", "ledger.refund_topup"


class PackForm(forms.Form):
    """Which pack. `source` was made with the page, so that a form sent twice is one top-up."""

    pack = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    source = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        shown = [
            (str(pack), f"{pack.credits:,} credits for {price_text(pack.price_minor, pack.currency)}")
            for pack in settings.CREDIT_PACKS
        ]
        self.fields["pack"].choices = shown  # type: ignore[attr-defined]  # a ChoiceField


class OutsideForm(forms.Form):
    """What was paid by bank transfer, in cash, or however else."""

    amount = forms.DecimalField(
        max_digits=16,
        decimal_places=6,
        label="Credits",
        min_value=Decimal(1) / MICRO,
        max_value=Decimal(MAX_AMOUNT) / MICRO,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    price_minor = forms.IntegerField(
        min_value=1,
        max_value=topups.MAX_PRICE_MINOR,
        label="Price",
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="In the currency's smallest unit, such as cents.",
    )
    currency = forms.RegexField(r"^[a-z]{3}\Z", help_text="Such as eur.", widget=UnfoldAdminTextInputWidget)
    reference = forms.CharField(
        max_length=topups.MAX_NOTE,
        widget=UnfoldAdminTextInputWidget,
        help_text="Of the payment, such as the bank's. It is credited once.",
    )


class RefundForm(forms.Form):
    """How much of the price."""

    price_minor = forms.IntegerField(
        min_value=1,
        max_value=topups.MAX_PRICE_MINOR,
        required=False,
        label="Price",
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="In the currency's smallest unit. Empty: all that is left.",
    )


def topup_urls(request: HttpRequest, account: Account) -> dict[str, str]:
    """Where this person may top this account up: with the provider, and by what was paid outside."""
    if account.kind != AccountKind.WALLET or not request.user.has_perm(ADD):
        return {}
    found = {"Paid outside…": reverse("admin:ledger_topup_outside", args=[account.pk])}
    if _is_sold(account):
        found["Top up…"] = reverse("admin:ledger_topup_begin", args=[account.pk])
    return found


class TopUpAdmin(pages.ReadOnlyAdmin):
    """Credits that were or are to be paid for."""

    list_display = ("__str__", "amount", "price", "provider", "state", "created_at", "paid_at")
    list_filter = ("state", "provider", "currency")
    search_fields = ("reference", "payment")
    search_help_text = "The provider's checkout or payment, or the reference of what was paid outside."
    empty_title = "No top-up yet"
    empty_text = "They are begun on a wallet's page."
    readonly_fields = (
        *("account", "amount", "price", "provider", "reference", "payment", "state", "refunded", "source", "by_id"),
        *("created_at", "paid_at"),
    )
    fieldsets = ((None, {"fields": readonly_fields}),)
    change_form_outer_before_template = "relay/topup_buttons.html"

    def get_urls(self) -> list[URLPattern]:
        """With the pages that write."""
        view = self.admin_site.admin_view
        return [
            path("begin/<int:account_id>/", view(self.begin_view), name="ledger_topup_begin"),
            path("outside/<int:account_id>/", view(self.outside_view), name="ledger_topup_outside"),
            path("<int:topup_id>/refund/", view(self.refund_view), name="ledger_topup_refund"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With a button where it can be refunded here."""
        top_up = self.get_object(request, object_id)
        can_be = top_up and top_up.provider == topups.OUTSIDE and top_up.state == TopUpState.PAID
        shown = {"refund_url": reverse("admin:ledger_topup_refund", args=[top_up.pk])} if can_be and top_up else {}
        return super().change_view(
            request,
            object_id,
            form_url,
            {**(extra_context or {}), **(shown if request.user.has_perm(REFUND) else {})},
        )

    def begin_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """GET shows the packs; a POST begins a checkout and shows where it is paid."""
        account = _wallet(request, account_id, ADD)
        stripe = provider()
        if stripe is None or not _is_sold(account):
            raise Http404
        form = PackForm(request.POST or None, initial={"source": uuid7()})
        if form.is_valid():
            pack = next(pack for pack in settings.CREDIT_PACKS if str(pack) == form.cleaned_data["pack"])
            try:
                _, url = topups.topup_begin(
                    account=account,
                    pack=pack,
                    by=_user(request),
                    provider=stripe,
                    return_url=topups.return_url(account),
                    source=form.cleaned_data["source"],
                )
            except (ValidationError, ProviderError, topups.BegunOtherwiseError) as refused:
                form.add_error(None, _said(refused))
            else:
                # A link, since no form may lead to another site (content_policy.py).
                price = price_text(pack.price_minor, pack.currency)
                more = {"checkout_url": url, "credits": f"{pack.credits:,}", "price": price}
                return TemplateResponse(request, "relay/checkout.html", self._context(request, "Top up", **more))
        return self._form(request, form, "Top up", f"Credits for the {account}.", "Continue")

    def outside_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """GET shows the form; a POST credits and leads to the account."""
        account = _wallet(request, account_id, ADD)
        form = OutsideForm(request.POST or None)
        if form.is_valid():
            asked = dict(form.cleaned_data)
            microcredits = int(asked.pop("amount") * MICRO)
            try:
                _, is_new = topups.topup_record_outside(
                    account=account, microcredits=microcredits, by=_user(request), **asked
                )
            except (ValidationError, topups.BegunOtherwiseError) as refused:
                form.add_error(None, _said(refused))
            else:
                messages.success(request, "Credited." if is_new else "It was credited already: nothing was added.")
                return HttpResponseRedirect(reverse("admin:ledger_account_change", args=[account.pk]))
        text = f"Credits for the {account}, for what was paid outside of this relay."
        return self._form(request, form, "Paid outside", text, "Credit it")

    def refund_view(self, request: HttpRequest, topup_id: int) -> HttpResponse:
        """GET shows the form; a POST takes the credits and leads to the top-up."""
        if not (self.has_view_permission(request) and request.user.has_perm(REFUND)):
            raise PermissionDenied
        top_up = get_object_or_404(TopUp, pk=min(topup_id, 2**63 - 1))
        form = RefundForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                topups.topup_refund(top_up=top_up, price_minor=form.cleaned_data["price_minor"], by=_user(request))
            except ValidationError as refused:
                form.add_error(None, refused)
            else:
                messages.success(request, "Refunded: the credits are taken back. Pay the money back where it was paid.")
                return HttpResponseRedirect(reverse("admin:ledger_topup_change", args=[top_up.pk]))
        text = f"{price_text(top_up.price_minor, top_up.currency)} for {credits_text(top_up.microcredits)} credits."
        return self._form(request, form, "Refund", text, "Take the credits back")

    @display(description="credits")
    def amount(self, top_up: TopUp) -> str:
        """What it is for."""
        return credits_text(top_up.microcredits)

    @display(description="price")
    def price(self, top_up: TopUp) -> str:
        """In its currency."""
        return price_text(top_up.price_minor, top_up.currency)

    @display(description="refunds")
    def refunded(self, top_up: TopUp) -> str:
        """One after the other."""
        return "; ".join(
            f"{refund.at:%Y-%m-%d} {refund.why} {price_text(refund.price_minor, top_up.currency)},"
            f" {credits_text(refund.microcredits)} credits"
            for refund in top_up.refunds.all()
        )

    def _form(self, request: HttpRequest, form: forms.Form, title: str, text: str, button: str) -> HttpResponse:
        context = self._context(request, title, form=form, text=text, button=button)
        context["media"] = self.media + form.media
        return TemplateResponse(request, "relay/money_form.html", context)

    def _context(self, request: HttpRequest, title: str, **more: Any) -> dict[str, Any]:
        site = self.admin_site.each_context(request)
        return {**site, "title": title, "page_title": title, "opts": self.opts, "media": self.media, **more}


def _wallet(request: HttpRequest, account_id: int, permission: str) -> Account:
    if not request.user.has_perm(permission):
        raise PermissionDenied
    return get_object_or_404(Account, pk=min(account_id, 2**63 - 1), kind=AccountKind.WALLET)


def _is_sold(account: Account) -> bool:
    stripe = provider()
    return stripe is not None and bool(settings.CREDIT_PACKS) and account.mode == stripe.mode


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _said(refused: Exception) -> str:
    match refused:
        case ValidationError():
            return " ".join(refused.messages)
        case topups.BegunOtherwiseError():
            return "This was sent or paid before with something else. Look at the list of top-ups."
        case _:
            return str(refused)
