"""`/api/v1/accounts`, `/transfers`, `/payouts`: what owners earned and set aside, and what they move. Micro-credits."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.models import User
from relay_admin.access.roles import Act
from relay_admin.access.scoping import rows_of
from relay_admin.catalog.models import Project
from relay_admin.control_api.answers import Also, Rows, answers
from relay_admin.control_api.errors import shape
from relay_admin.control_api.paging import Query
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wallets import WalletJson, wallet_json
from relay_admin.control_api.wire import ChoiceField, Strict, read
from relay_admin.ledger import accounts, corrections, transfers
from relay_admin.ledger.models import Account, Entry
from relay_admin.ledger.purses import MoneyClosedError
from relay_admin.redis_link import RedisAwayError
from relay_contract.ledger import MAX_AMOUNT, AccountKind, EntryKind
from relay_contract.nouns import KeyMode

_VIEW = "ledger.view_account"
_MODES = [str(mode) for mode in KeyMode]


class AccountsQuery(Query):
    """Without a project the caller's own."""

    project = ProjectField(Act.SEE_MONEY, required=False)


class TransferBody(Strict):
    """From one of a project's accounts, or without a project of the caller's own, to the other that there is for it.
    With an `id` of the caller's it may be sent again: it is made once."""

    project = ProjectField(Act.MANAGE_MONEY, required=False)
    mode = ChoiceField(_MODES, default=str(KeyMode.LIVE))
    microcredits = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT)
    id = serializers.UUIDField(required=False)

    def get_fields(self) -> dict[str, Any]:
        """`from` is no name in Python."""
        kinds = ChoiceField([str(kind) for kind in transfers.TO], source="kind")
        return {**super().get_fields(), "from": kinds}


class PayoutBody(Strict):
    """Of a project's live earnings, or of a user's. `id` as for a transfer."""

    project = ProjectField(Act.MANAGE_MONEY, required=False)
    user = serializers.SlugRelatedField("username", queryset=User.objects.all(), required=False)
    microcredits = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT)
    note = serializers.CharField(max_length=corrections.MAX_NOTE)
    id = serializers.UUIDField(required=False)

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One owner."""
        if ("project" in asked) is ("user" in asked):
            raise serializers.ValidationError({"project": ["Name either a project or a user."]})
        return asked


class TransferJson(TypedDict):
    """What was moved. Micro-credits."""

    id: UUID
    kind: str
    fromAccountId: int
    toAccountId: int
    microcredits: int
    note: str
    at: datetime


class AccountsView(APIView):
    """GET the wallets, earnings and pools of a project, or the caller's own."""

    permission_classes = [requires(_VIEW, act=Act.SEE_MONEY, own=True)]

    @answers(Rows(Also("Account", WalletJson, {"kind": str})))
    def get(self, call: Call) -> Response:
        """`{"results": [...]}`, each with its `kind`; six at most."""
        wanted = read(AccountsQuery, call.query_params, actor=actor_in(call))
        ids = _owned(call, wanted.get("project"), Act.SEE_MONEY).order_by("id").values_list("pk", flat=True)
        found = accounts.balances(list(ids))
        return Response({"results": [{"kind": each.kind, **wallet_json(each)} for each in found.values()]})


class TransfersView(APIView):
    """POST moves credits: earnings to the wallet, a project's wallet to its pool, or back from there."""

    permission_classes = [requires(_VIEW, corrections.PERMISSION, act=Act.MANAGE_MONEY, own=True)]

    @answers({200: TransferJson, 201: TransferJson}, refuses=(404, 409, 503))
    def post(self, call: Call) -> Response:
        """201 with the entry; 200 where this id was posted before; 409 for too little, or another thing of this id."""
        asked = read(TransferBody, call.data, actor=actor_in(call))
        owned = _owned(call, asked.get("project"), Act.MANAGE_MONEY)
        account = get_object_or_404(owned, kind=asked["kind"], mode=asked["mode"])
        return _posted(transfers.transfer, call, asked, account=account)


class PayoutsView(APIView):
    """POST says that earnings were paid out."""

    permission_classes = [requires(_VIEW, corrections.PERMISSION)]

    @answers({200: TransferJson, 201: TransferJson}, refuses=(404, 409, 503))
    def post(self, call: Call) -> Response:
        """As a transfer."""
        asked = read(PayoutBody, call.data, actor=actor_in(call))
        owner = {name: asked[name].pk for name in ("project", "user") if name in asked}
        rows = rows_of(Account, actor_in(call), Act.MANAGE_MONEY).filter(kind=AccountKind.EARNINGS, mode=KeyMode.LIVE)
        account = get_object_or_404(rows, **{f"{name}_id": id_ for name, id_ in owner.items()})
        return _posted(transfers.earnings_pay_out, call, asked, account=account, note=asked["note"])


def _owned(call: Call, project: Project | None, act: Act) -> Any:
    """Accounts of this project, or of the caller."""
    actor = actor_in(call)
    rows = rows_of(Account, actor, act)
    if project is not None:
        return rows.filter(project_id=project.pk)
    return rows.filter(user_id=actor.user.pk) if actor.user else rows.none()


def _posted(move: Callable[..., tuple[Entry, bool]], call: Call, asked: dict[str, Any], **given: Any) -> Response:
    try:
        entry, is_new = move(microcredits=asked["microcredits"], by=call.user, source=asked.get("id"), **given)
    except transfers.TooLittleError as error:
        said = shape("insufficient_credits", str(error), "Move at most that much.", availableMicrocredits=error.left)
        return Response(said, status=409)
    except corrections.PostedOtherwiseError:
        said = shape("posted_otherwise", "This id was posted before, as something else.", "Send another id.")
        return Response(said, status=409)
    except (MoneyClosedError, RedisAwayError):
        said = shape("unavailable", "What the wallet holds cannot be looked up now.", "Send it again in a moment.")
        return Response(said, status=503, headers={"Retry-After": "2"})
    shown: TransferJson = {
        "id": entry.source,
        "kind": EntryKind(entry.kind).name.lower(),
        "fromAccountId": entry.debit_id,
        "toAccountId": entry.credit_id,
        "microcredits": entry.amount,
        "note": entry.note,
        "at": entry.at,
    }
    return Response(shown, status=201 if is_new else 200)
