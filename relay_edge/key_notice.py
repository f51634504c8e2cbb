"""What every answer says to a relay key that is about to end. Pure."""

from typing import Final

from relay_contract import headers
from relay_contract.nouns import RelayKey
from relay_edge.further_lines import Lines

_ROTATED: Final[Lines] = ((headers.KEY_SUCCESSOR, "true"),)
_WAITING: Final[Lines] = ((headers.KEY_SUCCESSOR, f'true; reveal="{headers.SUCCESSOR_PATH}"'),)
_EXPIRED: Final[Lines] = ((headers.KEY_STATUS, headers.KEY_EXPIRED_GRACE),)


def notice_of(key: RelayKey) -> Lines:
    """The header lines of a key in its last days."""
    if not key.has_successor:
        return _EXPIRED
    return _WAITING if key.successor_waits else _ROTATED
