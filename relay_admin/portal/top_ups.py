"""Top-ups in the portal: from a pack to the provider's checkout, and the page to which it leads back.

What is paid is what the provider's webhook told, never that somebody came back.
"""

from datetime import timedelta
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from relay_admin.access.roles import Act
from relay_admin.access.scoping import actor_of, one_of
from relay_admin.account.page import add_errors, user_of
from relay_admin.ledger import topups
from relay_admin.ledger.models import TopUp, TopUpState
from relay_admin.ledger.packs import Pack
from relay_admin.ledger.providers.base import ProviderError
from relay_admin.ledger.providers.stripe import packs, provider
from relay_admin.portal.money_forms import PackForm
from relay_admin.portal.page import portal_page, shown
from relay_admin.portal.wallets import wallet_of, wallet_page

REFRESH_SECONDS = 3
WATCHED = timedelta(minutes=15)
"""So long after it began the page of a pending top-up looks again by itself."""


@require_POST
@portal_page
def begin(request: HttpRequest, wallet_id: int) -> HttpResponse:
    """The page with the link to the checkout. A form that is sent twice is one top-up."""
    account, place = wallet_of(request, wallet_id, Act.MANAGE_MONEY)
    stripe = provider()
    if stripe is None:
        raise Http404
    form = PackForm(packs(), request.POST)
    if not form.is_valid():
        return wallet_page(request, account, place, pack_form=form, status=400)
    source: UUID = form.cleaned_data["id"]
    try:
        top_up, url = topups.topup_begin(
            account=account,
            pack=form.chosen,
            by=user_of(request),
            provider=stripe,
            return_url=topups.portal_url(account, source),
            source=source,
        )
    except ValidationError as error:
        add_errors(form, error)
        return wallet_page(request, account, place, pack_form=form, status=400)
    except topups.BegunOtherwiseError:
        messages.error(request, "This form was used before, for another top-up. Choose again.")
        return redirect("portal:wallet-one", account.pk)
    except ProviderError:
        form.add_error(None, "The payment provider cannot be reached. Nothing was charged: try again in a minute.")
        return wallet_page(request, account, place, pack_form=form, status=502)
    return shown(request, "checkout", place, account=account, top_up=top_up, url=url)


@require_safe
@portal_page
def top_up(request: HttpRequest, wallet_id: int, source: UUID) -> HttpResponse:
    """Where it stands. While it is pending the page is loaded again by itself."""
    account, place = wallet_of(request, wallet_id, Act.SEE_MONEY)
    found = one_of(TopUp, actor_of(request), Act.SEE_MONEY, account=account, source=source)
    is_pending = found.state == TopUpState.PENDING
    response = shown(
        request, "top_up", place, account=account, top_up=found, is_pending=is_pending,
        pack=_pack_of(found) if is_pending and found.by_id == user_of(request).pk else None,
    )  # fmt: skip
    if is_pending and timezone.now() - found.created_at < WATCHED:
        response["Refresh"] = str(REFRESH_SECONDS)
    return response


def _pack_of(top_up: TopUp) -> Pack | None:
    """None where it is not sold any more."""
    bought = (top_up.microcredits, top_up.price_minor, top_up.currency)
    return next((one for one in packs() if (one.microcredits, one.price_minor, one.currency) == bought), None)
