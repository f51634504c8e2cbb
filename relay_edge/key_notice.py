"""What every answer says to a relay key that is about to end. Pure."""

from typing import Final

from relay_contract import headers
from relay_contract.nouns import RelayKey
from relay_edge.further_lines import Lines

_ROTATED: Final[Lines] = ((headers.KEY_SUCCESSOR, "true"),)
_EXPIRED: Final[Lines] = ((headers.KEY_STATUS, headers.KEY_EXPIRED_GRACE),)


def notice_of(key: RelayKey) -> Lines:
    """The header lines of a key in its last days."""
    return _ROTATED if key.has_successor else _EXPIRED
