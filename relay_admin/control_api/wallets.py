"""`/api/v1/wallets`: what projects and users have, what moved, and operators' corrections. In micro-credits."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers, status
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.models import User
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.errors import shape
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wire import ChoiceField, Strict, read
from relay_admin.ledger import accounts, corrections
from relay_admin.ledger.models import Account, Entry
from relay_contract.ledger import MAX_AMOUNT, AccountKind, EntryKind
from relay_contract.nouns import KeyMode

MAX_PAGE = 200
_MAX_ID = 2**63 - 1

VIEW_ACCOUNT = requires("ledger.view_account", act=Act.SEE_MONEY, own=True)
VIEW_ENTRIES = requires("ledger.view_account", "ledger.view_entry", act=Act.SEE_MONEY, own=True)
POST_ENTRY = requires("ledger.view_account", corrections.PERMISSION)


def wallet_of(call: Call, wallet_id: int, act: Act = Act.SEE_MONEY) -> Account:
    """One of the caller's. Raises Http404, and PermissionDenied for a member whose role does not allow it."""
    return one_of(Account, actor_in(call), act, pk=wallet_id, kind=AccountKind.WALLET)


class WalletProjectJson(TypedDict):
    """Whose it is; null: it is gone."""

    id: int
    slug: str | None


class WalletUserJson(TypedDict):
    """Whose it is; null: they are gone."""

    id: int
    name: str | None


class WalletJson(TypedDict):
    """A wallet, of a project or of a user: the other is null. Micro-credits."""

    id: int
    mode: str
    project: WalletProjectJson | None
    user: WalletUserJson | None
    balance: int
    held: int
    available: int
    overdraft: int
    lowBalance: int | None


class EntryJson(TypedDict):
    """An entry as the wallet sees it: `amount` is below 0 where it went out. Micro-credits."""

    id: UUID
    kind: str
    amount: int
    otherAccountId: int
    at: datetime
    byUserId: int | None
    note: str
    callId: UUID | None
    projectId: int | None
    termsId: int | None
    pricingId: int | None
    pricingVersion: int | None
    applicationId: int | None


def wallet_json(balance: accounts.Balance) -> WalletJson:
    """Of its balance."""
    return {
        "id": balance.account_id,
        "mode": balance.mode,
        "project": {"id": balance.project_id, "slug": balance.project or None} if balance.project_id else None,
        "user": {"id": balance.user_id, "name": balance.user or None} if balance.user_id else None,
        "balance": balance.posted,
        "held": balance.open_holds,
        "available": balance.available,
        "overdraft": balance.overdraft,
        "lowBalance": balance.low_balance,
    }


def entry_json(line: accounts.Line) -> EntryJson:
    """Of a line of its account."""
    return {
        "id": line.source,
        "kind": line.kind.name.lower(),
        "amount": line.amount,
        "otherAccountId": line.other_id,
        "at": line.at,
        "byUserId": line.by_id,
        "note": line.note,
        "callId": line.call_id,
        "projectId": line.project_id,
        "termsId": line.terms_id,
        "pricingId": line.pricing_id,
        "pricingVersion": line.pricing_version,
        "applicationId": line.application_id,
    }


class _UserField(serializers.SlugRelatedField):
    def get_queryset(self) -> QuerySet[User]:
        """Operators may name anybody. To others nobody has a name but they."""
        actor = self.context["actor"]
        return User.objects.all() if actor.is_operator else User.objects.filter(pk=actor.user and actor.user.pk)


class WalletsQuery(Query):
    """`after` is the `next` of the page before."""

    project = ProjectField(Act.SEE_MONEY, required=False)
    user = _UserField("username", required=False)
    mode = ChoiceField([str(mode) for mode in KeyMode], required=False)
    after = serializers.IntegerField(min_value=1, max_value=_MAX_ID, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class EntriesQuery(Query):
    """`after` is the `next` of the page before."""

    after = serializers.CharField(max_length=64, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)

    def validate_after(self, text: str) -> accounts.Place:
        """As `Line.place` has it."""
        place = accounts.place_of(text)
        if place is None:
            raise serializers.ValidationError("Send the `next` of the page before.")
        return place


class GrantBody(Strict):
    """A grant. With an `id` of the caller's it may be sent again: it is made once."""

    microcredits = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT)
    note = serializers.CharField(max_length=corrections.MAX_NOTE)
    id = serializers.UUIDField(required=False)


class AdjustmentBody(GrantBody):
    """An adjustment: below 0 it takes."""

    microcredits = serializers.IntegerField(min_value=-MAX_AMOUNT, max_value=MAX_AMOUNT)
    against = ChoiceField([str(kind) for kind in corrections.AGAINST])

    def validate_against(self, kind: str) -> AccountKind:
        """As the service takes it."""
        return AccountKind(kind)


class LimitsBody(Strict):
    """What is not sent stays as it is; a `lowBalance` of null: no alert."""

    overdraft = serializers.IntegerField(min_value=0, max_value=MAX_AMOUNT, required=False)
    lowBalance = serializers.IntegerField(  # noqa: N815 (a name of the API)
        min_value=0, max_value=MAX_AMOUNT, required=False, allow_null=True
    )


class WalletsView(APIView):
    """GET wallets, by id."""

    permission_classes = [VIEW_ACCOUNT]

    @answers(Page(WalletJson))
    def get(self, call: Call) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(WalletsQuery, call.query_params, actor=actor_in(call))
        rows = rows_of(Account, actor_in(call), Act.SEE_MONEY).filter(kind=AccountKind.WALLET).order_by("id")
        if "project" in wanted:
            rows = rows.filter(project_id=wanted["project"].pk)
        if "user" in wanted:
            rows = rows.filter(user_id=wanted["user"].pk)
        if "mode" in wanted:
            rows = rows.filter(mode=wanted["mode"])
        if "after" in wanted:
            rows = rows.filter(pk__gt=wanted["after"])
        ids, more = page_of(rows.values_list("pk", flat=True), wanted["limit"])
        found = accounts.balances(ids)
        return Response({"results": [wallet_json(found[id_]) for id_ in ids], "next": ids[-1] if more else None})


class WalletView(APIView):
    """GET one wallet; PATCH its overdraft and the balance below which alerts tell."""

    def get_permissions(self) -> list[Any]:
        """Who posts entries sets limits."""
        return [(POST_ENTRY if self.request.method == "PATCH" else VIEW_ACCOUNT)()]

    @answers(WalletJson)
    def patch(self, call: Call, wallet_id: int) -> Response:
        """200 with the wallet."""
        asked = read(LimitsBody, call.data)
        wallet = wallet_of(call, wallet_id)
        corrections.account_limits_set(
            account=wallet,
            overdraft=asked.get("overdraft", wallet.overdraft_microcredits),
            low_balance=asked.get("lowBalance", wallet.low_balance_microcredits),
            by=call.user,
        )
        return Response(wallet_json(_balance(call, wallet_id)))

    @answers(WalletJson)
    def get(self, call: Call, wallet_id: int) -> Response:
        """404 for none, and for accounts that are no wallets."""
        return Response(wallet_json(_balance(call, wallet_id)))


class WalletEntriesView(APIView):
    """GET a wallet's entries, newest first. Deliveries are not among them: they are in its balance."""

    permission_classes = [VIEW_ENTRIES]

    @answers(Page(EntryJson, next=str))
    def get(self, call: Call, wallet_id: int) -> Response:
        """`{"results": [...], "next": place or null}`."""
        wanted = read(EntriesQuery, call.query_params)
        limit, before = wanted["limit"], wanted.get("after", accounts.NEWEST)
        lines = accounts.entries_page(_balance(call, wallet_id).account_id, before, limit + 1)
        more, lines = len(lines) > limit, lines[:limit]
        return Response({"results": [entry_json(line) for line in lines], "next": lines[-1].place if more else None})


class GrantsView(APIView):
    """POST gives credits."""

    permission_classes = [POST_ENTRY]

    @answers({200: EntryJson, 201: EntryJson}, refuses=(409,))
    def post(self, call: Call, wallet_id: int) -> Response:
        """201 with the entry; 200 where this id was granted before; 409 where it was something else."""
        return _posted(corrections.credits_grant, wallet_id, GrantBody, call)


class AdjustmentsView(APIView):
    """POST corrects a wallet, either way."""

    permission_classes = [POST_ENTRY]

    @answers({200: EntryJson, 201: EntryJson}, refuses=(409,))
    def post(self, call: Call, wallet_id: int) -> Response:
        """As for a grant."""
        return _posted(corrections.account_adjust, wallet_id, AdjustmentBody, call)


def _balance(call: Call, wallet_id: int) -> accounts.Balance:
    return accounts.balance_of(wallet_of(call, wallet_id).pk)


def _posted(post: Callable[..., tuple[Entry, bool]], wallet_id: int, form: type[GrantBody], call: Call) -> Response:
    asked = read(form, call.data)
    source = asked.pop("id", None)
    wallet = wallet_of(call, wallet_id)
    try:
        entry, is_new = post(account=wallet, by=call.user, source=source, **asked)
    except corrections.PostedOtherwiseError:
        return _conflict()
    amount, other = (entry.amount, entry.debit_id) if entry.credit_id == wallet_id else (-entry.amount, entry.credit_id)
    line = accounts.Line(entry.source, EntryKind(entry.kind), other, amount, entry.at, entry.by_id, entry.note)
    return Response(entry_json(line), status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)


def _conflict() -> Response:
    said = shape(
        "posted_otherwise",
        "This id was posted before, with another amount or for another account.",
        "Read it among the wallet's entries, and send an id of its own for another one.",
    )
    return Response(said, status=status.HTTP_409_CONFLICT)
