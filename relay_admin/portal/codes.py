"""A credit code, typed into the page of the wallet that gets its credits."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from relay_admin.access.roles import Act
from relay_admin.access.throttle import Throttled
from relay_admin.account.page import add_errors, user_of, waits
from relay_admin.ledger import codes
from relay_admin.ledger.amounts import credits_text
from relay_admin.portal.money_forms import CodeForm
from relay_admin.portal.page import portal_page
from relay_admin.portal.wallets import wallet_of, wallet_page


@require_POST
@portal_page
def redeem(request: HttpRequest, wallet_id: int) -> HttpResponse:
    """Back to the wallet, with what it got or why not."""
    account, place = wallet_of(request, wallet_id, Act.MANAGE_MONEY)
    form = CodeForm(request.POST)
    if form.is_valid():
        try:
            redemption = codes.code_redeem(
                text=form.cleaned_data["code"],
                account=account,
                by=user_of(request),
                address=request.META.get("REMOTE_ADDR", ""),
            )
        except codes.CodeRefusedError as refused:
            form.add_error("code", str(refused))
        except ValidationError as error:
            add_errors(form, error)
        except Throttled as throttled:
            return waits(request, throttled)
        else:
            messages.success(request, f"The code gave {credits_text(redemption.code.microcredits)} credits.")
            return redirect("portal:wallet-one", account.pk)
    return wallet_page(request, account, place, code_form=form, status=400)
