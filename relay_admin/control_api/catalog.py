"""`/api/v1/catalog`: the catalog as a document, in JSON (camelCase) or, by `Accept: application/yaml`, in YAML; what a
document would change (`/plan`), and changing it (`/apply`)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypedDict

from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.catalog import document, export, plan
from relay_admin.catalog.document import DocumentError
from relay_admin.control_api.answers import Text, answers
from relay_admin.control_api.nouns.fields import wire_name
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wire import Strict, read

NOUNS = ("ratelimit", "policy", "project", "line", "endpoint", "target", "host", "hostkey", "model", "modelalias",
         "pricing", "hostbinding")  # fmt: skip
# A target's static headers are part of the document and often a credential, so reading it takes a right to edit them.
PERMISSIONS = (*(f"catalog.view_{noun}" for noun in NOUNS), "access.view_relaykey", "catalog.change_target")

CHANGES = tuple(
    f"{'access' if noun == 'relaykey' else 'catalog'}.{verb}_{noun}"
    for noun in (*NOUNS, "relaykey") for verb in ("add", "change", "delete") if (noun, verb) != ("relaykey", "delete")
)  # fmt: skip
NO_VARIABLES: Mapping[str, str] = {}
"""Where a document that came over the network finds secrets: nowhere. Whoever may name any variable of this process
would have its database's password sent to a host of theirs. `manage.py catalog apply` reads them."""

DATA = frozenset(
    {"headers", "json_schema", "signature_config", "auth_config", "conditions", "mapping", "answer_mapping"}
)
"""Fields whose values have a form of their own, with the same names everywhere."""


class YamlRenderer(BaseRenderer):
    """The document as `manage.py catalog apply` reads it."""

    media_type = "application/yaml"
    format = "yaml"
    charset = "utf-8"

    def render(self, data: Any, _type: str | None = None, _context: Mapping[str, Any] | None = None) -> str:
        return export.as_yaml(data)


class CatalogView(APIView):
    """GET the whole catalog. It holds no secret of a host, key or signature, only names of variables."""

    permission_classes = [requires(*PERMISSIONS)]
    renderer_classes = [JSONRenderer, YamlRenderer]

    @answers(Text({"application/json": dict[str, Any], "application/yaml": str}))
    def get(self, request: Request) -> Response:
        document = export.export()
        is_yaml = isinstance(request.accepted_renderer, YamlRenderer)
        return Response(document if is_yaml else renamed(document))


class PlanBody(Strict):
    """A document in YAML (docs/catalog-yaml.md). With `prune` what its parts do not name is deleted."""

    document = serializers.CharField(max_length=document.MAX_BYTES, trim_whitespace=False)
    prune = serializers.BooleanField(default=False)


class ApplyBody(PlanBody):
    """And the `plan` of it, as it was shown: nothing else is done."""

    plan = serializers.CharField(max_length=document.MAX_BYTES, trim_whitespace=False)


class PlanJson(TypedDict):
    """What a document would change, or changed: how many rows, and in words."""

    changes: int
    plan: str


class MintedKeyJson(TypedDict):
    """A relay key that was minted; its token is told this once."""

    name: str
    token: str


class AppliedJson(PlanJson):
    """What was changed."""

    relayKeys: list[MintedKeyJson]


class PlanView(APIView):
    """POST a document; nothing is changed by it."""

    permission_classes = [requires(*PERMISSIONS, *CHANGES)]

    @answers(PlanJson, name="planCatalog")
    def post(self, request: Request) -> Response:
        """`{"changes": how many, "plan": text}`. 400 with every problem of the document."""
        asked = read(PlanBody, request.data)
        made = _plan_of(_document_of(asked), asked)
        shown: PlanJson = {"changes": len(made.steps), "plan": str(made)}
        return Response(shown)


class ApplyView(APIView):
    """POST a document with its plan. What it changes counts as changed by people: a document that is kept in a
    repository does not undo it."""

    permission_classes = [requires(*PERMISSIONS, *CHANGES)]

    @answers(AppliedJson, name="applyCatalog")
    def post(self, request: Request) -> Response:
        """`{"changes", "plan", "relayKeys": [{"name", "token"}]}`, tokens this once. 400 where the plan is another."""
        asked = read(ApplyBody, request.data)
        wanted = _document_of(asked)
        made = _plan_of(wanted, asked)
        if str(made) != asked["plan"]:
            raise serializers.ValidationError({"plan": ["The catalog or the document changed since. Plan it again."]})
        try:
            minted = plan.apply(wanted, NO_VARIABLES, made, prune=asked["prune"], overwrite=True, remembers=False)
        except DocumentError as error:
            raise _refused(error) from None
        keys: list[MintedKeyJson] = [{"name": "/".join(key.path), "token": key.token} for key in minted]
        shown: AppliedJson = {"changes": len(made.steps), "plan": str(made), "relayKeys": keys}
        return Response(shown, headers={"Cache-Control": "no-store"})


def _document_of(asked: dict[str, Any]) -> document.Document:
    try:
        return document.read(asked["document"])
    except DocumentError as error:
        raise _refused(error) from None


def _plan_of(wanted: document.Document, asked: dict[str, Any]) -> plan.Plan:
    try:
        return plan.make(wanted, NO_VARIABLES, prune=asked["prune"], overwrite=True)
    except DocumentError as error:
        raise _refused(error) from None


def _refused(error: DocumentError) -> serializers.ValidationError:
    return serializers.ValidationError({"document": str(error).splitlines()})


def renamed(value: Any) -> Any:
    """The document with the field names of the API's rows (`targetUrl` of `url`), and prices as text: most readers of
    JSON make a number a float. Names inside DATA stay."""
    match value:
        case Decimal():
            return f"{value:f}"
        case dict():
            return {wire_name(name): one if name in DATA else renamed(one) for name, one in value.items()}
        case list():
            return [renamed(one) for one in value]
        case _:
            return value
