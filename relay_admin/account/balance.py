"""What one's own wallet has, and when to be told that it runs low."""

from decimal import Decimal

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from relay_admin.access.mails import sends_mail
from relay_admin.account.forms import LowBalanceForm
from relay_admin.account.page import shown, signed_in, user_of
from relay_admin.account.sign_in import FORM_METHODS
from relay_admin.ledger.accounts import balance_of
from relay_admin.ledger.amounts import credits_text
from relay_admin.ledger.low_wallets import low_balance_set
from relay_contract.credits import MICRO


@FORM_METHODS
@signed_in
def balance(request: HttpRequest) -> HttpResponse:
    """The live wallet's. A form where there is a mail server."""
    user = user_of(request)
    wallet = balance_of(user.live_wallet_id)
    low = wallet.low_balance
    first = {"low_balance": None if low is None else Decimal(credits_text(low).replace(",", ""))}
    form = LowBalanceForm(request.POST if request.method == "POST" else None, initial=first)
    if sends_mail() and form.is_valid():
        wanted = form.cleaned_data["low_balance"]
        low_balance_set(user=user, microcredits=None if wanted is None else int(wanted * MICRO))
        messages.success(request, "Saved.")
        return redirect("account:balance")
    return shown(request, "balance", form=form, available=credits_text(wallet.available), sends_mail=sends_mail())
