"""Header names we read and write, and which of a caller's headers travel on.

Names are lower case: HTTP compares them without case (RFC 9110 section 5.1), and both parsers here hand them over so.
"""

REQUEST_ID = "x-request-id"
"""In: the caller's own id, echoed when it is short and printable. Out: the id under which the relay logged the call."""

TAGS = "x-relay-tags"
"""In, on a call to a model: the caller's own words for it, kept with its row."""

TRACE_TAG = "relay-trace"
"""Of these words the one that asks for a trace of this very call, whatever its value."""

IDEMPOTENCY_KEY = "idempotency-key"
"""In: the caller's name for what is to be done once, however often it is sent."""
IDEMPOTENT_REPLAYED = "idempotent-replayed"
ORIGINAL_REQUEST_ID = "x-relay-original-request-id"
"""On an answer that was kept from an earlier call with the same Idempotency-Key: `true`, and under which id that call
was logged."""

DURABILITY = "relay-durability"
DURABILITY_COMMITTED = "committed"
"""A 202 with this value was committed in Postgres before it was sent."""

RETRY_AFTER = "retry-after"
RETRY_AFTER_MS = "retry-after-ms"

KEY_STATUS = "x-relay-key-status"
KEY_EXPIRED_GRACE = "expired_grace"
"""On every answer to a relay key that has expired and works for a last while."""
KEY_SUCCESSOR = "x-relay-key-successor"
SUCCESSOR_PATH = "/api/v1/relay-keys/self/successor"
"""Of the control plane: where a key's holder reads the token of its successor, once."""
"""`true` on every answer to a relay key that was rotated and is about to end: another has taken its place."""

SERVED_MODEL = "x-relay-model"
SERVED_HOST = "x-relay-host"
ATTEMPTS = "x-relay-attempts"
"""On an answer to a call to a model: who gave it, and how many tries at hosts it took."""

CHARGE = "x-relay-charge"
"""On a whole answer to a call to a model: what the call was charged, in micro-credits."""

SERVER_TIMING = "server-timing"
"""On every answer to a call to a model: what the relay itself took of the time until its head, in milliseconds."""

ESTIMATE = "x-relay-estimate"
"""`true` on a count of tokens that the relay made itself, since no host of the model counts."""

ERROR_SOURCE = "x-relay-error-source"
"""On every error answer: whose fault it is (`traffic.ErrorSource`)."""

DELIVERY_ID = "relay-delivery-id"
ATTEMPT = "relay-attempt"
REPLAY = "relay-replay"
"""On a delivery to a target: its id, the number of this try from 1, and how often it was replayed (absent for 0)."""

SHADOW = "relay-shadow"
"""`1` on a delivery to a shadow target, which only gets a copy: it must do nothing that others notice."""

HOPS = "relay-hops"
"""On everything that is sent to a target: through how many relays it came. In: the same, of the relay before."""

TARGET = "x-relay-target"
"""On an answer that a target gave: the target's name."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 section 7.6.1: these speak of one connection and end with it."""

CREDENTIALS = frozenset(
    {"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "set-cookie", "proxy-authorization"}
)
"""Never leave the process that received them, towards any side, log or table."""

OF_A_BODY = frozenset({"content-encoding", "content-length", "content-md5", "content-digest", "digest", "repr-digest"})
"""Say something of the very bytes beside them, so they do not survive a body that is made anew."""

NOT_STORED = (
    HOP_BY_HOP
    | CREDENTIALS
    | {
        "host",
        "content-length",
        "content-encoding",
        "expect",
        "date",
        "via",
        "forwarded",
        "accept",
        "accept-encoding",
        "accept-language",
        "user-agent",
        "origin",
        "referer",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
)
"""Headers of a relayed call that do not reach its targets: ours to write, or about the caller's connection."""

NOT_STORED_PREFIXES = ("x-forwarded-", "relay-", "sec-", "cf-", "x-real-")

_NOT_PASSED = (NOT_STORED - {"accept", "accept-language"}) | {REQUEST_ID, "openai-organization", "openai-project"}
_NOT_PASSED_PREFIXES = (*NOT_STORED_PREFIXES, "x-relay-", "x-goog-")


def reaches_hosts(name: str) -> bool:
    """True for a header (lower case) of the caller that a raw call takes to its host. Accounts are not the caller's to
    choose."""
    return name not in _NOT_PASSED and not name.startswith(_NOT_PASSED_PREFIXES)


MAX_STORED_HEADERS = 40
MAX_STORED_HEADER_BYTES = 4096


def reaches_targets(name: str) -> bool:
    """True for a header (lower case) of the caller that is stored with the request and sent on to each target."""
    return name not in NOT_STORED and not name.startswith(NOT_STORED_PREFIXES)
