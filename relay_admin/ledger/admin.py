"""Accounts with their balances, below the trial balance; one account with its days and entries; and the page on which
operators grant credits and adjust."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.catalog.models import Project
from relay_admin.deliveries.admin.base import as_row_id
from relay_admin.ledger import accounts, corrections, transfers
from relay_admin.ledger.amounts import credits_text
from relay_admin.ledger.code_admin import CreditCodeAdmin
from relay_admin.ledger.invoice_admin import InvoiceAdmin
from relay_admin.ledger.models import Account, CreditCode, Entry, Invoice, Terms, TopUp
from relay_admin.ledger.purses import MoneyClosedError
from relay_admin.ledger.terms import terms_set
from relay_admin.ledger.topup_admin import TopUpAdmin, topup_urls
from relay_admin.redis_link import RedisAwayError
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7
from relay_contract.ledger import MAX_AMOUNT, MAX_MARKUP_PPM, AccountKind, EntryKind
from relay_contract.nouns import KeyMode

SHOWN = 50
"""Entries of a page."""
SHOWN_DAYS = 30
PPM = 10_000
"""Of a percent."""


admin.site.register(TopUp, TopUpAdmin)
admin.site.register(CreditCode, CreditCodeAdmin)
admin.site.register(Invoice, InvoiceAdmin)


class PostForm(forms.Form):
    """A grant, an adjustment, a payout or a transfer. `source` was made with the page: a form sent twice is posted
    once."""

    kind = forms.TypedChoiceField(
        choices=[
            (EntryKind.GRANT, "Grant"),
            (EntryKind.ADJUSTMENT, "Adjustment"),
            (EntryKind.PAYOUT, "Payout of earnings"),
            (EntryKind.TRANSFER, "Transfer: earnings or pool to the wallet, a wallet to the pool"),
        ],
        coerce=lambda text: EntryKind(int(text)),
        widget=UnfoldAdminSelectWidget,
    )
    amount = forms.DecimalField(
        max_digits=16,
        decimal_places=6,
        label="Credits",
        widget=UnfoldAdminDecimalFieldWidget,
        min_value=Decimal(-MAX_AMOUNT) / MICRO,
        max_value=Decimal(MAX_AMOUNT) / MICRO,
        help_text="An adjustment below 0 takes them, also where there are none.",
    )
    against = forms.ChoiceField(
        choices=[(str(kind), str(kind)) for kind in corrections.AGAINST],
        widget=UnfoldAdminSelectWidget,
        help_text="The other side of an adjustment. Grants come from promotions.",
    )
    note = forms.CharField(
        max_length=corrections.MAX_NOTE,
        widget=UnfoldAdminTextInputWidget,
        label="Why",
        help_text="Kept with the entry for good.",
    )
    source = forms.UUIDField(widget=forms.HiddenInput)


class LimitsForm(forms.Form):
    """How far calls may take an account below 0, and when somebody is told."""

    overdraft = forms.DecimalField(
        max_digits=16,
        decimal_places=6,
        label="Overdraft, credits",
        widget=UnfoldAdminDecimalFieldWidget,
        min_value=Decimal(0),
        max_value=Decimal(MAX_AMOUNT) / MICRO,
        help_text="How far below 0 a prepaid project's calls may take it.",
    )
    low_balance = forms.DecimalField(
        required=False,
        max_digits=16,
        decimal_places=6,
        label="Low balance, credits",
        widget=UnfoldAdminDecimalFieldWidget,
        min_value=Decimal(0),
        max_value=Decimal(MAX_AMOUNT) / MICRO,
        help_text="Alerts of the kind low_balance tell when it is below. Empty: never.",
    )


class TermsForm(forms.Form):
    """Of a project, in percent."""

    markup = forms.DecimalField(
        min_value=0,
        max_value=Decimal(MAX_MARKUP_PPM) / PPM,
        max_digits=8,
        decimal_places=4,
        label="Mark-up, %",
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="On top of what a call costs, where a user's wallet pays it.",
    )
    owner = forms.DecimalField(
        min_value=0,
        max_value=100,
        max_digits=7,
        decimal_places=4,
        label="Of it the project's, %",
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="The rest is the relay's.",
    )


class AccountList(ChangeList):
    """Reads the balances of the page's accounts at once."""

    def get_results(self, request: HttpRequest) -> None:
        """With `balance` on each row."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        found = accounts.balances([account.pk for account in self.result_list])
        for account in self.result_list:
            account.balance = found[account.pk]


@admin.register(Account)
class AccountAdmin(pages.ReadOnlyAdmin):
    """Whose credits there are."""

    list_display = ("title", "mode", "balance", "held", "available")
    list_filter = ("kind", "mode")
    list_before_template = "relay/trial_balance.html"
    search_fields = ("pk",)
    search_help_text = "A project's slug, or an account's id"
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    empty_title = "No account is like that"

    def get_changelist(self, _request: HttpRequest, **_kwargs: Any) -> type[ChangeList]:
        """One with balances."""
        return AccountList

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Account], search_term: str
    ) -> tuple[QuerySet[Account], bool]:
        """By the project's slug, the user's name or the account's id, exactly."""
        term = search_term.strip()
        if not term:
            return queryset, False
        account_id = as_row_id(term)
        found = queryset.filter(project_id__in=Project.objects.filter(slug=term).values("pk"))
        found |= queryset.filter(user_id__in=User.objects.filter(username=term).values("pk"))
        return (found | queryset.filter(pk=account_id) if account_id else found), False

    def has_post_permission(self, request: HttpRequest) -> bool:
        """Whether this person may grant and adjust."""
        return self.has_view_permission(request) and request.user.has_perm(corrections.PERMISSION)

    def get_urls(self) -> list[URLPattern]:
        """With the pages that post, set limits and terms."""
        own = [
            path(f"<int:account_id>/{word}/", self.admin_site.admin_view(view), name=f"ledger_account_{word}")
            for word, view in (("post", self.post_view), ("limits", self.limits_view), ("terms", self.terms_view))
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With the trial balance."""
        shown: dict[str, Any] = {}
        if self.has_view_permission(request):
            shown["trial"] = _trial()
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002 (Django's signature)
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """A page of its own: what the account has, its days, and its entries from `before` on."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        account = _account(as_row_id(object_id))
        before = accounts.place_of(request.GET.get("before", ""))
        may_see = request.user.has_perm("ledger.view_entry")
        lines = accounts.entries_page(account.pk, before or accounts.NEWEST, SHOWN + 1) if may_see else []
        context = self._context(request, account) | {
            "days": [] if before else _days(account.pk),
            "lines": _lines(lines[:SHOWN]),
            "may_see_entries": may_see,
            "is_first": before is None,
            "older": lines[SHOWN - 1].place if len(lines) > SHOWN else "",
            "topup_urls": topup_urls(request, account),
            "may_post": account.is_owned and self.has_post_permission(request),
            "may_set_terms": _has_terms(account) and self.has_post_permission(request),
        }
        return TemplateResponse(request, "relay/account.html", context)

    def post_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """GET shows the form; a POST posts and leads back to the account."""
        if not self.has_post_permission(request):
            raise PermissionDenied
        account = _account(account_id)
        if not account.is_owned:
            raise Http404
        form = PostForm(request.POST or None, initial={"source": uuid7()})
        if form.is_valid() and self._post(request, account, form):
            return HttpResponseRedirect(reverse("admin:ledger_account_change", args=[account.pk]))
        context = self._context(request, account) | {"form": form, "media": self.media + form.media}
        context["text"] = (
            f"This account has {context['balance']} credits, of which {context['held']} are held."
            " What is posted stays: a mistake is posted again the other way."
        )
        context["button"] = "Post"
        return TemplateResponse(request, "relay/money_form.html", context)

    def limits_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """GET shows the form; a POST saves and leads back to the account."""
        if not self.has_post_permission(request):
            raise PermissionDenied
        account = _account(account_id)
        if not account.is_owned:
            raise Http404
        low = account.low_balance_microcredits
        now = {
            "overdraft": Decimal(account.overdraft_microcredits) / MICRO,
            "low_balance": None if low is None else Decimal(low) / MICRO,
        }
        form = LimitsForm(request.POST or None, initial=now)
        if form.is_valid():
            assert isinstance(request.user, User)
            low_balance = form.cleaned_data["low_balance"]
            corrections.account_limits_set(
                account=account,
                overdraft=int(form.cleaned_data["overdraft"] * MICRO),
                low_balance=None if low_balance is None else int(low_balance * MICRO),
                by=request.user,
            )
            messages.success(request, "Saved.")
            return HttpResponseRedirect(reverse("admin:ledger_account_change", args=[account.pk]))
        context = self._context(request, account) | {"form": form, "media": self.media + form.media}
        return TemplateResponse(request, "relay/account_limits.html", context)

    def terms_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Of a project's earnings: GET shows what it marks up, a POST sets it from now on."""
        if not self.has_post_permission(request):
            raise PermissionDenied
        account = _account(account_id)
        if not _has_terms(account):
            raise Http404
        project = get_object_or_404(Project, pk=account.project_id)
        now = Terms.objects.filter(pk=project.terms_id).first()
        given = {"markup": Decimal(now.markup_ppm) / PPM, "owner": Decimal(now.owner_ppm) / PPM} if now else {}
        form = TermsForm(request.POST or None, initial=given)
        if form.is_valid():
            assert isinstance(request.user, User)
            markup, owner = (int(form.cleaned_data[name] * PPM) for name in ("markup", "owner"))
            referral = now.referral_ppm if now else 0
            terms_set(project=project, markup_ppm=markup, owner_ppm=owner, referral_ppm=referral, by=request.user)
            messages.success(request, "Set: calls that are admitted from now on are marked up like this.")
            return HttpResponseRedirect(reverse("admin:ledger_account_change", args=[account.pk]))
        context = self._context(request, account) | {
            "form": form,
            "media": self.media + form.media,
            "text": "Of live and test calls that are admitted from now on. What was charged before stays as it is.",
            "button": "Set",
        }
        return TemplateResponse(request, "relay/money_form.html", context)

    def _post(self, request: HttpRequest, account: Account, form: PostForm) -> bool:
        asked = form.cleaned_data
        assert isinstance(request.user, User)
        given: dict[str, Any] = {
            "account": account,
            "microcredits": int(asked["amount"] * MICRO),
            "note": asked["note"],
            "by": request.user,
            "source": UUID(str(asked["source"])),
        }
        try:
            _, is_new = _posted(asked["kind"], AccountKind(asked["against"]), given)
        except ValidationError as refused:
            form.add_error(None, refused)
            return False
        except transfers.TooLittleError as refused:
            form.add_error("amount", str(refused))
            return False
        except (MoneyClosedError, RedisAwayError):
            form.add_error(None, "What its purse holds cannot be looked up now. Send it again in a moment.")
            return False
        except corrections.PostedOtherwiseError:
            form.add_error(None, "This page was sent before with something else. Open it anew.")
            return False
        messages.success(request, "Posted." if is_new else "It was posted already: nothing was added.")
        return True

    def _context(self, request: HttpRequest, account: Account) -> dict[str, Any]:
        balance = accounts.balance_of(account.pk)
        return {
            **self.admin_site.each_context(request),
            "title": f"{_title(balance)}, {balance.mode}",
            "page_title": f"{_title(balance)}, {balance.mode}",
            "opts": self.opts,
            "media": self.media,
            "account": account,
            "balance": credits_text(balance.posted),
            "held": credits_text(balance.open_holds),
            "available": credits_text(balance.available),
            "overdraft": credits_text(account.overdraft_microcredits),
            "low_balance": account.low_balance_microcredits and credits_text(account.low_balance_microcredits),
        }

    @display(description="account")
    def title(self, account: Any) -> str:
        """Whose it is."""
        return _title(account.balance)

    @display(description="balance")
    def balance(self, account: Any) -> str:
        """What is settled."""
        return credits_text(account.balance.posted)

    @display(description="held")
    def held(self, account: Any) -> str:
        """For deliveries that are not over."""
        return credits_text(account.balance.open_holds)

    @display(description="available")
    def available(self, account: Any) -> str:
        """What is left."""
        return credits_text(account.balance.available)


def _posted(kind: EntryKind, against: AccountKind, given: dict[str, Any]) -> tuple[Entry, bool]:
    match kind:
        case EntryKind.GRANT:
            return corrections.credits_grant(**given)
        case EntryKind.PAYOUT:
            return transfers.earnings_pay_out(**given)
        case EntryKind.TRANSFER:
            return transfers.transfer(**{name: value for name, value in given.items() if name != "note"})
        case _:
            return corrections.account_adjust(**given, against=against)


def _has_terms(account: Account) -> bool:
    """The page is that of the live earnings: terms are of both modes."""
    return account.kind == AccountKind.EARNINGS and account.project_id is not None and account.mode == KeyMode.LIVE


def _account(account_id: int | None) -> Account:
    return get_object_or_404(Account, pk=account_id or 0)


def _title(balance: accounts.Balance) -> str:
    if not balance.is_owned:
        return balance.kind
    gone = f"(project {balance.project_id}, deleted)" if balance.project_id else f"(user {balance.user_id}, deleted)"
    return f"{balance.project or balance.user or gone}: {balance.kind}"


def _trial() -> list[dict[str, Any]]:
    """Lines and sums by mode, in credits. The sums of a mode are one number where all is well."""
    lines = accounts.trial_balance()
    return [
        {
            "mode": mode,
            "lines": [
                {
                    "kind": line.kind,
                    "accounts": line.accounts,
                    "debit": credits_text(line.debit),
                    "credit": credits_text(line.credit),
                    "balance": credits_text(line.credit - line.debit),
                }
                for line in lines
                if line.mode == mode
            ],
            "debit": credits_text(sum(line.debit for line in lines if line.mode == mode)),
            "credit": credits_text(sum(line.credit for line in lines if line.mode == mode)),
            "is_even": sum(line.credit - line.debit for line in lines if line.mode == mode) == 0,
        }
        for mode in dict.fromkeys(line.mode for line in lines)
    ]


def _days(account_id: int) -> list[dict[str, Any]]:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    return [
        {
            "day": total.day,
            "kind": total.kind.name.lower().replace("_", " "),
            "entries": total.entries,
            "debit": credits_text(total.debit),
            "credit": credits_text(total.credit),
        }
        for total in accounts.days(account_id, tomorrow - timedelta(days=SHOWN_DAYS), tomorrow)
    ]


def _lines(lines: Sequence[accounts.Line]) -> list[dict[str, Any]]:
    others = accounts.balances([line.other_id for line in lines])
    people = dict(User.objects.filter(pk__in=[line.by_id for line in lines]).values_list("pk", "username"))
    return [
        {
            "at": line.at,
            "kind": line.kind.name.lower().replace("_", " "),
            "amount": credits_text(line.amount),
            "other_id": line.other_id,
            "other": _title(others[line.other_id]),
            "by": people.get(line.by_id or 0, ""),
            "note": line.note,
            "source": line.source,
            "call_id": line.call_id,
        }
        for line in lines
    ]
