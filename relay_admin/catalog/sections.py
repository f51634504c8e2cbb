"""The parts of a catalog document, in the order in which they are applied, and what each field means to it.

Names of fields are the columns' names; kinds and defaults come from the models, so a document cannot drift from them.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from functools import cache
from typing import Any, TypeAlias

from django.contrib.postgres.fields import ArrayField
from django.db import models

from relay_admin.access.models import RelayKey, User
from relay_admin.access.stand_ins import stand_ins
from relay_admin.catalog import prices
from relay_admin.catalog.models import (
    Endpoint,
    Host,
    HostBinding,
    HostKey,
    Line,
    Model,
    ModelAlias,
    Policy,
    Pricing,
    Project,
    RateLimit,
    Target,
)
from relay_admin.catalog.offered import offered
from relay_contract.nouns import CAPABILITIES, Algorithm

Path: TypeAlias = tuple[str, ...]
"""Names from the outermost part inwards, e.g. ("demo", "v1", "events", "billing") for a target."""

REVOKE_INSTEAD_OF_DELETE = "relay_keys"


class Kind(Enum):
    """How a field is written."""

    TEXT = auto()
    INTEGER = auto()
    BOOLEAN = auto()
    TIME = auto()
    REFERENCE = auto()  # the name of a row in another part
    USER = auto()  # a username; people are no part of a document
    TEXTS = auto()
    INTEGERS = auto()
    RULES = auto()  # a list of {meter, amount, window_seconds}, with {algorithm, burst} where they are not the default
    RATES = auto()  # a list of {meter, a price in USD}, with {above_tokens} for a later tier
    FALLBACKS = auto()  # a list of {models, when, then}
    CAPABILITIES = auto()  # a mapping of what is known
    HEADERS = auto()  # a mapping of text to text
    JSON = auto()  # any JSON


@dataclass(frozen=True, slots=True)
class Section:
    """One part. `key`: the fields that name an entry among its siblings. `secret_envs`: the fields that name the
    environment variables of its secrets, and what each is called (`written_secrets.py` knows how they are kept).
    `is_short`: an entry that is nothing but its name may be written as that."""

    name: str
    model: type[models.Model]
    key: Path
    fields: Path
    parent: str = ""  # the section it is nested in
    parent_column: str = ""
    secret_envs: Mapping[str, str] = field(default_factory=dict, hash=False)
    is_short: bool = False

    @property
    def noun(self) -> str:
        """What one entry is called."""
        return str(self.model._meta.verbose_name)


SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Section("rate_limits", RateLimit, ("slug",), ("slug", "description", "rules")),
        Section("prices", Pricing, ("slug",), ("slug", "description", "rates")),
        Section(
            "policies",
            Policy,
            ("slug",),
            (
                "slug",
                "description",
                "models",
                "rate_limit",
                "user_rate_limit",
                "selection",
                "keeps_affinity",
                "fallbacks",
                "unpriced",
                "estimate_pricing",
                "hold_seconds",
                "is_strict",
                "captures_payloads",
            ),
        ),
        Section(
            "hosts",
            Host,
            ("slug",),
            (
                "slug",
                "description",
                "base_url",
                "is_enabled",
                "connect_timeout_ms",
                "first_byte_timeout_ms",
                "first_token_timeout_ms",
                "idle_timeout_ms",
                "total_timeout_ms",
                "passthrough_paths",
            ),
        ),
        Section(
            "keys",
            HostKey,
            ("name",),
            ("name", "description", "reference", "rate_limit", "is_enabled"),
            "hosts",
            "host",
            {"value_env": "value"},
        ),
        Section("models", Model, ("name",), ("name", "description", "owned_by", "is_enabled", "capabilities")),
        Section("aliases", ModelAlias, ("name",), ("name", "description"), "models", "model", is_short=True),
        Section(
            "bindings",
            HostBinding,
            ("host", "wire_shape"),
            (
                "host",
                "wire_shape",
                "description",
                "upstream_name",
                "priority",
                "weight",
                "pricing",
                "first_byte_timeout_ms",
                "first_token_timeout_ms",
                "idle_timeout_ms",
                "total_timeout_ms",
                "is_enabled",
            ),
            "models",
            "model",
        ),
        Section(
            "projects",
            Project,
            ("slug",),
            offered(
                Project,
                (
                    *("slug", "name", "description", "is_archived", "rate_limit", "test_rate_limit"),
                    *("billing", "budget", "user_budget", "pool_cap_microcredits"),
                    *("key_life_days", "longest_key_life_days", "endless_keys"),
                ),
            ),
        ),
        Section("lines", Line, ("slug",), ("slug", "description", "is_enabled"), "projects", "project"),
        Section(
            "endpoints",
            Endpoint,
            ("slug",),
            offered(
                Endpoint,
                (
                    "slug",
                    "description",
                    "is_enabled",
                    "methods",
                    "content_types",
                    "max_body_bytes",
                    "auth",
                    "allowed_networks",
                    "rate_limit",
                    "signature_preset",
                    "signature_config",
                    "json_schema",
                    "idempotency_seconds",
                    "event_type_from",
                    "keeps_body",
                    "redactions",
                ),
            ),
            "lines",
            "line",
            {"signature_secret_env": "signature secret"},
        ),
        Section(
            "targets",
            Target,
            ("name",),
            offered(
                Target,
                (
                    "name",
                    "description",
                    "url",
                    "delivery_mode",
                    "is_enabled",
                    "role",
                    "sample_permyriad",
                    "compares_with",
                    "compare_ignore",
                    "conditions",
                    "mapping",
                    "answer_mapping",
                    "headers",
                    "auth_kind",
                    "auth_config",
                    "client_certificate",
                    "timeout_seconds",
                    "retry_schedule_seconds",
                    "retry_on",
                    "expire_seconds",
                    "disable_after_hours",
                    "rate_amount",
                    "rate_window_seconds",
                    "max_in_flight",
                    "has_breaker",
                    "ordering_key",
                    "ordering_policy",
                    "stream_total_seconds",
                    "stream_idle_seconds",
                    "stream_max_bytes",
                    "heartbeat_seconds",
                ),
            ),
            "endpoints",
            "endpoint",
            {
                "signing_secret_env": "signing secret",
                "auth_secret_env": "auth secret",
                "client_key_env": "client key",
            },
        ),
        Section(
            "relay_keys",
            RelayKey,
            ("name",),
            (
                *("name", "mode", "scopes", "policy", "rate_limit", "user", "captures_payloads"),
                *("allowed_networks", "expires_at"),
            ),
            "projects",
            "project",
            {"token_env": "token"},
        ),
    )
}
"""By name. References and parents point backwards."""

ROOTS = tuple(section for section in SECTIONS.values() if not section.parent)
_REFERRED = {RateLimit: "rate_limits", Policy: "policies", Host: "hosts", Pricing: "prices"}
_JSON_KINDS = {
    "rules": Kind.RULES,
    "rates": Kind.RATES,
    "fallbacks": Kind.FALLBACKS,
    "capabilities": Kind.CAPABILITIES,
    "headers": Kind.HEADERS,
}


def children(section: Section) -> Iterator[Section]:
    """The parts nested in an entry of this one."""
    return (child for child in SECTIONS.values() if child.parent == section.name)


def ancestors(section: Section) -> list[Section]:
    """The parts around this one, outermost first."""
    return [*ancestors(SECTIONS[section.parent]), SECTIONS[section.parent]] if section.parent else []


def column(section: Section, name: str) -> models.Field:
    """The model's field."""
    field = section.model._meta.get_field(name)
    assert isinstance(field, models.Field)
    return field


@cache
def kind(section: Section, name: str) -> Kind:  # noqa: PLR0911 (a table)
    """How this field is written."""
    match column(section, name):
        case models.ForeignKey(related_model=related):
            return Kind.USER if related is User else Kind.REFERENCE
        case ArrayField(base_field=models.IntegerField()):
            return Kind.INTEGERS
        case ArrayField():
            return Kind.TEXTS
        case models.JSONField():
            return _JSON_KINDS.get(name, Kind.JSON)
        case models.BooleanField():
            return Kind.BOOLEAN
        case models.IntegerField():
            return Kind.INTEGER
        case models.DateTimeField():
            return Kind.TIME
        case _:
            return Kind.TEXT


def refers(section: Section, name: str) -> Section:
    """The part that a reference names a row of."""
    return SECTIONS[_REFERRED[column(section, name).related_model]]  # type: ignore[index]  # a model, for a reference


def is_required(section: Section, name: str) -> bool:
    """Whether an entry without this field is refused."""
    field = column(section, name)
    return name in section.key or not (field.has_default() or field.null or field.blank)


def default(section: Section, name: str) -> Any:
    """What a field that is left out means."""
    return as_written(column(section, name).get_default())


def as_written(value: Any) -> Any:
    """A column's value in the form that documents, plans and comparisons share."""
    match value:
        case bool() | int() | float() | None | datetime():
            return value
        case str():
            return str(value)  # an enum's member becomes its text
        case list() | tuple():
            return [as_written(item) for item in value]
        case dict():
            return {name: as_written(item) for name, item in value.items()}
        case User():
            return value.username
        case models.Model():
            return getattr(value, "slug", None) or getattr(value, "name", None)
        case _:
            raise TypeError(f"no form for {type(value).__name__}")


def in_one_spelling(kind_of: Kind, value: Any) -> Any:
    """A stored value without what its default says as well, so that two spellings of one thing compare as equal."""
    match kind_of:
        case Kind.RULES:
            return [_rule(rule) for rule in value]
        case Kind.RATES:
            return prices.in_order(value)
        case Kind.CAPABILITIES:
            return {name: value[name] for name in CAPABILITIES if value.get(name) is not None}
        case Kind.JSON:
            return _json(value)
        case _:
            return value


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    if rule.get("algorithm") == Algorithm.GCRA:
        return {**rule, "burst": rule.get("burst", 1)}
    return {name: value for name, value in rule.items() if value != Algorithm.SLIDING_WINDOW}


def _json(value: Any) -> Any:
    """JSON has one kind of number and Postgres keeps no exponent: 1.0 and 1e0 are 1."""
    match value:
        case dict():
            return {name: _json(one) for name, one in value.items()}
        case list():
            return [_json(one) for one in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def is_same(kind_of: Kind, old: Any, new: Any) -> bool:
    """Whether two values, each in its one spelling, say the same. In JSON, true is not 1."""
    return old == new and (kind_of is not Kind.JSON or _dumped(old) == _dumped(new))


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def values_of(section: Section, row: models.Model) -> dict[str, Any]:
    """A row's fields as plans compare them."""
    return {name: in_one_spelling(kind(section, name), as_written(getattr(row, name))) for name in section.fields}


def path_of(section: Section, row: models.Model) -> Path:
    """A row's path."""
    own = tuple(str(as_written(getattr(row, name))) for name in section.key)
    if not section.parent:
        return own
    return (*path_of(SECTIONS[section.parent], getattr(row, section.parent_column)), *own)


Rows: TypeAlias = dict[str, dict[Path, models.Model]]


def load_rows(names: Collection[str] = tuple(SECTIONS)) -> Rows:
    """The catalog by section and path, in a stable order. Revoked relay keys are history and not part of it, and
    those of the test console are nobody's."""
    loaded: Rows = {}
    for section in (SECTIONS[name] for name in names):
        rows = section.model._default_manager.all()
        if section.model is RelayKey:
            rows = rows.filter(revoked_at=None).exclude(stand_ins())
        related = [name for name in section.fields if kind(section, name) in (Kind.REFERENCE, Kind.USER)]
        if section.parent:
            outward = [*reversed(ancestors(section))]
            columns = [section.parent_column, *(outer.parent_column for outer in outward if outer.parent)]
            related.append("__".join(columns))
        # `select_related()` without names would follow everything.
        rows = rows.select_related(*related) if related else rows
        by_path = {path_of(section, row): row for row in rows}
        loaded[section.name] = dict(sorted(by_path.items()))
    return loaded
