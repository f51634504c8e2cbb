"""A target on a real port, for the edge to call, that checks what the relay sends to targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from relay_contract import nouns
from relay_contract.signing import new_secret
from tests.edge.nouns import TARGET, TARGET_SECRET
from tests.edge.plane import SEALER
from tests.edge.vendor import FORBIDDEN, Malformed, Vendor, VendorCall

SECRET = new_secret()
SSE = ("content-type: text/event-stream", "transfer-encoding: chunked")


@dataclass
class StreamTarget(Vendor):
    """Answers as it is told; a call without the relay's marks, or with anything of the caller's own, fails the test."""

    def _check(self, call: VendorCall) -> None:
        names = {name for name, _ in call.headers}
        wrong = {
            "host": call.header("host") != f"127.0.0.1:{self.port}",
            "forbidden": bool(names & FORBIDDEN),
            "relay key": any("rk_" in value for _, value in call.headers),
            "marks": not {"webhook-id", "webhook-signature", "relay-delivery-id", "relay-hops"} <= names,
        }
        if found := [what for what, is_wrong in wrong.items() if is_wrong]:
            raise Malformed(f"{found}: {call}")

    def rows(self, target_id: int = 1, **changes: Any) -> tuple[nouns.Target, nouns.TargetSecret]:
        """The target that leads here, and its secret."""
        target = replace(
            TARGET,
            id=nouns.TargetId(target_id),
            delivery_mode=nouns.DeliveryMode.STREAM,
            url=f"http://127.0.0.1:{self.port}/stream",
            **changes,
        )
        return target, secret_of(target_id)


def secret_of(target_id: int) -> nouns.TargetSecret:
    """A secret that opens."""
    sealed = SEALER.seal(SECRET, nouns.target_secret_binding(target_id))
    return replace(
        TARGET_SECRET,
        id=nouns.TargetSecretId(target_id),
        target_id=nouns.TargetId(target_id),
        sealed_value=sealed,
    )
