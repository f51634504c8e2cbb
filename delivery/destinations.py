"""Targets as something that can be sent to: URL parsed, headers checked, signing secret opened.

Decoding costs some 50 us and a target is the same for thousands of deliveries, so the last ones are kept by id and
version: an edited target has another version and is loaded and decoded anew. What is kept costs a claim nothing but a
look-up.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

import msgspec
from yarl import URL

from delivery import needs
from delivery.attempt import Destination, Fault, Needs
from delivery.database import Connection
from relay_contract import netguard, nouns, sealing, signing
from relay_contract.quoted import secrets_of

MAX_KEPT = 4096
MAX_KEPT_TLS = 128
"""Of them, with a TLS context of their own, which takes 0.8 MB. One more is loaded anew when it is next sent to."""

TARGET_VERSION = "target.version"
"""SQL of a number that grows with every change of a target's row and of its secrets."""

LOAD = f"""
SELECT target.id, {TARGET_VERSION}, target.url, target.headers::text, target.timeout_seconds,
    to_json(target.retry_schedule_seconds)::text, to_json(target.retry_on)::text
FROM catalog_target AS target WHERE target.id = ANY(%b::bigint[])
"""  # noqa: S608 (a constant)
LOAD_SECRETS = """
SELECT target_id, id, sealed_value, created_at, expires_at FROM catalog_targetsecret
WHERE target_id = ANY(%b::bigint[]) AND (expires_at IS NULL OR expires_at > now())
ORDER BY target_id, id
"""

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
    retry_on: str | None  # JSON


class SecretRow(NamedTuple):
    """A secret of a target as it is stored."""

    target_id: int
    id: int
    sealed_value: bytes
    created_at: datetime
    expires_at: datetime | None


class Destinations:
    """Decodes targets with the deployment's master key; loads them through the claim's connection."""

    def __init__(self, sealer: sealing.Sealer, connection: Connection) -> None:
        self._sealer = sealer
        self._connection = connection
        self._kept: dict[tuple[int, int], Destination | Fault] = {}
        self._kept_tls: deque[tuple[int, int]] = deque()  # the oldest first

    async def of(self, wanted: Collection[tuple[int, int]]) -> Mapping[int, Destination | Fault]:
        """By id, for targets given as (id, version): the destination, or why it cannot be sent to, which an operator
        has to correct. A target that changed meanwhile is as it is now. Raises DatabaseAway."""
        found = {key[0]: self._kept[key] for key in wanted if key in self._kept}
        missing = [target_id for target_id, _ in wanted if target_id not in found]
        if missing:
            # The versions first: what is read after them is at least as new, so nothing old is kept under a new one.
            targets = [TargetRow(*row) for row in await self._connection.rows(LOAD, (missing,))]
            secrets: defaultdict[int, list[SecretRow]] = defaultdict(list)
            for row in await self._connection.rows(LOAD_SECRETS, (missing,)):
                secrets[row[0]].append(SecretRow(*row))
            wanted_besides = await needs.load(self._connection, missing)
            for target in targets:
                found[target.id] = await self._keep(target, secrets[target.id], wanted_besides.get(target.id))
        return found | {target_id: Fault.TARGET_DELETED for target_id in missing if target_id not in found}

    async def _keep(
        self, target: TargetRow, secrets: Sequence[SecretRow], besides: needs.NeedsRow | None
    ) -> Destination | Fault:
        decoded = self._decode(target, secrets)
        if besides is not None and isinstance(decoded, Destination):
            found = await needs.decode(besides, self._sealer)
            decoded = replace(decoded, needs=found) if isinstance(found, Needs) else found
            if isinstance(found, Needs) and found.tls is not None:
                self._make_room_for_tls((target.id, target.version))
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[target.id, target.version] = decoded
        return decoded

    def _make_room_for_tls(self, key: tuple[int, int]) -> None:
        while len(self._kept_tls) >= MAX_KEPT_TLS:
            self._kept.pop(self._kept_tls.popleft(), None)
        self._kept_tls.append(key)

    def _signing_key(self, secret: SecretRow) -> signing.DatedKey:
        """Raises SealingError or SigningSecretError."""
        value = self._sealer.unseal(secret.sealed_value, nouns.target_secret_binding(secret.id))
        return signing.DatedKey(signing.parse_secret(value), secret.created_at, secret.expires_at)

    def _decode(self, target: TargetRow, secrets: Sequence[SecretRow]) -> Destination | Fault:
        try:
            keys = tuple(self._signing_key(secret) for secret in secrets)
        except (sealing.SealingError, signing.SigningSecretError):
            return Fault.SECRET_UNREADABLE
        if not keys:
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
        lines = {name.lower(): value for name, value in static.items()}
        return Destination(
            url=URL(target.url, encoded=True),
            headers=lines,
            secrets=secrets_of(lines),
            timeout_seconds=target.timeout_seconds,
            retry_schedule_seconds=msgspec.json.decode(target.retry_schedule_seconds, type=tuple[int, ...]),
            signing_keys=keys,
            retry_on=msgspec.json.decode(target.retry_on or "null", type=frozenset[str] | None),
        )
