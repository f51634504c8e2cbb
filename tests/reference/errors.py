"""Errors of the edge and ends of deliveries: what the code says of each, and beside it who clears it and how."""

from collections.abc import Iterator

from delivery.attempt import Fault
from delivery.outcome import DEAD_AT_ONCE
from relay_contract.errors import RelayError
from relay_contract.intake import DeadReason
from relay_edge.error_shapes import anthropic_type, openai_type

CLEARED_BY = {
    "bad_request": "caller: the message says what cannot be read",
    "malformed_json": "caller: send one JSON object in UTF-8",
    "bad_field": "caller: change the field that the message (OpenAI: `param`) names",
    "schema_mismatch": "caller, or who edits the endpoint: its [schema](../origin-shield.md)",
    "bad_header": "caller: send the header as the message says",
    "missing_key": "caller: send a relay key, or an [access token](../access-tokens.md)",
    "invalid_key": "caller: copy the key whole; else a new one, from who manages [keys](../relay-keys.md)",
    "invalid_token": "application: get another access token",
    "token_expired": "application: the refresh token gets another",
    "token_revoked": "user: authorise the application again",
    "key_revoked": "who manages the project's [keys](../relay-keys.md): make a new one",
    "key_expired": "the same",
    "signature_missing": "sender: [sign](../inbound-signatures.md), with the endpoint's secret",
    "signature_invalid": "sender and who edits the endpoint: hold the same secret; nothing between may change the body",
    "signature_expired": "sender: set the clock; sign each try anew",
    "metrics_forbidden": "operator: send `RELAY_METRICS_TOKEN`",
    "insufficient_credits": "who pays: [top up](../top-up.md), or ask for a bound (`max_tokens`) that costs less",
    "budget_exceeded": "wait for `Retry-After`, or who set the [budget](../prepaid.md) raises it",
    "forbidden": "who manages the project: another key or right",
    "project_archived": "operator: restore the project",
    "scope_missing": "caller: use a key with the scope; who manages keys can make one",
    "wrong_project": "caller: use a key of the project in the address",
    "model_forbidden": "operator: grant the model in the [policy](../routing.md)",
    "model_unpriced": "operator: [price the model](../pricing.md#models-without-a-price)",
    "address_not_allowed": "who edits the endpoint: `allowed_networks`. Behind a proxy: `RELAY_TRUSTED_PROXIES`",
    "payer_inactive": "operator: reactivate the user, or let another pay",
    "origin_not_allowed": "who edits the application: its [origins](../access-tokens.md#pages-in-browsers)",
    "not_found": "caller: compare the address with [what can be called](../surfaces.md)",
    "endpoint_not_found": "caller: compare the address; who edits the line: enable it",
    "model_not_found": "caller: a name of `GET /v1/models`",
    "method_not_allowed": "caller: one of `Allow`",
    "body_timeout": "caller: send it again, faster than `RELAY_BODY_TIMEOUT_SECONDS`",
    "idempotency_in_progress": "wait for `Retry-After`, then send it again",
    "answer_not_kept": "caller: look the first call up; a new key makes it again",
    "body_too_large": "caller: send less; endpoint: `max_body_bytes`; models: `RELAY_MAX_BODY_BYTES`",
    "content_type_not_allowed": "caller, or who edits the endpoint: `content_types`",
    "idempotency_key_reused": "caller: a new key for each new call",
    "rate_limited": "wait for `Retry-After`; who set the [limit](../limits.md) can raise it",
    "relay_loop": "who edits the targets: one leads back to its own endpoint",
    "upstream_connect_error": "try again; operator: is the host up, and its `base_url` right",
    "upstream_protocol_error": "try again; operator: what the host answered is in the call's trace",
    "upstream_address_forbidden": "operator: another URL, or `RELAY_EGRESS_ALLOW` ([egress](../egress.md))",
    "target_failed": "caller decides whether to call again; who runs the target: the message names the fault",
    "token_unavailable": "try again; who edits the target: its [credentials](../target-credentials.md)",
    "upstream_timeout": "try again; operator: the host's [time limits](../failover.md#time-limits)",
    "sync_timeout": "caller: look the request up by its id before calling again ([sync](../sync.md#once))",
    "internal_error": "operator: the log, by the request id",
    "endpoint_misconfigured": "who edits the endpoint: its [signature](../inbound-signatures.md) cannot be checked",
    "no_host_key": "operator: a host key, or wait: [Resolve](../routing.md) says which is missing or left alone",
    "unavailable": "wait for `Retry-After`; operator: [what is away](../outages.md)",
    "accept_unavailable": "wait for `Retry-After`, send it again with its key; operator: Postgres",
    "target_held": "who edits the target: enable it ([deliveries](../deliveries.md#disabled-targets))",
    "shutting_down": "send it again at once: another process answers",
}
"""By code: who, and what they do."""


def tree(error: type[RelayError] = RelayError) -> Iterator[type[RelayError]]:
    """The errors that have a code, as the tree is drawn."""
    if "code" in vars(error):
        yield error
    for below in error.__subclasses__():
        yield from tree(below)


def of_the_edge() -> str:
    """A row an error."""
    rows = "".join(
        f"| {error.status} | `{error.code}` | {error.source.value} | {'yes' if error.retryable else 'no'} |"
        f" {_in_a_cell(error.text)} | {CLEARED_BY[error.code]} |\n"
        for error in tree()
    )
    head = "| status | code | whose fault | again? | sentence | who clears it, and how |\n|---|---|---|---|---|---|\n"
    return head + rows


def types_by_status() -> str:
    """What OpenAI and Anthropic call an error of each status that there is."""
    statuses = sorted({error.status for error in tree()})
    rows = "".join(f"| {status} | `{openai_type(status)}` | `{anthropic_type(status)}` |\n" for status in statuses)
    return f"| status | OpenAI: `error.type` | Anthropic: `error.type` |\n|---|---|---|\n{rows}"


ENDS = {
    DeadReason.ATTEMPTS_EXHAUSTED: "every attempt of the schedule failed; mend the target, then replay",
    DeadReason.PERMANENT_FAILURE: "the target answered what is not tried again (a 4xx, or what `retry_on` leaves out)",
    DeadReason.TARGET_GONE: "410: the target is disabled as well",
    DeadReason.TARGET_DELETED: "its target was deleted while it waited; it cannot be replayed",
    DeadReason.ADDRESS_REFUSED: "the target's name leads to an address that is not called ([egress](../egress.md))",
    DeadReason.PAYLOAD_EXPIRED: "the body was forgotten before it could be sent (`RELAY_PAYLOAD_RETENTION_DAYS`)",
    DeadReason.MAPPING_FAILED: "the target's [mapping](../shaping.md) cannot be applied to this body",
    DeadReason.EXPIRED: "`expire_seconds` were over, attempts, waiting and holding included",
    DeadReason.UNKNOWN_OUTCOME: "a sync or stream call whose worker or edge died with it: it may have been done",
    DeadReason.NO_ANSWER_IN_TIME: "a sync call that no worker took before its caller's deadline; it was not sent",
    DeadReason.NO_ROOM: "a sync call whose target takes nothing at the moment; it was not sent",
    DeadReason.BLOCKED_KEY: "an earlier delivery of its ordering key is dead, and the policy is `block`",
    DeadReason.DISCARDED_BY_OPERATOR: "somebody took it out of the queue",
}

FAULTS = {
    Fault.TIMEOUT: "no whole answer within `timeout_seconds`",
    Fault.DNS_FAILURE: "the name of the target has no address, or nobody said so in time",
    Fault.ADDRESS_REFUSED: "it has one that the relay does not call",
    Fault.CONNECTION_REFUSED: "nobody listens there",
    Fault.CONNECTION_RESET: "the connection was reset",
    Fault.CONNECTION_CLOSED: "the target closed before it answered",
    Fault.CONNECT_FAILED: "unreachable, or several addresses that failed in several ways",
    Fault.TLS_FAILURE: "no TLS could be agreed on",
    Fault.CERTIFICATE_REFUSED: "the target's certificate is none that is trusted for its name",
    Fault.INVALID_RESPONSE: "what came is not HTTP",
    Fault.RESPONSE_HEADER_TOO_LARGE: "a header line of the answer is too long",
    Fault.RESPONSE_BROKEN_OFF: "the answer ended before the length that it had announced",
    Fault.BAD_URL: "the target's URL cannot be called",
    Fault.BAD_HEADER: "a header holds what HTTP does not allow",
    Fault.SECRET_UNREADABLE: "a secret of the target is missing, or no [master key](../secrets.md) opens it",
    Fault.MAPPING_FAILED: "the mapping cannot be applied to this body",
    Fault.ANSWER_MAPPING_FAILED: "the answer mapping cannot be applied to this answer",
    Fault.TOKEN_UNAVAILABLE: "the token endpoint gave no token; the target was not called",
    Fault.TOKEN_REFUSED: "the target answered 401 to a fetched token, which is given up",
    Fault.CLIENT_CERTIFICATE_UNUSABLE: "the client certificate or its key cannot be used",
    Fault.TARGET_DELETED: "the target is gone",
    Fault.NO_ROOM: "a sync target takes nothing at the moment; it was not called",
    Fault.ANSWER_TOO_LARGE: "a sync target's answer is too large to be passed on whole",
    Fault.PAYLOAD_EXPIRED: "the body is no more",
    Fault.EXPIRED: "its time was over before it could be sent",
    Fault.LEASES_LOST: "worker after worker was lost while it sent this one",
    Fault.WORKER_STOPPED: "the worker shut down meanwhile; another sends it",
    Fault.INTERNAL_ERROR: "the relay failed: the log has it under the delivery's id",
}


def ends_of_deliveries() -> str:
    """A row a reason."""
    rows = "".join(f"| `{reason}` | {ENDS[reason]} |\n" for reason in DeadReason)
    return f"| reason | because |\n|---|---|\n{rows}"


def faults_of_attempts() -> str:
    """A row a fault."""
    rows = "".join(
        f"| `{fault}` | {FAULTS[fault]} | {'at once' if fault in DEAD_AT_ONCE else 'by the schedule'} |\n"
        for fault in Fault
    )
    return f"| fault | what happened | dead |\n|---|---|---|\n{rows}"


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")
