"""Through how many relays a call came: a target that leads back to its own endpoint would go round for ever. Pure.

`relay-hops` is stored with the call's headers, so that every delivery of it carries the number, replays included; what
a caller sends below `relay-` reaches no target otherwise, and no target's static headers may hold it.
"""

import re
from collections.abc import Sequence

from relay_contract.errors import BadHeader, RelayLoop
from relay_contract.headers import HOPS

MAX_HOPS = 3
"""Relays that a call may have passed when it comes here. A relay before a relay is common, five in a row are a loop."""

_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII)


def read_hops(values: Sequence[str]) -> int:
    """The number out of the header's values, 0 without one. Raises BadHeader, and RelayLoop above MAX_HOPS."""
    if not values:
        return 0
    if len(values) != 1 or not _NUMBER.fullmatch(values[0]):
        raise BadHeader(f"The header {HOPS} cannot be read. Relays write it; leave it out.")
    hops = int(values[0])
    if hops > MAX_HOPS:
        raise RelayLoop
    return hops
