"""Targets as something that can be sent to: URL parsed, headers checked, signing secret opened.

Decoding costs some 50 us and a target is the same for thousands of deliveries, so the last ones are kept by id and
version: an edited target has another version and is loaded and decoded anew. What is kept costs a claim nothing but a
look-up.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import msgspec
from yarl import URL

from delivery.attempt import Destination, Fault
from delivery.database import Connection
from relay_contract import netguard, nouns, sealing, signing

MAX_KEPT = 4096

TARGET_VERSION = "target.xmin::text::bigint"
"""SQL of a number that changes with every change of a target's row."""

LOAD = f"""
SELECT target.id, {TARGET_VERSION}, target.url, target.headers::text, target.timeout_seconds,
    to_json(target.retry_schedule_seconds)::text, target.sealed_signing_secret
FROM catalog_target AS target WHERE target.id = ANY(%b::bigint[])
"""  # noqa: S608 (a constant)

ANY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A target as it is stored."""

    id: int
    version: int
    url: str
    headers: str  # JSON
    timeout_seconds: int
    retry_schedule_seconds: str  # JSON
    sealed_signing_secret: bytes


class Destinations:
    """Decodes targets with the deployment's master key; loads them through the claim's connection."""

    def __init__(self, sealer: sealing.Sealer, connection: Connection) -> None:
        self._sealer = sealer
        self._connection = connection
        self._kept: dict[tuple[int, int], Destination | Fault] = {}

    async def of(self, wanted: Collection[tuple[int, int]]) -> Mapping[int, Destination | Fault]:
        """By id, for targets given as (id, version): the destination, or why it cannot be sent to, which an operator
        has to correct. A target that changed meanwhile is as it is now. Raises DatabaseAway."""
        found = {key[0]: self._kept[key] for key in wanted if key in self._kept}
        missing = [target_id for target_id, _ in wanted if target_id not in found]
        if missing:
            for row in await self._connection.rows(LOAD, (missing,)):
                target = TargetRow(*row)
                found[target.id] = self._keep(target)
        return found | {target_id: Fault.TARGET_DELETED for target_id in missing if target_id not in found}

    def _keep(self, target: TargetRow) -> Destination | Fault:
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        decoded = self._kept[target.id, target.version] = self._decode(target)
        return decoded

    def _signing_key(self, target: TargetRow) -> signing.SigningKey:
        """Raises SealingError or SigningSecretError."""
        secret = self._sealer.unseal(target.sealed_signing_secret, nouns.signing_secret_binding(target.id))
        return signing.parse_secret(secret)

    def _decode(self, target: TargetRow) -> Destination | Fault:
        try:
            key = self._signing_key(target)
        except (sealing.SealingError, signing.SigningSecretError):
            return Fault.SECRET_UNREADABLE
        try:
            static = msgspec.json.decode(target.headers, type=dict[str, str])
            for name, value in static.items():
                netguard.check_header(name, value)
        except (msgspec.DecodeError, netguard.HeaderRefused):
            return Fault.BAD_HEADER
        try:
            # Only the form: addresses are judged at each connection, where a name cannot hide one.
            netguard.check_url(target.url, allowed=ANY_ADDRESS)
        except netguard.UrlRefused:
            return Fault.BAD_URL
        return Destination(
            url=URL(target.url, encoded=True),
            headers={name.lower(): value for name, value in static.items()},
            timeout_seconds=target.timeout_seconds,
            retry_schedule_seconds=msgspec.json.decode(target.retry_schedule_seconds, type=tuple[int, ...]),
            signing_key=key,
        )
