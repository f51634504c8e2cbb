"""One JSON shape for every error: `{"error": code, "message": what happened, "action": what to do next}`.

`handle` is DRF's exception handler and the only place that writes it. What it does not know becomes Django's 500, which
`relay_admin.urls.server_error` answers in the same shape.
"""

from typing import Any, NotRequired, TypedDict

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from relay_admin.access.throttle import LoginThrottled
from relay_admin.catalog.lines.documents import LineRefused
from relay_admin.catalog.lines.drafts import LineConflict


class ProblemJson(TypedDict):
    """What is wrong with a line's document, and where."""

    place: str
    text: str


class ReferenceJson(TypedDict):
    """A row that refers to another; `id` and `name` are null where the caller may not see it."""

    kind: str
    id: int | None
    name: str | None
    field: str


class ReferencesJson(TypedDict):
    """`isPartial`: there are more."""

    references: list[ReferenceJson]
    isPartial: bool


class ErrorJson(TypedDict):
    """Every error. `error` is its code, for programs; `message` says what happened and `action` what clears it, for
    people. `fields`: what is wrong with which value. `problems`: the same of a line's document."""

    error: str
    message: str
    action: str
    fields: NotRequired[dict[str, Any]]
    problems: NotRequired[list[ProblemJson]]
    availableMicrocredits: NotRequired[int]
    references: NotRequired[list[ReferenceJson]]
    isPartial: NotRequired[bool]


def shape(code: str, message: str, action: str, **more: Any) -> dict[str, Any]:
    """The error body."""
    return {"error": code, "message": message, "action": action, **more}


NOT_FOUND = shape("not_found", "There is nothing at this address.", "Compare the address with the API reference.")
WRONG_CREDENTIALS = shape(
    "wrong_credentials", "Username, e-mail or password is wrong.", "Check them, or ask an administrator."
)
INTERNAL = shape("internal_error", "The control plane failed on this call.", "Its log says why; try again later.")


class ScopeMissing(exceptions.PermissionDenied):
    """The caller might, with another bearer: this one was made for less."""

    default_code = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This bearer lacks the scope `{scope}`.")


_TOKEN = "Send `Authorization: Bearer ra_...`, or sign in with POST /auth/login."  # noqa: S105 (advice)
_ACTIONS: dict[type[exceptions.APIException], tuple[str, str]] = {
    exceptions.ValidationError: ("invalid", "Correct the fields named in `fields` and send it again."),
    exceptions.ParseError: ("malformed_json", "Send one JSON object, encoded as UTF-8."),
    exceptions.AuthenticationFailed: ("invalid_token", _TOKEN),
    exceptions.NotAuthenticated: ("missing_token", _TOKEN),
    ScopeMissing: (
        "scope_missing",
        "Use a bearer with that scope: POST /api/v1/admin-tokens makes one, and a user gives it to an application.",
    ),
    exceptions.PermissionDenied: ("forbidden", "Ask an administrator for the permission, or use another token."),
    exceptions.NotFound: ("not_found", "Check the id."),
    exceptions.MethodNotAllowed: ("method_not_allowed", "Compare the call with the API reference."),
    exceptions.NotAcceptable: ("not_acceptable", "Accept application/json."),
    exceptions.UnsupportedMediaType: ("unsupported_media_type", "Send application/json."),
    exceptions.Throttled: ("throttled", "Wait for the time in Retry-After."),
}

_LINE_REFUSED = "The line's document cannot be used. Nothing was changed."
_MEND_LINE = "Correct what `problems` names, and save the draft with PUT /api/v1/lines/{project}/{line}/draft."
_CONFLICTS = {
    "stale_draft": "Read it with GET /api/v1/lines/{project}/{line}/draft and send the `draftRevision` it has now.",
    "stale_base": "GET /api/v1/lines/{project}/{line}/diff shows the draft beside what runs now; save it again with PUT"
    " /api/v1/lines/{project}/{line}/draft and `baseRevision`, the line's `revision`.",
    "no_draft": "Begin one with PUT /api/v1/lines/{project}/{line}/draft and `draftRevision` 0.",
    "no_change": "There is nothing to do.",
}


def handle(error: Exception, _context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. None for an exception that nobody expected: it is raised on and logged."""
    match error:
        case LineConflict():
            return Response(shape(error.code, str(error), _CONFLICTS[error.code]), status=409)
        case LineRefused():
            problems = [{"place": one.place, "text": one.text} for one in error.complaints]
            return Response(shape("line_refused", _LINE_REFUSED, _MEND_LINE, problems=problems), status=422)
    known = _as_api_exception(error)
    if known is None:
        return None
    code, action = next(
        (_ACTIONS[kind] for kind in type(known).__mro__ if kind in _ACTIONS),
        (known.default_code, getattr(known, "action", "Try again later.")),
    )
    headers = {}
    if wait_seconds := getattr(known, "wait", None):
        headers["Retry-After"] = str(wait_seconds)
    if challenge := getattr(known, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    body = shape(code, _message(known), action)
    if isinstance(known, exceptions.ValidationError):
        body["fields"] = known.detail if isinstance(known.detail, dict) else {"": known.detail}
    return Response(body, status=known.status_code, headers=headers)


def _as_api_exception(error: Exception) -> exceptions.APIException | None:
    match error:
        case exceptions.APIException():
            return error
        case LoginThrottled():
            return exceptions.Throttled(error.wait_seconds, "Too many attempts.")
        case Http404():
            return exceptions.NotFound("There is no such row.")
        case DjangoPermissionDenied():
            return exceptions.PermissionDenied(str(error) or None)
        case DjangoValidationError():
            return exceptions.ValidationError({"": error.messages})
        case _:
            return None


def _message(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "The call holds values that cannot be used."
    return str(error.detail)
