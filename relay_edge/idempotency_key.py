"""`Idempotency-Key`: the caller's name for what is to be done once. Pure.

The header of draft-ietf-httpapi-idempotency-key-header-07, as it is sent in practice: bare, 1 to 255 visible ASCII
characters. The draft's quotation marks are visible characters too, and part of the key.
"""

from relay_contract.errors import BadHeader
from relay_contract.headers import IDEMPOTENCY_KEY

MAX_LENGTH = 255


def read_idempotency_key(values: list[str]) -> str:
    """The key out of the header's values. Raises BadHeader, whose text names the rule."""
    if len(values) != 1:
        raise _refused("send it once")
    [key] = values
    if not 0 < len(key) <= MAX_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise _refused(f"it is 1 to {MAX_LENGTH} visible ASCII characters, without spaces")
    return key


def _refused(rule: str) -> BadHeader:
    return BadHeader(f"The header {IDEMPOTENCY_KEY} cannot be read: {rule}.")
