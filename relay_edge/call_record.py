"""What is known of one call when it is over: one object, filled on the way by whoever knows, read at the end.

It feeds usage records, traces, metrics, spans and the access log. Values and references: no secret, and no body but in
`capture`, where somebody asked for it. Times are seconds of `time.monotonic()` unless they say otherwise.
"""

from dataclasses import dataclass, field

from relay_contract.errors import LimitState
from relay_contract.nouns import Host, HostKey, KeyMode, Policy
from relay_contract.traffic import ErrorSource, FailureClass
from relay_contract.usage import Usage, UsageSource
from relay_edge.capture import Capture
from relay_edge.protocols.notes import Notes
from relay_edge.purses import Paying
from relay_edge.reservation import Reservation
from relay_edge.routing import Candidate, Plan

LEFT = 499
"""The status of a caller who left before the answer was whole."""


@dataclass(slots=True)
class Attempt:
    """One try at one candidate."""

    candidate: Candidate
    started: float
    status: int = 0  # of the host's answer; 0 when there was none
    error: str = ""  # code of the error that the try came to, or ""
    failure: FailureClass | None = None  # None: it answered, or the caller left
    has_left: bool = False  # the caller left before the end
    first_byte: float | None = None
    first_token: float | None = None
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """What a call used, how that is known, and what it cost."""

    usage: Usage
    source: UsageSource
    cost_nanousd: int | None  # None: nobody knows a price
    charge: int = 0  # micro-credits that the payer pays: cost and mark-up
    markup: int = 0

    @property
    def is_used(self) -> bool:
        """Whether a host was asked for anything that counts."""
        return self.source is not UsageSource.NONE


@dataclass(frozen=True, slots=True)
class Reached:
    """A host that was called by its name and for no model."""

    host: Host
    key: HostKey  # that was used last
    tries: int


@dataclass(slots=True)
class CallRecord:
    """A call, from its first byte to its last."""

    request_id: str
    surface: str  # e.g. chat_completions
    started: float
    received_at: float  # Unix time
    is_own_id: bool = False  # `request_id` is one of ours, and no other call has it
    project_id: int | None = None  # None: nobody was recognised
    relay_key_id: int | None = None  # None of a call with an access token, which has:
    application_id: int | None = None
    user_id: int | None = None
    mode: KeyMode = KeyMode.LIVE
    requested_model: str = ""
    is_stream: bool = False
    candidate: Candidate | None = None  # that answered, or was tried last
    reached: Reached | None = None  # instead of a candidate
    attempts: list[Attempt] = field(default_factory=list)
    status: int = LEFT  # as the caller saw it
    error: str = ""  # code of the error, or ""
    error_source: ErrorSource | None = None
    finish: str = ""  # canonical.Stop, or ""
    usage: Usage | None = None  # None: the host said nothing, or nobody answered
    usage_source: UsageSource = UsageSource.NONE
    is_free: bool = False  # nothing is counted or priced, whatever the host says
    prompt_tokens: int | None = None  # an estimate, where the body's length says nothing of it: a form with files
    audio_bytes: int = 0  # of files that hold sound to listen to
    first_token: float | None = None
    asked: float | None = None  # when admission was asked; None: it never was
    admitted: float | None = None  # None: it was refused
    upstream_seconds: float = 0.0  # from the first byte to a host to the end of its answer, over all attempts
    ended: float = 0.0
    delivered_characters: int = 0  # of content, as far as the caller got it
    bytes_in: int = 0
    bytes_out: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    policy: Policy | None = None
    paying: Paying | None = None  # who is charged
    plan: Plan | None = None
    has_affinity: bool = False  # a conversation that belongs to one host key
    reservation: Reservation | None = None
    limits: tuple[LimitState, ...] = ()  # of the rule that refused the call
    notes: Notes | None = None  # what the last try could not carry
    capture: Capture | None = None
    traceparent: str = ""  # as the caller sent it, where spans are exported
    told: Bill | None = field(default=None, init=False, repr=False)  # what the head of a whole answer said
    bill: Bill | None = field(default=None, init=False, repr=False)  # see `call_rows.bill_of`

    @property
    def tries(self) -> int:
        """How many candidates, or keys, were tried."""
        return len(self.attempts) if self.reached is None else self.reached.tries

    @property
    def model(self) -> str:
        """The model that answered, or was tried last; what was asked for where nothing was tried."""
        return self.requested_model if self.candidate is None else self.candidate.model.name

    @property
    def host(self) -> str:
        """The host that answered, or was tried last."""
        reached = self.candidate or self.reached
        return "" if reached is None else reached.host.slug
