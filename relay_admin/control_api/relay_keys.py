"""`/api/v1/relay-keys`: minting, changing, rotating and revoking the bearers of apps. A token is told once."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

from django.contrib.admin.models import ADDITION, CHANGE
from django.db import transaction
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import services
from relay_admin.access.key_choices import policies_of, rate_limits_of
from relay_admin.access.key_life import may_make_endless
from relay_admin.access.key_successors import SuccessorGoneError, relay_key_successor_reveal
from relay_admin.access.models import MAX_ROTATES_DAYS, RelayKey, User
from relay_admin.access.roles import Act, refusal
from relay_admin.access.scoping import Actor, one_of, rows_of
from relay_admin.catalog.models import Policy, Project, RateLimit
from relay_admin.control_api.answers import Also, Page, answers
from relay_admin.control_api.authentication import HolderAuthentication
from relay_admin.control_api.budget_body import BudgetBody, BudgetJson
from relay_admin.control_api.errors import shape
from relay_admin.control_api.history import note
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import IsHolder, IsPerson, actor_in, requires, user_of
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read
from relay_contract.nouns import KeyMode, Payer, Scope

MAX_PAGE = 200
_SECONDS = 86_400
_NO_STORE = {"Cache-Control": "no-store"}
_RELATED = ("project", "policy", "rate_limit", "use")
SEES = requires("access.view_relaykey", act=Act.OWN_KEYS)
ADDS = requires("access.add_relaykey", act=Act.OWN_KEYS)
CHANGES = requires("access.change_relaykey", act=Act.OWN_KEYS)
ROTATES = requires("access.add_relaykey", "access.change_relaykey", act=Act.OWN_KEYS)


class RelayKeyJson(CamelCaseSerializer):
    """A key without its token."""

    project = serializers.SlugRelatedField("slug", read_only=True)
    policy = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    rate_limit = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    ends_at = serializers.DateTimeField(allow_null=True)
    last_used_on = serializers.DateField(allow_null=True)
    budget = serializers.SerializerMethodField()

    class Meta:
        model = RelayKey
        fields = [
            *("id", "project", "name", "mode", "key_id", "scopes", "policy", "rate_limit", "user_id"),
            *("pays", "payer_is_active", "budget"),
            *("captures_payloads", "allowed_networks", "expires_at", "ends_at", "successor_id", "revoked_at"),
            *("rotates_days_before", "successor_waits", "last_used_on", "created_at"),
        ]

    def get_budget(self, key: RelayKey) -> BudgetJson | None:
        """Null is none."""
        return key.budget


MINTED = Also("MintedRelayKey", RelayKeyJson, {"token": str})


class RelayKeyBody(Strict):
    """What a PATCH may change; of a POST the optional half."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=ChoiceField([str(scope) for scope in Scope]), allow_empty=False)
    policy = serializers.SlugRelatedField("slug", queryset=Policy.objects.all(), allow_null=True, required=False)
    rateLimit = serializers.SlugRelatedField(  # noqa: N815  # as on the wire
        "slug", queryset=RateLimit.objects.all(), allow_null=True, required=False, source="rate_limit"
    )
    capturesPayloads = serializers.BooleanField(required=False, source="captures_payloads")  # noqa: N815
    allowedNetworks = serializers.ListField(  # noqa: N815
        child=serializers.CharField(max_length=43), required=False, source="allowed_networks"
    )
    budget = BudgetBody(allow_null=True, required=False)
    expiresAt = serializers.DateTimeField(allow_null=True, required=False, source="expires_at")  # noqa: N815
    rotatesDaysBefore = serializers.IntegerField(  # noqa: N815
        min_value=1, max_value=MAX_ROTATES_DAYS, allow_null=True, required=False, source="rotates_days_before"
    )


class NewRelayKeyBody(RelayKeyBody):
    """Body of a POST. `pays`: `user` for a key that whoever makes it pays for."""

    project = ProjectField(Act.OWN_KEYS)
    pays = ChoiceField([str(payer) for payer in Payer], default=str(Payer.PROJECT))
    mode = ChoiceField([str(mode) for mode in KeyMode], default=str(KeyMode.LIVE))


class RelayKeyRotateBody(Strict):
    """`overlapSeconds`: how long the key works beside its successor."""

    overlapSeconds = serializers.IntegerField(  # noqa: N815
        min_value=0,
        max_value=services.MAX_OVERLAP.days * _SECONDS,
        default=services.OVERLAP.days * _SECONDS,
    )


class RelayKeysQuery(Query):
    """Query of a list. `after` is the `next` of the page before."""

    project = serializers.CharField(max_length=63, required=False)
    after = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class RelayKeysView(APIView):
    """GET keys, newest first; POST mints one."""

    def get_permissions(self) -> list[Any]:
        """Seeing is one right, minting another."""
        return [ADDS() if self.request.method == "POST" else SEES()]

    @answers(Page(RelayKeyJson))
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(RelayKeysQuery, call.query_params)
        rows = rows_of(RelayKey, actor_in(call), Act.SEE_KEYS).select_related(*_RELATED).order_by("-pk")
        if "project" in wanted:
            rows = rows.filter(project__slug=wanted["project"])
        if "after" in wanted:
            rows = rows.filter(pk__lt=wanted["after"])
        page, more = page_of(rows, wanted["limit"])
        return Response({"results": RelayKeyJson(page, many=True).data, "next": page[-1].pk if more else None})

    @answers({201: MINTED}, name="mintRelayKey")
    def post(self, call: Request) -> Response:
        """201 with the token, this once."""
        actor = actor_in(call)
        body = read(NewRelayKeyBody, call.data, actor=actor)
        user = user_of(call)
        if body["pays"] == Payer.USER:
            body["user"] = _payer(actor.user)
            if not _manages(actor, body["project"], body["mode"]):
                _refuse_more_than_models(body)
        elif not _manages(actor, body["project"], body["mode"]):
            raise PermissionDenied(refusal(Act.MANAGE_KEYS if body["mode"] == KeyMode.LIVE else Act.MANAGE_TEST_KEYS))
        refuse_unoffered(actor, body["project"], body)
        _refuse_to_a_key(actor, body["scopes"])
        endless = may_make_endless(actor, body["project"])
        minted = services.relay_key_mint(**body, may_be_endless=endless, created_by=user)
        note(call, minted.relay_key, ADDITION, "Minted.")
        return _shown_once(minted)


class RelayKeyView(APIView):
    """GET a key; PATCH what is its owner's to change."""

    def get_permissions(self) -> list[Any]:
        """As in the admin."""
        return [CHANGES() if self.request.method == "PATCH" else SEES()]

    @answers(RelayKeyJson)
    def get(self, call: Request, key_number: int) -> Response:
        """404 for an id that is not known."""
        return Response(RelayKeyJson(_key(call, key_number, Act.SEE_KEYS)).data)

    @answers(RelayKeyJson)
    def patch(self, call: Request, key_number: int) -> Response:
        """The fields that were sent."""
        body = read(RelayKeyBody, call.data, partial=True)
        with transaction.atomic():
            actor, key = actor_in(call), _key(call, key_number)
            _refuse_anothers(actor, key)
            _refuse_to_a_key(actor, [*key.scopes, *body.get("scopes", ())])
            if not _manages(actor, key.project, key.mode):
                _refuse_more_than_models(body)
            refuse_unoffered(actor, key.project, body)
            endless = may_make_endless(actor, key.project)
            key = services.relay_key_change(relay_key=key, changes=body, may_be_endless=endless)
            note(call, key, CHANGE, f"Changed {', '.join(sorted(body)) or 'nothing'}.")
        return Response(RelayKeyJson(key).data)


class RotateView(APIView):
    """POST mints a successor."""

    permission_classes = [ROTATES]

    @answers({201: MINTED})
    def post(self, call: Request, key_number: int) -> Response:
        """201 with the successor and its token, this once. 400 for a key that has ended or has a successor."""
        body = read(RelayKeyRotateBody, call.data)
        key, overlap = _key(call, key_number), timedelta(seconds=body["overlapSeconds"])
        _refuse_anothers(actor_in(call), key)
        _refuse_to_a_key(actor_in(call), key.scopes)
        minted = services.relay_key_rotate(relay_key=key, overlap=overlap, created_by=user_of(call))
        note(call, key, CHANGE, f"Rotated: {minted.relay_key} takes its place.")
        note(call, minted.relay_key, ADDITION, f"Takes the place of {key}.")
        return _shown_once(minted)


class SuccessorView(APIView):
    """POST tells the token of a successor that was made by itself, to who manages the key."""

    permission_classes = [ROTATES]

    @answers(MINTED, refuses=(410,), name="revealSuccessor")
    def post(self, call: Request, key_number: int) -> Response:
        """200 with the successor and its `token`, this once; then 410."""
        read(Strict, call.data)
        key = _key(call, key_number)
        _refuse_anothers(actor_in(call), key)
        _refuse_to_a_key(actor_in(call), key.scopes)
        return _successor_of(call, key)


class OwnSuccessorView(APIView):
    """The same for whoever holds the key, also in its last days."""

    authentication_classes = [HolderAuthentication]
    permission_classes = [IsHolder]

    @answers(MINTED, refuses=(410,), name="revealOwnSuccessor")
    def post(self, call: Request) -> Response:
        """As above."""
        read(Strict, call.data)
        return _successor_of(call, cast("RelayKey", call.auth))


class RevokeView(APIView):
    """POST ends a key at once."""

    permission_classes = [CHANGES]

    @answers(RelayKeyJson)
    def post(self, call: Request, key_number: int) -> Response:
        """The key, also where it was revoked before."""
        key = _key(call, key_number)
        if services.relay_key_revoke(relay_key=key):
            note(call, key, CHANGE, "Revoked.")
        return Response(RelayKeyJson(key).data)


def _key(call: Request, key_number: int, act: Act = Act.MANAGE_TEST_KEYS) -> RelayKey:
    return one_of(RelayKey, actor_in(call), act, *_RELATED, pk=key_number)


def _manages(actor: Actor, project: Project, mode: str) -> bool:
    """Whether the project's keys of this mode are the actor's to make and change."""
    act = Act.MANAGE_KEYS if mode == KeyMode.LIVE else Act.MANAGE_TEST_KEYS
    return rows_of(Project, actor, act).filter(pk=project.pk).exists()


def _payer(user: User | None) -> User:
    """Raises PermissionDenied for a relay key, which has no wallet."""
    if user is None:
        raise PermissionDenied(IsPerson.message)
    return user


def _refuse_anothers(actor: Actor, key: RelayKey) -> None:
    """Whoever changes a key, or is told a token, decides what is spent: of somebody's own wallet nobody else in the
    project does. They may see and revoke it. Raises PermissionDenied."""
    is_anothers = key.pays == Payer.USER and (actor.user is None or key.user_id != actor.user.pk)
    if is_anothers and not actor.is_operator:
        raise PermissionDenied("Its user pays for this key, so it is theirs to change and rotate. You may revoke it.")


def _refuse_more_than_models(body: dict[str, Any]) -> None:
    """Of a key that is one's own and not the project's. Raises ValidationError."""
    if body.get("scopes", [Scope.INFERENCE]) != [Scope.INFERENCE]:
        raise serializers.ValidationError({"scopes": ["A key of your own is for models: inference."]})
    for name, on_wire in (("rate_limit", "rateLimit"), ("captures_payloads", "capturesPayloads")):
        if name in body:
            raise serializers.ValidationError({on_wire: ["The project's to say."]})


def _successor_of(call: Request, key: RelayKey) -> Response:
    try:
        minted = relay_key_successor_reveal(relay_key=key)
    except SuccessorGoneError as gone:
        said = shape("successor_gone", str(gone), "Ask whoever manages the keys of the project for another.")
        return Response(said, status=410, headers=_NO_STORE)
    note(call, key, CHANGE, f"Told the token of {minted.relay_key}.")
    return _shown_once(minted, 200)


def _refuse_to_a_key(actor: Actor, scopes: Iterable[str]) -> None:
    """A key that may control makes no other, and lifts none of its own bounds: revoked, it leaves nothing behind that
    controls. An application neither, nor an admin token that is for less than its user. Raises PermissionDenied."""
    if (actor.relay_key is not None or actor.is_narrow) and Scope.CONTROL in scopes:
        raise PermissionDenied(
            "Keys with the scope `control` are made and changed by people: sign in, or use an admin token that is not"
            " narrowed."
        )


def refuse_unoffered(actor: Actor, project: Project, body: dict[str, Any]) -> None:
    """Of a key or an application: as `key_choices` has it. Raises ValidationError, as for one that does not exist."""
    if actor.is_operator:
        return
    offered = {"policy": ("policy", policies_of(project)), "rate_limit": ("rateLimit", rate_limits_of(project))}
    for name, (on_wire, choices) in offered.items():
        wanted = body.get(name)
        if wanted is not None and not choices.filter(pk=wanted.pk).exists():
            missing = serializers.SlugRelatedField.default_error_messages["does_not_exist"]
            raise serializers.ValidationError({on_wire: [missing.format(slug_name="slug", value=wanted.slug)]})


def _shown_once(minted: services.MintedRelayKey, status: int = 201) -> Response:
    return Response({**RelayKeyJson(minted.relay_key).data, "token": minted.token}, status=status, headers=_NO_STORE)
