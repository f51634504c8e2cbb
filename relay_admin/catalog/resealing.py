"""Seals every secret of the catalog anew under the first master key. `docs/secrets.md` says when.

In batches of one transaction each, so that a run may be stopped and started again: what is under the first key already
is passed over. Rows are locked while they are read and written, so an edit at the same moment comes before or after,
and neither is lost. The edges hear of each row as of any change and open it with whichever of their keys it needs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.db import models, transaction

from relay_admin.access.models import RelayKey, SigningKey
from relay_admin.catalog.models import Endpoint, HostKey, Target, TargetSecret
from relay_admin.catalog.services import sealer
from relay_contract import nouns
from relay_contract.sealing import SealingError

BATCH = 200


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of secrets, what they are called, and what each row's is bound to."""

    name: str
    model: type[models.Model]
    column: str
    binding: Callable[[int], str]


SEALED_COLUMNS = (
    SealedColumn("host keys", HostKey, "sealed_value", nouns.host_key_binding),
    SealedColumn("signing secrets", TargetSecret, "sealed_value", nouns.target_secret_binding),
    SealedColumn("target credentials", Target, "sealed_auth_secret", nouns.target_auth_binding),
    SealedColumn("client keys", Target, "sealed_client_key", nouns.target_client_key_binding),
    SealedColumn("signature secrets", Endpoint, "sealed_signature_secret", nouns.endpoint_signature_binding),
    SealedColumn(
        "previous signature secrets",
        Endpoint,
        "sealed_previous_signature_secret",
        nouns.endpoint_previous_signature_binding,
    ),
    SealedColumn("successors of relay keys", RelayKey, "sealed_successor_token", nouns.relay_key_successor_binding),
    SealedColumn("signing keys", SigningKey, "sealed_private", nouns.signing_key_binding),
)


@dataclass(slots=True)
class Resealed:
    """What became of one column's rows."""

    name: str
    current: int = 0  # under the first key before
    resealed: int = 0  # or would be, in a dry run
    unopened: list[tuple[int, str]] = field(default_factory=list)  # id, and why it does not open


def secrets_reseal(*, dry_run: bool = False) -> list[Resealed]:
    """Seal anew what another key than the first has sealed. A row that does not open is left as it is."""
    return [_column_reseal(column, dry_run) for column in SEALED_COLUMNS]


def _column_reseal(column: SealedColumn, dry_run: bool) -> Resealed:
    result = Resealed(column.name)
    for keys in _batches(column):
        with transaction.atomic():
            rows = column.model._default_manager.select_for_update().filter(pk__in=keys).order_by("pk")
            for row in rows:
                _row_reseal(column, row, result, dry_run)
    return result


def _batches(column: SealedColumn) -> Iterator[list[int]]:
    """Ids, in portions. A row that is inserted meanwhile is under the first key."""
    last = 0
    # Nothing is sealed of a host key that is read from elsewhere, or of a credential that nobody set.
    rows = column.model._default_manager.exclude(**{column.column: b""}).order_by("pk")
    while keys := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:BATCH]):
        yield keys
        last = keys[-1]


def _row_reseal(column: SealedColumn, row: models.Model, result: Resealed, dry_run: bool) -> None:
    sealed, binding = getattr(row, column.column), column.binding(row.pk)
    try:
        if not sealer().needs_resealing(sealed):
            result.current += 1
            return
        value = sealer().unseal(sealed, binding)
    except SealingError as error:
        result.unopened.append((row.pk, str(error)))
        return
    result.resealed += 1
    if not dry_run:
        fresh = {column.column: sealer().seal(value, binding)}
        column.model._default_manager.filter(pk=row.pk).update(**fresh)
