"""How the control plane asks the edge about a relay key whose secret it does not have: `POST /api/resolve`, no more.

    ri_<relay key's row id>_<Unix second of its end>_<HMAC-SHA256 of what stands before, 64 hex digits>

The key of the HMAC is derived from RELAY_MASTER_KEY for this purpose alone, so that neither side needs another secret
and nothing sealed can be told from it. A token ends half a minute after it was made: whoever finds one in a dump learns
how one relay key is routed, and cannot call a model with it. Clocks of both sides may differ by less than that.

Pure. About 5 us a call.
"""

import hmac
import re

PREFIX = "ri_"
VALID_SECONDS = 30

_PURPOSE = b"relay internal token: resolve, version 1"
_SHAPE = re.compile(r"(ri_([1-9][0-9]{0,18})_([1-9][0-9]{0,11}))_([0-9a-f]{64})", re.ASCII)


class InternalTokenError(ValueError):
    """The token is none, is not ours, or has ended. The text says which, and repeats nothing of it."""


class InternalTokens:
    """Makes tokens under the current master key, and reads those of an earlier one too while it is being rotated."""

    __slots__ = ("_keys",)

    def __init__(self, *master_keys: bytes) -> None:
        """`master_keys`: the current one first."""
        self._keys = tuple(hmac.digest(key, _PURPOSE, "sha256") for key in master_keys)

    def mint(self, relay_key_id: int, now: float) -> str:
        """A token that speaks for this relay key for half a minute; `now` in Unix seconds."""
        said = f"{PREFIX}{relay_key_id}_{int(now) + VALID_SECONDS}"
        return f"{said}_{_signature(self._keys[0], said)}"

    def read(self, token: str, now: float) -> int:
        """The row id of the relay key. Raises InternalTokenError."""
        shape = _SHAPE.fullmatch(token)
        if shape is None:
            raise InternalTokenError("it has another form than tokens of the control plane")
        if not any(hmac.compare_digest(_signature(key, shape[1]), shape[4]) for key in self._keys):
            raise InternalTokenError("it was made with another RELAY_MASTER_KEY")
        if not now <= int(shape[3]) <= now + 2 * VALID_SECONDS:
            raise InternalTokenError("it has ended, or the clocks of the control plane and the edge differ")
        return int(shape[2])


def _signature(key: bytes, said: str) -> str:
    return hmac.digest(key, said.encode(), "sha256").hex()
