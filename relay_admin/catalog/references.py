"""What would break without a row: the rows that refer to it, by a column or by its name."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from django.apps import apps
from django.db import models

from relay_admin.catalog.models import Host, Model, ModelAlias, Policy, Project, Target
from relay_admin.ledger.accounts import balances

MOST = 100
"""Listed of one row."""

_REFERRING = frozenset(
    {
        "access.oauthapplication",
        "access.relaykey",
        "catalog.endpoint",
        "catalog.hostbinding",
        "catalog.hostkey",
        "catalog.line",
        "catalog.modelalias",
        "catalog.policy",
        "catalog.project",
        "catalog.target",
        "deliveries.alertrule",
    }
)
"""Labels of the models that count. Revisions, drafts and signing secrets are parts of their row, as members and
invitations are of a project; calls, requests, deliveries and entries are history, which outlives what it names."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`row` refers by its column `field`."""

    row: models.Model
    field: str


def references_of(row: models.Model) -> list[Reference]:
    """The first MOST + 1 of them: with that many there may be more."""
    return list(islice(_all(row), MOST + 1))


def _all(row: models.Model) -> Iterator[Reference]:
    for relation in row._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.ManyToOneRel) and relation.related_model._meta.label_lower in _REFERRING:
            name = relation.field.name
            yield from _by(relation.related_model, name, models.Q(**{name: row}))
    match row:
        case Target():
            siblings = models.Q(endpoint=row.endpoint_id, compares_with=row.name)
            yield from _by(Target, "compares_with", siblings)
            yield from _by(apps.get_model("deliveries", "AlertRule"), "target_id", models.Q(target_id=row.pk))
        case Model() | ModelAlias():
            yield from _policies(row.name, host="")
        case Project():
            yield from _wallets(row)
        case Host():
            yield from _policies("", host=row.slug)


def _by(model: type[models.Model], field: str, condition: models.Q) -> Iterator[Reference]:
    for found in model._default_manager.filter(condition).order_by("pk")[: MOST + 1]:
        yield Reference(found, field)


def _wallets(project: Project) -> Iterator[Reference]:
    """Accounts outlive their project, but nobody would get at what is left in them."""
    rows = {row.pk: row for row in apps.get_model("ledger", "Account").objects.filter(project_id=project.pk)}
    for found in balances(list(rows)).values():
        if found.posted or found.open_holds:
            yield Reference(rows[found.account_id], "project_id")


def _policies(name: str, *, host: str) -> Iterator[Reference]:
    """Those that write the name out; a pattern that it merely fits breaks in no way."""
    for policy in Policy.objects.order_by("pk"):
        if _is_written(policy.models, name, host):
            yield Reference(policy, "models")
        named = [each for fallback in policy.fallbacks for part in ("models", "then") for each in fallback[part]]
        if _is_written(named, name, host):
            yield Reference(policy, "fallbacks")


def _is_written(patterns: Iterable[str], name: str, host: str) -> bool:
    """`name` as a whole, with or without a host behind it; or the host behind anything."""
    for pattern in (pattern.removeprefix("-") for pattern in patterns):
        before, at, behind = pattern.rpartition("@")
        if (name and name in (pattern, before)) or (host and at and behind == host):
            return True
    return False
