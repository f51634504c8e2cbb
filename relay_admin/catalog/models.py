"""Storage of the catalog. Meaning, limits and table names come from `relay_contract.nouns`; read that file first.

Columns that are not fields of a noun are private to the control plane. Writes go through `services.py`.
"""

from enum import StrEnum
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import CheckConstraint, Q
from django.db.models.functions import Now

from relay_admin.catalog import rules, validators
from relay_contract import nouns

SLUG = RegexValidator(nouns.SLUG_PATTERN, "Use lower-case letters, digits, dot, dash or underscore.")
HOST_LABEL = RegexValidator(nouns.HOST_LABEL_PATTERN, "Use lower-case letters, digits and dashes: it is a host name.")
MODEL_NAME = RegexValidator(nouns.MODEL_NAME_PATTERN, "Use letters, digits and . _ : / @ + -, up to 128.")


def choices(enum: type[Any]) -> list[tuple[str, str]]:
    """Django choices of a contract enum; the label is the word itself."""
    return [(str(member), str(member)) for member in enum]


def _milliseconds(name: str, **kwargs: Any) -> models.IntegerField:
    return models.IntegerField(f"{name} (ms)", validators=[MinValueValidator(1)], **kwargs)


def _given(value: Any) -> dict[str, Any]:
    """A default that the database has too: the version before this one inserts rows without the column."""
    return {"default": value, "db_default": value}


def _seconds(default: int, least: int, most: int, help_text: str, **kwargs: Any) -> models.IntegerField:
    return models.IntegerField(
        validators=[MinValueValidator(least), MaxValueValidator(most)], help_text=help_text, **_given(default), **kwargs
    )


def _limit(most: int, help_text: str, **kwargs: Any) -> models.IntegerField:
    """A whole number from 1, or none."""
    validators_ = [MinValueValidator(1), MaxValueValidator(most)]
    return models.IntegerField(null=True, blank=True, validators=validators_, help_text=help_text, **kwargs)


def _account(help_text: str) -> models.BigIntegerField:
    """An account of the ledger. A trigger makes it with the row and refuses to change which it is."""
    return models.BigIntegerField(editable=False, help_text=help_text, **_given(0))


def _sealed(binding: str) -> models.BinaryField:
    return models.BinaryField(editable=False, help_text=f"Sealed, bound to `{binding}`; empty: none.", **_given(b""))


class CatalogRow(models.Model):
    """What every catalog row carries besides its noun."""

    description = models.TextField(blank=True, default="", help_text="For people; shown in the admin only.")
    created_at = models.DateTimeField(auto_now_add=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        abstract = True


class SeededRow(CatalogRow):
    """A row that `catalog seed` may have made. A field that differs from the template is an operator's and stays."""

    template = models.JSONField(
        null=True, editable=False, help_text="Its fields as they were last seeded; NULL for a row that people made."
    )

    class Meta:
        abstract = True


class RateLimit(CatalogRow):
    """A named set of rules; each key, policy, project or endpoint that carries it counts for itself."""

    slug = models.CharField(max_length=nouns.MAX_SLUG_LENGTH, unique=True, validators=[SLUG])
    rules = models.JSONField(
        default=list,
        validators=[validators.rules],
        help_text="A call needs room under every rule.",
    )

    class Meta:
        db_table = nouns.RateLimit.table
        ordering = ["slug"]
        verbose_name = "rate limit"

    def __str__(self) -> str:
        return self.slug


class Pricing(SeededRow):
    """What a host asks for a model, in integers."""

    slug = models.CharField(max_length=128, unique=True, validators=[MODEL_NAME])
    rates = models.JSONField(
        default=list,
        validators=[validators.rates],
        help_text="What each meter costs. A larger prompt takes a later tier for all its tokens.",
    )
    version = models.IntegerField(
        editable=False, help_text="Of the rates, counted by the database; calls name it.", **_given(1)
    )

    class Meta:
        db_table = nouns.Pricing.table
        ordering = ["slug"]
        verbose_name = "price"

    def __str__(self) -> str:
        return self.slug


class PriceVersion(models.Model):
    """Rates that a price has or had. Written by a trigger, never changed, and kept when the price is gone: calls name
    the version that they were priced by."""

    pk = models.CompositePrimaryKey("pricing_id", "version")
    pricing_id = models.BigIntegerField()
    version = models.IntegerField()
    rates = models.JSONField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "catalog_priceversion"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.pricing_id} version {self.version}"


class Policy(CatalogRow):
    """Which models a relay key reaches."""

    slug = models.CharField(max_length=nouns.MAX_SLUG_LENGTH, unique=True, validators=[SLUG])
    rate_limit = models.ForeignKey(
        RateLimit, models.PROTECT, null=True, blank=True, help_text="Counts all keys with this policy together."
    )
    user_rate_limit = models.ForeignKey(
        RateLimit,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Counts the keys of each user together.",
    )
    selection = models.CharField(
        max_length=16,
        choices=choices(nouns.Selection),
        default=nouns.Selection.PRIORITY,
        help_text="How to choose among bindings of equal priority.",
    )
    keeps_affinity = models.BooleanField(
        "keep conversations on one key",
        default=True,
        help_text="Calls that begin alike go to the same host key while it is healthy, so that the vendor's prompt"
        " cache serves them.",
    )
    fallbacks = models.JSONField(
        blank=True,
        default=list,
        validators=[validators.fallbacks],
        help_text="Where a call goes when its model fails; the first that fits counts.",
    )
    unpriced = models.CharField(
        "models without a price",
        max_length=16,
        choices=choices(nouns.Unpriced),
        help_text="deny: they are not called. allow: they are, and nobody knows what it cost. estimate: they are, at"
        " the price below.",
        **_given(str(nouns.Unpriced.ALLOW)),
    )
    estimate_pricing = models.ForeignKey(
        Pricing,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="estimated price",
        help_text="What a model without a price is taken to cost, where the policy says estimate.",
    )
    hold_seconds = models.IntegerField(
        "hold streams for",
        default=0,
        db_default=0,
        validators=[MinValueValidator(0), MaxValueValidator(nouns.MAX_HOLD_SECONDS)],
        help_text="Seconds from a stream's first content: what breaks within them goes to another key, host or model,"
        " and the caller sees nothing of it; until then nothing either. 0: streams pass as they come.",
    )
    is_strict = models.BooleanField(
        "strict parameters",
        default=False,
        help_text="Refuse what another wire shape cannot carry, instead of warning of it in x-relay-warnings.",
    )
    captures_payloads = models.BooleanField(
        "capture payloads",
        default=False,
        help_text="Keep what its keys send and receive, redacted, for the days that the settings say.",
    )
    # Last, since the name hides Django's module from here to the end of the class.
    models = ArrayField(
        models.CharField(max_length=130),
        blank=True,
        default=list,
        validators=[validators.model_patterns],
        help_text="Model names. `*` at the end stands for any ending; a leading `-` denies, and wins over the rest.",
    )

    class Meta:
        db_table = nouns.Policy.table
        ordering = ["slug"]
        verbose_name_plural = "policies"
        constraints = [
            CheckConstraint(
                name="catalog_policy_estimate",
                condition=~Q(unpriced=str(nouns.Unpriced.ESTIMATE)) | Q(estimate_pricing__isnull=False),
                violation_error_message="Name the estimated price, or choose deny or allow.",
            )
        ]

    def __str__(self) -> str:
        return self.slug


class EndlessKeys(StrEnum):
    """Who may make relay keys of a project that never expire, beside who is mightier."""

    ANYONE = "anyone"  # who may make keys
    ADMINS = "admins"
    OPERATORS = "operators"


KEY_LIFE = [MinValueValidator(1), MaxValueValidator(3650)]


class Project(CatalogRow):
    """A tenant, and the app that its keys speak for."""

    slug = models.CharField(
        max_length=nouns.MAX_SLUG_LENGTH,
        unique=True,
        validators=[HOST_LABEL],
        help_text="First segment of /r/{project}/..., and the host name below the relay's domain.",
    )
    name = models.CharField(max_length=200)
    is_archived = models.BooleanField(default=False, help_text="Refuses every key of the project, at once.")
    rate_limit = models.ForeignKey(
        RateLimit, models.PROTECT, null=True, blank=True, help_text="Counts all keys of the project together."
    )
    test_rate_limit = models.ForeignKey(
        RateLimit,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Counts all test keys of the project together. Empty: 250 requests in a minute.",
    )
    billing = models.CharField(
        max_length=8,
        choices=choices(nouns.Billing),
        help_text="metered: calls are counted. prepaid: a call needs a wallet that can pay it.",
        **_given(nouns.Billing.METERED.value),
    )
    live_wallet_id = _account("The wallet of its live keys.")
    test_wallet_id = _account("The wallet of its test keys.")
    live_pool_id = _account("What its owner sets aside for its users.")
    test_pool_id = _account("The same, of test money.")
    pool_cap_microcredits = models.BigIntegerField(
        validators=[MinValueValidator(0)], help_text="What the pool pays for a user and month. 0: nothing.", **_given(0)
    )
    markup_ppm = models.IntegerField(editable=False, help_text="A copy of its terms'.", **_given(0))
    terms_id = models.BigIntegerField(null=True, editable=False)
    budget = models.JSONField(null=True, blank=True, help_text="What it may spend in a day, week or month, UTC.")
    user_budget = models.JSONField(
        null=True, blank=True, help_text="What each of its users may spend in it in a day, week or month, UTC."
    )
    key_life_days = models.IntegerField(
        null=True, blank=True, validators=KEY_LIFE, help_text="Of new keys that nobody says a date for. Empty: no end."
    )
    longest_key_life_days = models.IntegerField(
        null=True, blank=True, validators=KEY_LIFE, help_text="Of keys that expire. Empty: any."
    )
    endless_keys = models.CharField(
        max_length=16,
        choices=choices(EndlessKeys),
        help_text="Who may make keys that never expire: anyone who may make keys, admins of the project, or operators.",
        **_given(EndlessKeys.ANYONE.value),
    )

    class Meta:
        db_table = nouns.Project.table
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        """What it and its users may spend has to be a budget."""
        super().clean()
        validators.budget(self.budget)
        validators.budget(self.user_budget, "user_budget")
        default, longest = self.key_life_days, self.longest_key_life_days
        if default is not None and longest is not None and default > longest:
            raise ValidationError({"key_life_days": "It is more than the longest life."})


class Line(CatalogRow):
    """A version of a project's public API."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="lines")
    slug = models.CharField(max_length=nouns.MAX_SLUG_LENGTH, validators=[SLUG], help_text="For example v1.")
    is_enabled = models.BooleanField(default=True)
    revision = models.IntegerField(
        editable=False, help_text="Of its configuration; requests, deliveries and attempts name it.", **_given(1)
    )

    class Meta:
        db_table = nouns.Line.table
        ordering = ["project__slug", "slug"]
        constraints = [models.UniqueConstraint(fields=["project", "slug"], name="catalog_line_slug_once")]

    def __str__(self) -> str:
        return f"{self.project.slug}/{self.slug}"


class LineRevision(models.Model):
    """What a line was configured as, once: its part of a catalog document."""

    line = models.ForeignKey(Line, models.CASCADE, related_name="revisions")
    number = models.IntegerField(help_text="The line's `revision` from then on.")
    document = models.JSONField()
    published_by = models.ForeignKey(
        "access.User",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: a command.",
    )
    published_at = models.DateTimeField()
    note = models.CharField(max_length=200, blank=True, default="")
    source = models.CharField(
        max_length=12, choices=[(word, word) for word in ("publish", "edit", "rollback", "import")]
    )

    class Meta:
        db_table = "catalog_linerevision"
        ordering = ["line", "-number"]
        verbose_name = "line revision"
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["line", "number"], name="catalog_linerevision_number_once")]

    def __str__(self) -> str:
        return f"{self.line} revision {self.number}"


class LineDraft(models.Model):
    """What a line may become: its part of a catalog document, edited apart from what runs."""

    line = models.OneToOneField(Line, models.CASCADE, primary_key=True, related_name="draft")
    document = models.JSONField()
    base_number = models.IntegerField(help_text="The line's revision that it was made from.")
    draft_revision = models.IntegerField(
        default=1, help_text="Grows with each edit, so that nobody overwrites another."
    )
    updated_by = models.ForeignKey("access.User", models.SET_NULL, null=True, blank=True, related_name="+")
    updated_at = models.DateTimeField(auto_now=True, editable=False)
    publish_at = models.DateTimeField(null=True, blank=True, help_text="Empty: when somebody publishes it.")
    publish_error = models.TextField(blank=True, default="", help_text="Why it could not be published at its time.")

    class Meta:
        db_table = "catalog_linedraft"
        verbose_name = "line draft"
        default_permissions = ("change", "view")

    def __str__(self) -> str:
        return f"Draft of {self.line}"


def default_methods() -> list[str]:
    """What an endpoint takes where nothing is said."""
    return ["POST"]


class Endpoint(CatalogRow):
    """What a caller posts to."""

    line = models.ForeignKey(Line, models.CASCADE, related_name="endpoints")
    slug = models.CharField(max_length=nouns.MAX_SLUG_LENGTH, validators=[SLUG])
    is_enabled = models.BooleanField(default=True)
    max_body_bytes = models.IntegerField(
        default=1_048_576,
        validators=[MinValueValidator(1), MaxValueValidator(16_777_216)],
        help_text="A larger body is refused with 413, never cut.",
    )
    rate_limit = models.ForeignKey(
        RateLimit, models.PROTECT, null=True, blank=True, help_text="Counts all callers of this endpoint together."
    )
    methods = ArrayField(
        models.CharField(max_length=8),
        default=default_methods,
        db_default=["POST"],
        validators=[validators.methods],
        help_text="Methods that callers may use. GET and HEAD need a target that answers the caller.",
    )
    content_types = ArrayField(
        models.CharField(max_length=255),
        blank=True,
        default=list,
        db_default=[],
        validators=[validators.content_types],
        help_text="Content types that are taken, e.g. application/json or text/*. Empty: any.",
    )
    auth = models.CharField(
        "callers show",
        max_length=16,
        choices=choices(nouns.EndpointAuth),
        help_text="A relay key, the signature of a provider, or both.",
        **_given(str(nouns.EndpointAuth.RELAY_KEY)),
    )
    allowed_networks = ArrayField(
        models.CharField(max_length=43),
        blank=True,
        default=list,
        db_default=[],
        validators=[validators.allowed_networks],
        help_text="Networks that may call, e.g. 192.0.2.0/24. Empty: any address.",
    )
    signature_preset = models.CharField(
        max_length=32,
        blank=True,
        choices=choices(nouns.SignaturePreset),
        help_text="Whose signature callers carry.",
        **_given(""),
    )
    signature_config = models.JSONField(
        blank=True,
        default=dict,
        db_default={},
        validators=[validators.signature_config],
        help_text="What the preset leaves open.",
    )
    sealed_signature_secret = _sealed("endpoint:{id}")
    sealed_previous_signature_secret = _sealed("endpoint_previous:{id}")
    previous_signature_until = models.DateTimeField(
        null=True, editable=False, help_text="When the previous secret stops counting."
    )
    json_schema = models.JSONField(
        "JSON Schema",
        null=True,
        blank=True,
        validators=[validators.json_schema],
        help_text="What a body must be. Empty: anything.",
    )
    idempotency_seconds = models.IntegerField(
        validators=[validators.idempotency_seconds],
        help_text="How long an Idempotency-Key is remembered. 0: the header is ignored.",
        **_given(nouns.DEFAULT_IDEMPOTENCY_SECONDS),
    )
    keeps_body = models.CharField(
        "bodies are kept",
        max_length=16,
        choices=choices(nouns.BodyKeeping),
        help_text="As long as the settings say, or until all deliveries are through.",
        **_given(str(nouns.BodyKeeping.RETENTION)),
    )
    redactions = ArrayField(
        models.CharField(max_length=512),
        blank=True,
        default=list,
        db_default=[],
        validators=[validators.redactions],
        help_text="Parts of bodies and headers that nobody is shown: card.number, lines[*].name, header:x-name.",
    )
    event_type_from = models.CharField(
        max_length=512,
        blank=True,
        validators=[validators.value_source],
        help_text="Where a call says what it is about: header:x-event-type, or body:type.",
        **_given(""),
    )

    class Meta:
        db_table = nouns.Endpoint.table
        ordering = ["line__project__slug", "line__slug", "slug"]
        constraints = [models.UniqueConstraint(fields=["line", "slug"], name="catalog_endpoint_slug_once")]

    def __str__(self) -> str:
        return f"{self.line}/{self.slug}"

    def clean(self) -> None:
        """Fields that need each other."""
        if refusals := rules.endpoint_refusals(self):
            raise ValidationError(refusals)


def default_retry_schedule() -> list[int]:
    """Standard Webhooks' schedule, in seconds."""
    return list(nouns.DEFAULT_RETRY_SCHEDULE_SECONDS)


class Target(CatalogRow):
    """One destination of an endpoint. Its secrets are rows of `TargetSecret`."""

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="targets")
    name = models.CharField(max_length=nouns.MAX_SLUG_LENGTH, validators=[SLUG])
    delivery_mode = models.CharField(
        max_length=16, choices=choices(nouns.DeliveryMode), default=nouns.DeliveryMode.ASYNC
    )
    is_enabled = models.BooleanField(default=True, help_text="New requests make no delivery to a disabled target.")
    version = models.BigIntegerField(
        editable=False, help_text="Counted by the database: changes of the row and of its secrets.", **_given(1)
    )
    role = models.CharField(
        max_length=8,
        choices=choices(nouns.TargetRole),
        help_text="A shadow gets a share of the calls and never touches the caller.",
        **_given(str(nouns.TargetRole.LIVE)),
    )
    sample_permyriad = models.IntegerField(
        "sample (of 10,000)",
        validators=[MinValueValidator(0), MaxValueValidator(nouns.MAX_SAMPLE_PERMYRIAD)],
        help_text="Of 10,000 calls, how many a shadow gets.",
        **_given(nouns.MAX_SAMPLE_PERMYRIAD),
    )
    compares_with = models.CharField(
        max_length=nouns.MAX_SLUG_LENGTH,
        blank=True,
        validators=[SLUG],
        help_text="Name of the endpoint's target whose answers a shadow's are compared with.",
        **_given(""),
    )
    compare_ignore = ArrayField(
        models.CharField(max_length=512),
        blank=True,
        default=list,
        db_default=[],
        validators=[validators.json_paths],
        help_text="Parts of an answer that may differ, e.g. meta.at or lines[*].id.",
    )
    url = models.CharField("URL", max_length=2048, validators=[validators.target_url])
    headers = models.JSONField(
        blank=True, default=dict, validators=[validators.static_headers], help_text="Sent with every delivery."
    )
    timeout_seconds = models.IntegerField(
        default=nouns.DEFAULT_TARGET_TIMEOUT_SECONDS,
        validators=[MinValueValidator(1), MaxValueValidator(nouns.MAX_TARGET_TIMEOUT_SECONDS)],
        help_text="From the look-up of the name to the last byte of the answer.",
    )
    conditions = models.JSONField(
        null=True,
        blank=True,
        validators=[validators.json_object],
        help_text="Which calls it gets. Empty: every call.",
    )
    mapping = models.JSONField(
        null=True,
        blank=True,
        validators=[validators.json_object],
        help_text="What is sent instead of the body. Empty: the body as it came.",
    )
    answer_mapping = models.JSONField(
        null=True,
        blank=True,
        validators=[validators.json_object],
        help_text="What the caller is answered instead of a sync target's answer.",
    )
    ordering_key = models.CharField(
        max_length=512,
        blank=True,
        validators=[validators.value_source],
        help_text="One delivery at a time for each value: header:x-order, or body:order.id.",
        **_given(""),
    )
    ordering_policy = models.CharField(
        "when the head of a key dies",
        max_length=16,
        choices=choices(nouns.OrderingPolicy),
        help_text="The next one goes, or all wait until somebody replays or discards it.",
        **_given(str(nouns.OrderingPolicy.CONTINUE)),
    )
    retry_schedule_seconds = ArrayField(
        models.IntegerField(validators=[MinValueValidator(1), MaxValueValidator(604_800)]),
        blank=True,
        default=default_retry_schedule,
        size=nouns.MAX_RETRY_ATTEMPTS,
        help_text="Waits between attempts, in seconds. Empty: one attempt only.",
    )
    retry_on = ArrayField(
        models.CharField(max_length=8),
        null=True,
        blank=True,
        validators=[validators.retry_on],
        help_text="What is tried again: statuses such as 429, classes such as 5xx, network, timeout. Empty: all but"
        " what is known to be permanent.",
    )
    expire_seconds = _seconds(
        nouns.DEFAULT_EXPIRE_SECONDS, 1, nouns.MAX_EXPIRE_SECONDS, "A delivery that is not through by then is dead."
    )
    rate_amount = _limit(1_000_000, "Deliveries it is sent in each window. Empty: as many as there are.")
    rate_window_seconds = _seconds(1, 1, 86_400, "The window of the rate.")
    max_in_flight = _limit(10_000, "Deliveries under way to it at once, over all workers. Empty: no such limit.")
    has_breaker = models.BooleanField(
        "circuit breaker", help_text="Pauses while most of what it is sent fails.", **_given(True)
    )
    disable_after_hours = _limit(
        8_760, "Disabled once it has failed for so long without a success. Empty: never.", **_given(120)
    )
    gone_at = models.DateTimeField(null=True, editable=False, help_text="When it answered 410.")
    disabled_reason = models.CharField(max_length=32, editable=False, **_given(""))
    stream_total_seconds = _seconds(3_600, 1, nouns.MAX_STREAM_SECONDS, "How long a stream may last.")
    stream_idle_seconds = _seconds(120, 1, nouns.MAX_STREAM_SECONDS, "Between two reads of a stream.")
    stream_max_bytes = models.BigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(nouns.MAX_STREAM_BYTES)],
        help_text="A longer stream is cut.",
        **_given(104_857_600),
    )
    heartbeat_seconds = _seconds(
        15, 0, nouns.MAX_HEARTBEAT_SECONDS, "A comment to the caller while an event stream is quiet. 0: none."
    )
    auth_kind = models.CharField(
        "authentication",
        max_length=16,
        choices=choices(nouns.TargetAuth),
        help_text="What it wants to see besides the signature.",
        **_given(str(nouns.TargetAuth.NONE)),
    )
    auth_config = models.JSONField(
        blank=True,
        default=dict,
        db_default={},
        validators=[validators.auth_config],
        help_text="What is not secret of it: username; or token_url, client_id, client_authentication, scope,"
        " audience.",
    )
    sealed_auth_secret = _sealed("target_auth:{id}")
    client_certificate = models.TextField(
        blank=True,
        validators=[validators.client_certificate],
        help_text="PEM with its chain, for a receiver that asks for one.",
        **_given(""),
    )
    sealed_client_key = _sealed("target_client_key:{id}")

    class Meta:
        db_table = nouns.Target.table
        ordering = ["endpoint", "name"]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "name"], name="catalog_target_name_once"),
            models.UniqueConstraint(
                fields=["endpoint"],
                condition=models.Q(delivery_mode__in=[str(mode) for mode in nouns.RESPONSE_MODES], is_enabled=True),
                name="catalog_target_one_response",
                violation_error_message="Another enabled target of the endpoint answers its callers already.",
            ),
        ]
        permissions = [("reveal_signing_secret", "Can see and replace the signing secret of a target")]

    def __str__(self) -> str:
        return f"{self.endpoint}:{self.name}"

    def clean(self) -> None:
        """Fields and siblings that need each other."""
        siblings = Target.objects.filter(endpoint=self.endpoint_id).exclude(pk=self.pk) if self.endpoint_id else ()
        if refusals := rules.target_refusals(self, siblings):
            raise ValidationError(refusals)


class TargetSecret(models.Model):
    """What signs deliveries to a target. Several at once while its receiver moves from one to the next."""

    target = models.ForeignKey(Target, models.CASCADE, related_name="secrets")
    kind = models.CharField(max_length=8, choices=choices(nouns.SecretKind), default=nouns.SecretKind.V1)
    sealed_value = models.BinaryField(editable=False, help_text="Sealed, bound to `target_secret:{id}`.")
    created_at = models.DateTimeField(auto_now_add=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When it stops signing. Empty: never.")

    class Meta:
        db_table = nouns.TargetSecret.table
        ordering = ["target", "-id"]
        verbose_name = "signing secret"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} secret {self.pk} of {self.target}"


class Host(SeededRow):
    """A vendor's API surface."""

    slug = models.CharField(max_length=nouns.MAX_SLUG_LENGTH, unique=True, validators=[SLUG])
    base_url = models.CharField(
        "base URL",
        max_length=2048,
        validators=[validators.host_url],
        help_text="Up to the part before /chat/completions or /messages, e.g. https://api.openai.com/v1.",
    )
    is_enabled = models.BooleanField(default=True)
    connect_timeout_ms = _milliseconds("connect", default=5_000)
    first_byte_timeout_ms = _milliseconds(
        "first byte", default=120_000, help_text="From the last byte sent to the first received."
    )
    first_token_timeout_ms = _milliseconds(
        "first token", default=120_000, help_text="Of a stream: from the last byte sent to the first content received."
    )
    idle_timeout_ms = _milliseconds("idle", default=60_000, help_text="Between two reads of an answer.")
    total_timeout_ms = _milliseconds("total", default=900_000)
    passthrough_paths = ArrayField(
        models.CharField(max_length=256),
        blank=True,
        default=list,
        validators=[validators.passthrough_paths],
        help_text="Paths that /passthrough/{slug}/... may call, below the base URL; `*` at the end stands for any"
        " ending. Empty: none.",
    )

    class Meta:
        db_table = nouns.Host.table
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class HostKey(CatalogRow):
    """A real credential of a host. Written once, never shown: the sealed value is bound to this row."""

    host = models.ForeignKey(Host, models.CASCADE, related_name="keys")
    name = models.CharField(max_length=nouns.MAX_SLUG_LENGTH, validators=[SLUG])
    sealed_value = models.BinaryField(editable=False)
    value_env = models.CharField(
        "read from variable",
        max_length=128,
        blank=True,
        default="",
        help_text="Name of the environment variable the value was read from, for catalog documents.",
    )
    value_fingerprint = models.CharField(
        "fingerprint",
        max_length=12,
        editable=False,
        help_text="Start of the value's SHA-256: tells two keys apart, reveals neither.",
    )
    reference = models.CharField(
        max_length=512,
        blank=True,
        default="",
        validators=[validators.secret_reference],
        help_text="Where the edges read the value themselves: env:NAME, file:/path or vault:URL#field. Empty: the"
        " sealed value counts.",
    )
    rate_limit = models.ForeignKey(
        RateLimit, models.PROTECT, null=True, blank=True, help_text="What the vendor allows this key."
    )
    is_enabled = models.BooleanField(default=True)

    class Meta:
        db_table = nouns.HostKey.table
        ordering = ["host__slug", "name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="catalog_hostkey_name_once")]

    def __str__(self) -> str:
        return f"{self.host.slug}/{self.name}"


class Model(SeededRow):
    """What callers write in `model`."""

    name = models.CharField(
        max_length=128, unique=True, validators=[MODEL_NAME], help_text="What callers write as the model."
    )
    owned_by = models.CharField(
        max_length=64,
        default="relay",
        help_text="Shown in GET /v1/models; a policy's openai/* grants what openai owns.",
    )
    is_enabled = models.BooleanField(default=True)
    capabilities = models.JSONField(
        blank=True,
        default=dict,
        validators=[validators.capabilities],
        help_text="What the model takes; what is not said here is read from its name.",
    )

    class Meta:
        db_table = nouns.Model.table
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """A name stands for one model."""
        holder = ModelAlias.objects.filter(name=self.name).select_related("model").first()
        if holder is not None:
            raise ValidationError({"name": f"{self.name} is an alias of {holder.model.name}: take it out there first."})


class ModelAlias(CatalogRow):
    """Another name of a model."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=128, unique=True, validators=[MODEL_NAME])

    class Meta:
        db_table = nouns.ModelAlias.table
        ordering = ["name"]
        verbose_name = "model alias"
        verbose_name_plural = "model aliases"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """A name stands for one model: a model's own name would hide the alias."""
        if Model.objects.filter(name=self.name).exists():
            raise ValidationError({"name": f"{self.name} is the name of a model: an alias of it would never count."})


class HostBinding(SeededRow):
    """A model on a host."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="bindings")
    host = models.ForeignKey(Host, models.CASCADE, related_name="bindings")
    wire_shape = models.CharField(max_length=32, choices=choices(nouns.WireShape))
    upstream_name = models.CharField(
        max_length=128, validators=[MODEL_NAME], help_text="What the host calls the model."
    )
    priority = models.IntegerField(default=0, help_text="The lowest is tried first.")
    weight = models.IntegerField(
        default=1,
        validators=[MinValueValidator(0), MaxValueValidator(1_000_000)],
        help_text="Its share among bindings of equal priority, where the policy selects by weight.",
    )
    pricing = models.ForeignKey(
        Pricing, models.SET_NULL, null=True, blank=True, help_text="Empty: nobody knows what it costs."
    )
    first_byte_timeout_ms = _milliseconds("first byte", null=True, blank=True, help_text="Empty: the host's.")
    first_token_timeout_ms = _milliseconds("first token", null=True, blank=True, help_text="Empty: the host's.")
    idle_timeout_ms = _milliseconds("idle", null=True, blank=True, help_text="Empty: the host's.")
    total_timeout_ms = _milliseconds("total", null=True, blank=True, help_text="Empty: the host's.")
    is_enabled = models.BooleanField(default=True)

    class Meta:
        db_table = nouns.HostBinding.table
        ordering = ["model__name", "priority", "id"]
        verbose_name = "host binding"
        constraints = [models.UniqueConstraint(fields=["model", "host", "wire_shape"], name="catalog_hostbinding_once")]

    def __str__(self) -> str:
        return f"{self.model.name} on {self.host.slug}, {self.wire_shape}"


class SeededName(models.Model):
    """A row that `catalog seed` made once. One that is gone was deleted by an operator and is not made again."""

    section = models.CharField(max_length=16)
    name = models.CharField(max_length=320, help_text="Its path in a catalog document, joined by spaces.")

    class Meta:
        db_table = "catalog_seededname"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["section", "name"], name="catalog_seededname_once")]

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


class AppliedEntry(models.Model):
    """What a catalog document said of a row when it was applied last, to tell what people changed since."""

    section = models.CharField(max_length=16)
    path = ArrayField(models.TextField(), help_text="Its names in a catalog document, from the outermost inwards.")
    digests = models.JSONField(help_text="Of each field's value. No value itself: some are credentials.")
    applied_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "catalog_appliedentry"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["section", "path"], name="catalog_appliedentry_once")]

    def __str__(self) -> str:
        return f"{self.section} {'/'.join(self.path)}"
