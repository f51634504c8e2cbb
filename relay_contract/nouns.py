"""The catalog, as meaning. READ THIS FILE FIRST.

Each noun is one row of one table, frozen: what the edge holds in memory and what Django stores. `models.py` takes table
names, choices and limits from here, the edge's SELECT is built from the fields here (`columns`), and
`tests/contract/test_nouns_match_models.py` compares name, type and nullability of both. A column that is not a field
here is private to the control plane: the edge's database role cannot read it.

No I/O. Rows come from `relay_edge/catalog/load.py`.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NewType, TypeAlias

from relay_contract.periods import Period
from relay_contract.pricing import Rate

ProjectId = NewType("ProjectId", int)
LineId = NewType("LineId", int)
EndpointId = NewType("EndpointId", int)
TargetId = NewType("TargetId", int)
TargetSecretId = NewType("TargetSecretId", int)
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
ApplicationId = NewType("ApplicationId", int)
SigningKeyId = NewType("SigningKeyId", int)
RevocationId = NewType("RevocationId", int)
AccountId = NewType("AccountId", int)
TermsId = NewType("TermsId", int)
MembershipId = NewType("MembershipId", int)


class WireShape(StrEnum):
    """The vendor's JSON that a binding speaks. `relay_edge/protocols/<shape>/` knows what it looks like."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    GEMINI = "gemini"  # towards hosts only; callers speak one of the others


class DeliveryMode(StrEnum):
    """How a target receives a request."""

    ASYNC = "async"  # queued, retried, and the caller is answered 202 at once
    SYNC = "sync"  # queued, sent once, and the caller is answered what the target answers
    STREAM = "stream"  # proxied by the edge, and the caller is answered what the target answers, as it comes


RESPONSE_MODES = (DeliveryMode.SYNC, DeliveryMode.STREAM)
"""Modes in which the target's answer is the caller's. One enabled target of an endpoint may have one of them."""

OFFERED_MODES: tuple[DeliveryMode, ...] = (DeliveryMode.ASYNC, DeliveryMode.SYNC, DeliveryMode.STREAM)
"""What forms and catalog documents let an operator choose. Storage and edges know every mode."""


class TargetRole(StrEnum):
    """Whether a target is part of what the endpoint does."""

    LIVE = "live"
    SHADOW = "shadow"  # a sampled copy, always async, that never touches the caller


class EndpointAuth(StrEnum):
    """How a caller of an endpoint shows who it is."""

    RELAY_KEY = "relay_key"
    SIGNATURE = "signature"  # of a provider, over the body; there is no key
    BOTH = "both"


class SignaturePreset(StrEnum):
    """How a provider signs what it sends."""

    STANDARD_WEBHOOKS = "standard_webhooks"
    STRIPE = "stripe"
    GITHUB = "github"
    SHOPIFY = "shopify"
    SLACK = "slack"
    TWILIO = "twilio"
    HMAC = "hmac"  # as `SignatureConfig` says


class TargetAuth(StrEnum):
    """What a target wants to see besides a signature."""

    NONE = "none"
    BEARER = "bearer"
    BASIC = "basic"
    OAUTH2 = "oauth2"  # client credentials


class SecretKind(StrEnum):
    """A scheme of Standard Webhooks that a secret signs by."""

    V1 = "v1"  # HMAC-SHA256
    V1A = "v1a"  # ed25519


class OrderingPolicy(StrEnum):
    """What becomes of an ordering key when the delivery at its head dies."""

    CONTINUE = "continue"  # the next one goes
    BLOCK = "block"  # nothing goes until somebody replays or discards it


class BodyKeeping(StrEnum):
    """How long a request's body is kept."""

    RETENTION = "retention"  # as long as the settings say
    UNTIL_DELIVERED = "until_delivered"


class KeyMode(StrEnum):
    """Which money and which limits a relay key belongs to."""

    LIVE = "live"
    TEST = "test"


class Billing(StrEnum):
    """Whether a project pays before or after."""

    METERED = "metered"  # calls are posted, and what they cost may exceed what there is
    PREPAID = "prepaid"  # a call is let in when its wallet can pay what it may cost at most


class Payer(StrEnum):
    """Whose wallet a relay key's calls are charged to."""

    PROJECT = "project"
    USER = "user"  # whose key it is


class Scope(StrEnum):
    """What a relay key may be used for."""

    RELAY = "relay"  # POST /r/...
    INFERENCE = "inference"  # /v1/...
    CONTROL = "control"  # the control API, as a developer of its project


class RevocationKind(StrEnum):
    """Which access tokens a revocation is about."""

    JTI = "jti"  # one
    GRANT = "grant"  # those of what a user allowed an application
    USER = "user"
    APPLICATION = "application"


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


class Unpriced(StrEnum):
    """What a policy does with a model that nobody knows the price of."""

    DENY = "deny"  # it is not called
    ALLOW = "allow"  # it is, and the call is counted as one without a known cost
    ESTIMATE = "estimate"  # it is, at the price that the policy names


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

DEFAULT_EXPIRE_SECONDS = 604_800
MAX_HOLD_SECONDS = 900
MAX_EXPIRE_SECONDS = 2_592_000

MAX_TARGETS = 32
"""Of an endpoint, disabled ones too: what one call may become is bounded."""

MAX_TARGET_SECRETS = 10
"""Of a target, unexpired ones: each is a signature in a header of every delivery."""

ENDPOINT_METHODS = ("POST", "PUT", "PATCH", "DELETE", "GET", "HEAD")
"""What an endpoint may take; GET and HEAD mean something only where a target answers the caller."""

MAX_CONTENT_TYPES = 16
MAX_ALLOWED_NETWORKS = 256

KEY_GRACE_SECONDS = 86_400
"""For so long a relay key works beyond its expiry, and says so on every answer."""
MAX_JSON_SCHEMA_BYTES = 65_536
MAX_JSON_DEPTH = 32
"""Of a JSON document in the catalog: a schema, conditions, a mapping."""

DEFAULT_IDEMPOTENCY_SECONDS = 86_400
MIN_IDEMPOTENCY_SECONDS = 60  # besides 0, which ignores the header
MAX_IDEMPOTENCY_SECONDS = 604_800
MAX_REDACTIONS = 64
MAX_SAMPLE_PERMYRIAD = 10_000
MAX_STREAM_SECONDS = 86_400
MAX_STREAM_BYTES = 2**40
MAX_HEARTBEAT_SECONDS = 3_600
MAX_TOLERANCE_SECONDS = 86_400


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
class Budget:
    """What may be spent in a calendar period, UTC. Stored as a JSON object, or NULL for none."""

    microcredits: int
    period: Period


DEFAULT_TEST_RULES = (Rule(Meter.REQUESTS, 250, 60),)
"""Over all test keys of a project together, where it names no rate limit of its own for them."""


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


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """Any JSON value, as stored. Compared by value; nobody changes it."""

    value: Any


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which calls a target gets, in the language of conditions. Stored as an object; compiled by who asks it."""

    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Headers:
    """Static headers of a target, as written. Often credentials: they are in no `repr`."""

    value: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignatureConfig:
    """How a signature preset is read where it leaves something open. All but `public_url` belong to `hmac`."""

    header: str = ""  # that carries the signature
    algorithm: str = "sha256"
    encoding: str = "hex"
    prefix: str = ""  # before the digest, e.g. "sha256="
    template: str = "{body}"  # what is signed: {body} once, {timestamp} where it is signed too
    timestamp_header: str = ""  # Unix seconds
    tolerance_seconds: int = 300  # how old or early a timestamp may be
    public_url: str = ""  # twilio: where callers believe to call, which is part of what they sign


SIGNATURE_WORDS: dict[str, tuple[str, ...]] = {
    "algorithm": ("sha256", "sha1", "sha512"),
    "encoding": ("hex", "base64"),
}
"""What the parts of a signature config that are words may be."""


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """What is not secret of how a target is authenticated to."""

    username: str = ""  # basic
    token_url: str = ""  # oauth2, and all below
    client_id: str = ""
    client_authentication: str = "basic"  # where the client's credentials go: "basic" (a header) or "body"
    scope: str = ""
    audience: str = ""


AUTH_WORDS: dict[str, tuple[str, ...]] = {"client_authentication": ("basic", "body")}

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
    test_rate_limit_id: RateLimitId | None  # over all its test keys together; None: DEFAULT_TEST_RULES
    billing: Billing
    live_wallet_id: AccountId
    test_wallet_id: AccountId
    live_pool_id: AccountId  # what its owner sets aside for its users' calls
    test_pool_id: AccountId
    pool_cap_microcredits: int  # of the pool, for a user and month; 0: the pool pays for nobody
    markup_ppm: int  # of a call's cost, on top, where a user's wallet pays
    terms_id: TermsId | None  # that the mark-up is shared by; None: there is none
    budget: Budget | None  # over all its calls together
    user_budget: Budget | None  # over the calls of each of its users; `Membership` may say otherwise


@dataclass(frozen=True, slots=True)
class Membership:
    """A user of a project whose budget is another than the project gives all. Edges hold no others."""

    table: ClassVar[str] = "access_membership"

    id: MembershipId
    project_id: ProjectId
    user_id: UserId
    has_own_budget: bool
    budget: Budget | None  # with `has_own_budget`, None: no budget at all


@dataclass(frozen=True, slots=True)
class Line:
    """A version of a project's public API: the segment before the endpoint."""

    table: ClassVar[str] = "catalog_line"

    id: LineId
    project_id: ProjectId
    slug: str  # e.g. "v1"
    is_enabled: bool
    revision: int  # of its configuration, from 1; every request, delivery and attempt says which it ran under


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
    methods: tuple[str, ...]  # of ENDPOINT_METHODS
    content_types: tuple[str, ...]  # `type/subtype` or `type/*`; () takes any
    auth: EndpointAuth
    allowed_networks: tuple[str, ...]  # CIDR, v4 or v6; () takes any address
    signature_preset: str  # a word of SignaturePreset, or "". Text: a row with an unknown word must load to be refused
    signature_config: SignatureConfig
    sealed_signature_secret: bytes  # bound by `endpoint_signature_binding`; b"" none
    sealed_previous_signature_secret: bytes  # bound by `endpoint_previous_signature_binding`; b"" none
    previous_signature_until: datetime | None  # when the previous secret stops counting
    json_schema: JsonDocument | None
    idempotency_seconds: int  # how long an Idempotency-Key is remembered at least; 0 ignores the header
    event_type_from: str  # `header:x-event-type` or `body:type`; "" none


@dataclass(frozen=True, slots=True)
class Target:
    """One destination of an endpoint. How it is retried, paced and mapped is the workers' affair."""

    table: ClassVar[str] = "catalog_target"

    id: TargetId
    endpoint_id: EndpointId
    name: str
    delivery_mode: DeliveryMode
    is_enabled: bool
    version: int  # grows with every change of the row or of its secrets
    role: TargetRole
    url: str
    headers: Headers
    timeout_seconds: int  # to the last byte of the answer; of a stream to the first
    expire_seconds: int  # a delivery that is not over by then is dead; told with each row that the edge makes
    sample_permyriad: int  # of 10,000 calls, how many a shadow gets
    compares_with: str  # a shadow: name of the sibling whose answers its own are compared with; "" none
    conditions: Conditions | None  # None: every call
    ordering_key: str  # `header:x-order` or `body:order.id`: one in flight a key; "" none
    stream_total_seconds: int
    stream_idle_seconds: int
    stream_max_bytes: int
    heartbeat_seconds: int  # a comment to the caller while the target is quiet; 0 none
    auth_kind: TargetAuth
    auth_config: AuthConfig
    sealed_auth_secret: bytes  # token, password or client secret, bound by `target_auth_binding`; b"" none
    client_certificate: str  # PEM, with its chain; "" none
    sealed_client_key: bytes  # PEM, bound by `target_client_key_binding`; b"" none


@dataclass(frozen=True, slots=True)
class TargetSecret:
    """What signs deliveries to a target. Several at once while receivers move from one to the next."""

    table: ClassVar[str] = "catalog_targetsecret"

    id: TargetSecretId
    target_id: TargetId
    kind: SecretKind
    sealed_value: bytes  # bound by `target_secret_binding`
    created_at: datetime
    expires_at: datetime | None  # when it stops signing


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
    allowed_networks: tuple[str, ...]  # CIDR, v4 or v6; () takes any address
    has_successor: bool  # it was rotated: it ends at `expires_at`, without the grace
    successor_waits: bool  # whose token was not read yet: its holder may, once
    pays: Payer
    wallet_id: AccountId | None  # the user's, of the key's mode; there where the user pays
    payer_is_active: bool  # False: the user pays, and is deactivated
    budget: Budget | None
    expires_at: datetime | None  # KEY_GRACE_SECONDS later it is refused
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Application:
    """A program that calls with access tokens, in the name of users who allowed it."""

    table: ClassVar[str] = "access_oauthapplication"

    id: ApplicationId
    client_id: str
    project_id: ProjectId
    mode: KeyMode
    is_enabled: bool
    policy_id: PolicyId | None  # None reaches no model
    rate_limit_id: RateLimitId | None  # of all its users together
    allowed_origins: tuple[str, ...]  # of pages that may call from a browser
    captures_payloads: bool


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public half of a key that access tokens are signed with."""

    table: ClassVar[str] = "access_signingkey"

    id: SigningKeyId
    kid: str
    public_der: bytes  # SubjectPublicKeyInfo
    retires_at: datetime | None  # from then on nothing that it signed is alive


@dataclass(frozen=True, slots=True)
class Revocation:
    """Access tokens that are refused although they are signed and young."""

    table: ClassVar[str] = "access_revocation"

    id: RevocationId
    kind: RevocationKind
    value: str  # the jti, or the decimal id of the authorization, user or application
    issued_before: datetime
    expires_at: datetime  # no such token lives longer


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
    version: int  # of the rates, from 1; every version's are kept, and a call says by which it was priced


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
    unpriced: Unpriced
    estimate_pricing_id: PricingId | None  # what a binding without a price is priced by; there for `estimate`
    hold_seconds: int  # for so long a stream's content is held, so that one which breaks may still go elsewhere
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
    | TargetSecret
    | RelayKey
    | Host
    | HostKey
    | Model
    | ModelAlias
    | HostBinding
    | Policy
    | RateLimit
    | Pricing
    | Application
    | SigningKey
    | Revocation
    | Membership
)

NOUNS: tuple[type[Noun], ...] = (
    RateLimit,
    Pricing,
    Policy,
    Project,
    Line,
    Endpoint,
    Target,
    TargetSecret,
    RelayKey,
    Host,
    HostKey,
    Model,
    ModelAlias,
    HostBinding,
    Application,
    SigningKey,
    Revocation,
    Membership,
)
"""Every noun the edge holds, in an order in which references point backwards."""

BY_TABLE: dict[str, type[Noun]] = {noun.table: noun for noun in NOUNS}


HELD_WHERE: dict[type[Noun], str] = {Membership: "has_own_budget"}
"""Of these nouns an edge holds the rows in which this column is true: there may be 100,000 members."""


def columns(noun: type[Noun]) -> tuple[str, ...]:
    """The column names of a noun's row, in the order of its fields. The edge may read these and no others."""
    return tuple(one.name for one in fields(noun))


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


def budget_from_json(document: Any) -> Budget:
    """A budget as stored. Raises KeyError, TypeError or ValueError."""
    amount = document["microcredits"]
    if type(amount) is not int or amount < 0:
        raise ValueError("a budget is micro-credits from 0")
    return Budget(amount, Period(document["period"]))


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


CAPABILITIES: tuple[str, ...] = tuple(one.name for one in fields(Capabilities))


def json_document_from_json(document: Any) -> JsonDocument:
    """Any JSON as stored. Raises nothing."""
    return JsonDocument(document)


def conditions_from_json(document: Any) -> Conditions:
    """`Target.conditions` as stored. ValueError for what is no object; what it says is checked where it is compiled."""
    if not isinstance(document, dict):
        raise ValueError("conditions are an object")  # noqa: TRY004 (a reader raises one kind of error)
    return Conditions(document)


def headers_from_json(document: Any) -> Headers:
    """`Target.headers` as stored. ValueError unless it is an object of texts."""
    if not isinstance(document, dict) or not all(isinstance(text, str) for text in document.values()):
        raise ValueError("headers are an object of texts")
    return Headers(document)


def signature_config_from_json(document: Any) -> SignatureConfig:
    """`Endpoint.signature_config` as stored. ValueError with what is wrong, also for a word of a newer version: what
    this version does not understand may be what refuses a forgery."""
    return SignatureConfig(**_words_of(document, SignatureConfig, SIGNATURE_WORDS))


def auth_config_from_json(document: Any) -> AuthConfig:
    """`Target.auth_config` as stored. ValueError with what is wrong."""
    return AuthConfig(**_words_of(document, AuthConfig, AUTH_WORDS))


def _words_of(document: Any, config: type, words: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The parts of a config, each of its type and one of its words."""
    types = {one.name: type(one.default) for one in fields(config)}
    if not isinstance(document, dict):
        raise ValueError("write an object")  # noqa: TRY004
    for name, value in document.items():
        if name not in types:
            raise ValueError(f"there is no {str(name)[:64]!r}; there are {', '.join(types)}")
        if type(value) is not types[name]:
            raise ValueError(f"{name} is {'a whole number' if types[name] is int else 'text'}")
        if name in words and value not in words[name]:
            raise ValueError(f"{name} is one of {', '.join(words[name])}")
    return document


def host_key_binding(host_key_id: int) -> str:
    """What a host key's sealed value is bound to, so that it opens in its own row only."""
    return f"host_key:{host_key_id}"


def target_secret_binding(target_secret_id: int) -> str:
    """What a signing secret's sealed value is bound to."""
    return f"target_secret:{target_secret_id}"


def target_auth_binding(target_id: int) -> str:
    """What the sealed token, password or client secret of a target is bound to."""
    return f"target_auth:{target_id}"


def target_client_key_binding(target_id: int) -> str:
    """What the sealed private key of a target's client certificate is bound to."""
    return f"target_client_key:{target_id}"


def endpoint_signature_binding(endpoint_id: int) -> str:
    """What the sealed secret that an endpoint's callers sign with is bound to."""
    return f"endpoint:{endpoint_id}"


def endpoint_previous_signature_binding(endpoint_id: int) -> str:
    """What the one before it is bound to."""
    return f"endpoint_previous:{endpoint_id}"


def relay_key_successor_binding(relay_key_id: int) -> str:
    """What the sealed token of a relay key's successor is bound to: the key that it succeeds."""
    return f"relay_key_successor:{relay_key_id}"


def signing_key_binding(signing_key_id: int) -> str:
    """What the sealed private half of a signing key is bound to."""
    return f"signing_key:{signing_key_id}"
