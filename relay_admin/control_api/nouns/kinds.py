"""What each kind of the catalog is in the control API: its address, forms, filters, and who may do what with it.

A kind's fields are those of catalog documents (`catalog/sections.py`), under wire names. Kinds without an act are
operators' alone. Lines are made and deleted by operators; what is in them is for whoever manages a project's endpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.permissions import BasePermission

from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, one_of, rows_of
from relay_admin.catalog.models import Endpoint, Host, HostBinding, Line
from relay_admin.catalog.models import Model as CatalogModel
from relay_admin.catalog.row_services import TARGET_SECRETS
from relay_admin.catalog.sections import SECTIONS, Section, column
from relay_admin.control_api.nouns.fields import Flag, PathField, field_of, reference, wire_name
from relay_admin.control_api.paging import MAX_PAGE, Query
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wire import ChoiceField, Strict
from relay_contract.nouns import Billing, DeliveryMode, TargetRole, WireShape

Fields = Mapping[str, serializers.Field]
LINE_PATH = ("project__slug", "slug")
ENDPOINT_PATH = ("line__project__slug", "line__slug", "slug")
STAYS = "It stays where it is: make another row there."
SWITCHED = "POST /api/v1/targets/{id}/enable or .../disable: they say what becomes of the deliveries kept back."
_SECRET_LENGTH = 65_536


@dataclass(frozen=True, slots=True)
class Filter:
    """A word of a list's query. `lookups`: the columns that it names, joined by slashes where they are several.
    `words`: what it may be; None: any text. `is_flag`: true or false."""

    lookups: tuple[str, ...]
    words: tuple[str, ...] | None = None
    is_flag: bool = False

    def field(self) -> serializers.Field:
        """How it is read."""
        if self.is_flag:
            return Flag(required=False)
        if self.words is not None:
            return ChoiceField(self.words, required=False)
        return serializers.CharField(max_length=400, required=False)

    def condition(self, wanted: Any) -> Q:
        """Nothing fits a name with too few or too many parts."""
        if len(self.lookups) == 1:
            return Q(**{self.lookups[0]: wanted})
        names = wanted.split("/")
        return Q(**dict(zip(self.lookups, names, strict=True))) if len(names) == len(self.lookups) else Q(pk__in=())


class RowJson(serializers.Serializer):
    """What is told of a row: every field, always."""


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind. `acts`: by verb of Django's permissions, the act that opens it to members of projects.

    `parent`: what makes the field of the row that it belongs to; it cannot be changed. `fixed`: columns that these
    calls do not change, and what does. `new_secrets`, `secrets`: write-only texts of a new row, and of every body.
    `told`: fields of answers beside those that can be written.
    """

    section: Section
    path: str
    noun: str
    filters: Mapping[str, Filter]
    search: tuple[str, ...]
    related: tuple[str, ...] = ()
    address: tuple[tuple[str, str], ...] = ()
    acts: Mapping[str, Act] = field(default_factory=dict)
    parent: Any = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    new_secrets: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    told: Any = dict

    @property
    def model(self) -> Any:
        """Its table."""
        return self.section.model

    @property
    def key(self) -> str:
        """The column that lists are ordered by where they are ordered by name."""
        return "upstream_name" if self.model is HostBinding else self.section.key[0]

    def permission(self, verb: str) -> BasePermission:
        """Who may view, add, change or delete."""
        return self._permissions[verb]()

    def changeable(self, actor: Actor, rows: list[Any]) -> set[int]:
        """Ids of those that the caller, as a view that changes rows found them, may change."""
        own = {row.pk for row in rows}
        if actor.is_operator or "change" not in self.acts:
            return own if actor.is_operator else set()
        return set(rows_of(self.model, actor, self.acts["change"]).filter(pk__in=own).values_list("pk", flat=True))

    @cached_property
    def _permissions(self) -> dict[str, type[BasePermission]]:
        return {
            verb: requires(self.permission_name(verb), act=self.acts.get(verb))
            for verb in ("view", "add", "change", "delete")
        }

    def permission_name(self, verb: str) -> str:
        """Of Django's."""
        return f"catalog.{verb}_{self.model._meta.model_name}"

    def rows(self, actor: Actor) -> "QuerySet[Any, Any]":
        """Those that the actor sees, with what they refer to."""
        act = self.acts.get("view")
        rows = self.model._default_manager.all() if act is None else rows_of(self.model, actor, act)
        found: QuerySet[Any, Any] = rows.select_related(*self.related) if self.related else rows
        return found

    def one(self, actor: Actor, verb: str, **lookup: Any) -> Any:
        """The row at an address, for that verb. Raises Http404 and PermissionDenied as `scoping.one_of` does."""
        if not self.acts:
            return get_object_or_404(self.model._default_manager.select_related(*self.related), **lookup)
        # A verb without an act is for operators, and nobody else got as far as here.
        return one_of(self.model, actor, self.acts.get(verb, Act.MANAGE_ENDPOINTS), *self.related, **lookup)

    @cached_property
    def body(self) -> type[Strict]:
        """What replaces a row, and by parts changes it."""
        return self._form("Body", self._written | _secrets(self.secrets))

    @cached_property
    def new_body(self) -> type[Strict]:
        """What makes one."""
        return self._form("NewBody", self._written | _secrets((*self.secrets, *self.new_secrets)))

    @cached_property
    def json(self) -> type[RowJson]:
        """What an answer tells of one."""
        own = {"id": serializers.IntegerField(source="pk", read_only=True)}
        fields = {**own, **self._written, **self.told()}
        dates = {name: serializers.DateTimeField(source=source, read_only=True) for name, source in _DATES.items()}
        return type(f"{self.noun}Json", (RowJson,), {**fields, **dates, "__doc__": f"A {self.section.noun}."})

    @cached_property
    def query(self) -> type[Query]:
        """What a list may be asked."""
        filters = {name: one.field() for name, one in self.filters.items()}
        orders = [*self.orders, *(f"-{name}" for name in self.orders)]
        return type(
            f"{self.noun}Query",
            (Query,),
            {
                **filters,
                "search": serializers.CharField(max_length=200, required=False),
                "order": ChoiceField(orders, default=wire_name(self.key)),
                "after": serializers.CharField(max_length=2000, required=False),
                "limit": serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50),
                "__doc__": "Query of the list. `after` is the `next` of the page before.",
            },
        )

    @cached_property
    def orders(self) -> dict[str, str]:
        """Columns that lists are ordered by, by their wire names."""
        return {wire_name(self.key): self.key, "id": "pk", "createdAt": "created_at", "updatedAt": "updated_at"}

    @property
    def _written(self) -> dict[str, serializers.Field]:
        found = {self.section.parent_column: self.parent()} if self.parent else {}
        return found | {wire_name(name): field_of(self.section, name) for name in self.section.fields}

    def _form(self, end: str, fields: Fields) -> type[Strict]:
        return type(f"{self.noun}{end}", (Strict,), {**fields, "__doc__": f"What is written of a {self.section.noun}."})


_DATES = {"createdAt": "created_at", "updatedAt": "updated_at"}


def _secrets(names: tuple[str, ...]) -> dict[str, serializers.Field]:
    found = {}
    for name in names:
        renamed = {"source": name} if wire_name(name) != name else {}
        found[wire_name(name)] = serializers.CharField(
            max_length=_SECRET_LENGTH, required=False, write_only=True, trim_whitespace=False, **renamed
        )
    return found


class _Presence(serializers.BooleanField):
    """Whether the column holds anything: bytes, or a document that may be None, for which DRF would ask nobody."""

    def get_attribute(self, instance: Any) -> bool:
        """Of the row's column."""
        return bool(super().get_attribute(instance))

    def to_representation(self, value: bool) -> bool:
        """As it is."""
        return value


def _there(source: str) -> _Presence:
    return _Presence(source=source, read_only=True)


def _seeded() -> dict[str, serializers.Field]:
    return {"isSeeded": _there("template")}


def _project_told() -> dict[str, serializers.Field]:
    return {"role": serializers.CharField(read_only=True, allow_null=True, help_text="The caller's; null: none.")}


def _line_told() -> dict[str, serializers.Field]:
    return {"revision": serializers.IntegerField(read_only=True)}


def _endpoint_told() -> dict[str, serializers.Field]:
    return {"hasSignatureSecret": _there("sealed_signature_secret")}


def _target_told() -> dict[str, serializers.Field]:
    return {
        "hasAuthSecret": _there("sealed_auth_secret"),
        "hasClientKey": _there("sealed_client_key"),
        "disabledReason": serializers.CharField(source="disabled_reason", read_only=True),
        "goneAt": serializers.DateTimeField(source="gone_at", read_only=True, allow_null=True),
    }


def _host_key_told() -> dict[str, serializers.Field]:
    return {
        "hasValue": _there("sealed_value"),
        "valueFingerprint": serializers.CharField(source="value_fingerprint", read_only=True),
        "valueEnv": serializers.CharField(source="value_env", read_only=True),
    }


def _price_told() -> dict[str, serializers.Field]:
    return {"version": serializers.IntegerField(read_only=True), **_seeded()}


def _own(section: Section, *names: str) -> dict[str, Filter]:
    """Filters by columns of the row itself."""
    found = {}
    for name in names:
        is_flag = column(section, name).get_internal_type() == "BooleanField"
        found[wire_name(name)] = Filter((name,), is_flag=is_flag)
    return found


def _words(name: str, enum: Any) -> dict[str, Filter]:
    return {wire_name(name): Filter((name,), words=tuple(str(word) for word in enum))}


def _of(name: str, lookup: str) -> dict[str, Filter]:
    return {wire_name(name): Filter((lookup,))}


_MANAGED = {"view": Act.SEE_TRAFFIC, **dict.fromkeys(("add", "change", "delete"), Act.MANAGE_ENDPOINTS)}
_S = SECTIONS

KINDS: tuple[Kind, ...] = (
    Kind(
        _S["lines"],
        "lines",
        "Line",
        {**_own(_S["lines"], "slug", "is_enabled"), "project": Filter(("project__slug",))},
        ("slug", "project__slug", "description"),
        related=("project",),
        address=(("project", "project__slug"), ("line", "slug")),
        acts={"view": Act.SEE_TRAFFIC, "change": Act.MANAGE_ENDPOINTS},
        parent=lambda: ProjectField(Act.MANAGE_ENDPOINTS),
        fixed={"project": STAYS},
        told=_line_told,
    ),
    Kind(
        _S["endpoints"],
        "endpoints",
        "Endpoint",
        {
            **_own(_S["endpoints"], "slug", "is_enabled"),
            **_of("rate_limit", "rate_limit__slug"),
            "project": Filter(("line__project__slug",)),
            "line": Filter(("line__project__slug", "line__slug")),
        },
        ("slug", "line__slug", "line__project__slug", "description"),
        related=("line__project", "rate_limit"),
        address=(("project", "line__project__slug"), ("line", "line__slug"), ("endpoint", "slug")),
        acts=_MANAGED,
        parent=lambda: PathField(Line, LINE_PATH),
        fixed={"line": STAYS},
        told=_endpoint_told,
    ),
    Kind(
        _S["targets"],
        "targets",
        "Target",
        {
            **_own(_S["targets"], "name", "is_enabled"),
            **_words("delivery_mode", DeliveryMode),
            **_words("role", TargetRole),
            "project": Filter(("endpoint__line__project__slug",)),
            "endpoint": Filter(("endpoint__line__project__slug", "endpoint__line__slug", "endpoint__slug")),
        },
        ("name", "url", "endpoint__slug", "endpoint__line__project__slug", "description"),
        related=("endpoint__line__project",),
        acts=_MANAGED,
        parent=lambda: PathField(Endpoint, ENDPOINT_PATH),
        fixed={"endpoint": STAYS, "is_enabled": SWITCHED},
        secrets=TARGET_SECRETS,
        told=_target_told,
    ),
    Kind(
        _S["hosts"],
        "hosts",
        "Host",
        _own(_S["hosts"], "slug", "is_enabled"),
        ("slug", "base_url", "description"),
        told=_seeded,
    ),
    Kind(
        _S["keys"],
        "host-keys",
        "HostKey",
        {
            **_own(_S["keys"], "name", "is_enabled"),
            **_of("host", "host__slug"),
            **_of("rate_limit", "rate_limit__slug"),
        },
        ("name", "host__slug", "value_fingerprint", "reference", "description"),
        related=("host", "rate_limit"),
        parent=lambda: reference(Host),
        fixed={"host": STAYS},
        new_secrets=("value",),
        told=_host_key_told,
    ),
    Kind(
        _S["models"],
        "models",
        "Model",
        _own(_S["models"], "name", "owned_by", "is_enabled"),
        ("name", "owned_by", "description"),
        told=_seeded,
    ),
    Kind(
        _S["aliases"],
        "model-aliases",
        "ModelAlias",
        {**_own(_S["aliases"], "name"), **_of("model", "model__name")},
        ("name", "model__name", "description"),
        related=("model",),
        parent=lambda: reference(CatalogModel),
        fixed={"model": STAYS},
    ),
    Kind(
        _S["bindings"],
        "host-bindings",
        "HostBinding",
        {
            **_own(_S["bindings"], "upstream_name", "is_enabled"),
            **_words("wire_shape", WireShape),
            **_of("host", "host__slug"),
            **_of("model", "model__name"),
            **_of("pricing", "pricing__slug"),
        },
        ("model__name", "host__slug", "upstream_name", "description"),
        related=("model", "host", "pricing"),
        parent=lambda: reference(CatalogModel),
        fixed={"model": STAYS},
        told=_seeded,
    ),
    Kind(_S["prices"], "prices", "Price", _own(_S["prices"], "slug"), ("slug", "description"), told=_price_told),
    Kind(
        _S["policies"],
        "policies",
        "Policy",
        {
            **_own(_S["policies"], "slug", "captures_payloads", "is_strict"),
            **_of("rate_limit", "rate_limit__slug"),
        },
        ("slug", "description"),
        related=("rate_limit", "user_rate_limit", "estimate_pricing"),
    ),
    Kind(_S["rate_limits"], "rate-limits", "RateLimit", _own(_S["rate_limits"], "slug"), ("slug", "description")),
)
"""Those that have their rows here. Relay keys and signing secrets have views of their own."""

PROJECTS = Kind(
    _S["projects"],
    "projects",
    "Project",
    {
        **_own(_S["projects"], "slug", "is_archived"),
        **_of("rate_limit", "rate_limit__slug"),
        **_words("billing", Billing),
    },
    ("slug", "name", "description"),
    related=("rate_limit", "test_rate_limit"),
    address=(("project", "slug"),),
    acts={"view": Act.SEE_PROJECT, "change": Act.MANAGE_MEMBERS},
    told=_project_told,
)
"""With views of their own (`projects.py`), which tell members less."""

BY_LABEL = {kind.model._meta.label_lower: kind for kind in KINDS}
