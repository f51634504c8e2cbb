"""One tree of everything that the relay answers with instead of an answer.

RelayError
├── CallerError                         the caller can clear it
│   ├── BadRequest              400 bad_request
│   │   ├── MalformedJson       400 malformed_json
│   │   ├── BadField            400 bad_field
│   │   │   └── SchemaMismatch  422 schema_mismatch
│   │   └── BadHeader           400 bad_header
│   ├── Unauthenticated         401 missing_key
│   │   ├── InvalidKey          401 invalid_key
│   │   │   ├── TokenInvalid    401 invalid_token
│   │   │   ├── TokenExpired    401 token_expired
│   │   │   └── TokenRevoked    401 token_revoked
│   │   ├── KeyRevoked          401 key_revoked
│   │   ├── KeyExpired          401 key_expired
│   │   ├── SignatureMissing    401 signature_missing
│   │   ├── SignatureInvalid    401 signature_invalid
│   │   ├── SignatureExpired    401 signature_expired
│   │   └── MetricsForbidden    401 metrics_forbidden
│   ├── InsufficientCredits     402 insufficient_credits
│   ├── BudgetExceeded          402 budget_exceeded
│   ├── Forbidden               403 forbidden
│   │   ├── ProjectArchived     403 project_archived
│   │   ├── ScopeMissing        403 scope_missing
│   │   ├── WrongProject        403 wrong_project
│   │   ├── ModelForbidden      403 model_forbidden
│   │   ├── ModelUnpriced       403 model_unpriced
│   │   ├── AddressNotAllowed   403 address_not_allowed
│   │   ├── PayerInactive       403 payer_inactive
│   │   └── OriginNotAllowed    403 origin_not_allowed
│   ├── NotFound                404 not_found
│   │   ├── EndpointNotFound    404 endpoint_not_found
│   │   └── ModelNotFound       404 model_not_found
│   ├── MethodNotAllowed        405 method_not_allowed
│   ├── BodyTimeout             408 body_timeout
│   ├── CallInProgress          409 idempotency_in_progress
│   ├── AnswerNotKept           409 answer_not_kept
│   ├── BodyTooLarge            413 body_too_large
│   ├── ContentTypeNotAllowed   415 content_type_not_allowed
│   ├── IdempotencyKeyReused    422 idempotency_key_reused
│   ├── RateLimited             429 rate_limited
│   └── RelayLoop               508 relay_loop
├── UpstreamError                       the vendor or the target did not answer as it should
│   ├── UpstreamConnectError    502 upstream_connect_error
│   ├── UpstreamProtocolError   502 upstream_protocol_error
│   ├── AddressForbidden        502 upstream_address_forbidden
│   ├── TargetFailed            502 target_failed
│   ├── TokenUnavailable        502 token_unavailable
│   └── UpstreamTimeout         504 upstream_timeout
│       └── SyncTimeout         504 sync_timeout
└── RelayFault                          ours to clear
    ├── InternalFault           500 internal_error
    ├── EndpointMisconfigured   503 endpoint_misconfigured
    ├── NoHostKey               503 no_host_key
    ├── Unavailable             503 unavailable
    ├── AcceptUnavailable       503 accept_unavailable
    ├── TargetHeld              503 target_held
    └── ShuttingDown            503 shutting_down

A class owns its code, status, whose fault it is, whether trying again can help, and its public text, so that the HTTP
answer, the log and the retry can never disagree. `error_shapes.py` turns one into the caller's wire shape; nothing else
writes error bodies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from relay_contract.traffic import ErrorSource

_INVALID_TOKEN = 'Bearer error="invalid_token"'  # noqa: S105 - what a challenge says


class RelayError(Exception):
    """Base. `text` says what happened and what to do next; it is public, so it never holds a secret or an address."""

    code: ClassVar[str]
    status: ClassVar[int]
    source: ClassVar[ErrorSource]
    retryable: ClassVar[bool] = False
    text: ClassVar[str]
    details: Mapping[str, int | str] | None = None
    """Figures that a program can act on, in the answer beside the text."""
    challenge: str = ""
    """`www-authenticate` of the answer, which whoever knows the caller may fill in (RFC 9110 section 11.6.1)."""

    def __init__(self, text: str | None = None, *, retry_after_seconds: float | None = None) -> None:
        self.public_text = text or self.text
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.public_text)

    def add_attempts(self, attempts: int) -> None:
        """Says in the public text how often a host was tried in vain."""
        self.public_text += f" Attempts made: {attempts}."


class CallerError(RelayError):
    """The request cannot be served as it was sent."""

    source = ErrorSource.CLIENT


class BadRequest(CallerError):
    code, status = "bad_request", 400
    text = "The request cannot be read. Compare it with the API reference."


class MalformedJson(BadRequest):
    code = "malformed_json"
    text = "The body is not valid JSON. Send one JSON object, encoded as UTF-8."


class BadField(BadRequest):
    """A part of the body cannot be served. `field` is its path, e.g. `messages[2].content[0]`; the text has it too."""

    code = "bad_field"
    text = "A field of the body cannot be served."

    def __init__(self, field: str = "", text: str | None = None) -> None:
        self.field = field
        super().__init__(f"{field}: {text or self.text}" if field else text)


class SchemaMismatch(BadField):
    """The body is JSON that the endpoint's schema does not admit. The text never quotes the body."""

    code, status = "schema_mismatch", 422
    text = "The body does not match the JSON Schema of this endpoint."


class BadHeader(BadRequest):
    code = "bad_header"
    text = "A header holds characters that HTTP does not allow."


class Unauthenticated(CallerError):
    code, status, challenge = "missing_key", 401, "Bearer"
    text = "No relay key was sent. Send one as `Authorization: Bearer rk_live_...` or as `x-api-key`."


class InvalidKey(Unauthenticated):
    code = "invalid_key"
    text = "The relay key is not known here. Check that it was copied whole, or mint a new one."


class TokenInvalid(InvalidKey):
    """Of a user's access token. RFC 6750 section 3.1 calls all three `invalid_token`: a client gets a new one."""

    code, challenge = "invalid_token", _INVALID_TOKEN
    text = "The access token is none of this relay's, or was changed on its way. Ask for a new one."


class TokenExpired(InvalidKey):
    code, challenge = "token_expired", _INVALID_TOKEN
    text = "The access token has expired. Get a new one with the refresh token, or let the user sign in again."


class TokenRevoked(InvalidKey):
    code, challenge = "token_revoked", _INVALID_TOKEN
    text = "The access token was revoked. Let the user authorise the application again."


class KeyRevoked(Unauthenticated):
    code = "key_revoked"
    text = "This relay key was revoked. Ask the project's owner for a new one."


class KeyExpired(Unauthenticated):
    code = "key_expired"
    text = "This relay key has expired. Ask the project's owner for a new one."


class SignatureMissing(Unauthenticated):
    code = "signature_missing"
    text = (
        "This endpoint takes signed calls only, and this one carries no signature. Check the sender's webhook secret."
    )


class SignatureInvalid(Unauthenticated):
    code = "signature_invalid"
    text = "The signature does not fit the body. Sender and endpoint have to hold the same secret."


class SignatureExpired(Unauthenticated):
    code = "signature_expired"
    text = "The signature is too old, or from the future. Sign anew, and check the sender's clock."


class MetricsForbidden(Unauthenticated):
    code = "metrics_forbidden"
    text = "Metrics are told to this machine, or to who sends RELAY_METRICS_TOKEN as `Authorization: Bearer ...`."


class InsufficientCredits(CallerError):
    code, status = "insufficient_credits", 402
    text = "There are too few credits left for what this call may cost. Nothing was accepted."

    def __init__(self, text: str | None = None, *, details: Mapping[str, int | str] | None = None) -> None:
        self.details = details
        super().__init__(text)


class BudgetExceeded(CallerError):
    """`retry_after_seconds`: until the period of the budget ends."""

    code, status = "budget_exceeded", 402
    text = "A budget has too little left for what this call may cost. Nothing was accepted."

    def __init__(
        self,
        text: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        details: Mapping[str, int | str] | None = None,
    ) -> None:
        self.details = details
        super().__init__(text, retry_after_seconds=retry_after_seconds)


class Forbidden(CallerError):
    code, status = "forbidden", 403
    text = "This relay key may not do that."


class ProjectArchived(Forbidden):
    code = "project_archived"
    text = "The project of this relay key is archived. Its owner can restore it."


class ScopeMissing(Forbidden):
    code = "scope_missing"
    text = "This relay key lacks the scope for this call. Use another key, or ask for the scope."


class WrongProject(Forbidden):
    code = "wrong_project"
    text = "This relay key belongs to another project."


class ModelForbidden(Forbidden):
    code = "model_forbidden"
    text = "The policy of this relay key does not reach this model. GET /v1/models lists what it reaches."


class ModelUnpriced(Forbidden):
    code = "model_unpriced"
    text = (
        "Nobody knows what this model costs, and calls without a known price are not made here. "
        "Use another model; an operator can give this one a price."
    )


class AddressNotAllowed(Forbidden):
    code = "address_not_allowed"
    text = "This endpoint does not take calls from your address. Its owner can add it."


class PayerInactive(Forbidden):
    code = "payer_inactive"
    text = "The user who pays for this relay key is deactivated. An operator can reactivate them; nothing was spent."


class OriginNotAllowed(Forbidden):
    code = "origin_not_allowed"
    text = "The application of this access token does not take calls of pages of this origin. Its owner can add it."


class NotFound(CallerError):
    code, status = "not_found", 404
    text = "There is nothing at this address."


class EndpointNotFound(NotFound):
    code = "endpoint_not_found"
    text = "No such project, line or endpoint. The address is /r/{project}/{line}/{endpoint}."


class ModelNotFound(NotFound):
    code = "model_not_found"
    text = "No such model. GET /v1/models lists what this relay key reaches."


class MethodNotAllowed(CallerError):
    """`allow`: the methods that the address takes, by comma; "" where the one who answers knows them."""

    code, status = "method_not_allowed", 405
    text = "This address does not take that method."

    def __init__(self, text: str | None = None, *, allow: str = "") -> None:
        self.allow = allow
        super().__init__(text)


class BodyTimeout(CallerError):
    code, status, retryable = "body_timeout", 408, True
    text = "The body did not arrive in time. Send it again."


class CallInProgress(CallerError):
    code, status, retryable = "idempotency_in_progress", 409, True
    text = "A call with this Idempotency-Key is being made. Try again after the time in Retry-After for its answer."


class AnswerNotKept(CallerError):
    """The call was made under its Idempotency-Key, and sending it again brings nothing new."""

    code, status = "answer_not_kept", 409
    text = "The call with this Idempotency-Key was made, but its answer is not kept."


class BodyTooLarge(CallerError):
    code, status = "body_too_large", 413
    text = "The body is larger than this address takes. Nothing of it was kept."


class ContentTypeNotAllowed(CallerError):
    code, status = "content_type_not_allowed", 415
    text = "This endpoint does not take bodies of that content type or encoding."


class IdempotencyKeyReused(CallerError):
    code, status = "idempotency_key_reused", 422
    text = "This Idempotency-Key was sent with another call. Send a new key with each new call."


@dataclass(frozen=True, slots=True)
class LimitState:
    """What a rate limit leaves to the caller."""

    meter: str  # nouns.Meter: requests or tokens
    limit: int
    remaining: int
    reset_ms: int  # until all of it is left again


class RateLimited(CallerError):
    """`limits`: the tightest of each meter, for the headers of the answer."""

    code, status, retryable = "rate_limited", 429, True
    text = "A rate limit is reached. Try again after the time in Retry-After."

    def __init__(
        self,
        text: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        limits: tuple[LimitState, ...] = (),
    ) -> None:
        self.limits = limits
        super().__init__(text, retry_after_seconds=retry_after_seconds)


class RelayLoop(CallerError):
    code, status = "relay_loop", 508
    text = "The call went through too many relays. A target points back at an endpoint that leads to it."


class UpstreamError(RelayError):
    """The other side failed."""

    source, retryable = ErrorSource.UPSTREAM, True


class UpstreamConnectError(UpstreamError):
    code, status = "upstream_connect_error", 502
    text = "The upstream host could not be reached."


class UpstreamProtocolError(UpstreamError):
    code, status = "upstream_protocol_error", 502
    text = "The upstream host answered with something that is not HTTP, or cut its answer."


class AddressForbidden(UpstreamError):
    code, status, retryable = "upstream_address_forbidden", 502, False
    text = "The upstream host resolves to an address that this relay may not call."


class TargetFailed(UpstreamError):
    """The target that answers the caller gave no answer. Not tried again: the caller may, who knows what it does."""

    code, status = "target_failed", 502
    text = "The target could not be reached, or gave no whole answer."


class TokenUnavailable(UpstreamError):
    """The target was not called, so this is no failure of its."""

    code, status = "token_unavailable", 502
    text = "The relay got no access token for the target, so nothing was sent to it. Trying again can help."


class UpstreamTimeout(UpstreamError):
    code, status = "upstream_timeout", 504
    text = "The upstream host did not answer in time."


class SyncTimeout(UpstreamTimeout):
    code, retryable = "sync_timeout", False
    text = "The target did not answer in time. It may still do what was asked: the request id finds what became of it."


class RelayFault(RelayError):
    """Ours to clear; the caller did nothing wrong."""

    source, retryable = ErrorSource.RELAY, True


class InternalFault(RelayFault):
    code, status, retryable = "internal_error", 500, False
    text = "The relay failed. The request id finds the reason in its log."


class EndpointMisconfigured(RelayFault):
    """503, since who calls again once it is mended is served: webhook providers do for days."""

    code, status = "endpoint_misconfigured", 503
    text = "This endpoint cannot check its callers as it is configured, so it takes none. Its owner has to mend it."


class NoHostKey(RelayFault):
    code, status = "no_host_key", 503
    text = "No usable host key is left for this model. An operator has to add or enable one."


class Unavailable(RelayFault):
    code, status = "unavailable", 503
    text = "The relay is not ready yet. Try again after the time in Retry-After."


class AcceptUnavailable(RelayFault):
    code, status = "accept_unavailable", 503
    text = "The request could not be stored, so it was not accepted. Try again after the time in Retry-After."


class TargetHeld(RelayFault):
    code, status = "target_held", 503
    text = "The target that answers this endpoint's callers is disabled. Nothing was accepted."


class ShuttingDown(RelayFault):
    code, status = "shutting_down", 503
    text = "This relay process is shutting down. Try again at once."
