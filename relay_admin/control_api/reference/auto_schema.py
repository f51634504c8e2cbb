"""DRF's DEFAULT_SCHEMA_CLASS: an operation of the document from a view's handler."""

from typing import Any

from drf_spectacular.drainage import warn
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_doc
from drf_spectacular.utils import OpenApiParameter
from rest_framework import permissions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.serializers import BaseSerializer

from relay_admin.control_api.answers import Answers, Text, told
from relay_admin.control_api.errors import ErrorJson
from relay_admin.control_api.reference import extensions
from relay_admin.control_api.reference.handler_forms import Forms, UnknownFormError, forms_of
from relay_admin.control_api.reference.names import operation_name, words_of
from relay_admin.control_api.reference.shapes import Schema, component_name, schema_of
from relay_admin.control_api.wire import Strict

assert extensions  # registered by the import

BOOKS = {
    "access": "People and keys",
    "catalog": "Catalog",
    "deliveries": "Deliveries",
    "ledger": "Money",
    "traffic": "Calls to models",
}
"""The product's books, by Django app, as the document calls them."""

REASONS = {
    200: "Done.",
    201: "Made.",
    202: "Taken on.",
    204: "Done; there is nothing to say.",
    304: "It is what `If-None-Match` says.",
    400: "Values that cannot be used: `fields` says which.",
    401: "Nobody, or nobody that is known here.",
    403: "The caller may not do this.",
    404: "There is none, or none that the caller may see.",
    406: "`Accept` asks for a type that this is not answered in.",
    409: "It does not go with what is there: `error` says why.",
    410: "It was there, and is no more.",
    412: "The row is another by now than `If-Match` says.",
    413: "The body is too long.",
    415: "The body is of a type that is not read.",
    422: "The document cannot be used: `problems` says why.",
    428: "`If-Match` is missing.",
    429: "Too many calls or attempts: `Retry-After` says, in seconds, when there may be another.",
    502: "A payment provider failed.",
    503: "It cannot be done at the moment.",
}
FREE = Answers({200: Any})
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of what was read: 412 where the row is another one by now. `*`: whatever is there.",
)
IF_MATCH_NEEDED = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, True, description=IF_MATCH.description)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An `ETag`: 304 where the row is still the same."
)
ETAG = {"ETag": {"description": "Another one whenever the row is another.", "schema": {"type": "string"}}}


class RelaySchema(AutoSchema):
    """What a view of this API takes and answers."""

    @property
    def handler(self) -> Any:
        """The view's function for this method."""
        return getattr(type(self.view), self.method.lower())

    @property
    def answers(self) -> Answers:
        """Free-form, with a warning, where nobody said."""
        found = told(self.handler)
        if found is None:
            warn(f"{self.method} {self.path}: say what it answers with `answers`.")
        return found or FREE

    @property
    def forms(self) -> Forms:
        """None, with a warning, where that cannot be told."""
        try:
            return forms_of(self.handler, type(self.view))
        except UnknownFormError as error:
            warn(f"{self.method} {self.path}: {error}")
            return Forms()

    def get_operation_id(self) -> str:
        """`listRelayKeys`."""
        return self.answers.name or operation_name(self.method, self.path)

    def get_summary(self) -> str:
        """`List relay keys`."""
        return words_of(self.get_operation_id())

    def get_description(self) -> str:  # type: ignore[override]  # as drf-spectacular has it, not DRF
        """What the view is, and what this method of it answers."""
        return "\n\n".join(filter(None, (get_doc(type(self.view)), get_doc(self.handler))))

    def get_tags(self) -> list[str]:
        """The book whose rights it takes."""
        named = [name for one in self.view.get_permissions() for name in getattr(one, "needed", ())]
        return [BOOKS[named[0].partition(".")[0] if named else "access"]]

    def _get_parameters(self) -> list[Schema]:
        found = super()._get_parameters()
        for parameter in found:
            if parameter["in"] == "path" and parameter["name"] in self.answers.path:
                parameter["schema"] = {"type": "string", "enum": list(self.answers.path[parameter["name"]])}
        return found

    def get_override_parameters(self) -> list[Any]:
        """The query, and the conditions that a row is asked or written under."""
        query, said = self.forms.query, self.answers
        found: list[Any] = [query()] if query is not None and query().fields else []
        if 412 in said.refuses:
            found.append(IF_MATCH_NEEDED if 428 in said.refuses else IF_MATCH)
        return [*found, IF_NONE_MATCH] if 304 in said.by_status else found

    def _is_list_view(self, serializer: Any = None) -> bool:  # noqa: ARG002 (drf-spectacular's)
        return False  # `answers` says it

    def _get_format_parameters(self) -> list[Schema]:
        return []  # by `Accept` alone

    def _get_request_body(self, direction: str = "request") -> Schema | None:  # noqa: ARG002 (drf-spectacular's)
        forms = self.forms
        if forms.body is None:
            return None
        component = self.resolve_serializer(forms.body(partial=forms.is_partial), "request")
        is_needed = bool(component.schema.get("required"))
        return {"content": {"application/json": {"schema": component.ref}}, **({"required": True} if is_needed else {})}

    def _get_response_bodies(self, direction: str = "response") -> Schema:  # noqa: ARG002 (as above)
        answered = {str(status): self._answer(status, shape) for status, shape in self.answers.by_status.items()}
        error = {"application/json": {"schema": schema_of(ErrorJson, self)}}
        refused = {str(status): {"description": REASONS[status], "content": error} for status in self._refusals()}
        return dict(sorted({**refused, **answered}.items()))

    def _answer(self, status: int, shape: Any) -> Schema:
        if shape is None:
            return {"description": REASONS[status]}
        media_types = shape.media_types if isinstance(shape, Text) else {"application/json": shape}
        content = {each: {"schema": schema_of(of, self)} for each, of in media_types.items()}
        has_tag = 304 in self.answers.by_status or 412 in self.answers.refuses
        return {"description": REASONS[status], **({"headers": ETAG} if has_tag else {}), "content": content}

    def _refusals(self) -> set[int]:
        """Statuses of errors that follow from what is read and who may call."""
        forms, found = self.forms, set(self.answers.refuses)
        if not any(isinstance(each, permissions.AllowAny) for each in self.view.get_permissions()):
            found |= {401, 403, 429}
        if "{" in self.path:
            found.add(404)
        if self.view.content_negotiation_class is DefaultContentNegotiation:
            found.add(406)
        if forms.body is not None or forms.query is not None:
            found.add(400)
        if forms.body is not None:
            found |= {413, 415}
        return found

    def _map_response_type_hint(self, method: Any) -> Schema:
        hint = method.__annotations__.get("return")
        return schema_of(hint, self)

    def _get_serializer_name(self, serializer: Any, direction: str, bypass_extensions: bool = False) -> str:  # noqa: ARG002
        form = type(serializer) if isinstance(serializer, BaseSerializer) else serializer
        name = "Nothing" if form is Strict else component_name(form)
        return f"Some{name}" if getattr(serializer, "partial", False) else name
