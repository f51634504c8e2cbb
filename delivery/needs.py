"""What some targets want besides a signature: mappings compiled, credentials opened, client certificates loaded.

Loaded with the targets a process does not hold yet and kept with them, by id and version; most targets have no row
here.
"""

import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from delivery import tls
from delivery.attempt import Fault, Needs
from delivery.database import Connection
from relay_contract import nouns, sealing
from relay_contract.client_certificates import CertificateError
from relay_contract.nouns import TargetAuth
from relay_contract.oauth2 import ClientCredentials
from relay_contract.shaping.checking import ShapingError
from relay_contract.shaping.mapping import Mapping as ShapingMapping
from relay_contract.shaping.mapping import compile_mapping
from relay_contract.target_auth import read_credential

LOAD = """
SELECT id, mapping::text, answer_mapping::text, auth_kind, auth_config::text, sealed_auth_secret, client_certificate,
    sealed_client_key
FROM catalog_target
WHERE id = ANY(%b::bigint[])
    AND (mapping IS NOT NULL OR answer_mapping IS NOT NULL OR auth_kind <> 'none' OR client_certificate <> '')
"""


@dataclass(frozen=True, slots=True)
class NeedsRow:
    """A target's row, as far as it is about this."""

    id: int
    mapping: str | None  # JSON, here and below
    answer_mapping: str | None
    auth_kind: str
    auth_config: str
    sealed_auth_secret: bytes = field(repr=False)
    client_certificate: str
    sealed_client_key: bytes = field(repr=False)


async def load(connection: Connection, target_ids: Collection[int]) -> Mapping[int, NeedsRow]:
    """By target, those that have any. Raises DatabaseAway."""
    rows = [NeedsRow(*row) for row in await connection.rows(LOAD, (list(target_ids),))]
    return {row.id: row for row in rows}


async def decode(row: NeedsRow, sealer: sealing.Sealer) -> Needs | Fault:
    """Ready to be used, or what an operator has to correct: a target is never sent to without what it asks for."""
    try:
        mapping, answer_mapping = _compiled(row.mapping), _compiled(row.answer_mapping)
    except (ShapingError, msgspec.DecodeError):
        return Fault.MAPPING_FAILED  # written past the forms, or by a newer version
    try:
        credential = _credential(row, sealer)
        context = await _context(row, sealer)
    except (sealing.SealingError, msgspec.DecodeError, ValueError) as error:
        is_certificate = isinstance(error, CertificateError)
        return Fault.CLIENT_CERTIFICATE_UNUSABLE if is_certificate else Fault.SECRET_UNREADABLE
    if isinstance(credential, ClientCredentials):
        return Needs(mapping, answer_mapping, "", credential, context)
    return Needs(mapping, answer_mapping, credential, None, context)


def _compiled(document: str | None) -> ShapingMapping | None:
    return None if document is None else compile_mapping(msgspec.json.decode(document))


def _credential(row: NeedsRow, sealer: sealing.Sealer) -> str | ClientCredentials:
    """See read_credential. Raises SealingError, also where no secret was set."""
    kind = TargetAuth(row.auth_kind)
    if kind is TargetAuth.NONE:
        return ""
    secret = sealer.unseal(row.sealed_auth_secret, nouns.target_auth_binding(row.id))
    decoded: Any = msgspec.json.decode(row.auth_config)
    return read_credential(kind, nouns.auth_config_from_json(decoded), secret)


async def _context(row: NeedsRow, sealer: sealing.Sealer) -> ssl.SSLContext | None:
    if not row.client_certificate:
        return None
    key = sealer.unseal(row.sealed_client_key, nouns.target_client_key_binding(row.id))
    return await tls.client_context(row.client_certificate, key)
