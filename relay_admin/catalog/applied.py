"""What documents said last, so that a document and people can change the same catalog: a merge of three.

For each field there is what was applied last, what the document says now, and what the row holds. Where nobody touched
the row the document decides. Where only the row changed it is drift: shown, and left alone. Where both did it is a
conflict, and somebody has to say who is right. Of what was applied digests are enough, so no secret is kept twice.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from django.db import models

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import AppliedEntry, HostKey
from relay_admin.catalog.sections import Path, Section, values_of

Place: TypeAlias = tuple[str, Path]
"""The section and the path of an entry."""
Digests: TypeAlias = Mapping[str, str]
"""Of each field of an entry."""


@dataclass(slots=True)
class Drift:
    """An entry that people changed since it was applied, and the document did not. `fields`: what the document says and
    what the row holds, as shown; none: the row was deleted."""

    section: Section
    path: Path
    fields: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        name = f"! {self.section.noun} {'/'.join(self.path)}"
        if not self.fields:
            return f"{name}: deleted since it was applied"
        lines = [f"    {one}: {there}, and {said} in the document" for one, (said, there) in self.fields.items()]
        return "\n".join([f"{name}: changed since it was applied", *lines])


def digest(value: Any) -> str:
    """16 hexadecimal digits of a value in its one spelling."""
    text = json.dumps(value, sort_keys=True, default=_as_json)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _as_json(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")


def stored(section: Section, row: models.Model) -> dict[str, Any]:
    """What a row holds, by the fields that a plan compares: its columns, and what tells its secret from another."""
    values = values_of(section, row)
    match row:
        case HostKey():
            values |= {"value_env": row.value_env, "value": row.value_fingerprint}
        case RelayKey():
            values |= {"token": bytes(row.token_hash).hex()}
    return values


def load() -> dict[Place, Digests]:
    """What was applied last, of every entry of any document."""
    rows = AppliedEntry.objects.values_list("section", "path", "digests")
    return {(section, tuple(path)): digests for section, path, digests in rows}


def remember(said: Mapping[Place, Mapping[str, Any]], there: Iterable[Place]) -> None:
    """Keeps what a document says now, and forgets entries that neither a document nor the catalog has any more.
    `there`: the rows of the catalog."""
    before = load()
    now = {place: {name: digest(value) for name, value in values.items()} for place, values in said.items()}
    gone = before.keys() - now.keys() - set(there)
    for section, path in gone:
        AppliedEntry.objects.filter(section=section, path=list(path)).delete()
    AppliedEntry.objects.bulk_create(
        [
            AppliedEntry(section=section, path=list(path), digests=digests)
            for (section, path), digests in now.items()
            if before.get((section, path)) != digests
        ],
        update_conflicts=True,
        unique_fields=["section", "path"],
        update_fields=["digests", "applied_at"],
    )
