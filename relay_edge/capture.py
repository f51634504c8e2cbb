"""What a captured call sent and received: gathered on the way as far as it is kept, redacted when the call is over.

Only where a relay key or its policy asks for it (`captures_payloads`); every other call costs one test of an attribute.
Memory: two caps a call. Pure.
"""

from datetime import UTC, datetime
from uuid import UUID

from relay_contract.logs import REDACTED, without_secrets
from relay_contract.traffic import CaptureRow

CAPTURE_BYTES = 65_536
"""Of each body, where the settings say nothing else."""

_BEYOND = 512
"""Kept past the cap until secrets are taken out: one that the cap cuts in two could not be told any more."""


class Capture:
    """One call's bodies. `cap_bytes` bounds each."""

    __slots__ = ("_answer", "_answer_bytes", "_cap_bytes", "_request", "_request_bytes", "_secrets")

    def __init__(self, request: bytes, cap_bytes: int) -> None:
        self._cap_bytes = cap_bytes
        self._request = request[: cap_bytes + _BEYOND]
        self._request_bytes = len(request)
        self._answer: list[bytes] = []
        self._answer_bytes = 0
        self._secrets: dict[bytes, None] = {}

    def answered(self, body: bytes) -> None:
        """A piece of the answer, as the caller gets it."""
        left = self._cap_bytes + _BEYOND - self._answer_bytes
        if left > 0:
            self._answer.append(body[:left])
        self._answer_bytes += len(body)

    def sent_with(self, secret: bytes) -> None:
        """A host key that this call was sent with, which a host may quote; b"" for none."""
        if secret:
            self._secrets[secret] = None

    def row(self, call_id: str, received_at: float) -> CaptureRow:
        """As it is kept. `received_at`: Unix seconds. Takes milliseconds for bodies at the cap."""
        cap = self._cap_bytes
        return CaptureRow(
            id=UUID(call_id),
            received_at=datetime.fromtimestamp(received_at, UTC),
            request=self._readable(self._request),
            response=self._readable(b"".join(self._answer)),
            is_cut=self._request_bytes > cap or self._answer_bytes > cap,
        )

    def _readable(self, body: bytes) -> str:
        for secret in self._secrets:
            body = body.replace(secret, REDACTED.encode())
        text = without_secrets(body.decode("utf-8", "replace"))
        return text.encode("utf-8", "replace")[: self._cap_bytes].decode("utf-8", "ignore")
