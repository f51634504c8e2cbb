"""Writing one row of the catalog, for doors that have neither a form nor a document of it: the control API.

A row is checked as a whole, by its model's `clean` and by `refusals`, which the admin's forms ask too. What is written
of a line, endpoint or target becomes a revision of the line, as a saved form does; a draft of it is stale from then on.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import models, transaction

from relay_admin.catalog import rules, services, target_credentials
from relay_admin.catalog.lines import revisions
from relay_admin.catalog.models import CatalogRow, Endpoint, HostKey, Target

if TYPE_CHECKING:
    from relay_admin.access.models import User

Row = TypeVar("Row", bound=CatalogRow)

TARGET_SECRETS = ("auth_secret", "client_key")
_OF_SIGNATURES = frozenset({"auth", "is_enabled"})
OF_CREDENTIALS = frozenset({"auth_kind", "client_certificate", *TARGET_SECRETS})


def refusals(row: models.Model, changed: Collection[str] | None, secrets: Mapping[str, str]) -> dict[str, str]:
    """What is missing beside a row, by field: the secrets that its fields ask for.

    `changed`: what gets another value, secrets included; None for a new row. What was so before does not stop another
    change. `secrets`: new ones, clean, by name.
    """
    match row:
        case Endpoint() if changed is None or _OF_SIGNATURES & set(changed):
            return rules.signature_secret_refusals(row, has_secret=bool(row.sealed_signature_secret))
        case Target() if changed is None or OF_CREDENTIALS & set(changed):
            return target_credentials.refusals(row, **{name: secrets.get(name, "") for name in TARGET_SECRETS})
        case HostKey() if not row.reference and not row.sealed_value:
            return {"reference": "The key has no value of its own: rotate it first, or leave the reference."}
        case _:
            return {}


@transaction.atomic
def row_insert(*, row: CatalogRow, secrets: Mapping[str, str], by: "User | None") -> None:
    """Insert a row that was filled but not saved. `secrets`: `value` of a host key, TARGET_SECRETS of a target. Raises
    ValidationError."""
    lines = revisions.lines_of([row])
    revisions.lock(lines)
    secrets = _clean(secrets)
    match row:
        case HostKey():
            services.host_key_insert(host_key=row, value=secrets.get("value", ""))
        case Target():
            services.target_insert(target=row)
        case _:
            row.full_clean()
            row.save(force_insert=True)
    _refuse(refusals(row, None, secrets))
    _keep(row, secrets)
    revisions.take(lines, by)


@contextmanager
def row_held(row: Row, *, by: "User | None", is_going: bool = False) -> Iterator[Row]:
    """The row as it is now, in a transaction: nobody else writes it before the block ends, and what the block wrote of
    a line is a revision. With `is_going` nothing new comes to refer to it either. Raises the model's DoesNotExist."""
    with transaction.atomic():
        lines = revisions.lines_of([row])
        revisions.lock(lines)
        rows = type(row)._default_manager.select_for_update(no_key=not is_going)
        yield rows.get(pk=row.pk)
        revisions.take(lines, by)


def row_change(*, row: CatalogRow, changes: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
    """Give a held row these values; the names of those that are new. Raises ValidationError."""
    secrets = _clean(secrets)
    columns = [name for name, value in changes.items() if _differs(getattr(row, name), value)]
    for name in columns:
        setattr(row, name, changes[name])
    changed = [*columns, *secrets]
    if changed:
        row.full_clean()
        _refuse(refusals(row, changed, secrets))
    if columns:
        row.save(update_fields=[*columns, "updated_at"])
    _keep(row, secrets)
    return changed


def _differs(old: Any, new: Any) -> bool:
    """In JSON, true is not 1."""
    if isinstance(new, dict | list) and isinstance(old, dict | list):
        return json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True)
    return bool(old != new)


def _clean(secrets: Mapping[str, str]) -> dict[str, str]:
    """Raises ValidationError, by name."""
    rules_of = {
        "value": services.host_key_value_clean,
        "auth_secret": target_credentials.auth_secret_clean,
        "client_key": target_credentials.client_key_clean,
    }
    found = {}
    for name, value in secrets.items():
        try:
            found[name] = rules_of[name](value)
        except ValidationError as refused:
            raise ValidationError({name: refused.messages}) from None
    return found


def _keep(row: CatalogRow, secrets: Mapping[str, str]) -> None:
    if not isinstance(row, Target):
        return
    if secret := secrets.get("auth_secret"):
        target_credentials.target_auth_secret_set(target=row, value=secret)
    if key := secrets.get("client_key"):
        target_credentials.target_client_key_set(target=row, value=key)


def _refuse(found: dict[str, str]) -> None:
    if found:
        raise ValidationError(found)
