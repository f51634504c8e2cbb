"""One try to deliver, as values: what was claimed, what the target answered, and the headers that go out. Pure."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from yarl import URL

from relay_contract import headers, signing
from relay_contract.oauth2 import ClientCredentials
from relay_contract.shaping.mapping import Mapping as ShapingMapping
from relay_contract.shaping.mapping import Shaped

USER_AGENT = "Relay/1"
MAX_RESPONSE_BYTES = 65_536
"""A longer answer is read no further and its connection is closed."""
MAX_EXCERPT_BYTES = 4_096
"""How much of an answer is kept with its attempt."""


class Fault(StrEnum):
    """Why an attempt has no usable answer. Stored as `Attempt.error` and `Delivery.last_error`."""

    TIMEOUT = "timeout"
    DNS_FAILURE = "dns_failure"
    ADDRESS_REFUSED = "address_refused"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    CONNECTION_CLOSED = "connection_closed"  # ended before an answer
    CONNECT_FAILED = "connect_failed"  # unreachable, or several addresses that failed in several ways
    TLS_FAILURE = "tls_failure"
    CERTIFICATE_REFUSED = "certificate_refused"
    INVALID_RESPONSE = "invalid_response"  # not HTTP
    RESPONSE_HEADER_TOO_LARGE = "response_header_too_large"
    RESPONSE_BROKEN_OFF = "response_broken_off"  # ended before the length it had announced
    BAD_URL = "bad_url"
    BAD_HEADER = "bad_header"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 (a code): a secret is not there, or does not open with our master key
    MAPPING_FAILED = "mapping_failed"  # the mapping cannot be applied to this body
    ANSWER_MAPPING_FAILED = "answer_mapping_failed"  # and the same of a target's answer
    TOKEN_UNAVAILABLE = "token_unavailable"  # noqa: S105 (a code): the token endpoint gave none; nothing was sent
    TOKEN_REFUSED = "token_refused"  # noqa: S105 (a code): the target answered 401 to a token, which is given up
    CLIENT_CERTIFICATE_UNUSABLE = "client_certificate_unusable"
    TARGET_DELETED = "target_deleted"
    NO_ROOM = "no_room"  # of a sync delivery whose target takes nothing at the moment
    ANSWER_TOO_LARGE = "answer_too_large"  # of a sync delivery: the caller would get a part of it
    PAYLOAD_EXPIRED = "payload_expired"
    EXPIRED = "expired"  # its time was over before it could be sent
    LEASES_LOST = "leases_lost"  # worker after worker was lost while it sent this one
    WORKER_STOPPED = "worker_stopped"
    INTERNAL_ERROR = "internal_error"  # ours; the log has it under delivery_id


@dataclass(frozen=True, slots=True)
class Needs:
    """What a target wants besides its static headers and a signature."""

    mapping: ShapingMapping | None = None
    answer_mapping: ShapingMapping | None = None
    authorization: str = field(default="", repr=False)  # the header's value; "" none
    credentials: ClientCredentials | None = None  # for the token that goes into that header instead
    tls: ssl.SSLContext | None = None  # shows the client certificate; None: the usual one, which shows none


@dataclass(frozen=True, slots=True)
class Destination:
    """A target, ready to be sent to."""

    url: URL
    headers: Mapping[str, str]  # static ones, names in lower case
    timeout_seconds: int  # from the look-up of the name to the last byte of the answer
    retry_schedule_seconds: tuple[int, ...]
    signing_keys: tuple[signing.DatedKey, ...]  # at least one
    retry_on: frozenset[str] | None = None  # what is tried again; None: all that is not known to be permanent
    needs: Needs | None = None  # None for most: then an attempt pays nothing for what others need
    secrets: tuple[bytes, ...] = field(default=(), repr=False)  # of its static headers, which its answers may quote


@dataclass(frozen=True, slots=True)
class Manner:
    """How a request is put, and how much of its answer is read."""

    method: str = "POST"
    query: str = ""  # raw, added to that of the target's URL
    max_answer_bytes: int = MAX_RESPONSE_BYTES
    keeps_answer: bool = False

    def url(self, target: URL) -> URL:
        """Where the request goes. Raises ValueError for a query that no URL takes."""
        if not self.query:
            return target
        return URL(f"{target}{'&' if target.raw_query_string else '?'}{self.query}", encoded=True)


POSTED = Manner()
"""Of deliveries that nobody waits for."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a mapping may look at of a call, besides headers and body."""

    event_type: str = ""
    method: str = "POST"
    path: str = ""
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this process may send until its lease ends. `claim_id` is the fence for the result."""

    delivery_id: UUID
    claim_id: UUID
    request_id: UUID
    target_id: int
    shard: int
    number: int  # of this try, from 1
    replay: int
    content_type: str
    request_headers: Mapping[str, str]
    body: bytes | None  # None: past its retention
    url: str  # "" where the target was deleted
    destination: Destination | Fault
    body_bytes: int  # what it counts for in memory
    revision: int  # of the line's configuration
    target_version: int
    is_watched: bool = False  # a success would change the target's state
    is_paced: bool = False  # others may wait for this one's end
    is_shadow: bool = False
    is_compared: bool = False  # its answer is kept, for `delivery/compare.py`
    manner: Manner = POSTED
    call: CallFacts = CallFacts()


@dataclass(frozen=True, slots=True)
class Whole:
    """All of an answer."""

    headers: tuple[tuple[bytes, bytes], ...]  # as sent
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. With a fault the status may still be known: it came before the rest broke off. Where nothing was
    sent the excerpt may say why, in our words."""

    started_at: datetime
    duration_ms: int
    status: int | None
    fault: Fault | None
    retry_after: str | None = None  # the header's text
    excerpt: bytes = b""  # at most MAX_EXCERPT_BYTES
    is_cut: bool = False  # the excerpt is not the whole answer
    whole: Whole | None = None  # where the claim's manner keeps it, and it is not too large
    kept: bytes = b""  # of a delivery that is compared: at most MAX_RESPONSE_BYTES
    is_kept_cut: bool = False  # and it is not the whole answer


def request_headers(
    claim: Claim,
    destination: Destination,
    body: bytes,
    timestamp: int,
    *,
    shaped: Shaped | None = None,
    authorization: str = "",
) -> dict[str, str]:
    """The headers of one attempt, names in lower case; `timestamp` in Unix seconds, of this attempt.

    `body` is what is sent: that of `shaped` where it made one. Later ones win: the caller's, the mapping's, the
    target's static ones, its credentials, ours. Raises ValueError for an id no signature can carry.
    """
    sent = {"accept": "*/*", "user-agent": USER_AGENT, **claim.request_headers}
    if claim.content_type:
        sent["content-type"] = claim.content_type
    if shaped is not None:
        if shaped.body is not None:
            sent["content-type"] = "application/json"
            for name in headers.OF_A_BODY & sent.keys():
                del sent[name]
        sent.update(shaped.headers)
    sent.update(destination.headers)
    if authorization:
        sent["authorization"] = authorization
    keys = signing.keys_at(destination.signing_keys, datetime.fromtimestamp(timestamp, UTC))
    sent.update(signing.signature_headers(keys, str(claim.request_id), timestamp, body))
    sent[headers.DELIVERY_ID] = str(claim.delivery_id)
    sent[headers.ATTEMPT] = str(claim.number)
    if claim.is_shadow:
        sent[headers.SHADOW] = "1"
    if claim.replay:
        sent[headers.REPLAY] = str(claim.replay)
    return sent
