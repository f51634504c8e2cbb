"""Wallets in the portal: a project's, and one's own. What is there, what moved, and what one may do to have more.

Reads a balance, a page of entries and a month of daily totals, however much there is.
"""

from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from relay_admin.access.models import User
from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, actor_of, one_of, rows_of
from relay_admin.account.page import user_of
from relay_admin.catalog.models import Project
from relay_admin.ledger import accounts, exports
from relay_admin.ledger.models import Account, Invoice, TopUp
from relay_admin.ledger.providers.stripe import packs, provider
from relay_admin.portal.money_forms import CodeForm, PackForm
from relay_admin.portal.page import Place, portal_page, project_of, shown
from relay_admin.traffic.models import Call
from relay_contract.ledger import AccountKind, EntryKind
from relay_contract.nouns import KeyMode

PAGE = 50
MOST_LISTED = 24
"""Of invoices and top-ups; the API has all of them."""
DAYS = 30

KIND_WORDS = {
    EntryKind.USAGE: "Call to a model",
    EntryKind.MARKUP_OWNER: "Call: the project's mark-up",
    EntryKind.MARKUP_REFERRAL: "Call: referral's part of the mark-up",
    EntryKind.MARKUP_FEE: "Call: the relay's part of the mark-up",
    EntryKind.TOPUP: "Top-up",
    EntryKind.GRANT: "Credits given",
    EntryKind.CODE: "Credit code",
    EntryKind.ADJUSTMENT: "Correction",
    EntryKind.DELIVERIES: "Deliveries",
    EntryKind.REFUND_TOPUP: "Refund of a top-up",
}


@require_safe
@portal_page
def project_wallet(request: HttpRequest, project: str) -> HttpResponse:
    """Of a project: the live one, with `?mode=test` the other."""
    place = project_of(request, project, Act.SEE_MONEY)
    account = one_of(
        Account, place.actor, Act.SEE_MONEY, project_id=place.project.pk, kind=AccountKind.WALLET, mode=_mode(request)
    )
    return wallet_page(request, account, place)


@require_safe
@portal_page
def own_wallet(request: HttpRequest) -> HttpResponse:
    """Of who is signed in."""
    account = one_of(
        Account, actor_of(request), Act.SEE_MONEY, user_id=user_of(request).pk, kind=AccountKind.WALLET,
        mode=_mode(request),
    )  # fmt: skip
    return wallet_page(request, account, None)


@require_safe
@portal_page
def one_wallet(request: HttpRequest, wallet_id: int) -> HttpResponse:
    """By its id."""
    account, place = wallet_of(request, wallet_id, Act.SEE_MONEY)
    return wallet_page(request, account, place)


@require_safe
@portal_page
def entries_csv(request: HttpRequest, wallet_id: int) -> StreamingHttpResponse:
    """All of a wallet's entries."""
    account, _ = wallet_of(request, wallet_id, Act.SEE_MONEY)
    response = StreamingHttpResponse(
        exports.streamed(exports.entries_csv(account.pk)), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="entries-{account.pk}.csv"'
    return response


def wallet_of(request: HttpRequest, wallet_id: int, act: Act) -> tuple[Account, Place | None]:
    """A wallet and its project; None of one's own. Http404 and PermissionDenied as for every row."""
    account = one_of(Account, actor_of(request), act, pk=min(wallet_id, 2**63 - 1), kind=AccountKind.WALLET)
    if account.project_id is None:
        return account, None
    project = Project.objects.filter(pk=account.project_id).first()
    if project is None:
        raise Http404
    return account, project_of(request, project.slug, act)


def wallet_page(
    request: HttpRequest,
    account: Account,
    place: Place | None,
    *,
    code_form: CodeForm | None = None,
    pack_form: PackForm | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page, with forms that were refused. Its links are by the wallet's id."""
    actor = place.actor if place else actor_of(request)
    before = accounts.place_of(request.GET.get("before", "")) or accounts.NEWEST
    lines = accounts.entries_page(account.pk, before, PAGE + 1)
    today = timezone.now().date()
    return shown(
        request,
        "wallet",
        place,
        status=status,
        account=account,
        balance=accounts.balance_of(account.pk),
        entries=_entries(lines[:PAGE], actor, user_of(request)),
        older=lines[PAGE - 1].place if len(lines) > PAGE else "",
        is_first=before == accounts.NEWEST,
        deliveries=[
            day
            for day in accounts.days(account.pk, today - timedelta(days=DAYS), today + timedelta(days=1))
            if day.kind == EntryKind.DELIVERIES
        ],
        may_manage=place is None or place.may(Act.MANAGE_MONEY),
        code_form=code_form or CodeForm(),
        pack_form=(pack_form or PackForm(packs())) if _is_sold(account) else None,
        invoices=rows_of(Invoice, actor, Act.SEE_MONEY).filter(account=account).order_by("-pk")[:MOST_LISTED],
        top_ups=rows_of(TopUp, actor, Act.SEE_MONEY).filter(account=account).order_by("-pk")[:MOST_LISTED],
    )


def _is_sold(account: Account) -> bool:
    """Whether credits for it can be bought here: the provider's keys are of one mode."""
    stripe = provider()
    return stripe is not None and stripe.mode == account.mode and bool(packs())


def _mode(request: HttpRequest) -> str:
    return str(KeyMode.TEST if request.GET.get("mode") == "test" else KeyMode.LIVE)


def _entries(lines: list[accounts.Line], actor: Actor, user: User) -> list[dict[str, Any]]:
    """With the call's address where whoever looks may see the call, and with names that are theirs to see."""
    ids = [line.call_id for line in lines if line.call_id]
    seen = rows_of(Call, actor, Act.SEE_TRAFFIC).filter(pk__in=ids).values_list("pk", "project_id") if ids else []
    projects = dict(seen)
    slugs = dict(Project.objects.filter(pk__in=set(projects.values())).values_list("pk", "slug"))
    return [
        {
            "line": line,
            "words": KIND_WORDS[line.kind],
            "by_me": line.by_id == user.pk,
            "call_id": line.call_id if line.call_id in projects else None,
            "call_project": slugs.get(projects.get(line.call_id)) if _reads(actor, projects, line) else None,
        }
        for line in lines
    ]


def _reads(actor: Actor, projects: dict[Any, int], line: accounts.Line) -> bool:
    return projects.get(line.call_id) in actor.projects(Act.SEE_TRAFFIC)
