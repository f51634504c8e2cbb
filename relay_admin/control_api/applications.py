"""`/api/v1/applications` and `/api/v1/authorizations`: who may ask users, and what users allowed. A secret is told
once."""

from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE
from django.db import transaction
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.oauth import revocation, services
from relay_admin.access.oauth.addresses import MAX_ADDRESSES, MAX_LENGTH
from relay_admin.access.oauth.models import CLIENT_TYPES, GRANT_TYPES, Authorization, OAuthApplication
from relay_admin.access.roles import Act, refusal
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.catalog.models import Policy, Project, RateLimit
from relay_admin.control_api.answers import Also, Page, answers
from relay_admin.control_api.history import note
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires, user_of
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.relay_keys import refuse_unoffered
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read
from relay_contract.nouns import KeyMode

MAX_PAGE = 200
_NO_STORE = {"Cache-Control": "no-store"}
_RELATED = ("project", "policy", "rate_limit")
SEES = requires("access.view_oauthapplication", act=Act.SEE_KEYS)
ADDS = requires("access.add_oauthapplication", act=Act.MANAGE_TEST_KEYS)
CHANGES = requires("access.change_oauthapplication", act=Act.MANAGE_TEST_KEYS)
SEES_AUTHORIZATIONS = requires("access.view_authorization", act=Act.SEE_KEYS, own=True)
REVOKES = requires("access.delete_authorization", act=Act.MANAGE_KEYS, own=True)


class ApplicationJson(CamelCaseSerializer):
    """An application without its secret."""

    project = serializers.SlugRelatedField("slug", read_only=True)
    policy = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    rate_limit = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    redirect_uris = serializers.SerializerMethodField()
    grant_type = serializers.CharField(source="authorization_grant_type")
    created_at = serializers.DateTimeField(source="created")

    class Meta:
        model = OAuthApplication
        fields = [
            *("id", "project", "name", "homepage", "client_id", "client_type", "grant_type", "redirect_uris"),
            *("allowed_origins", "mode", "is_enabled", "policy", "rate_limit", "captures_payloads", "created_at"),
        ]

    def get_redirect_uris(self, application: OAuthApplication) -> list[str]:
        """As a list."""
        return application.redirect_uris.split()


MADE = Also("MadeApplication", ApplicationJson, {"clientSecret": str | None})


def _addresses() -> serializers.ListField:
    return serializers.ListField(
        child=serializers.CharField(max_length=MAX_LENGTH), max_length=MAX_ADDRESSES, required=False
    )


class ApplicationBody(Strict):
    """What a PATCH may change; of a POST the optional half."""

    name = serializers.CharField(max_length=100)
    homepage = serializers.URLField(max_length=200, allow_blank=True, required=False)
    redirectUris = _addresses()  # noqa: N815  # as on the wire
    allowedOrigins = _addresses()  # noqa: N815
    isEnabled = serializers.BooleanField(required=False)  # noqa: N815
    policy = serializers.SlugRelatedField("slug", queryset=Policy.objects.all(), allow_null=True, required=False)
    rateLimit = serializers.SlugRelatedField(  # noqa: N815
        "slug", queryset=RateLimit.objects.all(), allow_null=True, required=False
    )
    capturesPayloads = serializers.BooleanField(required=False)  # noqa: N815


class NewApplicationBody(ApplicationBody):
    """Body of a POST."""

    project = ProjectField(Act.MANAGE_TEST_KEYS)
    mode = ChoiceField([str(mode) for mode in KeyMode], default=str(KeyMode.LIVE))
    clientType = ChoiceField(  # noqa: N815
        [name for name, _ in CLIENT_TYPES], default=OAuthApplication.CLIENT_PUBLIC
    )
    grantType = ChoiceField(  # noqa: N815
        [name for name, _ in GRANT_TYPES], default=OAuthApplication.GRANT_AUTHORIZATION_CODE
    )


_COLUMNS = {
    "redirectUris": "redirect_uris",
    "allowedOrigins": "allowed_origins",
    "isEnabled": "is_enabled",
    "rateLimit": "rate_limit",
    "capturesPayloads": "captures_payloads",
    "clientType": "client_type",
    "grantType": "authorization_grant_type",
}


class ApplicationsQuery(Query):
    """Query of a list. `after` is the `next` of the page before."""

    project = serializers.CharField(max_length=63, required=False)
    after = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class AuthorizationsQuery(ApplicationsQuery):
    """`mine`: the caller's own alone."""

    mine = serializers.BooleanField(default=False)


class ApplicationsView(APIView):
    """GET applications, newest first; POST makes one."""

    def get_permissions(self) -> list[Any]:
        """Seeing is one right, making another."""
        return [ADDS() if self.request.method == "POST" else SEES()]

    @answers(Page(ApplicationJson))
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(ApplicationsQuery, call.query_params)
        rows = rows_of(OAuthApplication, actor_in(call), Act.SEE_KEYS).select_related(*_RELATED).order_by("-pk")
        if "project" in wanted:
            rows = rows.filter(project__slug=wanted["project"])
        return _page(ApplicationJson, rows, wanted)

    @answers({201: MADE})
    def post(self, call: Request) -> Response:
        """201 with the secret of a confidential one, this once."""
        actor = actor_in(call)
        asked = read(NewApplicationBody, call.data, actor=actor)
        act = Act.MANAGE_KEYS if asked["mode"] == KeyMode.LIVE else Act.MANAGE_TEST_KEYS
        if not rows_of(Project, actor, act).filter(pk=asked["project"].pk).exists():
            raise PermissionDenied(refusal(act))
        body = _columns(asked)
        refuse_unoffered(actor, asked["project"], body)
        made = services.application_make(**body, created_by=user_of(call))
        note(call, made.application, ADDITION, "Made.")
        return _shown_once(made, 201)


class ApplicationView(APIView):
    """GET an application; PATCH what is its owner's to change."""

    def get_permissions(self) -> list[Any]:
        """As in the admin."""
        return [CHANGES() if self.request.method == "PATCH" else SEES()]

    @answers(ApplicationJson)
    def get(self, call: Request, number: int) -> Response:
        """404 for an id that is not known."""
        return Response(ApplicationJson(_application(call, number, Act.SEE_KEYS)).data)

    @answers(ApplicationJson)
    def patch(self, call: Request, number: int) -> Response:
        """The fields that were sent."""
        body = _columns(read(ApplicationBody, call.data, partial=True))
        with transaction.atomic():
            _application(call, number)
            rows = rows_of(OAuthApplication, actor_in(call), Act.MANAGE_TEST_KEYS).select_related(*_RELATED)
            application = get_object_or_404(rows.select_for_update(of=("self",)), pk=number)
            refuse_unoffered(actor_in(call), application.project, body)
            for name, value in body.items():
                setattr(application, name, value)
            application.full_clean()
            application.save(update_fields=[*body, "updated"])
            note(call, application, CHANGE, f"Changed {', '.join(sorted(body)) or 'nothing'}.")
        return Response(ApplicationJson(application).data)


class SecretView(APIView):
    """POST replaces the secret of a confidential application."""

    permission_classes = [CHANGES]

    @answers(MADE, refuses=(400,), name="renewApplicationSecret")
    def post(self, call: Request, number: int) -> Response:
        """The new one, this once; the old one and its tokens end. 400 for a public application."""
        application = _application(call, number)
        if application.client_type != OAuthApplication.CLIENT_CONFIDENTIAL:
            raise ValidationError({"clientType": ["A public application has no secret."]})
        made = services.application_secret_renew(application=application)
        note(call, application, CHANGE, "Secret replaced.")
        return _shown_once(made, 200)


class AuthorizationJson(CamelCaseSerializer):
    """What a user allows an application."""

    user = serializers.CharField(source="user.username")
    application = serializers.CharField(source="application.client_id")

    class Meta:
        model = Authorization
        fields = ["id", "user", "application", "scopes", "cap_microcredits", "granted_at", "revoked_at"]


class AuthorizationsView(APIView):
    """GET what users allowed, newest first: a person's own, and those of projects where they see its applications."""

    permission_classes = [SEES_AUTHORIZATIONS]

    @answers(Page(AuthorizationJson))
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(AuthorizationsQuery, call.query_params)
        actor = actor_in(call)
        rows = rows_of(Authorization, actor, Act.SEE_KEYS).select_related("user", "application").order_by("-pk")
        if wanted["mine"]:
            rows = rows.filter(user=actor.user)
        if "project" in wanted:
            rows = rows.filter(application__project__slug=wanted["project"])
        return _page(AuthorizationJson, rows, wanted)


class AuthorizationRevokeView(APIView):
    """POST takes back what a user allowed."""

    permission_classes = [REVOKES]

    @answers(AuthorizationJson)
    def post(self, call: Request, number: int) -> Response:
        """The authorization, also where it was revoked before."""
        row = one_of(Authorization, actor_in(call), Act.MANAGE_KEYS, "user", "application", pk=number)
        if revocation.authorization_revoke(row):
            note(call, row, CHANGE, "Revoked.")
        return Response(AuthorizationJson(row).data)


def _application(call: Request, number: int, act: Act = Act.MANAGE_TEST_KEYS) -> OAuthApplication:
    return one_of(OAuthApplication, actor_in(call), act, *_RELATED, pk=number)


def _columns(body: dict[str, Any]) -> dict[str, Any]:
    """A body by the model's names."""
    found = {_COLUMNS.get(name, name): value for name, value in body.items()}
    if "redirect_uris" in found:
        if any(len(uri.split()) != 1 for uri in found["redirect_uris"]):
            raise ValidationError({"redirectUris": ["Each is one address, without spaces."]})
        found["redirect_uris"] = "\n".join(found["redirect_uris"])
    return found


def _page(form: type[CamelCaseSerializer], rows: Any, wanted: dict[str, Any]) -> Response:
    if "after" in wanted:
        rows = rows.filter(pk__lt=wanted["after"])
    page, more = page_of(rows, wanted["limit"])
    return Response({"results": form(page, many=True).data, "next": page[-1].pk if more else None})


def _shown_once(made: services.MadeApplication, status: int) -> Response:
    said = {**ApplicationJson(made.application).data, "clientSecret": made.secret or None}
    return Response(said, status=status, headers=_NO_STORE)
