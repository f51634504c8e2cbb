"""What the edge knows of the catalog at one moment: immutable, in memory, without I/O.

`apply` makes the next one and shares what did not change. Law: `build(rows).apply(changes)` equals `build(rows after
the changes)` for any rows and any changes, also where rows briefly contradict each other (two rows with one slug, a
child without its parent), since changes may be read in another order than they were made. That is why an index holds
every row of a key, in order, and a look-up takes the first.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from relay_contract.nouns import (
    NOUNS,
    Application,
    ApplicationId,
    Budget,
    Endpoint,
    EndpointId,
    Host,
    HostBinding,
    HostBindingId,
    HostId,
    HostKey,
    Line,
    Membership,
    Model,
    ModelAlias,
    ModelId,
    Noun,
    Policy,
    PolicyId,
    Pricing,
    PricingId,
    Project,
    ProjectId,
    RateLimit,
    RateLimitId,
    RelayKey,
    RelayKeyId,
    Revocation,
    RevocationKind,
    SigningKey,
    Target,
    TargetId,
    TargetSecret,
    UserId,
    WireShape,
)
from relay_edge.catalog.buckets import Buckets, BucketsBuilder

Row = TypeVar("Row", bound=Noun)


@dataclass(frozen=True, slots=True)
class EndpointRoute:
    """Everything on the way to an endpoint, all of it enabled. There may be no target."""

    project: Project
    line: Line
    endpoint: Endpoint
    targets: tuple[Target, ...]  # enabled, by id; of any mode and role
    every_target: tuple[Target, ...]  # also disabled ones, whose deliveries are held


@dataclass(frozen=True, slots=True, eq=False)
class Index(Generic[Row]):
    """A second way to rows of one noun. `key` answers None for a row that is not to be found this way."""

    noun: type[Row]
    key: Callable[[Row], Hashable | None]
    order: Callable[[Row], Any]


def _by_id(row: Noun) -> int:
    return row.id


KEY_BY_HASH = Index(RelayKey, lambda row: row.token_hash, _by_id)
PROJECT_BY_SLUG = Index(Project, lambda row: row.slug, _by_id)
LINE_BY_SLUG = Index(Line, lambda row: (row.project_id, row.slug), _by_id)
ENDPOINT_BY_SLUG = Index(Endpoint, lambda row: (row.line_id, row.slug), _by_id)
TARGETS_OF_ENDPOINT = Index(Target, lambda row: row.endpoint_id if row.is_enabled else None, _by_id)
EVERY_TARGET_OF_ENDPOINT = Index(Target, lambda row: row.endpoint_id, _by_id)
SECRETS_OF_TARGET = Index(TargetSecret, lambda row: row.target_id, lambda row: -row.id)
HOST_BY_SLUG = Index(Host, lambda row: row.slug, _by_id)
BINDINGS_OF_HOST = Index(HostBinding, lambda row: row.host_id if row.is_enabled else None, _by_id)
MODEL_BY_NAME = Index(Model, lambda row: row.name, _by_id)
MODEL_BY_ALIAS = Index(ModelAlias, lambda row: row.name, _by_id)
BINDINGS_OF_MODEL = Index(HostBinding, lambda row: row.model_id, lambda row: (row.priority, row.id))
KEYS_OF_HOST = Index(HostKey, lambda row: row.host_id, _by_id)
REVOCATIONS_OF = Index(Revocation, lambda row: (row.kind, row.value), _by_id)
MEMBERSHIP_OF = Index(Membership, lambda row: (row.project_id, row.user_id) if row.has_own_budget else None, _by_id)

INDEXES: tuple[Index[Any], ...] = (
    KEY_BY_HASH,
    PROJECT_BY_SLUG,
    LINE_BY_SLUG,
    ENDPOINT_BY_SLUG,
    TARGETS_OF_ENDPOINT,
    EVERY_TARGET_OF_ENDPOINT,
    SECRETS_OF_TARGET,
    HOST_BY_SLUG,
    BINDINGS_OF_HOST,
    MODEL_BY_NAME,
    MODEL_BY_ALIAS,
    BINDINGS_OF_MODEL,
    KEYS_OF_HOST,
    REVOCATIONS_OF,
    MEMBERSHIP_OF,
)
INDEXES_OF: dict[type[Noun], tuple[Index[Any], ...]] = {
    noun: tuple(index for index in INDEXES if index.noun is noun) for noun in NOUNS
}

Changes = Mapping[type[Noun], Mapping[int, Noun | None]]
"""Changed rows by noun and id; None stands for a deleted row."""


class Snapshot:
    """The catalog at one moment. Every look-up is a few dictionary reads."""

    __slots__ = ("_indexes", "_rows", "version")

    def __init__(
        self,
        rows: dict[type[Noun], Buckets[int, Noun]],
        indexes: dict[Index[Any], Buckets[Hashable, tuple[Noun, ...]]],
        version: int,
    ) -> None:
        self._rows = rows
        self._indexes = indexes
        self.version = version  # counts the snapshots of this process, from 1

    @classmethod
    def build(cls, rows: Iterable[Noun], version: int = 1) -> "Snapshot":
        """A snapshot of these rows. Loading many: use `SnapshotBuilder`, which can pause."""
        builder = SnapshotBuilder()
        builder.add(rows)
        return builder.finish(version)

    def apply(self, changes: Changes) -> "Snapshot":
        """The next snapshot, with these rows put in, replaced or taken out. The cost grows with the changes only."""
        rows, indexes = dict(self._rows), dict(self._indexes)
        for noun, changed in changes.items():
            for index in INDEXES_OF[noun]:
                indexes[index] = self._reindexed(index, changed)
            rows[noun] = rows[noun].changed(changed)
        return Snapshot(rows, indexes, self.version + 1)

    def _reindexed(self, index: Index[Any], changed: Mapping[int, Noun | None]) -> Buckets[Hashable, tuple[Noun, ...]]:
        entries = self._indexes[index]
        before = self._rows[index.noun]
        touched: dict[Hashable, dict[int, Noun]] = {}

        def entry(key: Hashable) -> dict[int, Noun]:
            if key not in touched:
                touched[key] = {row.id: row for row in entries.get(key) or ()}
            return touched[key]

        for row_id, row in changed.items():
            if (old := before.get(row_id)) is not None and (key := index.key(old)) is not None:
                entry(key).pop(row_id, None)
            if row is not None and (key := index.key(row)) is not None:
                entry(key)[row_id] = row
        return entries.changed(
            {key: tuple(sorted(found.values(), key=index.order)) or None for key, found in touched.items()}
        )

    def _row(self, noun: type[Row], row_id: int) -> Row | None:
        return cast("Row | None", self._rows[cast("type[Noun]", noun)].get(row_id))

    def _all(self, index: Index[Row], key: Hashable) -> tuple[Row, ...]:
        return cast("tuple[Row, ...]", self._indexes[index].get(key) or ())

    def _first(self, index: Index[Row], key: Hashable) -> Row | None:
        found = self._indexes[index].get(key)
        return cast("Row", found[0]) if found else None

    def relay_key(self, token_hash: bytes) -> RelayKey | None:
        """The key whose token has this SHA-256; also a revoked or expired one."""
        return self._first(KEY_BY_HASH, token_hash)

    def relay_key_by_id(self, relay_key_id: RelayKeyId) -> RelayKey | None:
        """A key by its row's id; also a revoked or expired one."""
        return self._row(RelayKey, relay_key_id)

    def project(self, project_id: ProjectId) -> Project | None:
        """A project by id; also an archived one."""
        return self._row(Project, project_id)

    def project_by_slug(self, slug: str) -> Project | None:
        """A project by its slug; also an archived one."""
        return self._first(PROJECT_BY_SLUG, slug)

    def user_budget(self, project: Project, user_id: UserId) -> Budget | None:
        """What this user may spend in the project: what was said of this one, else of all."""
        own = self._first(MEMBERSHIP_OF, (project.id, user_id))
        return project.user_budget if own is None else own.budget

    def policy(self, policy_id: PolicyId) -> Policy | None:
        """A policy by id."""
        return self._row(Policy, policy_id)

    def rate_limit(self, rate_limit_id: RateLimitId) -> RateLimit | None:
        """A rate limit by id."""
        return self._row(RateLimit, rate_limit_id)

    def host(self, host_id: HostId) -> Host | None:
        """A host by id; also a disabled one."""
        return self._row(Host, host_id)

    def host_by_slug(self, slug: str) -> Host | None:
        """The host, enabled or not."""
        return self._first(HOST_BY_SLUG, slug)

    def host_shape(self, host_id: HostId) -> WireShape | None:
        """The shape of its first enabled binding; None when it has none."""
        binding = self._first(BINDINGS_OF_HOST, host_id)
        return None if binding is None else binding.wire_shape

    def bindings_of_host(self, host_id: HostId) -> tuple[HostBinding, ...]:
        """The enabled bindings to a host, by id."""
        return self._all(BINDINGS_OF_HOST, host_id)

    def endpoint(self, project_slug: str, line_slug: str, endpoint_slug: str) -> EndpointRoute | None:
        """The way to an endpoint; None when a part of it is missing, disabled or archived."""
        project = self._first(PROJECT_BY_SLUG, project_slug)
        if project is None or project.is_archived:
            return None
        line = self._first(LINE_BY_SLUG, (project.id, line_slug))
        if line is None or not line.is_enabled:
            return None
        endpoint = self._first(ENDPOINT_BY_SLUG, (line.id, endpoint_slug))
        if endpoint is None or not endpoint.is_enabled:
            return None
        return EndpointRoute(project, line, endpoint, self.targets(endpoint.id), self.every_target(endpoint.id))

    def targets(self, endpoint_id: EndpointId) -> tuple[Target, ...]:
        """The enabled targets of an endpoint, by id."""
        return self._all(TARGETS_OF_ENDPOINT, endpoint_id)

    def every_target(self, endpoint_id: EndpointId) -> tuple[Target, ...]:
        """The targets of an endpoint, by id; also disabled ones."""
        return self._all(EVERY_TARGET_OF_ENDPOINT, endpoint_id)

    def target(self, target_id: TargetId) -> Target | None:
        """A target by id; also a disabled one."""
        return self._row(Target, target_id)

    def secrets_of(self, target_id: TargetId) -> tuple[TargetSecret, ...]:
        """The signing secrets of a target, newest first; also expired ones."""
        return self._all(SECRETS_OF_TARGET, target_id)

    def model(self, name: str) -> Model | None:
        """A model by the name that callers write; also a disabled one."""
        return self._first(MODEL_BY_NAME, name)

    def model_by_alias(self, name: str) -> Model | None:
        """The model that has this alias; also a disabled one."""
        alias = self._first(MODEL_BY_ALIAS, name)
        return None if alias is None else self._row(Model, alias.model_id)

    def aliases(self) -> Iterable[ModelAlias]:
        """Every alias, in no order that means anything."""
        return cast("Iterable[ModelAlias]", self._rows[ModelAlias].values())

    def pricing(self, pricing_id: PricingId) -> Pricing | None:
        """A price row by id."""
        return self._row(Pricing, pricing_id)

    def model_by_id(self, model_id: ModelId) -> Model | None:
        """A model by id; also a disabled one."""
        return self._row(Model, model_id)

    def models(self) -> Iterable[Model]:
        """Every model, also disabled ones, in no order that means anything."""
        return cast("Iterable[Model]", self._rows[Model].values())

    def binding(self, binding_id: HostBindingId) -> HostBinding | None:
        """A binding by id; also a disabled one."""
        return self._row(HostBinding, binding_id)

    def every_binding(self, model_id: ModelId) -> tuple[HostBinding, ...]:
        """The bindings of a model, by priority, then id; also disabled ones."""
        return self._all(BINDINGS_OF_MODEL, model_id)

    def bindings(self, model_id: ModelId) -> tuple[HostBinding, ...]:
        """The enabled bindings of a model, by priority, then id."""
        return tuple(binding for binding in self.every_binding(model_id) if binding.is_enabled)

    def every_host_key(self, host_id: HostId) -> tuple[HostKey, ...]:
        """The keys of a host, by id; also disabled ones."""
        return self._all(KEYS_OF_HOST, host_id)

    def host_keys(self, host_id: HostId) -> tuple[HostKey, ...]:
        """The enabled keys of a host, by id."""
        return tuple(key for key in self.every_host_key(host_id) if key.is_enabled)

    def application(self, application_id: ApplicationId) -> Application | None:
        """An application by id; also a disabled one."""
        return self._row(Application, application_id)

    def applications(self) -> Iterable[Application]:
        """Every application, also disabled ones, in no order that means anything."""
        return cast("Iterable[Application]", self._rows[Application].values())

    def signing_keys(self) -> Iterable[SigningKey]:
        """Every key that access tokens are signed with, also retired ones, in no order that means anything."""
        return cast("Iterable[SigningKey]", self._rows[SigningKey].values())

    def revocations(self, kind: RevocationKind, value: str) -> tuple[Revocation, ...]:
        """Those of access tokens of which this is said; also ones that are over."""
        return self._all(REVOCATIONS_OF, (kind, value))

    def portion(self, noun: type[Noun]) -> object:
        """The rows of one noun: the same object in the next snapshot as long as none of them changed. What was derived
        from them alone is kept by it."""
        return self._rows[noun]

    def references(self) -> frozenset[str]:
        """Where host keys are read that are not sealed in their rows."""
        return frozenset(
            key.reference for key in self._rows[HostKey].values() if isinstance(key, HostKey) and key.reference
        )

    def counts(self) -> dict[str, int]:
        """How many rows of each table are held."""
        return {noun.table: len(rows) for noun, rows in self._rows.items()}

    def portions(self) -> list[Any]:
        """Everything held, in pieces, for whoever lets go of a snapshot: all at once stops the loop for 40 ms."""
        maps: list[Buckets[Any, Any]] = [*self._rows.values(), *self._indexes.values()]
        return [bucket for each in maps for bucket in each.filled()]

    def __eq__(self, other: object) -> bool:
        """Equal when they hold the same rows and answer alike; the version does not count."""
        return isinstance(other, Snapshot) and self._rows == other._rows and self._indexes == other._indexes

    __hash__ = None  # type: ignore[assignment]  # compared by content


class SnapshotBuilder:
    """Takes rows in portions of any size and order; of two rows with one id, the last counts."""

    __slots__ = ("_indexes", "_rows", "_shared")

    def __init__(self) -> None:
        self._rows: dict[type[Noun], BucketsBuilder[int, Noun]] = {noun: BucketsBuilder() for noun in NOUNS}
        self._indexes: dict[Index[Any], BucketsBuilder[Hashable, tuple[Noun, ...]]] = {
            index: BucketsBuilder() for index in INDEXES
        }
        # Keys with several rows grow here as dictionaries: a tuple that grows by one row at a time is quadratic.
        self._shared: dict[Index[Any], dict[Hashable, dict[int, Noun]]] = {index: {} for index in INDEXES}

    def add(self, rows: Iterable[Noun]) -> None:
        """Puts rows in."""
        for row in rows:
            noun = type(row)
            held = self._rows[noun]
            old = held.get(row.id)
            held.set(row.id, row)
            for index in INDEXES_OF[noun]:
                if old is not None and (key := index.key(old)) is not None:
                    self._take_out(index, key, old.id)
                if (key := index.key(row)) is not None:
                    self._put_in(index, key, row)

    def _put_in(self, index: Index[Any], key: Hashable, row: Noun) -> None:
        shared = self._shared[index]
        if key in shared:
            shared[key][row.id] = row
        elif (found := self._indexes[index].get(key)) is None:
            self._indexes[index].set(key, (row,))
        else:
            shared[key] = {found[0].id: found[0], row.id: row}

    def _take_out(self, index: Index[Any], key: Hashable, row_id: int) -> None:
        shared = self._shared[index]
        if key not in shared:
            shared[key] = {row.id: row for row in self._indexes[index].get(key) or ()}
        shared[key].pop(row_id, None)

    def finish(self, version: int = 1) -> Snapshot:
        """The snapshot. The builder must not be used after it."""
        indexes = {
            index: entries.finish().changed(
                {
                    key: tuple(sorted(found.values(), key=index.order)) or None
                    for key, found in self._shared[index].items()
                }
            )
            for index, entries in self._indexes.items()
        }
        return Snapshot({noun: rows.finish() for noun, rows in self._rows.items()}, indexes, version)
