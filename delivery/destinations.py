"""A target's row as something that can be sent to: URL parsed, headers checked, signing secret opened. Pure.

Decoding costs some 50 us and a row is the same for thousands of deliveries, so the last ones are kept by what the row
says: an edited target is another row and is decoded anew.
"""

from ipaddress import IPv4Network, IPv6Network

import msgspec
from yarl import URL

from delivery.attempt import Destination, Fault
from relay_contract import netguard, nouns, sealing, signing

MAX_KEPT = 4096

TargetRow = tuple[int, str, str, int, str, bytes]
"""id, url, headers (JSON), timeout_seconds, retry_schedule_seconds (JSON), sealed_signing_secret"""

ANY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


class Destinations:
    """Decodes target rows with the deployment's master key."""

    def __init__(self, sealer: sealing.Sealer) -> None:
        self._sealer = sealer
        self._kept: dict[TargetRow, Destination | Fault] = {}

    def of(self, row: TargetRow) -> Destination | Fault:
        """The destination, or why this row cannot be sent to: an operator has to correct the target."""
        found = self._kept.get(row)
        if found is None:
            found = self._decode(row)
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[row] = found
        return found

    def _decode(self, row: TargetRow) -> Destination | Fault:
        target_id, url, headers, timeout_seconds, schedule, sealed = row
        try:
            secret = self._sealer.unseal(sealed, nouns.signing_secret_binding(target_id))
            key = signing.parse_secret(secret)
        except (sealing.SealingError, signing.SigningSecretError):
            return Fault.SECRET_UNREADABLE
        try:
            static = msgspec.json.decode(headers, type=dict[str, str])
            for name, value in static.items():
                netguard.check_header(name, value)
        except (msgspec.DecodeError, netguard.HeaderRefused):
            return Fault.BAD_HEADER
        try:
            # Only the form: addresses are judged at each connection, where a name cannot hide one.
            netguard.check_url(url, allowed=ANY_ADDRESS)
        except netguard.UrlRefused:
            return Fault.BAD_URL
        return Destination(
            url=URL(url, encoded=True),
            headers={name.lower(): value for name, value in static.items()},
            timeout_seconds=timeout_seconds,
            retry_schedule_seconds=msgspec.json.decode(schedule, type=tuple[int, ...]),
            signing_key=key,
        )
