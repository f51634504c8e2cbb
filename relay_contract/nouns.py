"""The catalog, as meaning. READ THIS FILE FIRST.

Each noun is one row of one table, frozen: what the edge holds in memory and what Django stores. `models.py` takes table
names, choices and limits from here, the edge's SELECT is built from the fields here (`columns`), and
`tests/contract/test_nouns_match_models.py` compares name, type and nullability of both. A column that is not a field
here is private to the control plane: the edge's database role cannot read it.

No I/O. Rows come from `relay_edge/catalog/load.py`.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NewType, TypeAlias

from relay_contract.pricing import Rate

ProjectId = NewType("ProjectId", int)
LineId = NewType("LineId", int)
EndpointId = NewType("EndpointId", int)
TargetId = NewType("TargetId", int)
RelayKeyId = NewType("RelayKeyId", int)
HostId = NewType("HostId", int)
HostKeyId = NewType("HostKeyId", int)
ModelId = NewType("ModelId", int)
HostBindingId = NewType("HostBindingId", int)
PolicyId = NewType("PolicyId", int)
RateLimitId = NewType("RateLimitId", int)
ModelAliasId = NewType("ModelAliasId", int)
PricingId = NewType("PricingId", int)
UserId = NewType("UserId", int)


class WireShape(StrEnum):
    """The vendor's JSON that a binding speaks. `relay_edge/protocols/<shape>/` knows what it looks like."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    GEMINI = "gemini"  # towards hosts only; callers speak one of the others


class DeliveryMode(StrEnum):
    """How a target receives a request. `async`: queued, retried, and the caller is answered 202 at once."""

    ASYNC = "async"


class KeyMode(StrEnum):
    """Which money and which limits a relay key belongs to."""

    LIVE = "live"
    TEST = "test"


class Scope(StrEnum):
    """What a relay key may be used for."""

    RELAY = "relay"  # POST /r/...
    INFERENCE = "inference"  # /v1/...


class Meter(StrEnum):
    """What a rate limit counts."""

    REQUESTS = "requests"  # calls
    TOKENS = "tokens"  # input that no cache served, cache writes, and output; reserved as an estimate, then corrected
    COST = "cost"  # micro-USD; reserved at its worst, then corrected
    CONCURRENCY = "concurrency"  # calls in flight; the window is the lease: a lost caller frees its place after it


class Algorithm(StrEnum):
    """How a rule forgets what it counted. A concurrency rule has leases instead."""

    SLIDING_WINDOW = "sliding_window"  # at most `amount` in any `window_seconds`
    GCRA = "gcra"  # spread evenly: `amount` in `window_seconds`, of which `burst` at once


class Selection(StrEnum):
    """How a policy chooses among bindings of equal priority."""

    PRIORITY = "priority"  # by id: always the same first
    WEIGHT = "weight"  # by chance, in proportion to `HostBinding.weight`
    LEAST_BUSY = "least_busy"  # fewest calls in flight in this process
    LATENCY = "latency"  # lowest moving average of the time to the first token
    COST = "cost"  # cheapest by its price row


class FallbackCondition(StrEnum):
    """What must have gone wrong for a fallback to be tried."""

    ANY_FAILURE = "any_failure"  # no host of the model could answer; not a fault of the caller
    CONTEXT_LENGTH = "context_length"  # the prompt is too long for the model
    CONTENT_FILTER = "content_filter"  # the host refused the content


MAX_SLUG_LENGTH = 63
SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z"
"""A slug stands in URLs and host names: lower case, digits, dot, dash, underscore; ends are letters or digits."""

HOST_LABEL_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"
"""A project's slug is also a DNS label, since `{project}.<RELAY_DOMAIN>` names it (RFC 1123)."""

MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}\Z"
"""What callers write in `model`. Vendors use slashes, colons and dots."""

DEFAULT_RETRY_SCHEDULE_SECONDS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Waits between attempts: Standard Webhooks' advice, ten attempts over 75.6 hours."""

MAX_RETRY_ATTEMPTS = 30
MAX_TARGET_TIMEOUT_SECONDS = 90
DEFAULT_TARGET_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a rate limit, e.g. 600 requests in 60 seconds. Stored as JSON inside `RateLimit.rules`."""

    meter: Meter
    amount: int
    window_seconds: int
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    burst: int = 1  # GCRA only: how much may come at once

    def __post_init__(self) -> None:
        if self.burst < 1:
            raise ValueError("burst is below 1")


@dataclass(frozen=True, slots=True)
class Fallback:
    """Where a call goes when its model fails. Stored as JSON inside `Policy.fallbacks`; the first that fits counts."""

    models: tuple[str, ...]  # patterns of the models it stands behind, as in `Policy.models`
    when: tuple[FallbackCondition, ...]
    then: tuple[str, ...]  # names of models, tried in this order; the policy must grant them too


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model takes. Stored as JSON inside `Model.capabilities`. None: not known; its name may tell."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None
    documents: bool | None = None
    audio: bool | None = None
    structured_output: bool | None = None  # a JSON schema that the model is held to
    prefill: bool | None = None  # a last turn of the assistant that the model goes on from
    reasoning: bool | None = None
    thinking_modes: tuple[str, ...] | None = None  # of "none", "manual", "adaptive"
    effort_levels: tuple[str, ...] | None = None  # of THINKING_EFFORTS
    sampling_limits: str | None = None  # "any", "one" of temperature and top_p, or "nothing"


CAPABILITY_WORDS: dict[str, tuple[str, ...]] = {
    "thinking_modes": ("none", "manual", "adaptive"),
    "effort_levels": ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "sampling_limits": ("any", "one", "nothing"),
}
"""What the capabilities that are words may be."""


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant, and the app that its keys speak for."""

    table: ClassVar[str] = "catalog_project"

    id: ProjectId
    slug: str  # first segment of /r/{project}/..., and the host label
    is_archived: bool  # True refuses every key of the project
    rate_limit_id: RateLimitId | None  # over all keys of the project together


@dataclass(frozen=True, slots=True)
class Line:
    """A version of a project's public API: the segment before the endpoint."""

    table: ClassVar[str] = "catalog_line"

    id: LineId
    project_id: ProjectId
    slug: str  # e.g. "v1"
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a caller posts to: `/r/{project}/{line}/{endpoint}`."""

    table: ClassVar[str] = "catalog_endpoint"

    id: EndpointId
    line_id: LineId
    slug: str
    is_enabled: bool
    max_body_bytes: int  # a larger body is refused with 413, never cut
    rate_limit_id: RateLimitId | None


@dataclass(frozen=True, slots=True)
class Target:
    """One destination of an endpoint. The edge only needs to know that it exists; URL and secret belong to delivery."""

    table: ClassVar[str] = "catalog_target"

    id: TargetId
    endpoint_id: EndpointId
    name: str
    delivery_mode: DeliveryMode
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class RelayKey:
    """The bearer of an app. Only the SHA-256 of the token is stored."""

    table: ClassVar[str] = "access_relaykey"

    id: RelayKeyId
    project_id: ProjectId
    mode: KeyMode
    token_hash: bytes  # 32 bytes
    scopes: tuple[Scope, ...]
    policy_id: PolicyId | None  # None reaches no model
    rate_limit_id: RateLimitId | None
    user_id: UserId | None  # whose key it is; counted together by `Policy.user_rate_limit_id`
    captures_payloads: bool  # keep what this key sends and receives, redacted, for a while
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Host:
    """A vendor's API surface, e.g. https://api.example.com/v1."""

    table: ClassVar[str] = "catalog_host"

    id: HostId
    slug: str
    base_url: str  # without a trailing slash; the shape's path (`/chat/completions`, `/messages`) is added to it
    is_enabled: bool
    connect_timeout_ms: int
    first_byte_timeout_ms: int  # from the request's last byte to the answer's first
    first_token_timeout_ms: int  # of a stream: from the request's last byte to the first content
    idle_timeout_ms: int  # between two reads of an answer
    total_timeout_ms: int
    passthrough_paths: tuple[str, ...]  # below the base URL, what /passthrough/{slug}/ may call; `*` ends a prefix


@dataclass(frozen=True, slots=True)
class HostKey:
    """A real credential of a host, sealed. Many keys of one host form a pool."""

    table: ClassVar[str] = "catalog_hostkey"

    id: HostKeyId
    host_id: HostId
    name: str
    sealed_value: bytes  # `sealing.Sealer`, bound to `host_key:{id}`
    reference: str  # where the value is read instead, e.g. `env:NAME`; "" for the sealed one
    rate_limit_id: RateLimitId | None  # what the vendor allows this key
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Model:
    """What callers write in `model`."""

    table: ClassVar[str] = "catalog_model"

    id: ModelId
    name: str
    owned_by: str  # also the `provider` in a policy's `provider/*`
    is_enabled: bool
    capabilities: Capabilities
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ModelAlias:
    """Another name of a model. A model's own name wins over an alias of the same spelling."""

    table: ClassVar[str] = "catalog_modelalias"

    id: ModelAliasId
    model_id: ModelId
    name: str


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a host asks for a model. Stored rates are `pricing.Rate`."""

    table: ClassVar[str] = "catalog_pricing"

    id: PricingId
    slug: str
    rates: tuple[Rate, ...]


@dataclass(frozen=True, slots=True)
class HostBinding:
    """A model on a host: which shape the host speaks for it, and what the host calls it."""

    table: ClassVar[str] = "catalog_hostbinding"

    id: HostBindingId
    model_id: ModelId
    host_id: HostId
    wire_shape: WireShape
    upstream_name: str
    priority: int  # the lowest is tried first
    weight: int  # share among bindings of equal priority, where the policy selects by weight
    pricing_id: PricingId | None  # None: nobody knows what it costs
    first_byte_timeout_ms: int | None  # None: the host's
    first_token_timeout_ms: int | None
    idle_timeout_ms: int | None
    total_timeout_ms: int | None
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """Which models a relay key reaches, and how much of them."""

    table: ClassVar[str] = "catalog_policy"

    id: PolicyId
    slug: str
    models: tuple[str, ...]  # grants, e.g. `gpt-5`, `openai/*`, `gpt-5@azure`; `-` before one denies, and wins
    rate_limit_id: RateLimitId | None
    user_rate_limit_id: RateLimitId | None  # counted for each user whose keys have this policy
    selection: Selection
    keeps_affinity: bool  # calls that begin alike go to the same host key, whose prompt cache knows them
    fallbacks: tuple[Fallback, ...]
    is_strict: bool  # what another shape cannot carry is refused instead of warned of
    captures_payloads: bool


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A named set of rules that keys, policies, projects and endpoints may share; each of them counts for itself."""

    table: ClassVar[str] = "catalog_ratelimit"

    id: RateLimitId
    slug: str
    rules: tuple[Rule, ...]


Noun: TypeAlias = (
    Project
    | Line
    | Endpoint
    | Target
    | RelayKey
    | Host
    | HostKey
    | Model
    | ModelAlias
    | HostBinding
    | Policy
    | RateLimit
    | Pricing
)

NOUNS: tuple[type[Noun], ...] = (
    RateLimit,
    Policy,
    Project,
    Line,
    Endpoint,
    Target,
    RelayKey,
    Host,
    HostKey,
    Model,
    ModelAlias,
    Pricing,
    HostBinding,
)
"""Every noun the edge holds, in an order in which references point backwards."""

BY_TABLE: dict[str, type[Noun]] = {noun.table: noun for noun in NOUNS}


def columns(noun: type[Noun]) -> tuple[str, ...]:
    """The column names of a noun's row, in the order of its fields. The edge may read these and no others."""
    return tuple(field.name for field in fields(noun))


def rules_from_json(document: list[dict[str, Any]]) -> tuple[Rule, ...]:
    """`RateLimit.rules` as stored -> rules. Raises KeyError or ValueError where a row was written past the model."""
    return tuple(
        Rule(
            Meter(rule["meter"]),
            rule["amount"],
            rule["window_seconds"],
            Algorithm(rule.get("algorithm", Algorithm.SLIDING_WINDOW)),
            rule.get("burst", 1),
        )
        for rule in document
    )


def fallbacks_from_json(document: list[dict[str, Any]]) -> tuple[Fallback, ...]:
    """`Policy.fallbacks` as stored. Raises KeyError or ValueError."""
    return tuple(
        Fallback(tuple(each["models"]), tuple(map(FallbackCondition, each["when"])), tuple(each["then"]))
        for each in document
    )


def capabilities_from_json(document: dict[str, Any]) -> Capabilities:
    """`Model.capabilities` as stored, without words of a newer version. Raises AttributeError for what is no object."""
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name in CAPABILITIES
    }
    return Capabilities(**known)


CAPABILITIES: tuple[str, ...] = tuple(field.name for field in fields(Capabilities))


def host_key_binding(host_key_id: int) -> str:
    """What a host key's sealed value is bound to, so that it opens in its own row only."""
    return f"host_key:{host_key_id}"


def signing_secret_binding(target_id: int) -> str:
    """What a target's sealed signing secret is bound to."""
    return f"target:{target_id}"
