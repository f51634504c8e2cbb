"""The signature that an endpoint's callers carry, ready to be checked. Secrets are opened once and shown by no `repr`.
No I/O."""

from collections.abc import Mapping

from aiohttp import web

from relay_contract.inbound_signatures import PRESETS, ConfigError, Verdict, check_config, check_secret, verify
from relay_contract.nouns import Endpoint, endpoint_previous_signature_binding, endpoint_signature_binding
from relay_contract.sealing import Sealer, SealingError


class CallerSignature:
    """Of one endpoint. It fails closed: what it cannot check is no permission."""

    __slots__ = ("_config", "_is_previous_lost", "_previous", "_previous_until", "_secret", "is_usable", "preset")

    def __init__(self, endpoint: Endpoint, sealer: Sealer | None) -> None:
        """`sealer` None opens nothing."""
        self.preset = endpoint.signature_preset
        self._config = endpoint.signature_config
        secret = _opened(sealer, endpoint.sealed_signature_secret, endpoint_signature_binding(endpoint.id))
        self._secret = secret or ""
        until = endpoint.previous_signature_until
        self._previous_until = until.timestamp() if until and endpoint.sealed_previous_signature_secret else 0.0
        previous = _opened(
            sealer, endpoint.sealed_previous_signature_secret, endpoint_previous_signature_binding(endpoint.id)
        )
        self._previous = previous or ""
        self._is_previous_lost = previous is None
        self.is_usable = self._can_check()
        """False for a preset, settings or a secret that no call can be checked by."""

    def _can_check(self) -> bool:
        if self.preset not in PRESETS:
            return False
        try:
            check_config(self.preset, self._config)
            check_secret(self.preset, self._secret)
        except ConfigError:
            return False
        return True

    def judge(self, request: web.BaseRequest, body: bytes, now: float) -> Verdict:
        """Whether this call is signed. `body`: as it was sent; `now`: Unix seconds."""
        if not self.is_usable:
            return Verdict.UNKNOWN
        overlaps = now < self._previous_until
        secrets = (self._secret, self._previous) if overlaps and self._previous else (self._secret,)
        verdict = verify(self.preset, self._config, secrets, _joined(request), body, url=request.raw_path, now=now)
        # The provider may still sign with the one that does not open: then it is we who cannot tell.
        return Verdict.UNKNOWN if verdict is Verdict.INVALID and overlaps and self._is_previous_lost else verdict


def _opened(sealer: Sealer | None, sealed: bytes, binding: str) -> str | None:
    """The secret; "" where there is none, None where it does not open."""
    if not sealed:
        return ""
    if sealer is None:
        return None
    try:
        return sealer.unseal(sealed, binding)
    except SealingError:
        return None


def _joined(request: web.BaseRequest) -> Mapping[str, str]:
    """Headers by lower-case name. A repeated one is joined, so that nobody reads another than the one that was
    checked: no signature fits a list of two."""
    joined: dict[str, str] = {}
    for raw_name, value in request.headers.items():
        name = raw_name.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
