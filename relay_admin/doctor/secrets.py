"""The master keys: that they open what is sealed, and that somebody can sign access tokens."""

from collections.abc import Iterator

from django.utils import timezone

from relay_admin.access.models import SigningKey
from relay_admin.catalog.resealing import SEALED_COLUMNS, SealedColumn
from relay_admin.catalog.services import sealer
from relay_admin.doctor.finding import Finding, broken, ok, some_of, warning
from relay_contract.sealing import SealingError

SAMPLE = 50
"""Rows that are opened of each kind, half of them the oldest."""


def examine() -> Iterator[Finding]:
    """Opens a sample of each kind of secret, and shows none."""
    opened, unopened, old = 0, [], 0
    for column in SEALED_COLUMNS:
        for row_id, sealed in _sample(column):
            try:
                sealer().unseal(sealed, column.binding(row_id))
                old += sealer().needs_resealing(sealed)
                opened += 1
            except SealingError as error:
                unopened.append(f"{column.name} {row_id}: {error}")
    yield master_keys(opened, unopened, old)
    yield signing_keys(SigningKey.objects.filter(activates_at__lte=timezone.now()).exists())


def master_keys(opened: int, unopened: list[str], old: int) -> Finding:
    """`old`: opened, but by a previous key."""
    if unopened:
        return broken(
            "secrets.master_keys",
            f"{len(unopened)} of {opened + len(unopened)} do not open: {some_of(unopened, 1)}",
            "Add the key that sealed them to RELAY_PREVIOUS_MASTER_KEYS, or enter them anew (docs/secrets.md).",
        )
    if old:
        return warning(
            "secrets.master_keys",
            f"{old} of {opened} open with a previous key alone",
            "Run `python manage.py rotate_master_key` before that key goes.",
        )
    return ok("secrets.master_keys", f"{opened} sampled secrets open")


def signing_keys(has_active: bool) -> Finding:
    """Without one nobody signs in to an application."""
    if not has_active:
        return broken("secrets.signing_keys", "none is active", "Run `python manage.py prepare`, which makes one.")
    return ok("secrets.signing_keys", "one is active")


def _sample(column: SealedColumn) -> Iterator[tuple[int, bytes]]:
    rows = column.model._default_manager.exclude(**{column.column: b""}).values_list("pk", column.column)
    found = {pk: bytes(sealed) for order in ("pk", "-pk") for pk, sealed in rows.order_by(order)[: SAMPLE // 2]}
    yield from found.items()
